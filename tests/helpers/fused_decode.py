"""Decode steps by Triton kernels beside torch's; in a process of its own.

``python -m tests.helpers.fused_decode steps|ends|texts|int8`` compares them, on the GPU if the
process sees one and in Triton's interpreter otherwise; ``compile`` compiles the launches of GPT-2's
steps for GPUs, which takes none, and prints what their code needs.
"""

import itertools
import json
import sys
import warnings
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from course.kernels import environment

if __name__ == "__main__" and sys.argv[1] != "compile":
    environment.choose(["triton"])

from datamodules import CharTokenizer
from inference.text import fused_gpt
from inference.text.cached_gpt import CachedGPT
from inference.text.fused_gpt import FusedGPT
from inference.text.generate import TextGenerator
from inference.text.int8_weights import quantized
from inference.text.options import SamplingOptions
from inference.text.tokenizer import Tokenizer
from lightning_modules.nets.gpt import GPT, GPT2_SWITCHES, GPTConfig
from tests.helpers.compiling import compile_triton
from tests.helpers.triton_variants import Variant

SHAPE = {"vocab_size": 1100, "context": 200, "width": 32, "heads": 2, "layers": 2} | GPT2_SWITCHES
SHAPES = (
    {},
    {"qkv_bias": False, "bias": False, "gelu": False},
    {"tied": False, "width": 48, "heads": 3, "hidden": 100},
    {"width": 192, "heads": 3, "layers": 1, "hidden": 520},
)
_NAMES = {
    torch.float32: "*fp32",
    torch.bfloat16: "*bf16",
    torch.float16: "*fp16",
    torch.int64: "*i64",
    torch.int32: "*i32",
    torch.int8: "*i8",
}


def device() -> str:
    return "cuda" if environment.on_gpu() else "cpu"


def net(**changed: Any) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Config and weights of a small GPT-2, large enough that each part shows in the logits."""
    config = vars(GPTConfig(**SHAPE | changed))
    made = GPT(GPTConfig(**config)).requires_grad_(False)
    for parameter in made.parameters():
        parameter += 0.2 * torch.randn_like(parameter)
    return config, made.state_dict()


def compare_steps() -> None:
    """Logits, caches and next tokens of some steps; with 16 bits all in all no worse than torch's.

    What is exact is computed in float32 with the 16-bit numbers of weights and cache.
    """
    dtypes = [torch.float32] + [torch.bfloat16, torch.float16] * environment.on_gpu()
    for dtype in dtypes:
        errors = []
        for changed in SHAPES:
            config, weights = net(**changed)
            numbers = {name: tensor.to(dtype).float() for name, tensor in weights.items()}
            for slots in (1, 3, 17) if environment.on_gpu() else (1, 3):
                exact = CachedGPT(config, numbers, slots, device())
                plain = CachedGPT(config, weights, slots, device(), dtype)
                fused = FusedGPT(config, weights, slots, device(), dtype)
                errors += _compare(exact, plain, fused)
        _check_errors(errors, dtype)


def _check_errors(errors: list[tuple[float, float]], dtype: torch.dtype) -> None:
    """Of many steps, ours and torch's: single ones of two roundings are either way."""
    ours, theirs = (sum(error**2 for error in column) for column in zip(*errors, strict=True))
    print(f"{dtype}: {ours**0.5:.2g}, torch {theirs**0.5:.2g}, n={len(errors)}", file=sys.stderr)
    assert dtype == torch.float32 or ours <= theirs


def _compare(exact: CachedGPT, plain: CachedGPT, fused: FusedGPT) -> Iterator[tuple[float, float]]:
    """Relative errors of the logits of two steps, of the kernels and of torch."""
    slots, dtype = fused.slots, fused._queries.dtype
    prompts = torch.randint(1000, (slots, 150), device=device())
    for model in (exact, plain, fused):
        model.prefill(prompts, torch.arange(slots, device=device()))
    if dtype != torch.float32:
        _take_cache(plain, exact, fused)
    # The sequences have different lengths: what is behind them in the cache is not attended to.
    positions = 150 - 9 * torch.arange(slots, device=device())[:, None].clamp(max=16)
    ids = torch.randint(1000, (slots, 1), device=device())
    for length in (160, 200):
        want, theirs, ours = (
            model.logits(model.decode(ids, positions, length)[:, -1]).float()
            for model in (exact, plain, fused)
        )
        far, near = (((logits - want).norm() / want.norm()).item() for logits in (ours, theirs))
        where = f"{vars(fused._net.config)}, {slots} slots, {dtype}, length {length}"
        if dtype == torch.float32:
            largest = (ours - want).abs().max()
            assert largest <= 1e-5 * want.abs().max(), f"{where}: {largest:.2g}"
        assert far <= 1e-2, f"{where}: {far:.2g}"
        yield far, near
        before, ids, positions = positions, ids.clone(), positions.clone()
        hidden = fused.decode(ids, positions, length)[:, -1]
        fused.next_tokens(hidden, ids, positions, 1000)
        assert torch.equal(ids[:, 0], fused.logits(hidden)[:, :1000].argmax(dim=-1))
        assert torch.equal(positions, before + 1)
        if dtype != torch.float32:
            _take_cache(plain, exact, fused)
    if dtype == torch.float32:
        for mine, other in zip(fused._cache.layers, exact._cache.layers, strict=True):
            for one, two in zip(mine, other, strict=True):
                torch.testing.assert_close(one, two, rtol=1e-5, atol=1e-5)


def _take_cache(source: CachedGPT, *models: CachedGPT) -> None:
    for model in models:
        for mine, theirs in zip(model._cache.layers, source._cache.layers, strict=True):
            for one, other in zip(mine, theirs, strict=True):
                one.copy_(other)


def compare_ends() -> None:
    """The last position stays the last; where no logit is a number, the token is one that exists.

    The first of equal logits is taken, as a loop over them would.
    """
    config, weights = net()
    fused = FusedGPT(config, weights, 2, device())
    ids, positions = torch.zeros(2, 1, dtype=torch.long), torch.tensor([[199], [198]])
    ids, positions = ids.to(device()), positions.to(device())
    logits = torch.zeros(2, 1100, device=device())
    logits[0, [5, 1000]], logits[1] = 3.0, float("nan")
    fused.logits = lambda hidden: logits
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # NumPy says of the interpreter's maximum that all are NaN
        fused.next_tokens(torch.zeros(2, 32), ids, positions, 1100)
    assert positions.flatten().tolist() == [199, 199]
    assert ids.flatten().tolist() == [5, 1099]


def compare_texts() -> None:
    """Generated texts, in float32: greedy, sampled, adjusted, scored; beyond the context, too."""
    config, weights = net(vocab_size=64, context=32)
    letters = "".join(chr(0x4E00 + index) for index in range(60))
    tokenizer = Tokenizer(CharTokenizer(letters).to_json())
    asked = [
        SamplingOptions(14, temperature=0.0),
        SamplingOptions(6, temperature=0.8, top_k=5, seed=1),
        SamplingOptions(6, temperature=0.0, repetition_penalty=1.3, logprobs=2),
        SamplingOptions(3, temperature=0.0, logprobs=1),
    ]
    prompts = [letters[:20], letters[3:5], letters[7:9], letters[9]]
    for slots in (1, 3):
        both = []
        for kernels in (False, True):
            generator = TextGenerator(
                config, weights, tokenizer, device(), torch.float32, slots, kernels=kernels
            )
            both.append(generator.generate(prompts, asked))
        for plain, fused in zip(*both, strict=True):
            assert fused.tokens == plain.tokens
            for mine, other in zip(fused.scores, plain.scores, strict=True):
                assert abs(mine.logprob - other.logprob) < 1e-4


def compare_int8() -> None:
    """With int8 weights: what torch computes with the numbers that they stand for."""
    dtypes = [torch.float32] + [torch.bfloat16] * environment.on_gpu()
    errors: dict[torch.dtype, list[tuple[float, float]]] = {dtype: [] for dtype in dtypes}
    for changed in (*SHAPES[:1], SHAPES[2]):
        config, weights = net(**changed)
        rounded = dict(weights)
        for name, weight in weights.items():
            if (weight.dim() == 2 and name not in ("position.weight", "token.weight")) or (
                config["tied"] and name == "token.weight"
            ):
                numbers, scale = quantized(weight)
                rounded[name] = numbers * scale[:, None]
                again, _ = quantized(rounded[name])  # as of an artifact's int8 file
                assert torch.equal(again, numbers)
        for slots in (1, 3):
            for dtype in dtypes:
                exact = CachedGPT(config, rounded, slots, device())
                plain = CachedGPT(config, rounded, slots, device(), dtype)
                fused = FusedGPT(config, weights, slots, device(), dtype, True)
                errors[dtype] += _compare(exact, plain, fused)
    for dtype, found in errors.items():
        _check_errors(found, dtype)


def launches(slots: int, dtype: torch.dtype, pdl: bool, int8: bool) -> Iterator[Variant]:
    """The launches of GPT-2's steps on an H100, without a GPU and without running them."""
    found: dict[str, Variant] = {}

    class Recorded(FusedGPT):
        def _launch(
            self, kernel: Any, grid: tuple[int, ...], *arguments: Any, **options: Any
        ) -> None:
            set_ups = {
                name: options.pop(name) for name in ("num_warps", "num_stages") if name in options
            }
            types, constants = {}, options | {"PDL": pdl}
            for name, value in zip(kernel.arg_names, arguments, strict=False):
                if isinstance(value, Tensor):
                    types[name] = _NAMES[value.dtype]
                elif value in (None, 1):
                    constants[name] = value
                elif isinstance(value, int):
                    types[name] = "i32" if value % 16 else "i32:16"
                else:
                    types[name] = "fp32"
            assert set(kernel.arg_names) == types.keys() | constants.keys()
            variant = Variant(
                kernel, types, constants, set_ups | {"launch_pdl": pdl, "enable_fp_fusion": True}
            )
            found[f"{kernel.fn.__name__} {types} {constants} {set_ups}"] = variant

    checked, fused_gpt.check = fused_gpt.check, lambda *_: None
    try:
        config = vars(GPTConfig(50_257, 1024, 768, layers=1, heads=12, **GPT2_SWITCHES))
        with torch.device("meta"):
            shapes = GPT(GPTConfig(**config)).state_dict()
        weights = {name: torch.zeros(one.shape, dtype=dtype) for name, one in shapes.items()}
        model = Recorded(config, weights, slots, "cpu", dtype, int8)
    finally:
        fused_gpt.check = checked
    model._arrange(processors=132)
    ids = torch.zeros(slots, 1, dtype=torch.long)
    for length in (128, 1024):
        hidden = model.decode(ids, ids.clone(), length)[:, -1]
        model.next_tokens(hidden, ids, ids.clone(), 50_257)
    yield from found.values()


def main() -> None:
    torch.manual_seed(0)
    compare = {"steps": compare_steps, "ends": compare_ends, "texts": compare_texts}
    compare["int8"] = compare_int8
    if sys.argv[1] in compare:
        compare[sys.argv[1]]()
        return
    needs = {}
    for dtype, pdl, cc in ((torch.bfloat16, True, 90), (torch.float32, False, 80)):
        for slots, int8 in itertools.product((1, 4, 64), (False, True)):
            for variant in launches(slots, dtype, pdl, int8):
                name = f"{slots} slots: {variant.name(cc)}"
                needs[name] = needs.get(name) or compile_triton(variant, cc)
    print(json.dumps(needs))


if __name__ == "__main__":
    main()
