"""Files of another kind under the right checksum: refused in one sentence by every runtime."""

import hashlib
import io
import zipfile
from pathlib import Path

import pytest

from exporting.commit import write_manifest
from inference import load
from inference.text.artifact import BEST as TEXT_BEST

TENSOR_KINDS = ["onnx", "onnx-int8", "torchscript", "int8", "pt2", "pt2-fp16", "executorch"]
CONFIG = {"context": 8, "vocab_size": 2, "width": 4, "heads": 2, "layers": 1, "tied": True} | (
    dict.fromkeys(("pre_norm", "gelu", "output_projection", "qkv_bias", "bias"), True)
)
TOKENIZER = '{"model": {"type": "WordLevel", "vocab": {"a": 0, "b": 1}}}'


def a_zip() -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr("word/document.xml", "<xml/>")
    return content.getvalue()


CONTENTS = {"text": b"<html>404</html>\n", "zip": a_zip(), "zeros": bytes(4096), "byte": b"\x80"}


def put(folder: Path, task: str, files: dict[str, bytes], **fields: object) -> Path:
    """An artifact whose files are what they are, with checksums that fit."""
    folder.mkdir(parents=True)
    entries = {}
    for kind, content in files.items():
        (folder / f"{kind}.bin").write_bytes(content)
        digest = hashlib.sha256(content).hexdigest()
        entries[kind] = {"file": f"{kind}.bin", "bytes": len(content), "sha256": digest}
        entries[kind]["device"] = "any"
    given = {"shape": [2], "dtype": "float32" if task == "tensor" else "int64"}
    write_manifest(
        folder,
        {"schema": 2, "task": task, "input": given, "files": entries, "folders": {}, **fields},
    )
    return folder


@pytest.mark.parametrize("content", CONTENTS)
@pytest.mark.parametrize("kind", TENSOR_KINDS)
def test_a_net(kind: str, content: str, workplace: Path) -> None:
    if kind.startswith("onnx"):
        pytest.importorskip("onnxruntime", reason="the extra [export] is not installed")
    if kind == "executorch":
        pytest.importorskip("executorch", reason="the extra [executorch] is not installed")
    folder = put(workplace / "models" / "net", "tensor", {kind: CONTENTS[content]})
    with pytest.raises(ValueError, match=rf"cannot load .*{kind}\.bin") as caught:
        load(folder, kind)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", CONTENTS)
@pytest.mark.parametrize("kind", [kind for kind in TEXT_BEST if kind != "gguf-adapter"])
def test_a_language_model(kind: str, content: str, workplace: Path) -> None:
    if kind == "onnx":
        pytest.importorskip("onnxruntime", reason="the extra [export] is not installed")
    if kind.startswith("gguf"):
        pytest.importorskip("gguf", reason="the extra [llm] is not installed")
    files = {"tokenizer": TOKENIZER.encode(), kind: CONTENTS[content]}
    folder = put(workplace / "models" / "net", "text-generation", files, config=CONFIG)
    with pytest.raises(ValueError, match=rf"{kind}\.bin") as caught:
        load(folder)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", CONTENTS)
def test_a_tokenizer(content: str, workplace: Path) -> None:
    files = {"tokenizer": CONTENTS[content], "safetensors": b"x"}
    folder = put(workplace / "models" / "net", "text-generation", files, config=CONFIG)
    with pytest.raises(ValueError, match="tokenizer") as caught:
        load(folder)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("location", ["weights.bin", "../outside.bin", "/etc/passwd"])
def test_onnx_weights_in_other_files_are_not_read(location: str, workplace: Path) -> None:
    onnx = pytest.importorskip("onnx", reason="the extra [export] is not installed")
    pytest.importorskip("onnxruntime", reason="the extra [export] is not installed")
    (workplace / "weights.bin").write_bytes(bytes(8))  # onnxruntime looks in the working folder
    weights = onnx.TensorProto(name="w", data_type=1, dims=[2], data_location=1)
    weights.external_data.add(key="location", value=location)
    node = onnx.helper.make_node("Add", ["x", "w"], ["y"])
    ends = [onnx.helper.make_tensor_value_info(name, 1, ["n", 2]) for name in ("x", "y")]
    graph = onnx.helper.make_graph([node], "g", ends[:1], ends[1:], [weights])
    content = onnx.helper.make_model(graph).SerializeToString()
    folder = put(workplace / "models" / "net", "tensor", {"onnx": content})
    with pytest.raises(ValueError, match=r"onnx\.bin has weights in other files"):
        load(folder)
