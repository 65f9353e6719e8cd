import csv
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from lightning.pytorch.loggers import CSVLogger

from datamodules import DigitsDataModule
from lightning_modules import MNISTCNN, MNISTMLP, MNISTFast, MNISTUpright
from lightning_modules.classifier import ImageClassifier
from lightning_modules.evaluate import evaluate
from tests.conftest import quiet_trainer

ALL = pytest.mark.parametrize("module", [MNISTMLP, MNISTCNN, MNISTUpright])


@pytest.mark.parametrize(
    ("module", "count"), [(MNISTMLP, 109_386), (MNISTCNN, 52_138), (MNISTUpright, 52_138)]
)
def test_parameter_counts_of_the_course(module: type, count: int) -> None:
    assert sum(p.numel() for p in module().parameters()) == count


@ALL
def test_fast_dev_run(module: type, device: str) -> None:
    model, data = module(), DigitsDataModule()
    one = quiet_trainer(fast_dev_run=True)
    one.fit(model, datamodule=data)
    one.test(model, datamodule=data, verbose=False)
    probabilities = one.predict(model, datamodule=data)[0]
    assert probabilities.shape == (360, 10)
    assert torch.allclose(probabilities.sum(dim=1), torch.ones(360))


@ALL
def test_overfits_one_batch(module: type, device: str) -> None:
    model, data = module(lr=3e-3), DigitsDataModule()
    run = quiet_trainer(max_epochs=60, overfit_batches=1, limit_val_batches=0)
    run.fit(model, datamodule=data)
    assert run.callback_metrics["train/loss"] < 0.01


def test_train_accuracy_is_that_of_the_logged_batches(tmp_path: Path, device: str) -> None:
    right: list[float] = []

    class Counted(MNISTMLP):
        def _step(self, batch, stage):
            loss, logits = super()._step(batch, stage)
            if stage == "train":
                hits = zip(logits.tolist(), batch[1].tolist(), strict=True)
                right.append(sum(row.index(max(row)) == label for row, label in hits) / len(logits))
            return loss, logits

    logger = CSVLogger(tmp_path)
    run = quiet_trainer(max_epochs=2, log_every_n_steps=7, logger=logger)
    run.fit(Counted(hidden=(16,)), datamodule=DigitsDataModule())
    rows = list(csv.DictReader(Path(logger.log_dir, "metrics.csv").read_text().splitlines()))
    logged = {int(row["step"]): float(row["train/acc"]) for row in rows if row["train/acc"]}
    assert list(logged) == list(range(6, len(right), 7))
    assert logged == pytest.approx({step: right[step] for step in logged})
    assert logged[max(logged)] > 0.5


def test_test_metrics_agree_with_a_slow_count(device: str) -> None:
    torch.manual_seed(1)
    model, data = MNISTCNN(), DigitsDataModule()
    run = quiet_trainer()
    run.test(model, datamodule=DigitsDataModule(classes=[4]), verbose=False)  # leaves nothing
    metrics = run.test(model, datamodule=data, verbose=False)[0]
    data.setup("test")
    images, labels = (tensor.cpu() for tensor in data._splits["test"])
    predicted = evaluate(model, images).argmax(dim=1)
    assert metrics["test/acc"] == pytest.approx((predicted == labels).float().mean().item())
    for digit in range(10):
        right = (predicted[labels == digit] == digit).float().mean().item()
        assert metrics[f"test/acc_{digit}"] == pytest.approx(right)
        for other in range(10):
            count = int(((labels == digit) & (predicted == other)).sum())
            assert int(model.confusion.compute()[digit, other]) == count


@pytest.mark.filterwarnings("ignore:DigitsDataModule has 1 classes")
def test_labels_are_smoothed_in_training_alone(device: str) -> None:
    model = MNISTFast(channels=(4, 8), hidden=16, lr=0.0, label_smoothing=0.3)
    # Over all classes alike, the mean of an untrained net's loss is that of smoothed labels.
    data = DigitsDataModule(batch_size=2000, classes=[3], val_size=20)
    for parameter in model.parameters():
        parameter.data *= 4
    run = quiet_trainer(max_epochs=1)
    run.fit(model, datamodule=data)
    found = {name: float(value) for name, value in run.callback_metrics.items()}
    found |= run.test(model, datamodule=data, verbose=False)[0]
    for split, smoothing in (("train", 0.3), ("val", 0.0), ("test", 0.0)):
        images, labels = (tensor.cpu() for tensor in data._splits[split])
        logits = evaluate(model, images)
        expected = F.cross_entropy(logits, labels, label_smoothing=smoothing).item()
        other = F.cross_entropy(logits, labels, label_smoothing=0.3 - smoothing).item()
        assert found[f"{split}/loss"] == pytest.approx(expected, rel=1e-4), split
        assert found[f"{split}/loss"] != pytest.approx(other, rel=1e-2), split


@pytest.mark.parametrize("module", [MNISTFast, MNISTUpright])
def test_the_optimizer_has_what_was_asked(module: type) -> None:
    optimizer = module(lr=0.02, betas=(0.7, 0.9)).configure_optimizers()
    assert (optimizer.defaults["lr"], optimizer.defaults["betas"]) == (0.02, (0.7, 0.9))


def test_checkpoint_loads_without_arguments(tmp_path, device: str) -> None:
    model = MNISTCNN(channels=(4, 8), hidden=16, lr=0.5)
    run = quiet_trainer(max_steps=1)
    run.fit(model, datamodule=DigitsDataModule())
    run.save_checkpoint(tmp_path / "model.ckpt")
    again = MNISTCNN.load_from_checkpoint(tmp_path / "model.ckpt", weights_only=True)
    assert again.hparams == model.hparams
    for left, right in zip(model.parameters(), again.parameters(), strict=True):
        assert torch.equal(left.cpu(), right.cpu())


def test_lbfgs_is_refused_where_it_cannot_flatten_weights() -> None:
    def fit(module: ImageClassifier) -> None:
        module.configure_optimizers = lambda: torch.optim.LBFGS(module.parameters())
        quiet_trainer(max_steps=1, limit_val_batches=0).fit(module, datamodule=DigitsDataModule())

    fit(MNISTMLP(hidden=(8,)))
    with pytest.raises(ValueError, match=r"LBFGS .* MNISTCNN are in channels_last .* use Adam"):
        fit(MNISTCNN())
