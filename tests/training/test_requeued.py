"""A SLURM job that is started again resumes from what it wrote itself."""

from pathlib import Path

import pytest
import torch

from tests.helpers.commands import DIGITS, bad

FIT = (*DIGITS, "--trainer.limit_train_batches=2", "--trainer.callbacks=[]")
FIT += ("--trainer.log_every_n_steps=1",)


@pytest.fixture
def two_jobs(gpu_learning, monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs of the jobs 7 and 8, the first of which is the older one."""
    for job in ("7", "8"):
        monkeypatch.setenv("SLURM_JOB_ID", job)
        code, _, err = gpu_learning(*FIT, "--trainer.max_epochs=1")
        assert code == 0, err


def steps(version: str) -> int:
    path = Path("logs", "digits_cnn", version, "checkpoints", "last.ckpt")
    return torch.load(path, weights_only=True)["global_step"]


@pytest.mark.parametrize("asked", [(), ("--ckpt_path=last",)], ids=str)
def test_a_requeued_job_resumes_its_own_run(
    gpu_learning, two_jobs, monkeypatch: pytest.MonkeyPatch, asked: tuple[str, ...]
) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    code, _, err = gpu_learning(*FIT, "--trainer.max_epochs=3", *asked)
    assert code == 0, err
    assert "job 7 was requeued and resumes from logs/digits_cnn/version_0/checkpoints" in err
    assert (steps("version_0"), steps("version_1")) == (6, 2)


def test_a_job_that_had_written_nothing_begins_again(
    gpu_learning, two_jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "9")
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    code, _, err = gpu_learning(*FIT, "--trainer.max_epochs=1")
    assert code == 0, err
    assert "job 9 was requeued before it had written a checkpoint, and begins again" in err
    assert (steps("version_0"), steps("version_1"), steps("version_2")) == (2, 2, 2)


def test_a_job_that_was_not_requeued_starts_a_run_of_its_own(gpu_learning, two_jobs) -> None:
    code, _, err = gpu_learning(*FIT, "--trainer.max_epochs=1")
    assert code == 0, err
    assert "requeued" not in err
    assert steps("version_2") == 2


def test_without_a_logger_a_requeued_job_cannot_be_found(
    gpu_learning, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    code, said = bad(gpu_learning, *FIT, "--trainer.max_epochs=1", "--trainer.logger=false")
    assert code == 1
    assert "leave the logger on, or submit the job with --no-requeue" in said
