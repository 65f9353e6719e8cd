"""What is said about an artifact that an export replaces."""

import json
from pathlib import Path
from typing import Any

import pytest

from exporting.replaced import describe_replaced, earlier_manifest


def manifest(**changes: Any) -> dict[str, Any]:
    return {
        "files": {"onnx": {}},
        "folders": {"hf": {}},
        "data": "DigitsDataModule",
        "test_inputs": 360,
        "source": {"checkpoint": "logs/a/version_0/checkpoints/best.ckpt"},
        **changes,
    }


def image(accuracy: float | None, **changes: Any) -> dict[str, Any]:
    return manifest(eager={"accuracy": accuracy}, **changes)


def text(bits: float, **changes: Any) -> dict[str, Any]:
    return manifest(eager={"bits_per_char": bits}, **changes)


@pytest.mark.parametrize(
    ("earlier", "now", "said"),
    [
        (image(0.9833), image(0.9611), "a better one (accuracy 98.33%, now 96.11%)"),
        (image(0.9611), image(0.9833), "a worse one (accuracy 96.11%, now 98.33%)"),
        (image(0.9833), image(0.9833), "one as good as this (accuracy 98.33%, now 98.33%)"),
        (text(1.5), text(2.25), "a better one (bits per character 1.5000, now 2.2500)"),
        (text(1.50001), text(1.5), "one as good as this (bits per character 1.5000, now 1.5000)"),
        (text(2.25), text(1.5), "a worse one (bits per character 2.2500, now 1.5000)"),
        (
            image(0.9833, data="MNISTDataModule"),
            image(0.9611),
            "one that was scored on other data (accuracy 98.33%, now 96.11%)",
        ),
        (
            image(0.9, test_inputs=9),
            image(0.8),
            "one that was scored on other data (accuracy 90.00%",
        ),
        (image(None), image(0.9), "one from logs/a/"),
        (text(1.5), image(0.9), "one from logs/a/"),
        (manifest(), image(0.9), "one from logs/a/"),
    ],
)
def test_which_was_better(earlier: dict[str, Any], now: dict[str, Any], said: str) -> None:
    sentence = describe_replaced(earlier, now)
    assert sentence.startswith(said)
    assert sentence.endswith("from logs/a/version_0/checkpoints/best.ckpt, which had onnx, hf")


@pytest.mark.parametrize("content", [None, "", "{", "[]", "{}", '{"files": null}'])
def test_what_is_no_manifest_is_not_described(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "manifest.json").write_text(content)
    assert earlier_manifest(tmp_path) is None


def test_an_old_manifest_without_a_score_is_described(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text(json.dumps({"files": {"int8": {}, "onnx": {}}}))
    earlier = earlier_manifest(tmp_path)
    assert earlier is not None
    assert describe_replaced(earlier, image(0.9)) == "one, which had int8, onnx"


@pytest.mark.parametrize(
    "damage",
    [
        {"eager": "fast"},
        {"eager": {"accuracy": "0.98"}},
        {"eager": {"accuracy": float("nan")}},
        {"source": "a.ckpt"},
        {"folders": 3},
        {"data": []},
    ],
)
def test_a_damaged_manifest_is_described_by_what_it_has(
    tmp_path: Path, damage: dict[str, Any]
) -> None:
    """It is described after it was replaced, when an error would come too late."""
    (tmp_path / "manifest.json").write_text(json.dumps({"files": {"onnx": {}}, **damage}))
    earlier = earlier_manifest(tmp_path)
    assert earlier is not None
    assert describe_replaced(earlier, image(0.9)) == "one, which had onnx"


def test_a_worse_export_says_what_it_replaces(gpu_learning, workplace: Path) -> None:
    fit = ("fit", "-c", "configs/digits_cnn.yaml", "--trainer.callbacks", "[]")
    for name, epochs in (("long", 3), ("short", 1)):
        run = f"logs/digits_cnn/{name}"
        options = (f"--trainer.logger.version={name}", f"--trainer.max_epochs={epochs}")
        assert gpu_learning(*fit, *options)[0] == 0
        export = ("export", run, "--name", "digits", "--format", "safetensors")
        code, _, err = gpu_learning(*export)
        assert code == 0, err
        if name == "long":
            assert "replaced" not in err
    (line,) = [line for line in err.splitlines() if "replaced" in line]
    assert line.startswith("gpu-learning: replaced models/digits, a better one (accuracy ")
    assert line.endswith("logs/digits_cnn/long/checkpoints/best.ckpt, which had safetensors")
