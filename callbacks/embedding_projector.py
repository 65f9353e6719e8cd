"""Word embeddings on TensorBoard's projector page."""

import lightning.pytorch as pl
from lightning.pytorch.utilities import rank_zero_only

from callbacks.tensorboard import tensorboards


class EmbeddingProjector(pl.Callback):
    """Adds the module's embedding to TensorBoard's projector when training ends.

    The words come from ``words`` of the data module, the vectors from the module's ``net``.
    """

    reads = "words"

    @rank_zero_only
    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        words = list(trainer.datamodule.words)  # type: ignore[attr-defined]
        for logger in tensorboards(trainer):
            logger.experiment.add_embedding(
                pl_module.net.weight.detach().cpu(),  # type: ignore[union-attr]
                metadata=words,
                global_step=trainer.global_step,
                tag="words",
            )
