"""``python -m inference.probe``: runs exported files in a process that knows no training code.

An export is proved by this process: it reads the files as a user would, through ``load``, and
every import of a training package fails. It reads one JSON request per line from standard input and
answers each with one line on standard output: ``{"ok": true, ...}`` or ``{"error": "..."}``.
"""

import hashlib
import json
import os
import re
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

# An import of any of these raises ModuleNotFoundError from here on. Of lightning_modules that
# leaves the nets, which need torch alone.
FORBIDDEN = (
    "lightning",
    "pytorch_lightning",
    "datamodules",
    "callbacks",
    "exporting",
    "training",
    "course",
)
for _name in FORBIDDEN:
    sys.modules[_name] = None  # type: ignore[assignment]

import numpy as np  # noqa: E402

from inference.load import PACKAGES, load  # noqa: E402
from inference.manifest import read_manifest  # noqa: E402
from inference.model import Model  # noqa: E402


class Probe:
    """Holds the models that were opened; each method answers one kind of request."""

    def __init__(self) -> None:
        self._models: dict[str, Model] = {}

    def open(self, folder: str, format: str, device: str, threads: int) -> dict[str, Any]:
        """Loads one file of ``folder``."""
        model = load(folder, format, device, threads)
        assert isinstance(model, Model)
        self._models[format] = model
        return {}

    def run(self, format: str, inputs: str, outputs: str, batch: int) -> dict[str, Any]:
        """Runs the array file ``inputs`` in batches and writes the array file ``outputs``."""
        given = np.load(inputs, allow_pickle=False)
        model = self._models[format]
        parts = [model(given[start : start + batch]) for start in range(0, len(given), batch)]
        np.save(outputs, np.concatenate(parts))
        return {}

    def time(self, format: str, inputs: str, batch: int, calls: int, before: int) -> dict[str, Any]:
        """Seconds per call, over ``calls`` calls after ``before`` that are not counted."""
        runtime = self._models[format].runtime
        given = runtime.to_native(np.load(inputs, allow_pickle=False)[:batch])
        for _ in range(before):
            runtime.to_numpy(runtime.run(given))
        wait = _wait(runtime.device)
        began = time.perf_counter()
        for _ in range(calls):
            runtime.run(given)
            wait()
        return {"seconds": (time.perf_counter() - began) / calls}

    def int8_operations(self, folder: str, format: str, inputs: str) -> dict[str, Any]:
        """Names of the 8-bit operations that one run executes."""
        batch = np.load(inputs, allow_pickle=False)[:2]
        package = PACKAGES[format]
        if package == "onnxruntime":
            return {"operations": _onnx_operations(folder, format, batch)}
        if package == "executorch":
            return {"operations": _executorch_operations(folder, format)}
        assert package == "torch", f"nothing here finds the 8-bit operations of {package}"
        return {"operations": _torch_operations(self._models[format], batch)}

    def logits(
        self, folder: str, format: str, inputs: str, outputs: str, base: str = ""
    ) -> dict[str, Any]:
        """Writes the logits (N, T, V) that a language model returns for tokens (N, T).

        ``base`` is the folder of the pretrained model that adapters in peft's format are for.
        """
        given = np.load(inputs, allow_pickle=False)
        if format in ("hf", "merged", "peft"):
            np.save(outputs, _transformers_logits(Path(folder) / format, given, base))
            return {}
        from inference.text.artifact import read_text_artifact

        model = read_text_artifact(Path(folder), format).model()
        np.save(outputs, np.stack([model.all_logits(tokens.tolist()).numpy() for tokens in given]))
        return {}

    def weights(self, folder: str, format: str) -> dict[str, Any]:
        """sha256 of each tensor of a safetensors file."""
        from safetensors.numpy import load as read

        tensors = read(read_manifest(folder).files[format].read())
        return {
            "weights": {
                name: hashlib.sha256(np.ascontiguousarray(tensor).tobytes()).hexdigest()
                for name, tensor in tensors.items()
            }
        }


def _transformers_logits(folder: Path, ids: np.ndarray, base: str) -> np.ndarray:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    if base:
        from peft import PeftModel

        model = AutoModelForCausalLM.from_pretrained(base, local_files_only=True)
        model = PeftModel.from_pretrained(model, str(folder)).eval()
    else:
        AutoTokenizer.from_pretrained(folder)
        model = AutoModelForCausalLM.from_pretrained(folder, local_files_only=True).eval()
    with torch.inference_mode():
        parts = [model(part).logits for part in torch.from_numpy(ids).split(8)]
    return torch.cat(parts).numpy()


def _wait(device: str) -> Callable[[], None]:
    if device != "cuda":
        return lambda: None
    import torch

    return torch.cuda.synchronize


def _onnx_operations(folder: str, format: str, batch: np.ndarray) -> list[str]:
    """From a profile of ONNX Runtime: what ran after its own fusions."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.enable_profiling = True
    options.profile_file_prefix = str(Path(folder) / "profile")
    content = read_manifest(folder).files[format].read()
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    session.run(None, {session.get_inputs()[0].name: batch})
    profile = Path(session.end_profiling())
    events = json.loads(profile.read_text())
    profile.unlink()
    ran = [event["args"].get("op_name", "") for event in events if event.get("cat") == "Node"]
    return sorted(name for name in ran if "Quant" in name or "Integer" in name)


def _executorch_operations(folder: str, format: str) -> list[str]:
    """XNNPACK's nodes between 8-bit tensors: it has a kernel for just the types that a node names.

    What XNNPACK did not take would be an operator of the program itself, and no 8-bit one.
    """
    from executorch.backends.xnnpack.serialization import (  # type: ignore[reportMissingImports]
        xnnpack_graph_serialize as xnnpack,
    )
    from executorch.exir._serialize._flatbuffer import (  # type: ignore[reportMissingImports]
        _flatc_decompile,
    )
    from executorch.exir._serialize._program import (  # type: ignore[reportMissingImports]
        _extract_delegate_payload,
    )

    content = read_manifest(folder).files[format].read()
    operations, delegate = [], 0
    with tempfile.TemporaryDirectory() as folder:
        schema, binary = Path(folder, "schema.fbs"), Path(folder, "graph.bin")
        schema.write_bytes(xnnpack._get_schema_bytes())
        while payload := _extract_delegate_payload(content, "xnnpack", delegate):
            header = xnnpack.XNNHeader.from_bytes(payload[: xnnpack.XNNHeader.EXPECTED_LENGTH])
            end = header.flatbuffer_offset + header.flatbuffer_size
            binary.write_bytes(payload[header.flatbuffer_offset : end])
            _flatc_decompile(folder, str(schema), str(binary))
            text = Path(folder, "graph.json").read_text()
            graph = json.loads(re.sub(r": [-+]?(inf|nan)\b", ": null", text))
            operations += _between_int8(graph)
            delegate += 1
    return sorted(operations)


def _between_int8(graph: dict[str, Any]) -> list[str]:
    kinds = {}
    for value in graph["xvalues"]:
        tensor = value["xvalue_union"]
        tensor = tensor.get("tensor_value", tensor)
        kinds[tensor["id_out"]] = tensor["datatype"]
    found = []
    for node in graph["xnodes"]:
        ends = {
            kinds.get(number)
            for name, number in node["xnode_union"].items()
            if name in ("input_id", "input1_id", "filter_id", "output_id")
        }
        if ends <= {"xnn_datatype_qint8", "xnn_datatype_qcint8"}:
            found.append(node["xnode_union_type"])
    return found


def _torch_operations(model: Model, batch: np.ndarray) -> list[str]:
    import torch

    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        model(batch)
    ran = [event.key for event in profile.key_averages() for _ in range(event.count)]
    return sorted(name for name in ran if name.startswith("quantized::"))


def main() -> int:
    """Serves requests until standard input ends."""
    # Libraries print to standard output; the answers have a copy of it for themselves.
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    probe = Probe()
    for line in sys.stdin:
        request = json.loads(line)
        try:
            answer: dict[str, Any] = {"ok": True, **getattr(probe, request.pop("do"))(**request)}
        except Exception as error:  # whatever a file causes is the answer
            answer = {"error": f"{type(error).__name__}: {error}"}
            # transformers raises OSErrors without a number for models that are not there
            short_write = "requested and" in str(error)  # NumPy's, without a number, too
            if isinstance(error, OSError) and (error.errno is not None or short_write):
                answer["errno"] = error.errno
        answers.write(json.dumps(answer) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
