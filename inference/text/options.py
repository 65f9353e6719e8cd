"""What can be asked of the sampler; imports nothing heavy, so that the server can check it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

ANY_OBJECT: Mapping[str, Any] = {"type": "object"}

MOST_ALTERNATIVES = 20  # log-probabilities of other tokens that can be asked for at each position


@dataclass(frozen=True)
class SamplingOptions:
    """How the tokens of one request are chosen, and where it ends.

    Args:
        max_new_tokens: most tokens that are generated; 0 with ``score_prompt`` alone.
        temperature: divides the logits; 0 always takes the most likely token (greedy).
        top_k: only the k most likely tokens, 0 for all.
        top_p: the fewest most likely tokens that have this share of the probability together
            (A. Holtzman et al., The curious case of neural text degeneration, 2020).
        min_p: only tokens with at least this share of the most likely one's probability
            (M. Nguyen et al., Turning up the heat: min-p sampling, 2024).
        repetition_penalty: above 1, tokens that occurred already get less likely
            (N. Keskar et al., CTRL, 2019).
        presence_penalty: taken from the logit of a token that occurred already.
        frequency_penalty: the same for each time that it did.
        penalty_window: last tokens that the three penalties apply to, 0 for all.
        stop: strings that end the completion; they are not part of it.
        seed: the same seed returns the same completion; None for another one each time.
        window: positions of the context that are used, 0 for all that the model has.
        keep: tokens of the prompt that stay where a sequence outgrows the window.
        shift: continue with the end of a sequence that outgrows the window; otherwise it ends.
        schema: generate one value that conforms to this JSON Schema and nothing else;
            ``ANY_OBJECT`` for any JSON object.
        logit_bias: pairs of a token and what is added to its logit, before the penalties.
        logprobs: score each generated token, with this many of the most likely tokens beside it;
            None scores nothing. See :class:`~inference.text.scores.TokenScore`.
        score_prompt: score the tokens of the prompt, too.

    Raises:
        ValueError: a value outside its range.
    """

    max_new_tokens: int = 60
    temperature: float = 0.8
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    penalty_window: int = 0
    stop: tuple[str, ...] = ()
    seed: int | None = None
    window: int = 0
    keep: int = 0
    shift: bool = True
    schema: Mapping[str, Any] | None = None
    logit_bias: tuple[tuple[int, float], ...] = ()
    logprobs: int | None = None
    score_prompt: bool = False

    def __post_init__(self) -> None:
        limits = (
            ("max_new_tokens", self.max_new_tokens >= 1 - self.score_prompt, "at least 1"),
            ("temperature", 0 <= self.temperature < float("inf"), "0 (greedy) or more, and finite"),
            ("top_k", self.top_k >= 0, "0 (all tokens) or more"),
            ("top_p", 0 < self.top_p <= 1, "above 0 and at most 1"),
            ("min_p", 0 <= self.min_p <= 1, "from 0 to 1"),
            ("repetition_penalty", 0 < self.repetition_penalty < float("inf"), "above 0"),
            ("presence_penalty", abs(self.presence_penalty) < float("inf"), "a finite number"),
            ("frequency_penalty", abs(self.frequency_penalty) < float("inf"), "a finite number"),
            ("penalty_window", self.penalty_window >= 0, "0 (all tokens) or more"),
            ("window", self.window >= 0, "0 (the model's context) or more"),
            ("keep", self.keep >= 0, "0 or more"),
            ("seed", self.seed is None or -(2**63) <= self.seed < 2**64, "a number of 64 bits"),
            (
                "logprobs",
                self.logprobs is None or 0 <= self.logprobs <= MOST_ALTERNATIVES,
                f"from 0 to {MOST_ALTERNATIVES}",
            ),
        )
        for name, fits, must in limits:
            if not fits:
                raise ValueError(f"{name} must be {must}, got {getattr(self, name)}")
        if any(not stop for stop in self.stop):
            raise ValueError("a stop string must not be empty")
        if any(not abs(bias) <= 100 for _, bias in self.logit_bias):
            raise ValueError("a bias of logit_bias must be from -100 to 100")

    @property
    def adjusted(self) -> bool:
        """Whether the logits are changed before temperature and filters: bias, penalty, schema."""
        penalties = self.repetition_penalty != 1 or self.presence_penalty or self.frequency_penalty
        return self.schema is not None or bool(penalties) or bool(self.logit_bias)

    def window_in(self, context: int) -> int:
        """Positions that a sequence uses of a model that has ``context``."""
        return min(self.window or context, context)

    def fit(self, ids: Sequence[int], size: int) -> list[int]:
        """At most ``size`` tokens of a sequence: the first ``keep``, and the last."""
        if len(ids) <= size:
            return list(ids)
        keep = min(self.keep, size // 2)
        return [*ids[:keep], *ids[len(ids) - size + keep :]]
