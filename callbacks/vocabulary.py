"""Which texts a callback can show to the model that is trained."""

from collections.abc import Sequence

import lightning.pytorch as pl
from lightning.pytorch.utilities import rank_zero_warn

from inference.text.tokenizer import Tokenizer


def known_texts(
    trainer: pl.Trainer, callback: pl.Callback, option: str, texts: Sequence[str]
) -> tuple[Tokenizer, list[str]]:
    """The tokenizer of the data and those of ``texts`` that it has tokens for.

    Warns of the others, in one sentence. Where none is left, or none was given, the text is the
    beginning of the validation text, ``opening`` of the data module.
    """
    data = trainer.datamodule  # type: ignore[attr-defined]
    tokenizer = Tokenizer(data.tokenizer.to_json())
    known, unknown = [], []
    for text in texts:
        try:
            (known if tokenizer.encode(text) else unknown).append(text)
        except ValueError:
            unknown.append(text)
    opening: str = getattr(data, "opening", "")
    if unknown:
        name = type(callback).__name__
        left = "these are left out" if known else f"{opening[:16]!r} of the data is shown instead"
        rank_zero_warn(
            f"{name}: the vocabulary of this data has no tokens for {option} "
            f"{', '.join(map(repr, unknown))}, so {left}; set {option} of callbacks.{name} in the "
            "config to a text that it has, or leave it out"
        )
    return tokenizer, known or ([opening] if opening else [])
