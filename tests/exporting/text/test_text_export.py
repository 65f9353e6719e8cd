"""Artifacts of language models: each file returns what the net returns, in other programs too."""

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file

from datamodules import CharTokenizer, WindowLoader
from datamodules.corpus import cats_and_dogs
from exporting.text import TextSource, export_text
from exporting.text.gguf_file import write_gguf
from exporting.text.onnx_step import write_onnx
from exporting.text.weights import write_int8
from inference import load
from inference.text.generate import TextGenerator
from inference.text.sampling import SamplingOptions
from lightning_modules.nets.gpt import GPT, GPT2_SWITCHES, GPTConfig
from scripts.bench.generate import SHAPES

CHARACTERS = " .acdeghlmnorst"
PROMPT = "the cat"
GREEDY = SamplingOptions(max_new_tokens=20, temperature=0)


def _net(config: GPTConfig, scale: float = 0.2) -> GPT:
    torch.manual_seed(0)
    net = GPT(config).eval().requires_grad_(False)
    for parameter in net.parameters():
        parameter += scale * torch.randn_like(parameter)
    return net


def text_source(net: GPT) -> TextSource:
    """What an export needs, with random text to compare on."""
    config = net.config
    ids = torch.randint(config.vocab_size, (4, config.context + 1))
    fields = {name: value for name, value in vars(config).items() if name != "dropout"}
    description = {
        "task": "text-generation",
        "input": {"shape": [config.context], "dtype": "int64"},
        "labels": None,
        "config": fields,
        "parameters": sum(p.numel() for p in net.parameters()),
    }
    return TextSource(net, CHAR, ids[:, :-1], ids[:, 1:], 1.0, description)


CHAR = CharTokenizer(CHARACTERS).to_json()
SMALL = GPTConfig(width=64, heads=4, context=80, **GPT2_SWITCHES)
# The course's net with room for 60 characters behind the prompt.
COURSE = GPTConfig(context=80)
# nanoGPT's kind: no biases at all.
BARE = GPTConfig(width=64, heads=2, context=80, **(GPT2_SWITCHES | {"qkv_bias": False}), bias=False)


@pytest.mark.slow
def test_every_file_of_an_artifact_gives_the_nets_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for package in ("gguf", "onnxruntime", "onnxscript", "transformers"):
        pytest.importorskip(package)
    net = _net(SMALL)
    formats = ["safetensors", "bf16", "int8", "onnx", "gguf", "gguf-q8", "hf"]
    manifest = export_text(text_source(net), tmp_path / "small", formats)
    ids = [CHARACTERS.index(character) for character in PROMPT]
    for _ in range(20):
        ids.append(int(net(torch.tensor([ids]))[0, -1].argmax()))
    expected = "".join(CHARACTERS[number] for number in ids[len(PROMPT) :])
    for kind in ("safetensors", "onnx", "gguf"):
        generator = TextGenerator.load(tmp_path / "small", kind, device="cpu")
        assert "".join(generator.stream(PROMPT, GREEDY)) == expected, kind
    for wish in ({"device": "cuda"}, {"compile": True}, {"slots": 2}, {"dtype": torch.bfloat16}):
        with pytest.raises(ValueError, match="with one slot; take another format for a GPU"):
            TextGenerator.load(tmp_path / "small", "onnx", **wish)
    asked = []
    monkeypatch.setattr(
        "inference.text.onnx_gpt.onnx_session",
        lambda file, options, provider: asked.append(options.intra_op_num_threads),
    )
    load(tmp_path / "small", "onnx", threads=3)
    assert asked == [3]
    load(tmp_path / "small", "safetensors", threads=3)
    assert torch.get_num_threads() == 3
    files = manifest["files"]
    assert files["gguf"]["bytes"] >= 1.3 * files["gguf-q8"]["bytes"]
    assert files["safetensors"]["bytes"] >= 3 * files["int8"]["bytes"]
    # What is there keeps to what was asked last.
    export_text(text_source(net), tmp_path / "small", ["safetensors"])
    names = sorted(path.name.split("-")[0] for path in (tmp_path / "small").iterdir())
    assert names == ["manifest.json", "safetensors", "tokenizer"]
    assert isinstance(load(tmp_path / "small"), TextGenerator)


@pytest.mark.slow
def test_the_courses_net_is_rewritten_for_other_programs(tmp_path: Path) -> None:
    for package in ("gguf", "transformers"):
        pytest.importorskip(package)
    manifest = export_text(text_source(_trained(COURSE)), tmp_path / "course", ["gguf", "hf"])
    for checked in (manifest["files"]["gguf"]["checked"], manifest["folders"]["hf"]["checked"]):
        assert checked["agreement"] > 0.99
        assert checked["bits_per_char"] == pytest.approx(
            manifest["eager"]["bits_per_char"], rel=0.01
        )
    with pytest.raises(ValueError, match="8 bits cannot hold"):
        export_text(text_source(_net(COURSE)), tmp_path / "course", ["gguf-q8"])


@pytest.mark.parametrize("config", [COURSE, SMALL, BARE], ids=["course", "gpt2", "no-bias"])
def test_an_onnx_graph_decodes_what_the_net_computes(config: GPTConfig, tmp_path: Path) -> None:
    runtime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    net, path = _net(config), tmp_path / "net.onnx"
    write_onnx(net, path)
    assert str(Path.cwd()).encode() not in path.read_bytes()  # paths of the machine that wrote it
    session = runtime.InferenceSession(path, providers=["CPUExecutionProvider"])
    layers, heads, size = config.layers, config.heads, config.width // config.heads
    assert {i.name: i.shape for i in (*session.get_inputs(), *session.get_outputs())} == {
        "ids": [1, "new"],
        "past": [layers, 2, heads, "cached", size],
        "logits": [1, "new", config.vocab_size],
        "present": [layers, 2, heads, "new + cached", size],
    }
    ids = torch.randint(config.vocab_size, (1, config.context))
    expected, cache = net(ids), torch.zeros(layers, 2, heads, 0, size).numpy()
    done = 0
    for new in (1, 5, 1, 1, config.context - 8):
        one = ids[:, done : done + new]
        logits, cache = session.run(None, {"ids": one.numpy(), "past": cache})
        wanted = expected[:, done : done + new]
        torch.testing.assert_close(torch.from_numpy(logits), wanted, rtol=1e-4, atol=1e-4)
        done += new
    assert cache.shape == (layers, 2, heads, config.context, size)


def test_int8_is_within_half_a_step_of_the_weights(tmp_path: Path) -> None:
    net = _net(SMALL)
    write_int8(net, tmp_path / "int8.safetensors")
    kept = load_file(tmp_path / "int8.safetensors")
    for name, weight in net.state_dict().items():
        if weight.dim() < 2:
            assert torch.equal(kept[name], weight), name
            continue
        assert kept[name].dtype == torch.int8
        scale = kept[f"{name}.scale"]  # (out, 1)
        assert ((kept[name] * scale - weight).abs() <= scale * 0.5001).all(), name


def test_the_shakespeare_model_is_small(tmp_path: Path) -> None:
    """nanoGPT's shape with random weights: at most 12 MB in 8 bits."""
    gguf = pytest.importorskip("gguf")
    net = GPT(SHAPES["shakespeare"]).eval().requires_grad_(False)
    assert sum(parameter.numel() for parameter in net.parameters()) > 10_600_000
    write_int8(net, tmp_path / "int8.safetensors")
    assert (tmp_path / "int8.safetensors").stat().st_size < 12_000_000
    tokenizer = CharTokenizer("".join(map(chr, range(0x4E00, 0x4E00 + 65)))).to_json()
    for q8, name in ((False, "f16.gguf"), (True, "q8.gguf")):
        write_gguf(net, tokenizer, tmp_path / name, "shakespeare", q8)
    f16, q8 = ((tmp_path / name).stat().st_size for name in ("f16.gguf", "q8.gguf"))
    assert q8 < 12_000_000
    assert f16 >= 1.8 * q8
    kinds = {tensor.tensor_type for tensor in gguf.GGUFReader(tmp_path / "q8.gguf").tensors}
    assert gguf.GGMLQuantizationType.Q8_0 in kinds


def llama(path: Path, prompt: str, tokens: int, context: int, adapter: Path | None = None) -> str:
    """What llama.cpp continues with, greedily."""
    cpp = pytest.importorskip(
        "xllamacpp", reason="llama.cpp is not installed (pip install xllamacpp)"
    )
    parameters = cpp.CommonParams()
    parameters.model.path = str(path)
    if adapter is not None:
        one = cpp.CommonAdapterLoraInfo()
        one.path, one.scale = str(adapter), 1.0
        parameters.lora_adapters = [one]
    parameters.n_ctx = context
    parameters.n_parallel = 1
    parameters.cpuparams.n_threads = 1
    parameters.warmup = False
    parameters.verbosity = 1  # errors; a thread of its own would write the rest after the test
    server = cpp.Server(parameters)
    answer = server.handle_completions(
        {"prompt": prompt, "n_predict": tokens, "temperature": 0.0, "cache_prompt": False}
    )
    return answer["content"] if "content" in answer else answer["choices"][0]["text"]


def _trained(config: GPTConfig) -> GPT:
    """A net that has learned the cat-and-dog sentences: its choices are clear, not near ties."""
    torch.manual_seed(0)
    net = GPT(config)
    text = CharTokenizer(CHARACTERS).encode(cats_and_dogs())
    loader = WindowLoader(text, config.context, batch_size=8, batches=150)
    optimizer = torch.optim.AdamW(net.parameters(), 3e-3)
    for inputs, targets in loader:
        optimizer.zero_grad()
        F.cross_entropy(net(inputs).flatten(0, 1), targets.flatten()).backward()
        optimizer.step()
    return net.eval().requires_grad_(False)


@pytest.mark.parametrize(
    ("config", "q8"),
    [(COURSE, False), (SMALL, False), (SMALL, True), (BARE, False), (BARE, True)],
    ids=["course", "biases-f16", "biases-q8_0", "no-biases-f16", "no-biases-q8_0"],
)
def test_llama_cpp_gives_the_same_characters(config: GPTConfig, q8: bool, tmp_path: Path) -> None:
    pytest.importorskip("gguf")
    net = _trained(config)
    path = tmp_path / "model.gguf"
    write_gguf(net, CHAR, path, "test", q8)
    ids = [CHARACTERS.index(character) for character in PROMPT]
    for _ in range(60):
        ids.append(int(net(torch.tensor([ids]))[0, -1].argmax()))
    expected = "".join(CHARACTERS[number] for number in ids[len(PROMPT) :])
    assert " the " in expected
    assert llama(path, PROMPT, 60, config.context) == expected
