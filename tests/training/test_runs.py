import os
from pathlib import Path

import pytest
import torch

from training.runs import best_checkpoint, find_checkpoint, last_checkpoint


def write(folder: Path, version: int, score: float | None, name: str = "best", **other) -> Path:
    """A checkpoint with what the choice depends on; later versions are newer."""
    path = folder / f"version_{version}" / "checkpoints" / f"{name}.ckpt"
    path.parent.mkdir(parents=True, exist_ok=True)
    state = {
        "monitor": other.get("monitor", "val/acc"),
        "mode": other.get("mode", "max"),
        "best_model_path": f"elsewhere/{name}.ckpt",
        "best_model_score": None if score is None else torch.tensor(score),
    }
    content = {
        "epoch": 4,
        "global_step": 200,
        "callbacks": {"BestAndLast": state},
        "hyper_parameters": {"_class_path": other.get("model", "Net")},
        "datamodule_hyper_parameters": {"_class_path": other.get("data", "Data")},
    }
    torch.save(content, path)
    os.utime(path, (1000 + version, 1000 + version))
    return path


def test_best_is_the_best_of_all_runs_and_says_so(tmp_path: Path) -> None:
    best = write(tmp_path, 0, 0.9917)
    newest = write(tmp_path, 1, 0.1)
    found, said = best_checkpoint(tmp_path)
    assert found == best
    assert "(val/acc 0.9917, epoch 5, step 200, 1970-01-01" in said
    assert f"the best of 2 runs; the newest is {newest} (val/acc 0.1000" in said
    assert find_checkpoint(tmp_path) == (found, said)
    assert find_checkpoint(tmp_path / "version_1")[0] == newest


def test_a_low_monitor_is_best_where_it_is_minimized(tmp_path: Path) -> None:
    for version, score in enumerate((0.5, 0.2, 0.3)):
        write(tmp_path, version, score, monitor="val/loss", mode="min")
    assert best_checkpoint(tmp_path)[0].parts[-3] == "version_1"


def test_of_equals_it_is_the_newest(tmp_path: Path) -> None:
    write(tmp_path, 0, 0.9)
    newest = write(tmp_path, 1, 0.9)
    assert best_checkpoint(tmp_path)[0] == newest


@pytest.mark.parametrize("other", [{"monitor": "val/f1"}, {"model": "Other"}, {"data": "Other"}])
def test_scores_that_cannot_be_compared_are_not(tmp_path: Path, other: dict) -> None:
    older = write(tmp_path, 0, 0.99, **other)
    newest = write(tmp_path, 1, 0.5)
    assert best_checkpoint(tmp_path)[0] == newest
    if "model" in other:
        assert best_checkpoint(tmp_path, model="Other")[0] == older


def test_without_a_monitor_it_is_the_newest(tmp_path: Path) -> None:
    write(tmp_path, 0, None, monitor=None)
    newest = write(tmp_path, 1, None, monitor=None)
    assert best_checkpoint(tmp_path)[0] == newest


def test_a_damaged_file_is_no_rival(tmp_path: Path) -> None:
    whole = write(tmp_path, 0, 0.99)
    whole.write_bytes(whole.read_bytes()[:100])
    sharded = tmp_path / "version_1" / "checkpoints" / "best.ckpt"
    sharded.mkdir(parents=True)
    newest = write(tmp_path, 2, 0.5)
    reasons = {whole: "which is cut off or not a checkpoint", sharded: "whose shards hold no score"}
    for _ in range(2):
        found, said = best_checkpoint(tmp_path)
        assert found == newest
        for path, reason in reasons.items():
            assert f"; without {path}, {reason}" in said
        write(tmp_path, 3, 0.1)
    assert "the best of 2 runs" in best_checkpoint(tmp_path)[1]


def test_last_is_of_the_newest_run(tmp_path: Path) -> None:
    write(tmp_path, 0, 0.9, "last")
    newest = write(tmp_path, 1, 0.1, "last")
    assert last_checkpoint(tmp_path)[0] == newest


def test_what_is_missing_is_said(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="train first"):
        last_checkpoint(tmp_path)
    other = write(tmp_path, 0, 0.9, "epoch=3")
    with pytest.raises(ValueError, match=f"name a file, such as {other}"):
        best_checkpoint(tmp_path)
