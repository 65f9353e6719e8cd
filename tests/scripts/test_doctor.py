import json
import os
from importlib.metadata import version
from pathlib import Path

import pytest
import torch

from scripts import doctor, doctor_gpu
from scripts.finding import NOTE, OK
from tests.conftest import ROOT

SMI = """#!/bin/sh
echo "NVIDIA L4, {driver}, 23034 MiB, 8.9"
"""


@pytest.fixture
def driver(workplace: Path, monkeypatch: pytest.MonkeyPatch):
    """Puts an nvidia-smi on the path that reports one L4 with the driver asked for."""

    def put(number: str) -> None:
        command = workplace / "nvidia-smi"
        command.write_text(SMI.format(driver=number))
        command.chmod(0o755)
        monkeypatch.setenv("PATH", f"{workplace}{os.pathsep}{os.environ['PATH']}")

    return put


def find(findings: list[doctor.Finding], part: str) -> doctor.Finding:
    return next(finding for finding in findings if finding.part == part)


def test_this_machine_can_train(gpu_learning) -> None:
    code, out, _ = gpu_learning("doctor")
    assert code == 0
    assert version("torch") in out
    assert "Ready to train." in out


def test_json_is_one_document(gpu_learning) -> None:
    code, out, _ = gpu_learning("doctor", "--json")
    report = json.loads(out)
    assert report["ok"] is (code == 0)
    assert {"python", "torch", "lightning", "disk"} <= {f["part"] for f in report["findings"]}


@pytest.mark.skipif(torch.version.cuda is None, reason="a torch without CUDA is another finding")
def test_an_old_driver_is_named_with_its_remedy(driver, gpu_learning) -> None:
    driver("470.57.02")
    code, out, _ = gpu_learning("doctor")
    assert code == 1
    assert "NVIDIA L4" in out
    assert "470.57.02 is too old for torch's CUDA" in out
    assert "requirements-cuda12.lock" in out


@pytest.mark.skipif(torch.version.cuda is None, reason="needs a torch that was built for CUDA")
def test_driver_550_fits_cuda_12_and_not_13(driver, monkeypatch) -> None:
    driver("550.54.15")
    gpus = doctor_gpu.nvidia_gpus()
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    for cuda, state in (("12.8", doctor.OK), ("13.2", doctor.FAIL)):
        monkeypatch.setattr(torch.version, "cuda", cuda)
        assert find(doctor_gpu.check_gpu(gpus), "driver").state == state


def test_gpus_that_a_variable_hides(driver, monkeypatch) -> None:
    driver("580.159.04")
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    for hidden, state in (("", doctor.NOTE), ("-1", doctor.NOTE), ("7", doctor.FAIL)):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", hidden)
        finding = find(doctor_gpu.check_gpu(doctor_gpu.nvidia_gpus()), "driver")
        assert finding.state == state
        assert "CUDA_VISIBLE_DEVICES" in finding.text + finding.remedy


def test_compromised_lightning_is_refused(monkeypatch) -> None:
    monkeypatch.setattr(doctor, "installed", lambda package: "2.6.3")
    finding = doctor.check_package("lightning")
    assert finding.state == doctor.FAIL
    assert "compromised" in finding.text
    assert "tokens" in finding.remedy


def test_missing_package_fails(monkeypatch, gpu_learning) -> None:
    real = doctor.installed
    monkeypatch.setattr(
        doctor, "installed", lambda package: None if package == "torchmetrics" else real(package)
    )
    code, out, _ = gpu_learning("doctor")
    assert code == 1
    assert "not installed" in out


def test_a_full_disk_is_noted(monkeypatch) -> None:
    monkeypatch.setattr(doctor, "ENOUGH_DISK_GB", 10**9)
    assert doctor.check_disk().state == doctor.NOTE


def test_extras_are_those_of_the_project() -> None:
    assert {"dev", "export", "llm", "serve"} <= set(doctor.extras())
    assert "pytest" in doctor.extras()["dev"]
    assert doctor.extras()["sweep"] == ["optuna", "optuna-integration", "psycopg"]
    makefile = (ROOT / "Makefile").read_text()
    assert f"EXTRAS ?= {','.join(doctor.SETUP)}\n" in makefile


def test_extras_that_make_setup_leaves_out_are_one_line() -> None:
    declared = {"dev": ["pytest"], "llm": ["nosuch"], "phone": ["nosuch"], "tiny": ["none-such"]}
    dev, llm, others = doctor.check_extras(declared)
    assert (dev.state, llm.state, others.state) == (OK, NOTE, OK)
    assert llm.remedy == "make setup EXTRAS=dev,llm"
    assert others.text.endswith(": phone, tiny")


@pytest.mark.parametrize(
    ("capability", "built_for", "state"),
    [
        ((9, 0), ["sm_80", "sm_90"], doctor.OK),
        ((8, 9), ["sm_80", "sm_90"], doctor.OK),  # code for 8.0 runs on 8.9
        ((9, 0), ["sm_90a"], doctor.OK),
        ((12, 0), ["sm_90", "compute_90"], doctor.NOTE),
        ((12, 0), ["sm_90", "sm_100"], doctor.FAIL),
        ((7, 0), ["sm_75", "sm_80"], doctor.FAIL),
        ((7, 0), ["sm_75", "compute_90"], doctor.FAIL),
    ],
)
def test_torch_without_code_for_the_gpu(capability, built_for, state: str) -> None:
    finding = doctor_gpu.check_architecture(0, capability, built_for)
    assert finding.state == state
    assert f"{capability[0]}.{capability[1]}" in finding.text
    assert bool(finding.remedy) == (state != doctor.OK)


def test_memory_that_another_program_holds() -> None:
    assert doctor_gpu.check_memory(0, 70 * 2**30, 80 * 2**30).state == doctor.OK
    taken = doctor_gpu.check_memory(1, 10 * 2**30, 80 * 2**30)
    assert (taken.part, taken.state) == ("gpu 1 memory", doctor.NOTE)
    assert taken.text == "10.0 of 80.0 GiB free"


def test_compile_without_a_compiler(monkeypatch, workplace: Path) -> None:
    monkeypatch.setenv("PATH", str(workplace))
    monkeypatch.delenv("CC", raising=False)
    finding = doctor_gpu.check_compile()
    assert finding.state == doctor.NOTE
    assert "a C compiler" in finding.text
    assert "apt install gcc" in finding.remedy


@pytest.mark.gpu
def test_a_gpu_is_reported_with_what_matters_for_speed(gpu_learning) -> None:
    code, out, _ = gpu_learning("doctor")
    assert code == 0, out
    assert torch.cuda.get_device_name() in out
    assert "compute capability" in out
    assert "GiB free" in out
    assert "torch.compile" in out
    assert ("nccl" in out) == (torch.cuda.device_count() > 1)
