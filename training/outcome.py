"""Whether a fit has learned anything."""

import math

import lightning.pytorch as pl

# A class that is predicted throughout may be a little more frequent than the others.
_MARGIN = 0.05
# Of the loss of guesses; the last batch of a net that guesses may be a little easier.
_SHARE = 0.95
_FEW = 10  # optimizer steps after which nothing can be said of a learning rate
# A learning rate that is rarely too large.
_SMALL = 1e-4


def learned_nothing(trainer: pl.Trainer, model: pl.LightningModule) -> str:
    """One sentence about a fit whose loss is not a number, or that of guesses; else empty.

    Guesses among n classes, or n tokens of a vocabulary, have a cross-entropy of log n, whatever
    the labels are and however they are smoothed.
    """
    metrics = {name: float(value) for name, value in trainer.callback_metrics.items()}
    losses = {name: metrics[name] for name in ("train/loss", "val/loss") if name in metrics}
    for name, loss in losses.items():
        if not math.isfinite(loss):
            return f"this run collapsed: {name} is {loss} at its end; {_remedy(trainer, True)}"
    classes = getattr(model, "num_classes", None)
    choices = classes or model.hparams.get("vocab_size")
    if not choices or choices < 2 or losses.get("train/loss", 0.0) < _SHARE * math.log(choices):
        return ""
    accuracy = metrics.get("val/acc")
    if accuracy is not None and accuracy > 1 / choices + _MARGIN:
        return ""
    scored = "" if accuracy is None else f" with val/acc {accuracy:.4f}"
    keeper = trainer.checkpoint_callback
    name = str(getattr(keeper, "monitor", None))
    best = getattr(keeper, "best_model_score", None)
    bound = {"val/acc": 1 / choices + _MARGIN, "val/loss": -_SHARE * math.log(choices)}.get(name)
    sign = -1 if name == "val/loss" else 1
    if bound is not None and best is not None and name in metrics and sign * best > bound:
        return (
            f"this run diverged: {name} was {float(best):.4f} at its best and is "
            f"{metrics[name]:.4f} at its end; best.ckpt is from before, and "
            "a smaller learning rate may stay there"
        )
    if trainer.global_step < _FEW:
        steps = f"{trainer.global_step} optimizer step{'s' * (trainer.global_step != 1)}"
        return (
            f"this run learned nothing in {steps}; train longer (--trainer.max_epochs), or with "
            "smaller batches (--data.init_args.batch_size)"
        )
    return (
        f"this run learned nothing: train/loss {losses['train/loss']:.4f}{scored} at its end is no "
        f"better than guesses among {choices} {'classes' if classes else 'tokens'}; "
        f"{_remedy(trainer, False)}"
    )


def _remedy(trainer: pl.Trainer, collapsed: bool) -> str:
    rates = [optimizer.defaults.get("lr") for optimizer in trainer.optimizers]
    rate = rates[0] if rates else None
    if rate is not None and rate <= _SMALL:
        said = f"the learning rate {rate:g} is small already: "
        if collapsed:
            return said + "clip gradients (--trainer.gradient_clip_val 1.0), or look for bad data"
        return said + "try more steps, or a rate ten times larger"
    than = f" than {rate:g}" if rate is not None else ""
    return f"try a learning rate ten times smaller{than}, or more steps if there were few"
