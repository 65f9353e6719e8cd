"""ExecuTorch files: a fixed batch, 8-bit kernels, ranges of the training split."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from exporting.images import check_formats, export, read_source
from inference import Classifier, load
from inference.manifest import read_manifest
from training.runs import find_checkpoint

FORMATS = ["executorch", "executorch-int8"]


def test_what_is_missing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "executorch", None)
    for name in FORMATS:
        with pytest.raises(
            ValueError, match=rf"{name} needs executorch: make .*EXTRAS=dev,export,executorch"
        ):
            check_formats([name], "cpu")


@pytest.mark.slow
def test_both_files_are_proved_and_run(artifact: Path, tmp_path: Path) -> None:
    pytest.importorskip("executorch", reason="the extra [executorch] is not installed")
    checkpoint = find_checkpoint(artifact.parents[1] / "logs" / "digits_cnn")[0]
    source = read_source(checkpoint)
    assert source.calibration is not None
    inputs = source.calibration(256)
    assert inputs.shape == (256, 1, 28, 28)
    np.testing.assert_array_equal(inputs, source.calibration(256))
    tests = {image.tobytes() for image in source.inputs}
    assert not any(image.tobytes() in tests for image in inputs)
    document = export(source, tmp_path / "digits", FORMATS, "cpu")
    for name in FORMATS:
        entry = document["files"][name]
        assert entry["batch"] == 1
        assert entry["checked"]["accuracy"] >= document["eager"]["accuracy"] - 0.005
        model = load(tmp_path / "digits", name, threads=1)
        assert isinstance(model, Classifier)
        rows = source.inputs[:5]
        together, alone = model(rows), np.concatenate([model(row[None]) for row in rows])
        np.testing.assert_array_equal(together, alone)
        eager = source.net(torch.from_numpy(rows)).numpy()
        np.testing.assert_allclose(together, eager, atol=3 if "int8" in name else 1e-3)
        with pytest.raises(ValueError, match="run on the CPU"):
            load(tmp_path / "digits", name, device="cuda")
    ran = document["files"]["executorch-int8"]["checked"]["int8_operations"]
    assert ran.count("XNNFullyConnected") == 2
    assert {"XNNConv2d", "XNNDepthwiseConv2d"} <= set(ran)
    assert document["files"]["executorch-int8"]["bytes"] < 62_500
    assert read_manifest(tmp_path / "digits").files["executorch"].batch == 1
    assert load(tmp_path / "digits").runtime.format == "executorch"  # type: ignore[union-attr]
