"""The kinds of file that an export can write, and how far each may stray from eager.

What reads them is chosen in :mod:`inference.load`; a new format is entered in both.
"""

import copy
import io
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from difflib import get_close_matches
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor, nn

from exporting.images import executorch_files, onnx_files, programs, state_dict
from inference.runtimes.program_archive import checked_program

Writer = Callable[[nn.Module, Tensor, Path, str], None]


_SAME_ANSWERS = 0.9999


@dataclass(frozen=True)
class Format:
    """One kind of file.

    Args:
        suffix: of the file's name.
        write: takes the net in eval mode on the CPU, an example batch, the file and the device.
        calibrated: the example batch is a part of the training split, not of the test split.
        pixels: the file takes pixels in [0, 1], with the normalization in its weights.
        batch: the one batch size that the file runs; None for any.
        drift: largest difference from eager that passes, as a share of eager's largest output.
        agreement: smallest share of inputs with eager's answer that passes.
        needs: packages beyond torch.
        extra: the extra of pyproject.toml that has them.
        int8: the file must be seen to run int8 operations.
        cuda_only: it is made on a CUDA GPU and runs there alone; the others run anywhere.
        runs: it can be run on its own; what cannot is compared weight by weight.
    """

    suffix: str
    write: Writer
    drift: float = 1e-4
    agreement: float = _SAME_ANSWERS
    needs: tuple[str, ...] = ()
    extra: str = "export"
    int8: bool = False
    cuda_only: bool = False
    runs: bool = True
    calibrated: bool = False
    pixels: bool = False
    batch: int | None = None

    @property
    def rounds(self) -> bool:
        """Whether it computes otherwise than eager on purpose, so that answers may differ."""
        return self.agreement < _SAME_ANSWERS


def write_torchscript(net: nn.Module, example: Tensor, path: Path, device: str) -> None:
    """Scripted and frozen: weights become constants, attributes that nothing reads go."""
    _save_script(net, path)


def write_int8(net: nn.Module, example: Tensor, path: Path, device: str) -> None:
    """Linear weights as int8, activations quantized at run time; scripted, so it needs no class."""
    try:
        from torch.ao.quantization import quantize_dynamic
    except ImportError as error:
        raise ValueError(
            f"torch {torch.__version__} no longer has torch.ao.quantization; use onnx-int8"
        ) from error
    if not any(isinstance(module, nn.Linear) for module in net.modules()):
        raise ValueError("int8 quantizes linear layers, and this net has none; leave int8 out")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the deprecation is named in docs and in --help
        quantized = quantize_dynamic(copy.deepcopy(net), {nn.Linear}, dtype=torch.qint8)
    _save_script(quantized, path)


def _save_script(net: nn.Module, path: Path) -> None:
    content = io.BytesIO()  # a full disk is then an error of the write alone
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            torch.jit.save(torch.jit.freeze(torch.jit.script(net)), content)
        except Exception as error:  # the compiler of TorchScript raises many kinds
            raise ValueError(
                f"TorchScript cannot compile {type(net).__name__}; use pt2 or onnx instead. "
                f"It says: {' '.join(str(error).split())[:300]}"
            ) from error
    path.write_bytes(content.getvalue())


def write_pt2(net: nn.Module, example: Tensor, path: Path, device: str) -> None:
    """torch.export's graph with its weights, for any batch size."""
    content = io.BytesIO()
    torch.export.save(programs.program(net, example), content)
    path.write_bytes(checked_program(content.getvalue()).getvalue())


def write_safetensors(net: nn.Module, example: Tensor, path: Path, device: str) -> None:
    """The weights alone, under the names of the net's state_dict."""
    from safetensors.torch import save

    weights = {name: tensor.contiguous() for name, tensor in net.state_dict().items()}
    path.write_bytes(save(weights, metadata={"format": "pt"}))


_ONNX = ("onnx", "onnxruntime", "onnxscript")
_EXECUTORCH = ("executorch",)

FORMATS = {
    "torchscript": Format(".pt", write_torchscript),
    "int8": Format(".pt", write_int8, drift=0.1, agreement=0.995, int8=True),
    "onnx": Format(".onnx", onnx_files.write_onnx, needs=_ONNX),
    "onnx-int8": Format(
        ".onnx", onnx_files.write_onnx_int8, drift=0.1, agreement=0.995, needs=_ONNX, int8=True
    ),
    "pt2": Format(".pt2", write_pt2),
    "pt2-fp16": Format(
        ".pt2", programs.write_pt2_fp16, drift=2e-2, agreement=0.998, cuda_only=True
    ),
    "executorch": Format(
        ".pte",
        executorch_files.write_executorch,
        needs=_EXECUTORCH,
        extra="executorch",
        batch=1,
    ),
    "executorch-int8": Format(
        ".pte",
        executorch_files.write_executorch_int8,
        drift=0.25,  # its ranges are fixed, so that what lies beyond those of training is clipped
        agreement=0.995,
        needs=_EXECUTORCH,
        extra="executorch",
        int8=True,
        calibrated=True,
        batch=1,
    ),
    # Of a CNN: 0.4 to 1.3 % of the largest logit, 2 of 10,000 answers, see state_dict.pixel_net.
    "pth": Format(".pth", state_dict.write_pth, drift=3e-2, agreement=0.995, pixels=True),
    "safetensors": Format(".safetensors", write_safetensors, needs=("safetensors",), runs=False),
}


def check_formats(names: list[str], device: str) -> None:
    """Refuses what cannot be written here, before anything is trained or written.

    Raises:
        ValueError: an unknown format, a package that is missing, a device that is not.
    """
    if not names:
        raise ValueError(f"no format given; there are {', '.join(FORMATS)}")
    for name in names:
        if name not in FORMATS:
            near = get_close_matches(name, FORMATS, n=1)
            meant = f"; did you mean {near[0]}? There" if near else "; there"
            raise ValueError(f"there is no format {name!r}{meant} are {', '.join(FORMATS)}")
        missing = [package for package in FORMATS[name].needs if not find_spec(package)]
        if missing:
            extras = ",".join(dict.fromkeys(("dev", "export", FORMATS[name].extra)))
            raise ValueError(f"{name} needs {', '.join(missing)}: make setup EXTRAS={extras}")
        if FORMATS[name].cuda_only and device != "cuda":
            raise ValueError(f"{name} is for CUDA GPUs; use pt2 on the CPU")
    if len(set(names)) < len(names):
        raise ValueError("a format is named twice")
    if device == "cuda" and not torch.cuda.is_available():
        raise ValueError("torch sees no CUDA GPU; use --device cpu")
