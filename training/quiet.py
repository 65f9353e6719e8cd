"""Messages of Lightning and torch that this project's users need not see."""

import logging
import warnings


def quiet() -> None:
    """Hides what Lightning and torch say to developers of theirs, not to users of this project."""
    logging.getLogger("lightning.pytorch.utilities.rank_zero").addFilter(
        lambda record: not record.getMessage().startswith(("💡 Tip", "TPU available"))
    )
    logging.getLogger("lightning.pytorch.trainer.connectors.checkpoint_connector").addFilter(
        lambda record: not record.getMessage().startswith("`weights_only` was not set")
    )
    for message in (
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
    ):
        warnings.filterwarnings("ignore", message=message)
