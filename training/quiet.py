"""Messages of Lightning and torch that this project's users need not see."""

import logging
import warnings

# Beginnings of log records, by the logger that writes them.
_RECORDS = {
    "lightning.pytorch.utilities.rank_zero": (
        "💡 Tip",
        "TPU available",
        "Loading `train_dataloader` to estimate",
        "You are using a CUDA device",
        "Trainer already configured with model summary",
    ),
    "lightning.pytorch.accelerators.cuda": ("LOCAL_RANK",),
    "lightning.pytorch.trainer.connectors.checkpoint_connector": ("`weights_only` was not set",),
}
_WARNINGS = (
    # An epoch shorter than the log interval shows its figures all the same.
    r"The number of training batches .* is smaller than the logging interval",
    # TensorBoard's graph page is made by torch.jit.trace; there is no other way yet.
    r"`torch\.jit\.trace(_method)?` is deprecated",
    # val_size: 0 asks for no validation.
    r"Total length of `list` across ranks is zero",
    # --optimizer asks for just that.
    r"`.*configure_optimizers` will be overridden by",
    # The checkpoints of a resumed run go on in its folder.
    r"Checkpoint directory .* exists and is not empty",
    # A CSVLogger's history is kept, see training/loggers.py.
    r"Experiment logs directory .* exists and is not empty",
    r"`isinstance\(treespec, LeafSpec\)` is deprecated",
    # accelerator: cpu asks for just that.
    r"GPU available but not used",
    # The size in MB that the summary estimates is that of the float32 weights, which is right.
    r"Precision .* is not supported by the model summary",
)


def quiet() -> None:
    """Hides what Lightning and torch say to developers of theirs, not to users of this project."""
    for name, beginnings in _RECORDS.items():
        logging.getLogger(name).addFilter(
            lambda record, beginnings=beginnings: not record.getMessage().startswith(beginnings)
        )
    for message in _WARNINGS:
        warnings.filterwarnings("ignore", message=message)
