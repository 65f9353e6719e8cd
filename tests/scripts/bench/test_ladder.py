"""``gpu-learning bench ladder``: a short run of it measures every rung that is there."""

import json
from pathlib import Path

import pytest
from PIL import Image

from scripts.bench.ladder import draw

TEXT = "KING and ROMEO: The To be, or not to be, that is the question.\n" * 40
SMALL = (
    *("-c", "configs/mini_gpt_cpu.yaml", "--model.init_args.width=16"),
    *("--model.init_args.layers=1", "--batch-size=2", "--larger=4", "--steps=3", "--rounds=2"),
)


@pytest.mark.slow
def test_a_short_run(gpu_learning, workplace: Path, device: str) -> None:
    (workplace / "text.txt").write_text(TEXT)
    text = f"--data.init_args.source={workplace / 'text.txt'}"
    code, out, err = gpu_learning("bench", "ladder", *SMALL, text, "--json")
    assert code == 0, err
    report = json.loads(out)
    rows, skipped = report["tokens_per_second"], report["skipped"]
    assert next(iter(report["flags"])) == "the course's loop"
    assert set(rows) | set(skipped) == set(report["flags"])
    assert len(report["flags"]) == 7
    if device == "cpu":
        assert skipped == dict.fromkeys(("CUDA graph", "own kernels"), "needs a CUDA GPU")
    else:
        assert not skipped
    assert all(row["n"] == 2 and 0 < row["min"] <= row["median"] for row in rows.values())
    (workplace / "ladder.json").write_text(out)
    again = ("--read", str(workplace / "ladder.json"), "--picture", str(workplace / "ladder.png"))
    code, out, err = gpu_learning("bench", "ladder", *again)
    assert code == 0, err
    assert "the course's loop" in out
    assert "1.00 times" in out
    with Image.open(workplace / "ladder.png") as picture:
        assert picture.size == (800, 400)


def test_the_picture_has_every_rung() -> None:
    row = {"n": 1, "median": 10.0, "q25": 9.0, "q75": 12.0, "min": 8.0, "max": 13.0}
    report = {
        "where": "a machine",
        "flags": {"the course's loop": "", "bf16": "--x", "own kernels": "--y"},
        "skipped": {"own kernels": "needs a CUDA GPU"},
        "tokens_per_second": {"the course's loop": row, "bf16": row | {"median": 11.0}},
        "times_loop": {"the course's loop": row, "bf16": row | {"median": 11.0}},
    }
    (axes,) = draw(report).axes
    assert [label.get_text() for label in axes.get_yticklabels()] == list(report["flags"])
    written = [text.get_text().strip() for text in axes.texts]
    assert written == ["10 tokens/s", "11 tokens/s", "skipped: needs a CUDA GPU"]


def test_what_cannot_be_measured_is_said(gpu_learning, tmp_path: Path) -> None:
    for option in ("--batch-size", "--larger", "--steps", "--rounds"):
        code, _, err = gpu_learning("bench", "ladder", option, "0")
        assert code == 2
        assert f"{option} must be at least 1, got 0" in err
    code, _, err = gpu_learning("bench", "ladder", "-c", "configs/digits_cnn.yaml")
    assert code == 1
    assert "bench ladder trains a MiniGPT on a text" in err
    code, _, err = gpu_learning("bench", "ladder", "--read", str(tmp_path / "no.json"))
    assert code == 1
    assert "bench ladder --json >" in err
    (tmp_path / "other.json").write_text("{}")
    code, _, err = gpu_learning("bench", "ladder", "--read", str(tmp_path / "other.json"))
    assert code == 1
    assert "is not what bench ladder --json prints" in err
