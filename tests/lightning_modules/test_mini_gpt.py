import math
from pathlib import Path

import lightning.pytorch as pl
import pytest
import torch
import torch.nn.functional as F
import yaml
from lightning.pytorch.strategies import FSDPStrategy, ModelParallelStrategy
from torch.distributed.device_mesh import init_device_mesh
from torch.testing._internal.distributed.fake_pg import FakeStore

from callbacks import AttentionMaps, ExportText, TextSamples
from datamodules import CharTextDataModule
from lightning_modules import MiniGPT
from tests.conftest import quiet_trainer


def test_the_courses_size_comes_with_the_data(device: str) -> None:
    model = MiniGPT()
    quiet_trainer(fast_dev_run=True).fit(model, datamodule=CharTextDataModule())
    assert sum(p.numel() for p in model.parameters()) == 25_103
    assert model.hparams.vocab_size == 15


def test_overfits_one_batch() -> None:
    model, data = MiniGPT(vocab_size=15, lr=1e-2), CharTextDataModule(batch_size=2)
    data.setup("fit")
    batch = next(iter(data.train_dataloader()))
    optimizer = model.configure_optimizers()
    for _ in range(150):
        optimizer.zero_grad()
        loss = model._step(batch)
        loss.backward()
        optimizer.step()
    assert loss < 0.05


def test_validation_is_the_mean_over_every_token_of_the_text(device: str) -> None:
    model, data = MiniGPT(vocab_size=15), CharTextDataModule(eval_batch_size=7)
    found = quiet_trainer().validate(model, datamodule=data, verbose=False)[0]
    data.setup("validate")
    tokens = data._splits["val"].long().cpu()
    losses = []
    with torch.no_grad():
        for start in range(0, len(tokens) - 1, 32):
            # The last window is moved back, so that it has a whole context.
            begin = min(start, len(tokens) - 33)
            logits = model(tokens[None, begin : begin + 32])[0]
            each = F.cross_entropy(logits, tokens[begin + 1 : begin + 33], reduction="none")
            losses += each[start - begin :].tolist()
    assert len(losses) == len(tokens) - 1
    mean = sum(losses) / len(losses)
    assert found["val/loss"] == pytest.approx(mean, rel=1e-5)
    assert found["val/perplexity"] == pytest.approx(math.exp(mean), rel=1e-5)
    assert found["val/bits_per_char"] == pytest.approx(mean / math.log(2), rel=1e-5)


def test_only_matrices_decay() -> None:
    model = MiniGPT(vocab_size=15, weight_decay=0.1, pre_norm=True, tied=True, betas=(0.8, 0.95))
    optimizer = model.configure_optimizers()
    assert optimizer.defaults["betas"] == (0.8, 0.95)
    decayed, plain = optimizer.param_groups
    assert (decayed["weight_decay"], plain["weight_decay"]) == (0.1, 0.0)
    assert all(p.dim() == 2 for p in decayed["params"])
    assert all(p.dim() == 1 for p in plain["params"])
    assert len(decayed["params"]) + len(plain["params"]) == len(list(model.parameters()))


def test_a_resumed_run_ends_with_the_same_weights(workplace: Path, device: str) -> None:
    def fit(**kwargs) -> MiniGPT:
        pl.seed_everything(0, verbose=False)
        model = MiniGPT(width=16)
        # In the middle of an epoch of six batches.
        keep = pl.callbacks.ModelCheckpoint("kept", "{step}", every_n_train_steps=4, save_top_k=-1)
        run = quiet_trainer(max_epochs=2, callbacks=[keep])
        run.fit(model, datamodule=CharTextDataModule(batches=6), **kwargs)
        return model

    whole = fit()
    resumed = fit(ckpt_path="kept/step=4.ckpt", weights_only=True)
    for name, tensor in whole.state_dict().items():
        assert torch.equal(tensor, resumed.state_dict()[name]), name


def test_a_checkpoint_loads_without_the_data(workplace: Path, device: str) -> None:
    model = MiniGPT(width=16)
    run = quiet_trainer(max_steps=1)
    run.fit(model, datamodule=CharTextDataModule())
    run.save_checkpoint("some.ckpt")
    loaded = MiniGPT.load_from_checkpoint("some.ckpt", map_location="cpu", weights_only=True)
    ids = torch.zeros(1, 32, dtype=torch.long)
    assert torch.equal(loaded(ids), model(ids))


@pytest.mark.parametrize(
    ("model", "data", "message"),
    [
        ({"vocab_size": 10}, {}, "has 15 different tokens, the model 10"),
        ({"context": 16}, {}, "windows have 32 tokens, the model sees at most 16"),
    ],
)
def test_a_model_too_small_for_the_data_is_refused(model: dict, data: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        quiet_trainer(fast_dev_run=True).fit(
            MiniGPT(**model), datamodule=CharTextDataModule(**data)
        )


def test_samples_and_maps_leave_the_training_as_it_is(workplace: Path) -> None:
    def fit(callbacks: list[pl.Callback], name: str) -> tuple[MiniGPT, Path]:
        pl.seed_everything(0, verbose=False)
        model = MiniGPT(width=16, dropout=0.1)
        logger = pl.loggers.TensorBoardLogger("logs", name)
        run = quiet_trainer(
            max_epochs=2, logger=logger, callbacks=callbacks, num_sanity_val_steps=0
        )
        run.fit(model, datamodule=CharTextDataModule(batches=4))
        logger.finalize("success")
        return model, Path(logger.log_dir)

    plain, _ = fit([], "plain")
    samples = TextSamples(("the cat", "the dog"), every_n_steps=3, max_new_tokens=12)
    model, folder = fit([samples, AttentionMaps()], "with")
    for name, tensor in plain.state_dict().items():
        assert torch.equal(tensor, model.state_dict()[name]), name
    assert (folder / "attention.png").stat().st_size > 10_000

    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder)).Reload()
    texts = events.Tensors("samples/the cat/text_summary")
    assert [event.step for event in texts] == [0, 3, 6, 8]
    assert texts[0].tensor_proto.string_val[0].decode().startswith("    the cat")
    assert [event.step for event in events.Images("images/attention")] == [4, 8]


def test_the_exports_name_their_formats() -> None:
    with pytest.raises(ValueError, match="no format torchscript; it has safetensors"):
        ExportText("x", ("torchscript",))


def test_fsdp1_is_refused() -> None:
    model = MiniGPT(vocab_size=15)
    model.trainer = quiet_trainer()
    model.trainer._accelerator_connector.strategy = FSDPStrategy()
    with pytest.raises(ValueError, match=r"take lightning.*ModelParallelStrategy"):
        model.configure_model()


@pytest.mark.slow
@pytest.mark.parametrize(("sizes", "in_shards"), [((1, 2), False), ((2, 1), True)])
def test_parallelism_that_is_not_made_for_is_refused(
    sizes: tuple[int, int], in_shards: bool
) -> None:
    torch.distributed.init_process_group("fake", store=FakeStore(), rank=0, world_size=2)
    try:
        model = MiniGPT(vocab_size=15)
        model.trainer = quiet_trainer()
        model.trainer._accelerator_connector.strategy = ModelParallelStrategy(
            *sizes, save_distributed_checkpoint=in_shards
        )
        names = ("data_parallel", "tensor_parallel")
        model._device_mesh = init_device_mesh("cpu", sizes, mesh_dim_names=names)
        with pytest.raises(ValueError, match=r"data_parallel_size 2.*_checkpoint false"):
            model.configure_model()
    finally:
        torch.distributed.destroy_process_group()


@pytest.mark.slow
def test_a_block_shorter_than_the_models_context(gpu_learning, workplace: Path) -> None:
    """The course's 16 within 32; both are in what the loggers show."""
    code, _, err = gpu_learning(
        *("fit", "-c", "configs/mini_gpt.yaml", "--data.init_args.context=16"),
        *("--trainer.max_epochs=1", "--data.init_args.batches=60"),
    )
    assert code == 0, err
    run = workplace / "logs" / "mini_gpt" / "version_0"
    assert yaml.safe_load((run / "hparams.yaml").read_text())["context"] == 32
    checkpoint = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)
    assert checkpoint["hyper_parameters"]["context"] == 32
    assert checkpoint["datamodule_hyper_parameters"]["context"] == 16
