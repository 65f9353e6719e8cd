"""``gpu-learning doctor``: what works on this machine, and what to do about the rest."""

import json
import platform
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from importlib.metadata import requires

from packaging.requirements import Requirement

from scripts.doctor_gpu import check_gpu, nvidia_gpus
from scripts.finding import FAIL, NOTE, OK, Finding, installed
from scripts.parser import Parser

# Lightning-AI/pytorch-lightning#21691
COMPROMISED = {"lightning": {"2.6.2", "2.6.3"}, "pytorch-lightning": {"2.6.2", "2.6.3"}}
ENOUGH_DISK_GB = 2
SETUP = ("dev", "export", "kernels", "llm", "serve", "sweep")  # the extras that make setup takes


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


def check_extras(declared: Mapping[str, Sequence[str]]) -> list[Finding]:
    """One finding for each extra of make setup or that is there, and one for all the others."""
    findings = [check_extra(name, packages) for name, packages in declared.items()]
    found = [f for f in findings if f.state == OK or f.part.removeprefix("extra ") in SETUP]
    others = [f.part.removeprefix("extra ") for f in findings if f not in found]
    if others:
        text = f"not installed, and the course needs none of them: {', '.join(others)}"
        found.append(Finding("other extras", OK, text))
    return found


def extras() -> dict[str, list[str]]:
    """Packages of each extra, as the installed project declares them."""
    found: dict[str, list[str]] = {}
    for line in requires("gpu-learning") or []:
        requirement = Requirement(line)
        if extra := re.search(r"extra == ['\"](\w+)", str(requirement.marker)):
            found.setdefault(extra[1], []).append(requirement.name)
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
        findings += check_extras(extras())
    return [*findings, check_disk()]


def main(argv: Sequence[str]) -> int:
    """Prints the report; 1 where training cannot work, or not on the GPU that is there."""
    parser = Parser("gpu-learning doctor", description=__doc__)
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
