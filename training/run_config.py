"""``config.yaml`` of a run."""

from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.cli import SaveConfigCallback

from training.parser import OneSentenceParser
from training.runs import loggers


class SaveFitConfig(SaveConfigCallback):
    """Keeps ``config.yaml`` beside the checkpoints of a fit; a test of the run leaves it alone."""

    def __init__(
        self, parser: OneSentenceParser, config: Any, resumed: bool = False, **kwargs: Any
    ) -> None:
        super().__init__(parser, config, **kwargs)
        if resumed:  # used again, the file starts a run of its own
            config = config.clone()
            config["ckpt_path"] = None
            for logger in loggers(config.trainer):
                logger.init_args["version"] = None
        self._resumed = resumed
        # Here and not in setup, which is part of the time that Trainer.fit takes.
        self._text = parser.dump(config, skip_none=False)

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        if stage == "fit" and not self._resumed:
            self._write(trainer)

    # The run has a file, which stays if a callback before this one refuses to resume so.
    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self._resumed:
            self._write(trainer)

    def _write(self, trainer: pl.Trainer) -> None:
        if not trainer.loggers:
            return
        folder = Path(trainer.log_dir or ".")  # asked by every process: it is broadcast
        if trainer.is_global_zero:
            folder.mkdir(parents=True, exist_ok=True)
            (folder / self.config_filename).write_text(self._text)
