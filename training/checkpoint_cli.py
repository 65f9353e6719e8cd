"""LightningCLI whose checkpoints can be named, and that resumes what was interrupted."""

import io
import sys
from contextlib import redirect_stderr
from pathlib import Path
from typing import Any

import yaml
from jsonargparse.util import import_object
from lightning.pytorch.cli import LightningCLI
from lightning.pytorch.utilities import rank_zero_only

from callbacks.plain_progress import rounded
from training.checkpoints import (
    check_checkpoint,
    check_same_run,
    differences,
    hyperparameters,
    other_data,
)
from training.loggers import log_into_run, refuse_taken_folder
from training.runs import (
    FIT,
    best_checkpoint,
    experiment_folder,
    last_checkpoint,
    read_checkpoint,
    requeued_checkpoint,
    requeued_job,
)


class CheckpointCLI(LightningCLI):
    """LightningCLI with ``last`` and ``best`` for ``--ckpt_path``.

    ``last`` is the newest run's last checkpoint, ``best`` the best of all runs of the experiment by
    their monitor; all but ``fit`` take ``best`` where none is given. With a checkpoint of the
    experiment's own log folder, the command logs into that run. A SLURM job that was requeued
    resumes from what it wrote before.

    Raises:
        ValueError: a checkpoint that is not there, cannot be read or is of another model.
    """

    _name: str  # of the subcommand
    resumed_step: int | None = None  # steps of the run that a fit continues
    other_data: str = ""  # how the data differ from what the checkpoint was trained on

    def _parse_ckpt_path(self) -> None:
        config = self.config[self._name]
        # Scoring the random weights that a model starts with is never what was meant.
        path = config.ckpt_path or (None if self._name == "fit" else "best")
        if self._name == "fit" and (job := requeued_job()) is not None:
            path = self._requeued(job) or path
        if path in ("last", "best"):
            folder = experiment_folder(config.trainer)
            data = (config.get("data") or {}).get("class_path")
            path, said = (
                last_checkpoint(folder, self._fit_command())
                if path == "last"
                else best_checkpoint(folder, config.model.class_path, data, self._fit_command())
            )
            config["ckpt_path"] = str(path)
            self._say(f"takes {said}")
        if path is not None:
            self._use_checkpoint(Path(path))
        if self._name == "fit":
            refuse_taken_folder(config.trainer, path)

    def _fit_command(self) -> str:
        """``gpu-learning fit -c FILE``, with the files that were named."""
        files = self.config[self._name].get("config") or []
        return " ".join([FIT, *(f"-c {file}" for file in files if file)])

    def _requeued(self, job: str) -> str | None:
        """What a SLURM job that was requeued wrote before; it comes before the ``ckpt_path``."""
        config = self.config[self._name]
        if config.trainer.logger is False:
            raise ValueError(
                f"job {job} was requeued, and its checkpoint is looked up in the logger's folder; "
                "leave the logger on, or submit the job with --no-requeue"
            )
        path = requeued_checkpoint(experiment_folder(config.trainer), job)
        if path is None:
            begins = "begins as it did before" if config.ckpt_path else "begins again"
            self._say(f"job {job} was requeued before it had written a checkpoint, and {begins}")
            return None
        config["ckpt_path"] = str(path)
        self._say(f"job {job} was requeued and resumes from {path}")
        return str(path)

    def _use_checkpoint(self, path: Path) -> None:
        config = self.config[self._name]
        check_checkpoint(path, config.model.class_path, resumes=self._name == "fit")
        run = path.resolve().parents[1]
        if self._name == "fit":
            if path.is_file():
                self.resumed_step = read_checkpoint(path).step
            now = yaml.safe_load(self.parser.dump(self.config, skip_none=False))[self._name]
            changed = differences(run, now)
            check_same_run(path, changed)
            for key, (then, value) in changed.items():
                lists = isinstance(then, list) or isinstance(value, list)
                said = "differs from" if lists else f"is {value}, it was {then} in"
                self._say(f"{key} {said} {run.name}")
        model, data = hyperparameters(path)
        self._take("model", model)
        if self._name != "fit":  # a fit resumes with the data of its run, which was compared above
            kind = import_object(config.data.class_path) if config.get("data") else None
            fixed = getattr(kind, "fixed_by_training", ("mean", "std"))
            taken = (config.get("data") or {}).get("init_args") or {}  # other data may lack some
            fixed = [key for key in fixed if data.get(key) is not None and key in taken]
            self._take("data", {key: data[key] for key in fixed})
            self.other_data = other_data(path, self.config[self._name].get("data"))
            if self.other_data:
                self._say(f"warning: the checkpoint {self.other_data}")
        config = self.config[self._name]
        if config.trainer.logger is not False:
            folder = experiment_folder(config.trainer)
            if run.parent == folder.resolve() and log_into_run(config.trainer, run):
                self.save_config_kwargs = {"resumed": True}

    def _take(self, part: str, values: dict[str, Any]) -> None:
        """Sets arguments of the model or the data to those of the checkpoint, and says so.

        LightningCLI's own way does not take checkpoints that a Trainer without it wrote.
        """
        if not values:
            return
        config = self.config[self._name][part]
        before = dict(config.get("init_args") or {})
        given = {"class_path": config.class_path, "dict_kwargs": values}
        said = io.StringIO()
        try:
            with redirect_stderr(said):
                self.config = self.parser.parse_object({self._name: {part: given}}, self.config)
        except SystemExit as error:
            reason = said.getvalue().strip().removeprefix("gpu-learning: error: ")
            raise ValueError(
                f"the checkpoint was made with {', '.join(values)}, and {config.class_path} takes "
                f"other arguments ({reason}); use the configuration it was trained with, or name "
                f"its class with --{part}"
            ) from error
        after = self.config[self._name][part].get("init_args") or {}
        for name, value in before.items():
            told = value is not None or name in ("mean", "std")
            if name in after and after[name] != value and told:
                asked = "" if value is None else f"; the {value} asked for is not used"
                self._say(f"{name}={after[name]} comes from the checkpoint{asked}")

    def before_validate(self) -> None:
        # Lightning's table has all digits of a float32.
        self.config_init[self._name].verbose = False

    before_test = before_validate

    def after_validate(self) -> None:
        self._say_scored("validated")

    def after_test(self) -> None:
        self._say_scored("tested")

    def _say_scored(self, done: str) -> None:
        """Prints the scores and names the checkpoint: many lines lie between the first and them."""
        config, scores = self.config[self._name], self.trainer.callback_metrics
        if not self.trainer.is_global_zero:
            return
        if config.verbose:
            width = max(map(len, scores), default=0)
            for name in sorted(scores):
                print(f"{name:<{width}}  {rounded(float(scores[name]))}")
        path = Path(config.ckpt_path)
        print(f"{done} {read_checkpoint(path) if path.is_file() else path}")

    def _say(self, sentence: str) -> None:
        if not rank_zero_only.rank:
            print(f"gpu-learning: {sentence}", file=sys.stderr)
