"""Names of the formats that an export can write, known before torch is imported."""

from difflib import get_close_matches

IMAGE_FORMATS = (
    *("torchscript", "int8", "onnx", "onnx-int8", "pt2", "pt2-fp16"),
    *("executorch", "executorch-int8", "pth", "safetensors"),
)
DEFAULT = ("onnx", "onnx-int8", "pt2", "safetensors")
TEXT_FORMATS = (
    *("safetensors", "bf16", "int8", "onnx", "gguf", "gguf-q8"),
    *("hf", "merged", "peft", "gguf-adapter"),
)
TEXT_DEFAULT = ("safetensors",)


def named_formats(text: str) -> list[str]:
    """Formats by comma; whether the model has them is known with its checkpoint.

    Raises:
        ValueError: a name that no model has.
    """
    names = [name.strip() for name in text.split(",") if name.strip()]
    known = tuple(dict.fromkeys((*IMAGE_FORMATS, *TEXT_FORMATS)))
    for name in names:
        if name not in known:
            near = get_close_matches(name, known, n=1)
            meant = f"; did you mean {near[0]}? There" if near else "; there"
            raise ValueError(
                f"there is no format {name!r}{meant} are {', '.join(IMAGE_FORMATS)}, and of "
                f"language models {', '.join(TEXT_FORMATS)}"
            )
    return names
