"""``TrainCLI`` whose fit is profiled."""

import json
import os
from collections.abc import Sequence
from pathlib import Path

import torch

from callbacks import Compile
from training.cli import TrainCLI
from training.parser import OneSentenceParser
from training.profiling.advice import Setup, verdict
from training.profiling.division import divide
from training.profiling.report import Profile
from training.profiling.session import Session
from training.runs import loggers


class ProfileCLI(TrainCLI):
    """Profiles a fit and keeps trace and figures in ``logs/profile/<name>/version_<n>``.

    Args:
        args: options of a fit, as they would be typed.
        steps: how many to record.

    Raises:
        ValueError: options that a profile has no use for, a folder that cannot be written, or a fit
            that ends too early.
    """

    def __init__(self, args: Sequence[str], steps: int) -> None:
        self._steps = steps
        super().__init__(["fit", *args])

    def parse_arguments(self, parser: OneSentenceParser, args: list[str]) -> None:  # type: ignore[override]
        super().parse_arguments(parser, args)
        config = self.config["fit"]
        if config.ckpt_path:
            raise ValueError(
                "profile starts from new weights and resumes nothing; leave --ckpt_path out"
            )
        if config.trainer.profiler:
            raise ValueError(
                f"profile brings a profiler of its own; leave --trainer.profiler "
                f"{config.trainer.profiler} out"
            )
        named = [logger.init_args.get("name") for logger in loggers(config.trainer)]
        self._experiment = next((name for name in named if name), "run")
        config.trainer.logger = False

    def before_fit(self) -> None:
        root = Path(self.config_init["fit"].trainer.default_root_dir or ".")
        self._folder = _new_folder(root / "profile" / self._experiment)
        self._session = Session(self.trainer, self._steps, self._folder / "trace.json")

    def _run_subcommand(self, subcommand: str) -> None:
        try:
            super()._run_subcommand(subcommand)
        except BaseException:
            self._leave_nothing()
            raise

    def _leave_nothing(self) -> None:
        folder = getattr(self, "_folder", None)
        if folder is not None and self.trainer.is_global_zero and not any(folder.iterdir()):
            folder.rmdir()

    def after_fit(self) -> None:
        session, measured = self._session, self._session.measured
        recording = session.recording()
        division = divide(recording, measured)
        device = self.trainer.strategy.root_device
        gpu = device.type == "cuda"
        self.profile = Profile(
            experiment=self._experiment,
            steps=recording.steps,
            device_name=torch.cuda.get_device_name(device) if gpu else "CPU",
            threads=session.threads,
            measured=measured,
            division=division,
            verdict=verdict(division, measured, self._setup()),
            trace=str(session.trace),
            left_out=session.left_out,
        )
        figures = json.dumps(self.profile.as_json(), indent=2)
        (self._folder / "profile.json").write_text(figures + "\n")

    def _setup(self) -> Setup:
        config, trainer = self.config["fit"], self.trainer
        strategy = trainer.strategy
        compiles = any(isinstance(callback, Compile) for callback in trainer.callbacks)
        return Setup(
            data=dict((config.get("data") or {}).get("init_args") or {}),
            precision=str(trainer.precision),
            devices=trainer.world_size,
            captures=getattr(strategy, "captures", False),
            steps_per_turn=getattr(strategy, "steps_per_turn", 1),
            automatic=self.model.automatic_optimization,
            compilable=not compiles
            and isinstance(getattr(self.model, "net", None), torch.nn.Module),
            threads=self._session.threads,
            cores=os.cpu_count() or 1,
            sets_threads=config.get("cpu_threads") is not None,
        )


def _new_folder(experiment: Path) -> Path:
    number = len(list(experiment.glob("version_*")))
    try:
        while True:
            folder = experiment / f"version_{number}"
            try:
                folder.mkdir(parents=True)
            except FileExistsError:
                if not folder.is_dir():
                    raise
                number += 1
                continue
            return folder
    except OSError as error:
        raise ValueError(
            f"the trace cannot be written to {experiment} ({error.strerror}); name another folder "
            "with --trainer.default_root_dir"
        ) from error
