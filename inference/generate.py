"""Text from a trained language model: the only sampler of the project."""

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from inference.cached_gpt import CachedGPT
from inference.engine import DecodeEngine, Step
from inference.sampling import SamplingOptions
from inference.tokenizer import TextStream, Tokenizer


class Generation:
    """One text in the making.

    ``text`` and ``tokens`` are what was generated, ``prompt_tokens`` how many the prompt has, and
    ``reason`` is None until it is ``stop`` (a stop string, the end of text) or ``length``.
    """

    def __init__(self, ids: list[int], options: SamplingOptions, tokenizer: Tokenizer) -> None:
        self.options = options
        self.prompt_tokens = len(ids)
        self.tokens: list[int] = []
        self.reason: str | None = None
        self.ids = ids  # prompt and tokens
        self.asked = 0  # tokens whose computation was begun
        self._end = tokenizer.end
        self._stream = TextStream(tokenizer, options.stop)

    @property
    def text(self) -> str:
        return self._stream.text

    def push(self, token: int) -> str:
        """Takes the next token; gives the text that became sure."""
        if token == self._end:
            self.reason = "stop"
            return self._stream.flush()
        self.tokens.append(token)
        self.ids.append(token)
        piece = self._stream.push(token)
        if self._stream.stopped:
            self.reason = "stop"
        elif len(self.tokens) == self.options.max_new_tokens:
            self.reason = "length"
            piece += self._stream.flush()
        return piece


class TextGenerator:
    """Generates text with a GPT: MiniGPT, GPT-2 or any other shape of ``nets.gpt``.

    Args:
        config: fields of the net's ``GPTConfig``.
        weights: its state dict.
        tokenizer: the tokenizer that it was trained with.
        device: ``auto`` takes the GPU where there is one.
        dtype: of weights and cache; None for bfloat16 on a GPU and float32 elsewhere.
        slots: texts that are generated at once.
        cache, compile: see :class:`~inference.engine.DecodeEngine`.

    Raises:
        ValueError: weights, config and tokenizer that do not belong together.

    Example::

        generator = TextGenerator.load("models/mini_gpt")
        for piece in generator.stream("the cat", SamplingOptions(temperature=0.8)):
            print(piece, end="", flush=True)
    """

    def __init__(
        self,
        config: Mapping[str, Any],
        weights: Mapping[str, Tensor],
        tokenizer: Tokenizer,
        device: str = "auto",
        dtype: torch.dtype | None = None,
        slots: int = 1,
        cache: bool = True,
        compile: bool = False,
    ) -> None:
        if tokenizer.vocab_size > config["vocab_size"]:
            raise ValueError(
                f"the tokenizer has {tokenizer.vocab_size} tokens and the model "
                f"{config['vocab_size']}: it belongs to another model; export the model again"
            )
        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        if dtype is None:
            dtype = torch.bfloat16 if torch.device(device).type == "cuda" else torch.float32
        self.tokenizer = tokenizer
        self.model = CachedGPT(config, weights, slots, device, dtype)
        self.engine = DecodeEngine(self.model, cache, compile)

    @classmethod
    def load(
        cls, folder: str | Path, format: str | None = None, slots: int = 1, **kwargs: Any
    ) -> "TextGenerator":
        """From an artifact, ``models/<name>``.

        Args:
            folder: what ``gpu-learning export`` wrote.
            format: the file to take; None for the most exact that there is.
            slots, kwargs: as for the class; an ``onnx`` file runs on the CPU, one text at a time.

        Raises:
            ValueError: the folder is no language model, a file is missing, damaged or belongs to
                another model.
        """
        from inference.text_artifact import read_text_artifact

        artifact = read_text_artifact(Path(folder), format)
        if artifact.format == "onnx":
            return cls._around(artifact.model(), artifact.tokenizer, kwargs.get("cache", True))
        return cls(artifact.config, artifact.weights, artifact.tokenizer, slots=slots, **kwargs)

    @classmethod
    def _around(cls, model: CachedGPT, tokenizer: Tokenizer, cache: bool) -> "TextGenerator":
        generator = cls.__new__(cls)
        generator.tokenizer, generator.model = tokenizer, model
        generator.engine = DecodeEngine(model, cache)
        return generator

    def begin(self, prompt: str, options: SamplingOptions, truncate: bool = False) -> Generation:
        """Checks a prompt and makes a :class:`Generation` of it, not yet running.

        Raises:
            ValueError: an empty prompt where the model has no token for the beginning of a text,
                characters outside the vocabulary, a prompt longer than the context.
        """
        ids = self.tokenizer.encode(prompt)
        if not ids and self.tokenizer.end is not None:
            ids = [self.tokenizer.end]
        if not ids:
            raise ValueError(
                "the prompt is empty; this model needs at least one character to begin"
            )
        if len(ids) > self.model.context and not truncate:
            raise ValueError(
                f"the prompt has {len(ids)} tokens and the model's context is "
                f"{self.model.context}; shorten it, or ask to keep its end only (--truncate)"
            )
        return Generation(ids[-self.model.context :], options, self.tokenizer)

    def stream(
        self, prompt: str, options: SamplingOptions | None = None, truncate: bool = False
    ) -> Iterator[str]:
        """The generated text, piece by piece as it is made; raises as :meth:`begin` does."""
        generation = self.begin(prompt, options or SamplingOptions(), truncate)
        return (piece for _, piece in self.run([generation]) if piece)

    def generate(
        self,
        prompts: Sequence[str],
        options: SamplingOptions | Sequence[SamplingOptions] | None = None,
        truncate: bool = False,
    ) -> list[Generation]:
        """All texts, as many at once as there are slots; each as if it were alone."""
        options = options or SamplingOptions()
        each = [options] * len(prompts) if isinstance(options, SamplingOptions) else options
        texts = [self.begin(p, o, truncate) for p, o in zip(prompts, each, strict=True)]
        for _ in self.run(texts):
            pass
        return texts

    def run(self, texts: Sequence[Generation]) -> Iterator[tuple[Generation, str]]:
        """Runs generations to their end: pairs of one of them and its next piece of text.

        A waiting text takes the slot of one that ended. On a GPU the tokens are read one step
        behind the device, which so never waits for the host.
        """
        waiting, active = deque(texts), dict[int, Generation]()
        underway: deque[tuple[dict[int, Generation], Step]] = deque()
        try:
            while waiting or active:
                yield from self._keep_room(active, underway)
                free = [slot for slot in range(self.engine.slots) if slot not in active]
                joining = {slot: waiting.popleft() for slot in free[: len(waiting)]}
                if joining:
                    active |= joining
                    self.engine.start({s: (text.ids, text.options) for s, text in joining.items()})
                if any(text.asked < text.options.max_new_tokens for text in active.values()):
                    for text in active.values():
                        text.asked += 1
                    underway.append((dict(active), self.engine.step()))
                    behind = self.engine.lag
                else:
                    behind = 0
                yield from self._read(active, underway, behind)
        finally:
            for slot in active:
                self.engine.stop(slot)

    def _keep_room(
        self, active: dict[int, Generation], underway: deque
    ) -> Iterator[tuple[Generation, str]]:
        """Where a text fills the context, goes on with its last half."""
        if all(self.engine.room(slot) for slot in active):
            return
        yield from self._read(active, underway, 0)
        keep = max(1, self.model.context // 2)
        full = {s: text.ids[-keep:] for s, text in active.items() if not self.engine.room(s)}
        if full:
            self.engine.shift(full)

    def _read(
        self, active: dict[int, Generation], underway: deque, behind: int
    ) -> Iterator[tuple[Generation, str]]:
        """Takes the tokens of all steps underway but the last ``behind``."""
        while len(underway) > behind:
            slots, step = underway.popleft()
            tokens = step.read()
            for slot, text in slots.items():
                if text.reason is not None:
                    continue
                piece = text.push(tokens[slot])
                if text.reason is not None:
                    del active[slot]
                    self.engine.stop(slot)
                yield text, piece
