"""What ``gpu-learning doctor`` finds out about the GPUs."""

import importlib.util
import os
import re
import shutil
import subprocess
from collections.abc import Sequence

from scripts.finding import FAIL, NOTE, OK, Finding, installed

# Oldest NVIDIA driver for any release of a CUDA major version (CUDA's minor version compatibility).
OLDEST_DRIVER = {11: 450, 12: 525, 13: 580}


def nvidia_gpus() -> list[dict[str, str]]:
    """Name, driver version and memory of each NVIDIA GPU that the driver reports."""
    fields = ("name", "driver_version", "memory.total", "compute_cap")
    command = ["nvidia-smi", f"--query-gpu={','.join(fields)}", "--format=csv,noheader"]
    try:
        result = subprocess.run(command, capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return []
    if result.returncode:
        return []
    rows = [line.split(", ") for line in result.stdout.strip().splitlines()]
    return [dict(zip(fields, row, strict=True)) for row in rows if len(row) == len(fields)]


def check_gpu(gpus: list[dict[str, str]]) -> list[Finding]:
    """The GPUs and whether this torch can use them."""
    try:
        import torch
    except Exception:
        return [Finding("gpu", NOTE, "not looked at: torch does not import")]
    if not gpus:
        if torch.cuda.is_available():
            return [Finding("gpu", OK, torch.cuda.get_device_name())]
        return [
            Finding(
                "gpu",
                NOTE,
                "no NVIDIA GPU seen: training runs on the CPU",
                "every lesson runs without; for a GPU see that nvidia-smi lists it",
            )
        ]
    findings = [
        Finding("gpu", OK, f"{g['name']}, {g['memory.total']}, compute {g['compute_cap']}")
        for g in gpus
    ]
    driver = gpus[0]["driver_version"]
    if torch.version.cuda is None:
        remedy = "install a torch with CUDA: make clean setup"
        return [*findings, Finding("driver", FAIL, f"{driver}; torch is a CPU build", remedy)]
    cuda = int(torch.version.cuda.split(".")[0])
    oldest = OLDEST_DRIVER.get(cuda, 0)
    if int(driver.split(".")[0]) < oldest:
        return [
            *findings,
            Finding(
                "driver",
                FAIL,
                f"{driver} is too old for torch's CUDA {torch.version.cuda} (needs {oldest})",
                "update the driver, or use the torch built for CUDA 12: "
                "make clean setup LOCK=requirements-cuda12.lock",
            ),
        ]
    if not torch.cuda.is_available():
        visible = os.environ.get("CUDA_VISIBLE_DEVICES")
        if visible in ("", "-1"):
            text = f"{driver}; CUDA_VISIBLE_DEVICES={visible} hides the GPUs: training on the CPU"
            return [*findings, Finding("driver", NOTE, text, "unset CUDA_VISIBLE_DEVICES")]
        remedy = "look at CUDA_VISIBLE_DEVICES and at permissions of /dev/nvidia*"
        return [*findings, Finding("driver", FAIL, f"{driver}; torch sees no GPU", remedy)]
    findings.append(Finding("driver", OK, f"{driver} fits CUDA {torch.version.cuda}"))
    return [*findings, *check_cuda()]


def check_cuda() -> list[Finding]:
    """What decides how fast a GPU trains: its architecture, its memory, compiler, and NCCL."""
    import torch

    findings = []
    count = torch.cuda.device_count()
    built_for = torch.cuda.get_arch_list()
    for index in range(count):
        capability = torch.cuda.get_device_capability(index)
        findings.append(check_architecture(index, capability, built_for))
        findings.append(check_memory(index, *torch.cuda.mem_get_info(index)))
    findings.append(check_compile())
    if count > 1:
        findings.append(check_nccl(count))
    return findings


def check_architecture(
    index: int, capability: tuple[int, int], built_for: Sequence[str]
) -> Finding:
    """Whether torch has machine code for a GPU, or PTX that its driver translates.

    Args:
        index: number of the GPU.
        capability: its compute capability, as (9, 0).
        built_for: ``torch.cuda.get_arch_list()``, as ["sm_80", "sm_90", "compute_90"].
    """
    part, (major, minor) = f"gpu {index}", capability
    versions = {name: int(re.findall(r"\d+", name)[0]) for name in built_for}
    mine = 10 * major + minor
    # Machine code runs on later minor versions of its major version; PTX on anything later.
    exact = any(
        name.startswith("sm_") and version // 10 == major and version <= mine
        for name, version in versions.items()
    )
    ptx = any(name.startswith("compute_") and version <= mine for name, version in versions.items())
    text = f"compute capability {major}.{minor}, torch has {', '.join(built_for)}"
    if exact:
        return Finding(part, OK, text)
    if ptx:
        remedy = "the first start translates kernels and is slow; a newer torch may have the code"
        return Finding(part, NOTE, text, remedy)
    remedy = "older GPU: make clean setup LOCK=requirements-cuda12.lock; newer: make lock setup"
    return Finding(part, FAIL, f"{text}: no kernel will run", remedy)


def check_memory(index: int, free: int, total: int) -> Finding:
    """Free memory of a GPU, in bytes; another program's share is named."""
    part = f"gpu {index} memory"
    text = f"{free / 2**30:.1f} of {total / 2**30:.1f} GiB free"
    if free < total / 2:
        remedy = "another program holds the rest; nvidia-smi lists it"
        return Finding(part, NOTE, text, remedy)
    return Finding(part, OK, text)


def check_compile() -> Finding:
    """Whether torch.compile can build kernels: it needs Triton and a C compiler."""
    compiler = os.environ.get("CC") or next(filter(shutil.which, ("cc", "gcc", "clang")), None)
    missing = {
        "Triton": ("pip install triton", importlib.util.find_spec("triton") is None),
        "a C compiler": ("apt install gcc, or set CC", not compiler or not shutil.which(compiler)),
    }
    lacks = [name for name, (_, absent) in missing.items() if absent]
    if lacks:
        remedy = "; ".join(remedy for remedy, absent in missing.values() if absent)
        text = f"not usable without {' and '.join(lacks)}: callbacks.Compile will fail"
        return Finding("torch.compile", NOTE, text, remedy)
    return Finding("torch.compile", OK, f"Triton {installed('triton')}, compiler {compiler}")


def check_nccl(count: int) -> Finding:
    """Whether torch has NCCL, through which several GPUs exchange gradients."""
    import torch

    if not torch.distributed.is_nccl_available():
        text = f"{count} GPUs, and this torch has no NCCL"
        return Finding("nccl", FAIL, text, "use one: --trainer.devices 1, or torch for Linux")
    version = ".".join(map(str, torch.cuda.nccl.version()))
    return Finding("nccl", OK, f"{version} for {count} GPUs: --trainer.devices {count}")
