"""GPT-2 with adapters: what trains, what a checkpoint holds, what is refused."""

import shutil
import sys
from pathlib import Path

import lightning.pytorch as pl
import pytest
import torch

from callbacks import RNGState
from datamodules import InstructionDataModule
from lightning_modules import GPT2LoRA
from lightning_modules.adapters import PRESETS, adapt
from tests.conftest import quiet_trainer

transformers = pytest.importorskip("transformers", reason="the extra [llm] is not installed")
pytest.importorskip("peft", reason="the extra [llm] is not installed")


@pytest.fixture(autouse=True)
def one_thread() -> None:
    """Nets as small as these only wait for a second one."""
    torch.set_num_threads(1)


def data_of(**kwargs) -> InstructionDataModule:
    return InstructionDataModule(**{"context": 160, "val_size": 60, **kwargs})


def batch_of(base: Path, rows: int) -> tuple[torch.Tensor, ...]:
    data = data_of(tokenizer=str(base), batch_size=rows)
    data.setup("fit")
    return next(iter(data.train_dataloader()))


def built(base: Path, **kwargs) -> GPT2LoRA:
    torch.manual_seed(0)
    model = GPT2LoRA(str(base), **kwargs)
    model.configure_model()
    return model


def shaken(model: GPT2LoRA) -> GPT2LoRA:
    """With adapters that do something; as they begin, they do nothing."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.2)
    return model


def test_gpt2_124m_has_the_known_sizes() -> None:
    with torch.device("meta"):
        model = transformers.GPT2LMHeadModel(transformers.GPT2Config())
        adapted = adapt(model, PRESETS["c_attn"], r=8, alpha=16, dropout=0.0)
    assert sum(p.numel() for p in adapted.parameters()) == 124_734_720
    assert sum(p.numel() for p in adapted.parameters() if p.requires_grad) == 294_912


@pytest.mark.parametrize(
    ("target", "count"),
    [
        # rank * (in + out) of each layer, two blocks of width 32
        ("c_attn", 2 * 4 * (32 + 96)),
        ("attention", 2 * 4 * (32 + 96 + 32 + 32)),
        ("all", 2 * 4 * (32 + 96 + 32 + 32 + 32 + 128 + 128 + 32)),
        (["mlp.c_proj"], 2 * 4 * (128 + 32)),
    ],
)
def test_presets_and_lists_of_modules(gpt2_base: Path, caplog, target, count: int) -> None:
    caplog.set_level("INFO")
    model = built(gpt2_base, r=4, target=target)
    assert sum(p.numel() for p in model.parameters() if p.requires_grad) == count
    assert all(("lora_" in n) == p.requires_grad for n, p in model.named_parameters())
    assert f"{count:,} of " in caplog.text


def test_as_it_begins_it_is_the_base(gpt2_base: Path) -> None:
    model = built(gpt2_base)
    ids = batch_of(gpt2_base, 2)[0]
    theirs = transformers.GPT2LMHeadModel.from_pretrained(gpt2_base).eval()
    with torch.no_grad():
        assert torch.allclose(model(ids), theirs(ids).logits, atol=1e-5)


@torch.no_grad()
def test_adapters_alone_drop_and_in_training_alone(gpt2_base: Path) -> None:
    ids = batch_of(gpt2_base, 2)[0]
    model = shaken(built(gpt2_base, dropout=0.5)).train()
    assert not torch.equal(model(ids), model(ids))
    assert torch.equal(model.eval()(ids), model(ids))
    unshaken = built(gpt2_base, dropout=0.5).train()
    assert torch.equal(unshaken(ids), unshaken(ids))


@pytest.mark.parametrize("pack", [False, True])
def test_one_step_of_everything(gpt2_base: Path, pack: bool) -> None:
    model = GPT2LoRA(str(gpt2_base), dropout=0.1)
    # The tokenizer is that of the model.
    quiet_trainer(fast_dev_run=True).fit(model, datamodule=data_of(pack=pack))
    assert model.trainer.callback_metrics["val/perplexity"].item() == pytest.approx(
        model.trainer.callback_metrics["val/loss"].exp().item()
    )


def test_overfits_one_batch(gpt2_base: Path) -> None:
    model = built(gpt2_base, r=16, target="all", lr=0.01)
    batch = batch_of(gpt2_base, 1)
    optimizer = model.configure_optimizers()
    first = model._step(batch).item()
    for _ in range(150):
        optimizer.zero_grad()
        loss = model._step(batch)
        loss.backward()
        optimizer.step()
    assert first > 5
    assert loss < 0.5


def test_validation_is_the_mean_over_every_token(gpt2_base: Path, device: str) -> None:
    model, data = GPT2LoRA(str(gpt2_base)), data_of(eval_batch_size=7)
    found = quiet_trainer().validate(model, datamodule=data, verbose=False)[0]
    with torch.no_grad():
        whole = model._step(tuple(tensor.cpu() for tensor in data._splits["val"]))
    assert found["val/loss"] == pytest.approx(whole.item(), abs=1e-5)


def test_blocks_computed_anew_give_the_same_gradients(gpt2_base: Path) -> None:
    batch = batch_of(gpt2_base, 2)
    gradients = []
    for checkpointing in (False, True):
        model = shaken(built(gpt2_base, gradient_checkpointing=checkpointing))
        model._step(batch).backward()
        gradients.append([p.grad for p in model.parameters() if p.requires_grad])
    for plain, again in zip(*gradients, strict=True):
        assert torch.allclose(plain, again, atol=1e-6)


def test_in_bf16_the_base_is_half_as_large(gpt2_base: Path, device: str) -> None:
    model = GPT2LoRA(str(gpt2_base))
    quiet_trainer(max_steps=1, precision="bf16-mixed").fit(model, datamodule=data_of())
    for name, parameter in model.named_parameters():
        assert parameter.dtype == (torch.float32 if "lora_" in name else torch.bfloat16), name
    assert model.trainer.callback_metrics["train/loss"].isfinite()


def test_the_merged_net_gives_the_same_logits(gpt2_base: Path) -> None:
    model = shaken(built(gpt2_base, target="all")).eval()
    ids = batch_of(gpt2_base, 4)[0]
    with torch.no_grad():
        unmerged, merged = model(ids), model.merged()(ids)
        base = built(gpt2_base)(ids)
    assert (unmerged - base).abs().max() > 0.1
    assert (unmerged - merged).abs().max() < 1e-4


@torch.no_grad()
def test_what_adapters_add_is_scaled_by_alpha_over_r(gpt2_base: Path) -> None:
    model = shaken(built(gpt2_base, r=4, alpha=6))
    merged, base = model.merged().state_dict(), model.unadapted().state_dict()
    for number, block in enumerate(model.net.base.transformer.h):
        layer, name = block.attn.c_attn, f"blocks.{number}.attn.qkv.weight"
        a, b = layer.lora_A["default"].weight, layer.lora_B["default"].weight
        torch.testing.assert_close(merged[name] - base[name], 6 / 4 * b @ a, rtol=1e-3, atol=1e-5)


def test_a_checkpoint_holds_what_was_trained(gpt2_base: Path, workplace: Path, device: str) -> None:
    model = GPT2LoRA(str(gpt2_base))
    run = quiet_trainer(max_steps=2)
    run.fit(model, datamodule=data_of())
    run.save_checkpoint("some.ckpt")
    kept = torch.load("some.ckpt", weights_only=True)
    count = sum(p.numel() for p in model.parameters() if p.requires_grad)
    assert sum(tensor.numel() for tensor in kept["state_dict"].values()) == count
    state = kept["optimizer_states"][0]["state"].values()
    assert sum(part["exp_avg"].numel() + part["exp_avg_sq"].numel() for part in state) == 2 * count
    assert Path("some.ckpt").stat().st_size < 12 * count + 60_000
    # Weights, two averages: what GPT-2's 294,912 take, with the same room for all else.
    assert 12 * 294_912 + 60_000 < 5e6
    loaded = GPT2LoRA.load_from_checkpoint("some.ckpt", map_location="cpu", weights_only=True)
    ids = batch_of(gpt2_base, 2)[0]
    with torch.no_grad():
        assert torch.equal(loaded(ids), model(ids))


@pytest.mark.slow
def test_a_checkpoint_of_gpt2_124m_is_below_5_mb(gpt2_base: Path, workplace: Path) -> None:
    with torch.device("meta"):
        large = transformers.GPT2LMHeadModel(transformers.GPT2Config())
    large = large.to(torch.bfloat16).to_empty(device="cpu")
    with torch.no_grad():
        for parameter in large.parameters():
            parameter.zero_()
    large.save_pretrained("base")
    del large
    model = GPT2LoRA("base")
    run = quiet_trainer(max_steps=1, precision="bf16-mixed", limit_val_batches=0)
    data = data_of(tokenizer=str(gpt2_base), batch_size=1, val_size=0)
    run.fit(model, datamodule=data)
    run.save_checkpoint("some.ckpt")
    assert Path("some.ckpt").stat().st_size < 5e6


def test_a_resumed_run_ends_with_the_same_bits(
    gpt2_base: Path, workplace: Path, device: str
) -> None:
    def fit(**kwargs) -> GPT2LoRA:
        pl.seed_everything(0, verbose=False)
        model = GPT2LoRA(str(gpt2_base), dropout=0.1)
        # In the middle of an epoch of five batches.
        keep = pl.callbacks.ModelCheckpoint("kept", "{step}", every_n_train_steps=3, save_top_k=-1)
        run = quiet_trainer(max_epochs=2, callbacks=[keep, RNGState()])
        run.fit(model, datamodule=data_of(batch_size=2), **kwargs)
        return model

    whole = fit()
    resumed = fit(ckpt_path="kept/step=3.ckpt", weights_only=True)
    for name, tensor in whole.state_dict().items():
        assert torch.equal(tensor, resumed.state_dict()[name]), name


@pytest.fixture
def checkpoint(gpt2_base: Path, workplace: Path) -> Path:
    run = quiet_trainer(max_steps=1)
    run.fit(GPT2LoRA(str(gpt2_base)), datamodule=data_of())
    run.save_checkpoint("some.ckpt")
    return Path("some.ckpt")


def test_another_base_is_refused(gpt2_base: Path, checkpoint: Path) -> None:
    shutil.copytree(gpt2_base, "moved")
    GPT2LoRA.load_from_checkpoint(checkpoint, pretrained="moved", weights_only=True)
    shutil.copytree(gpt2_base, "other")
    weights = Path("other/model.safetensors")
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    with pytest.raises(ValueError, match=r"adapters were trained on .* with sha256 .*; other has"):
        GPT2LoRA.load_from_checkpoint(checkpoint, pretrained="other", weights_only=True)
    with pytest.raises(ValueError, match="adapters of other modules"):
        GPT2LoRA.load_from_checkpoint(checkpoint, target="all", weights_only=True)
    with pytest.raises(RuntimeError, match="size mismatch"):
        GPT2LoRA.load_from_checkpoint(checkpoint, r=4, weights_only=True)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"target": ["q_proj"]}, "'q_proj' matches no linear layer of a block; a block has attn.c"),
        ({"target": ["c_attn", "lm_head"]}, "'lm_head' matches no linear layer"),
        ({"target": ["wte"]}, "'wte' matches no linear layer"),
        ({"target": []}, "target names no module"),
        ({"target": "everything"}, "target must be a list or one of c_attn, attention, all"),
        ({"r": 0}, "r must be at least 1"),
        ({"alpha": 0}, "alpha must be at least 1, or the adapters do nothing, got 0"),
        ({"dropout": 1.0}, "dropout must be from 0 to below 1"),
        ({"quantize": "8bit"}, "quantize must be 4bit"),
    ],
)
def test_wrong_arguments(gpt2_base: Path, arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        built(gpt2_base, **arguments)


def test_data_that_does_not_fit_the_model(gpt2_base: Path, workplace: Path) -> None:
    with pytest.raises(ValueError, match=r"rows have 161 tokens, .* reads at most 160"):
        quiet_trainer(fast_dev_run=True).fit(
            GPT2LoRA(str(gpt2_base)), datamodule=data_of(context=161)
        )
    from datamodules import BPETokenizer

    Path("larger").mkdir()
    text = Path(__file__).read_text()
    Path("larger/tokenizer.json").write_text(BPETokenizer.fit(text, 400).to_json())
    with pytest.raises(ValueError, match=r"data's tokenizer has 400 tokens and .* 300: leave"):
        quiet_trainer(fast_dev_run=True).fit(
            GPT2LoRA(str(gpt2_base)), datamodule=data_of(tokenizer="larger")
        )


def test_four_bits(gpt2_base: Path, workplace: Path, device: str) -> None:
    bitsandbytes = pytest.importorskip("bitsandbytes", reason="the extra [qlora] is not installed")
    model = GPT2LoRA(str(gpt2_base), quantize="4bit", target="all", lr=0.01)
    run = quiet_trainer(max_epochs=2)
    run.fit(model, datamodule=data_of(val_size=4))
    quantized = [m for m in model.modules() if isinstance(m, bitsandbytes.nn.Linear4bit)]
    assert len(quantized) == 8
    run.save_checkpoint("some.ckpt")
    ids = batch_of(gpt2_base, 4)[0]
    # The adapters are added to the 4-bit weights, or to the whole ones that files are made of.
    whole = GPT2LoRA.load_from_checkpoint("some.ckpt", quantize=None, weights_only=True)
    with torch.no_grad():
        trained = model.eval()(ids)
        assert (trained - model.merged()(ids)).abs().max() < 1e-4
        assert 1e-4 < (trained - whole.eval()(ids)).abs().mean() < 1


def test_four_bits_need_a_package(gpt2_base: Path, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    with pytest.raises(ValueError, match="quantize=4bit needs the package bitsandbytes: make"):
        built(gpt2_base, quantize="4bit")


def test_five_lines_of_ones_own_train(gpt2_base: Path, gpu_learning, device: str) -> None:
    rows = (f'{{"question": "What is {n}?", "answer": "A number."}}' for n in range(5))
    Path("mine.jsonl").write_text("\n".join(rows))
    code, _, err = gpu_learning(
        *("fit", "-c", "configs/gpt2_lora_offline.yaml", "--trainer.max_epochs=1"),
        f"--model.init_args.pretrained={gpt2_base}",
        *("--data.init_args.source=mine.jsonl", "--data.init_args.context=160"),
    )
    assert code == 0, err
