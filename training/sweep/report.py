"""What a sweep found, as Markdown."""

import json
import shlex
from collections import Counter
from statistics import fmean, stdev
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from training.sweep.space import Sweep, decoded
from training.sweep.study import is_done
from training.sweep.trial import run_name

_MOST_ROWS = 20


def best_command(study: optuna.Study, sweep: Sweep) -> str:
    """The fit of the best trial with the sweep's first seed, as one would type it."""
    values = decoded(study.best_trial.params)
    return shlex.join(["gpu-learning", "fit", *sweep.arguments(values, sweep.seeds[0])])


def markdown(study: optuna.Study, sweep: Sweep, storage: str, folder: str) -> str:
    """Outcome, table of the best trials with their spread over seeds, and the command of the best.

    Args:
        study: with its trials.
        sweep: what was asked for.
        storage: its URL, without a password.
        folder: of the runs.
    """
    trials = study.get_trials(deepcopy=False)
    complete = [one for one in trials if one.state == TrialState.COMPLETE]
    lines = [f"# Sweep {study.study_name}", "", *_overview(trials, sweep, storage), ""]
    if not complete:
        return "\n".join([*lines, "No trial ran to its end.", ""])
    ranked = sorted(complete, key=_value, reverse=sweep.mode == "max")
    best = ranked[0]
    scores = [best.user_attrs["scores"][str(seed)] for seed in sweep.seeds]
    command = best_command(study, sweep)
    run = shlex.quote(f"{folder}/{run_name(best.number, sweep.seeds[0])}")
    lines += [
        f"Best: trial {best.number}, {sweep.metric} {_spread(scores)}. It was chosen among "
        f"{len(complete)} by this very metric, so the figure flatters it; the test split decides.",
        "",
        "```bash",
        command,
        f"gpu-learning test -c {run}/config.yaml --ckpt_path {run}/checkpoints/best.ckpt",
        "```",
        "",
        f"The first command repeats its run with seed {sweep.seeds[0]}, {sweep.metric} "
        f"{scores[0]:.6g}; the second scores that run, where it was made. All runs: "
        f"`tensorboard --logdir {folder}`, page HParams.",
        "",
        *_table(ranked[:_MOST_ROWS], sweep),
    ]
    failed = [one for one in trials if "failure" in one.user_attrs]
    if failed:
        lines += ["", "| failed trial | reason | parameters |", "|---|---|---|"]
        lines += [
            f"| {one.number} | {one.user_attrs['failure']} | {_parameters(one)} |" for one in failed
        ]
    return "\n".join([*lines, ""])


def _overview(trials: list[FrozenTrial], sweep: Sweep, storage: str) -> list[str]:
    states = Counter(one.state for one in trials if is_done(one))
    again = sum(bool(one.system_attrs.get("retry_history")) and is_done(one) for one in trials)
    seeds = ", ".join(map(str, sweep.seeds))
    return [
        "| | |",
        "|---|---|",
        f"| experiment | {', '.join(sweep.configs)} |",
        f"| metric | {sweep.metric}, {sweep.mode}; best epoch, mean over seeds {seeds} |",
        f"| trials | {states[TrialState.COMPLETE]} complete, {states[TrialState.PRUNED]} given up "
        f"early, {states[TrialState.FAIL]} failed; {again} of them tried again after a worker "
        "died |",
        f"| storage | {storage} |",
    ]


def _table(ranked: list[FrozenTrial], sweep: Sweep) -> list[str]:
    names = list(sweep.space)
    head = ["trial", f"{sweep.metric}, mean", "sd", "n", *names]
    rows = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    for one in ranked:
        scores = list(one.user_attrs["scores"].values())
        spread = f"{stdev(scores):.4f}" if len(scores) > 1 else ""
        values = [_short(decoded(one.params).get(name)) for name in names]
        cells = [str(one.number), f"{fmean(scores):.4f}", spread, str(len(scores)), *values]
        rows.append(f"| {' | '.join(cells)} |")
    return rows


def _spread(scores: list[float]) -> str:
    if len(scores) == 1:
        return f"{scores[0]:.4f} (one seed)"
    return f"{fmean(scores):.4f} ± {stdev(scores):.4f} (n = {len(scores)} seeds)"


def _value(trial: FrozenTrial) -> float:
    assert trial.value is not None
    return trial.value


def _parameters(trial: FrozenTrial) -> str:
    return ", ".join(f"{name}={_short(value)}" for name, value in decoded(trial.params).items())


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else json.dumps(value).replace("|", "\\|")
