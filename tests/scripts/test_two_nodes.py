"""torchrun and SLURM on two nodes, which the script makes of one machine."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT

SCRIPT = ROOT / ".ci" / "two_nodes"
NEEDED = {
    "torchrun": ("ip", "nsenter"),
    "slurm": ("ip", "nsenter", "munged", "slurmctld", "slurmd", "sbatch", "srun", "scontrol"),
}


@pytest.mark.slow
@pytest.mark.parametrize("part", NEEDED)
def test_two_nodes(part: str, workplace: Path) -> None:
    missing = [name for name in NEEDED[part] if shutil.which(name) is None]
    if missing:
        pytest.skip(f"needs {', '.join(missing)}: apt install iproute2 slurm-wlm munge")
    if os.geteuid():
        pytest.skip("network namespaces need root")
    if subprocess.run(["unshare", "--net", "--uts", "--mount", "true"]).returncode:
        pytest.skip("this kernel or container makes no namespaces")
    here = os.environ | {"PYTHON": sys.executable}
    command = [SCRIPT, part, workplace / "nodes"]
    result = subprocess.run(command, env=here, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "weights differ by at most 0\n" in result.stdout


def test_a_part_that_there_is_not_is_refused() -> None:
    result = subprocess.run([SCRIPT, "kubernetes"], capture_output=True, text=True)
    assert result.returncode == 2
    assert "kubernetes is not a part; name torchrun, slurm or all" in result.stderr
