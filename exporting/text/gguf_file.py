"""A GPT as a GGUF file, which llama.cpp and Ollama run.

llama.cpp's architecture is ``gpt2``: only nets of that kind can be written. Format:
https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from inference.text.templates import as_ollama
from inference.text.tokenizer import END_OF_TEXT, byte_letters
from lightning_modules.nets.gpt import GPT, GPTConfig
from lightning_modules.nets.gpt2 import gpt2_modules, gpt2_weights
from lightning_modules.nets.rewrite import as_gpt2

_NEVER = -30.0  # logit of a token that must not be chosen


def write_gguf(net: GPT, tokenizer: str, path: Path, name: str, q8: bool = False) -> None:
    """Writes ``path``: float16 weights, or q8_0 (8 bits, a scale for each 32 values).

    A post-norm net is rewritten first, in float32: its weights are too large for anything less.

    A character vocabulary has no token for the end of a text, without which llama.cpp takes token
    11 for it: one is added that is never chosen.

    Args:
        net: of GPT-2's kind, or post-norm.
        tokenizer: content of ``tokenizer.json``.
        path: file to write.
        name: ``general.name``.
        q8: q8_0 instead of float16.

    Raises:
        ValueError: another architecture, rows that q8_0 cannot hold, or the package gguf is
            missing.
    """
    exact = not net.config.pre_norm
    if exact and q8:
        raise ValueError(
            "a post-norm net is rewritten for llama.cpp with weights that 8 bits cannot hold; take "
            "gguf, or train with pre_norm, gelu, output_projection and tied"
        )
    net = as_gpt2(net) if exact else net
    weights, config = gpt2_weights(net), net.config
    if q8 and config.width % 32:
        raise ValueError(
            f"q8_0 needs a width that is a multiple of 32, this net's is {config.width}"
        )
    gguf = _library()
    writer = gguf.GGUFWriter(str(path), "gpt2")
    writer.add_type("model")
    writer.add_name(name)
    kinds = gguf.LlamaFileType
    writer.add_file_type(kinds.ALL_F32 if exact else kinds.MOSTLY_Q8_0 if q8 else kinds.MOSTLY_F16)
    writer.add_block_count(config.layers)
    writer.add_context_length(config.context)
    writer.add_embedding_length(config.width)
    writer.add_feed_forward_length(config.hidden or 4 * config.width)
    writer.add_head_count(config.heads)
    writer.add_layer_norm_eps(1e-5)
    tokens, merges, end = _vocabulary(tokenizer)
    tokens += [f"<|unused{index}|>" for index in range(config.vocab_size - len(tokens))]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(tokens)
    roles = [gguf.TokenType.NORMAL] * len(tokens)
    roles[end] = gguf.TokenType.CONTROL
    writer.add_token_types(roles)
    writer.add_token_merges(merges)
    writer.add_bos_token_id(end)
    writer.add_eos_token_id(end)
    for key, tensor in _tensors(config, weights, len(tokens)).items():
        _add(gguf, writer, key, tensor.numpy(), "f32" if exact else "q8" if q8 else "f16")
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def write_gguf_adapter(module: Any, path: Path, name: str) -> None:
    """Writes adapters as llama.cpp adds them to the GGUF file of their base.

    Args:
        module: a ``GPT2LoRA``.
        path: file to write.
        name: ``general.name``.

    Raises:
        ValueError: the package gguf is missing.
    """
    gguf = _library()
    writer = gguf.GGUFWriter(str(path), "gpt2")
    writer.add_type("adapter")
    writer.add_name(name)
    writer.add_string("adapter.type", "lora")
    writer.add_float32("adapter.lora.alpha", float(module.hparams.alpha))
    modules = gpt2_modules(module.net.base.config.n_layer)
    names = {names.transformers: names.gguf for names in modules}
    for key, layer in module.net.base.named_modules():
        if not hasattr(layer, "lora_A"):
            continue
        theirs = f"{names[key.removeprefix('transformer.')]}.weight"
        for suffix, part in (("lora_a", layer.lora_A), ("lora_b", layer.lora_B)):
            # (r, in) and (out, r), as peft has them.
            values = part["default"].weight.detach().float().numpy()
            writer.add_tensor(f"{theirs}.{suffix}", values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def modelfile(file: str, context: int, template: str | None = None, adapter: str = "") -> str:
    """Ollama's description of a model that continues a text, or answers to a template.

    Args:
        file: the GGUF file beside it.
        context: tokens that the model reads.
        template: ``{question}`` in it stands for what is asked; None for the text as it is.
        adapter: GGUF file with adapters for ``file``, if there is one.

    Raises:
        ValueError: a template that a Modelfile cannot hold.
    """
    if template is not None and '"""' in template:
        raise ValueError("a Modelfile ends its template at three quotes; take another template")
    shown = f'"""{as_ollama(template)}"""'
    return (
        f"FROM ./{file}\n" + (f"ADAPTER ./{adapter}\n" if adapter else "") + f"TEMPLATE {shown}\n"
        "PARAMETER temperature 0.8\n"
        f"PARAMETER num_ctx {context}\n"
        f"PARAMETER num_predict {context}\n"
    )


def _add(gguf: Any, writer: Any, key: str, values: np.ndarray, precision: str) -> None:
    kinds = gguf.GGMLQuantizationType
    if values.ndim < 2 or key == "position_embd.weight" or precision == "f32":
        values, kind = values.astype(np.float32), kinds.F32
    elif precision == "q8" and values.shape[1] % 32 == 0:
        values, kind = gguf.quants.quantize(values, kinds.Q8_0), kinds.Q8_0
    else:
        values, kind = values.astype(np.float16), kinds.F16
    writer.add_tensor(key, values, raw_dtype=kind)


def _tensors(config: GPTConfig, weights: dict[str, Tensor], tokens: int) -> dict[str, Tensor]:
    """Weights under llama.cpp's names, with rows for tokens that the net has not."""
    weights = dict(weights)
    extra = tokens - config.vocab_size
    if extra:
        row, weights["norm.bias"] = _never(
            weights["head.weight"], weights["norm.weight"], weights["norm.bias"]
        )
        weights["head.weight"] = torch.cat([weights["head.weight"], row.expand(extra, -1)])
        weights["token.weight"] = F.pad(weights["token.weight"], (0, 0, 0, extra))
    elif config.tied:
        del weights["head.weight"]
    names = {module.ours: module.gguf for module in gpt2_modules(config.layers)}
    return {
        f"{names[ours]}.{suffix}": tensor
        for (ours, _, suffix), tensor in ((key.rpartition("."), t) for key, t in weights.items())
    }


def _never(output: Tensor, gain: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
    """An output row (1, C) whose logit is ``_NEVER`` everywhere, and the norm's bias for it.

    The last norm returns h = gain * n + bias, where n sums to zero. So the row a / gain has
    the constant logit a * sum(bias / gain). Where that sum is too small to be used, the bias is
    moved in a direction that no other token's row sees.
    """
    inverse = 1 / torch.where(gain.abs() < 1e-3, torch.full_like(gain, 1e-3), gain)
    constant = float((bias * inverse).sum())
    if abs(constant) < 1:
        unseen = inverse - output.T @ torch.linalg.lstsq(output.T, inverse).solution
        reach = float((unseen * inverse).sum())
        if reach > 1e-3:
            bias = bias + unseen * (1 - constant) / reach
            constant = 1.0
        else:  # as many tokens as dimensions: the logit stays near zero, as for an unseen token
            return torch.zeros(1, len(gain)), bias
    return (inverse * (_NEVER / constant))[None], bias


def _vocabulary(tokenizer: str) -> tuple[list[str], list[str], int]:
    """Tokens in GPT-2's spelling of bytes, merges, and the number of the end of text."""
    document = json.loads(tokenizer)
    numbers = document["model"]["vocab"]
    if document["model"]["type"] == "BPE":
        tokens = sorted(numbers, key=numbers.__getitem__)
        merges = [m if isinstance(m, str) else " ".join(m) for m in document["model"]["merges"]]
        if END_OF_TEXT not in numbers:
            raise ValueError(f"the tokenizer has no {END_OF_TEXT}; GGUF needs an end of text")
        return tokens, merges, numbers[END_OF_TEXT]
    spelling = byte_letters()
    tokens = [
        "".join(spelling[byte] for byte in character.encode())
        for character in sorted(numbers, key=numbers.__getitem__)
    ]
    # A character of several bytes is put together by merges. llama.cpp refuses an empty list; the
    # one that stands there otherwise makes nothing that is in the vocabulary.
    merges = [
        f"{token[:length]} {token[length]}" for token in tokens for length in range(1, len(token))
    ]
    merges = list(dict.fromkeys(merges)) or [f"{END_OF_TEXT} {END_OF_TEXT}"]
    return [*tokens, END_OF_TEXT], merges, len(tokens)


def _library() -> Any:
    try:
        import gguf
        import gguf.quants
    except ModuleNotFoundError as error:
        raise ValueError("GGUF files need the package gguf: make setup EXTRAS=dev,llm") from error
    return gguf
