"""``gpu-learning doctor``: what works on this machine, and what to do about the rest."""

import argparse
import importlib.util
import json
import os
import platform
import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, requires, version

# Lightning-AI/pytorch-lightning#21691
COMPROMISED = {"lightning": {"2.6.2", "2.6.3"}, "pytorch-lightning": {"2.6.2", "2.6.3"}}
# Oldest NVIDIA driver for any release of a CUDA major version (CUDA's minor version compatibility).
OLDEST_DRIVER = {11: 450, 12: 525, 13: 580}
ENOUGH_DISK_GB = 2
OK, NOTE, FAIL = "ok", "note", "fail"


@dataclass
class Finding:
    """One line of the report; ``remedy`` says what to do where ``state`` is not ok."""

    part: str
    state: str
    text: str
    remedy: str = ""


def installed(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def check_python() -> Finding:
    system = f"{platform.system()} {platform.machine()}"
    return Finding("python", OK, f"{platform.python_version()} on {system}")


def check_package(package: str) -> Finding:
    found = installed(package)
    if found is None:
        return Finding(package, FAIL, "not installed", "make setup, or pip install -e .")
    if found in COMPROMISED.get(package, ()):
        return Finding(
            package,
            FAIL,
            f"{found} is a compromised release that stole credentials",
            f"pip uninstall {package}, change the passwords and tokens this machine held, then "
            "make setup",
        )
    return Finding(package, OK, found)


def check_torch() -> Finding:
    try:
        import torch
    except Exception as error:  # a broken install can raise anything
        return Finding("torch", FAIL, f"does not import ({error})", "make clean setup")
    built = f"CUDA {torch.version.cuda}" if torch.version.cuda else "CPU only"
    return Finding("torch", OK, f"{torch.__version__}, built for {built}")


def check_torchvision() -> Finding:
    found = installed("torchvision")
    if found is None:
        return check_package("torchvision")
    try:
        import torchvision.ops

        torchvision.ops.nms  # noqa: B018  registered by the compiled part
    except Exception as error:
        wanted = [r for r in requires("torchvision") or [] if r.split(" ")[0] == "torch"]
        return Finding(
            "torchvision",
            FAIL,
            f"{found} does not match torch {installed('torch')} ({str(error).splitlines()[0]})",
            f"torchvision {found} wants {wanted[0] if wanted else 'another torch'}; "
            "make clean setup installs a pair that fits",
        )
    return Finding("torchvision", OK, found)


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


def check_extra(name: str, packages: Sequence[str]) -> Finding:
    """Whether the packages of one optional extra are there."""
    missing = [package for package in packages if installed(package) is None]
    if missing:
        return Finding(
            f"extra {name}",
            NOTE,
            f"not installed: {', '.join(missing)}",
            "make setup" if name == "dev" else f"make setup EXTRAS=dev,{name}",
        )
    return Finding(f"extra {name}", OK, ", ".join(f"{p} {installed(p)}" for p in packages))


def extras() -> dict[str, list[str]]:
    """Packages of each extra, as the installed project declares them."""
    found: dict[str, list[str]] = {}
    for line in requires("gpu-learning") or []:
        if "extra ==" in line:
            extra = line.rsplit("extra ==", 1)[1].strip(" '\"")
            package = line.split(";")[0].split(">")[0].split("=")[0].split("[")[0].strip(" !<~")
            found.setdefault(extra, []).append(package)
    return found


def check_disk() -> Finding:
    free = shutil.disk_usage(".").free / 1e9
    text = f"{free:.1f} GB free here"
    if free < ENOUGH_DISK_GB:
        remedy = "checkpoints and data need room: free some, or remove old runs in logs/"
        return Finding("disk", NOTE, text, remedy)
    return Finding("disk", OK, text)


def examine() -> list[Finding]:
    """Everything the report says, in its order."""
    findings = [check_python(), check_torch(), check_torchvision()]
    findings += [
        check_package(name)
        for name in (
            "lightning",
            "pytorch-lightning",
            "torchmetrics",
            "jsonargparse",
            "tensorboard",
        )
    ]
    findings += check_gpu(nvidia_gpus())
    if installed("gpu-learning"):
        findings += [check_extra(name, packages) for name, packages in extras().items()]
    return [*findings, check_disk()]


def main(argv: Sequence[str]) -> int:
    """Prints the report; 1 where training cannot work, or not on the GPU that is there."""
    parser = argparse.ArgumentParser("gpu-learning doctor", description=__doc__)
    parser.add_argument("--json", action="store_true", help="one JSON document")
    arguments = parser.parse_args(argv[1:])
    findings = examine()
    failed = any(finding.state == FAIL for finding in findings)
    if arguments.json:
        print(json.dumps({"ok": not failed, "findings": [asdict(f) for f in findings]}, indent=2))
        return int(failed)
    width = max(len(finding.part) for finding in findings)
    for finding in findings:
        print(f"{finding.state:<4}  {finding.part:<{width}}  {finding.text}")
        if finding.remedy:
            print(f"{'':<{width + 6}}  -> {finding.remedy}")
    print("\nTraining cannot work yet: mend what says fail." if failed else "\nReady to train.")
    return int(failed)
