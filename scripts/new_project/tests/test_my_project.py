from pathlib import Path

import torch
from lightning.pytorch import Trainer
from my_project import Classifier, Net, PrintedDigits


def test_the_net_returns_logits() -> None:
    assert Net(width=4, num_classes=10)(torch.zeros(3, 1, 28, 28)).shape == (3, 10)


def test_splits_share_no_image() -> None:
    data = PrintedDigits(samples=40, val_size=8)
    data.setup("fit")
    data.setup("test")
    splits = [data.train_dataloader(), data.val_dataloader(), data.test_dataloader()]
    images = [{row.numpy().tobytes() for batch in split for row in batch[0]} for split in splits]
    assert [len(split) for split in images] == [32, 8, 10]
    assert len(set.union(*images)) == 50


def test_it_learns(tmp_path: Path) -> None:
    torch.manual_seed(0)
    trainer = Trainer(
        accelerator="cpu",
        max_epochs=3,
        default_root_dir=tmp_path,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
    )
    model, data = Classifier(), PrintedDigits(samples=1000, val_size=100)
    trainer.fit(model, datamodule=data)
    assert trainer.callback_metrics["val/acc"] > 0.8
