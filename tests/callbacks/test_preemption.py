"""SLURM's signals: the step that runs is kept, the job is requeued, and resumes exactly.

SLURM itself is in tests/scripts/test_two_nodes.py; here a program of the name of ``scontrol`` keeps
what it was called with.
"""

import signal
from pathlib import Path

import pytest
from lightning.pytorch.plugins.environments import SLURMEnvironment

from tests.callbacks.test_best_and_last import At, fit, keeper, load, same, send

pytestmark = [
    pytest.mark.filterwarnings("ignore:Checkpoint directory .* exists:UserWarning"),
    pytest.mark.filterwarnings("ignore:Be aware that when using `ckpt_path`:UserWarning"),
]
TASK = {
    "SLURM_JOB_ID": "42",
    "SLURM_JOB_NAME": "digits",
    "SLURM_NTASKS": "1",
    "SLURM_NTASKS_PER_NODE": "1",
    "SLURM_PROCID": "0",
    "SLURM_LOCALID": "0",
    "SLURM_NODEID": "0",
}


@pytest.fixture
def scontrol(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the arguments of each call are kept; the process is a task of a SLURM job."""
    program, calls = tmp_path / "bin" / "scontrol", tmp_path / "calls"
    program.parent.mkdir()
    program.write_text(
        f'#!/bin/sh\ntest "$1" != show || exec cat {calls}.state\necho "$@" >>{calls}\n'
        f"test ! -e {calls}.refused || {{ echo Requeue is disabled >&2; exit 1; }}\n"
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent), prepend=":")
    for name, value in TASK.items():
        monkeypatch.setenv(name, value)
    return calls


# In an epoch before and after its validation, and its last step.
@pytest.mark.parametrize("step", [8, 9, 12])
def test_the_requeue_signal_keeps_the_step_and_requeues(
    tmp_path: Path, scontrol: Path, step: int
) -> None:
    options = {"val_check_interval": 0.5, "num_sanity_val_steps": 0}
    fit(tmp_path / "whole", **options)
    assert not scontrol.exists()
    cut = tmp_path / "cut"
    with pytest.raises(SystemExit):
        fit(cut, At("on_train_batch_start", step - 1, send(signal.SIGUSR1)), **options)
    assert scontrol.read_text() == "requeue 42\n"
    assert load(cut)["global_step"] == step
    assert load(cut)["callbacks"]["BestAndLast"]["slurm_job"] == "42"
    # Lightning would take such a file for every later job below the folder.
    assert not list(tmp_path.rglob("hpc_ckpt*"))
    fit(cut, ckpt_path=cut / "checkpoints" / "last.ckpt", **options)
    assert same(load(cut), load(tmp_path / "whole"))
    assert same(load(cut, "best"), load(tmp_path / "whole", "best"))
    assert scontrol.read_text() == "requeue 42\n"


def test_before_training_it_waits_for_a_step(tmp_path: Path, scontrol: Path) -> None:
    with pytest.raises(SystemExit):
        fit(tmp_path, At("on_fit_start", 0, send(signal.SIGUSR1)))
    assert load(tmp_path)["global_step"] == 1
    assert scontrol.read_text() == "requeue 42\n"


def test_within_an_accumulation_it_waits_for_the_optimizer_step(
    tmp_path: Path, scontrol: Path
) -> None:
    options = {"accumulate_grad_batches": 4, "validates": False}
    fit(tmp_path / "whole", **options)
    cut = tmp_path / "cut"
    with pytest.raises(SystemExit):
        fit(cut, At("on_train_batch_start", 4, send(signal.SIGUSR1)), **options)
    assert load(cut)["global_step"] == 5
    fit(cut, ckpt_path=cut / "checkpoints" / "last.ckpt", **options)
    assert same(load(cut), load(tmp_path / "whole"))


@pytest.mark.parametrize(
    ("state", "requeues"),
    [
        (
            "JobState=RUNNING Reason=None\n PreemptTime=2026-11-29T15:04:46",
            True,
        ),  # within GraceTime
        ("JobState=RUNNING Reason=None\n PreemptTime=None", False),  # scancel --signal=TERM
        ("JobState=COMPLETING Reason=None\n PreemptTime=None", False),  # scontrol requeue
        ("JobState=CANCELLED Reason=None\n PreemptTime=2026-11-29T15:04:46", False),
    ],
)
def test_sigterm_requeues_a_job_that_another_displaces(
    tmp_path: Path, scontrol: Path, state: str, requeues: bool
) -> None:
    Path(f"{scontrol}.state").write_text(state)
    with pytest.raises(SystemExit):
        fit(tmp_path, At("on_train_batch_start", 8, send(signal.SIGTERM)))
    assert load(tmp_path)["global_step"] == 9
    assert scontrol.exists() == requeues
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_a_run_that_has_reached_its_end_is_not_requeued(tmp_path: Path, scontrol: Path) -> None:
    fit(tmp_path, At("on_train_batch_start", 8, send(signal.SIGUSR1)), max_steps=9)
    assert load(tmp_path)["global_step"] == 9
    assert not scontrol.exists()


def test_a_job_that_slurm_does_not_requeue_says_so(tmp_path: Path, scontrol: Path) -> None:
    Path(f"{scontrol}.refused").touch()
    with pytest.raises(ValueError, match=r"job 42 \(Requeue is disabled\); last.ckpt is written"):
        fit(tmp_path, At("on_train_batch_start", 8, send(signal.SIGUSR1)))
    assert load(tmp_path)["global_step"] == 9


def test_the_signal_can_be_another_one(tmp_path: Path, scontrol: Path) -> None:
    environment = SLURMEnvironment(requeue_signal=signal.SIGTERM)
    ask = At("on_train_batch_start", 8, send(signal.SIGTERM))
    with pytest.raises(SystemExit):
        fit(tmp_path, ask, keeper(), plugins=[environment])
    assert load(tmp_path)["global_step"] == 9
    assert scontrol.read_text() == "requeue 42\n"
