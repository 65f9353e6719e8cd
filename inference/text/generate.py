"""Text from a trained language model: the only sampler of the project."""

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from inference.text.cached_gpt import CachedGPT
from inference.text.decode_loop import DecodeLoop, Generation
from inference.text.engine import DecodeEngine
from inference.text.fused_gpt import FusedGPT
from inference.text.grammar import Grammar, GrammarCompiler
from inference.text.options import SamplingOptions
from inference.text.templates import fill
from inference.text.tokenizer import Tokenizer


class TextGenerator:
    """Generates text with a GPT: MiniGPT, GPT-2 or any other shape of ``nets.gpt``.

    Args:
        config: fields of the net's ``GPTConfig``.
        weights: its state dict.
        tokenizer: the tokenizer that it was trained with.
        device: ``auto`` takes the GPU where there is one.
        dtype: of weights and cache; None for bfloat16 on a GPU and float32 elsewhere.
        slots: sequences that are generated at once.
        cache, compile: see :class:`~inference.text.engine.DecodeEngine`.
        kernels: decode with the Triton kernels of :class:`~inference.text.fused_gpt.FusedGPT`.
        int8: with the kernels, keep the matrices of the linear layers in 8 bits.
        template: prompt in which ``{question}`` is replaced by what is asked; None for a model that
            continues the prompt as it is.

    Raises:
        ValueError: weights, config and tokenizer that do not belong together, or ``kernels`` where
            they cannot run.

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
        template: str | None = None,
        kernels: bool = False,
        int8: bool = False,
    ) -> None:
        if tokenizer.vocab_size > config["vocab_size"]:
            raise ValueError(
                f"the tokenizer has {tokenizer.vocab_size} tokens and the model "
                f"{config['vocab_size']}: it belongs to another model; export the model again"
            )
        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        if torch.device(device).type == "cuda" and not torch.cuda.is_available():
            raise ValueError("torch sees no CUDA GPU; use --device cpu")
        if dtype is None:
            dtype = torch.bfloat16 if torch.device(device).type == "cuda" else torch.float32
        if kernels and not cache:
            raise ValueError("the kernels are for a step with a cache; leave --no-cache out")
        if int8 and not kernels:
            raise ValueError("weights in int8 are for the kernels; add --kernels")
        self.tokenizer = tokenizer
        self.template = template
        if kernels:
            self.model = FusedGPT(config, weights, slots, device, dtype, int8)
        else:
            self.model = CachedGPT(config, weights, slots, device, dtype)
        self.engine = DecodeEngine(self.model, tokenizer.vocab_size, cache, compile)

    @classmethod
    def load(
        cls,
        folder: str | Path,
        format: str | None = None,
        slots: int = 1,
        device: str = "auto",
        dtype: torch.dtype | None = None,
        cache: bool = True,
        compile: bool = False,
        threads: int | None = None,
        kernels: bool = False,
        int8: bool = False,
    ) -> "TextGenerator":
        """From an artifact, ``models/<name>``, or from a GPT-2 in transformers' format.

        Args:
            folder: what ``gpu-learning export`` wrote; or a folder with ``config.json``,
                ``model.safetensors`` and the tokenizer.
            format: the artifact's file to take; None for the most exact that there is.
            slots, device, dtype, cache, compile, kernels, int8: as for the class; an ``onnx`` file
                runs on the CPU in float32, one sequence at a time.
            threads: threads inside an operation, of torch for the whole process; None for the
                library's default.

        Raises:
            ValueError: the folder is no language model, a file is missing, damaged or belongs to
                another model, or an ``onnx`` file cannot do what was asked.
        """
        from inference.manifest import read_manifest
        from inference.text.artifact import TextArtifact, read_text_artifact
        from inference.text.transformers_folder import (
            is_transformers_folder,
            read_transformers_folder,
        )

        if is_transformers_folder(Path(folder)):
            if format is not None:
                raise ValueError(f"{folder} is in transformers' format and has no {format}")
            config, weights, tokenizer = read_transformers_folder(Path(folder))
            artifact = TextArtifact("transformers", config, tokenizer, weights=weights)
        else:
            artifact = read_text_artifact(Path(folder), format)
            # What lies beside it for other programs is a part of the artifact, too.
            read_manifest(folder).check(skip=("tokenizer", artifact.format))
        if artifact.format == "onnx":
            changed = compile or kernels or int8 or slots > 1 or dtype not in (None, torch.float32)
            if device == "cuda" or changed:
                raise ValueError(
                    f"the onnx file of {folder} runs on the CPU as it is, in float32 with one "
                    "slot; take another format for a GPU, compiling, kernels, slots or another "
                    "dtype"
                )
            return cls._around(artifact, cache, threads)
        if threads:
            torch.set_num_threads(threads)
        return cls(
            artifact.config,
            artifact.weights,
            artifact.tokenizer,
            device,
            dtype,
            slots,
            cache,
            compile,
            artifact.template,
            kernels,
            int8,
        )

    @classmethod
    def _around(cls, artifact: Any, cache: bool, threads: int | None) -> "TextGenerator":
        generator = cls.__new__(cls)
        generator.tokenizer, generator.model = artifact.tokenizer, artifact.model(threads)
        generator.template = artifact.template
        generator.engine = DecodeEngine(generator.model, artifact.tokenizer.vocab_size, cache)
        return generator

    def begin(
        self,
        prompt: str | Sequence[int],
        options: SamplingOptions,
        truncate: bool = False,
        raw: bool = False,
        grammar: Grammar | None = None,
    ) -> Generation:
        """Checks a prompt, text or tokens, and makes a :class:`Generation` of it, not yet running.

        Args:
            prompt: text, or tokens, which are taken as they are.
            options: how the tokens are sampled.
            truncate: keep the end of a prompt that is too long.
            raw: take the prompt as it is, also where the model has a template.
            grammar: what :meth:`compile` made of the schema of the options, for this answer alone;
                None compiles it now.

        Raises:
            ValueError: an empty prompt where the model has no token to begin with,
                characters outside the vocabulary, a prompt longer than the context, a bias of a
                token that the model does not have, a schema as in
                :meth:`~inference.text.grammar.GrammarCompiler.compile`.
        """
        if isinstance(prompt, str):
            if self.template is not None and not raw:
                prompt = fill(self.template, prompt)
            ids = self.tokenizer.encode(prompt)
        else:
            ids = list(prompt)
        if not ids and self.tokenizer.end is not None:
            ids = [self.tokenizer.end]
        if not ids:
            raise ValueError(
                "the prompt is empty; this model needs at least one character to begin"
            )
        window = options.window_in(self.model.context)
        if len(ids) > window and not truncate:
            raise ValueError(
                f"the prompt has {len(ids)} tokens and the model's context is {window}; shorten "
                "it, or ask to keep its end only (--truncate)"
            )
        last = self.tokenizer.vocab_size - 1
        if wrong := [token for token, _ in options.logit_bias if not 0 <= token <= last]:
            raise ValueError(f"logit_bias names token {wrong[0]}; this model's are 0 to {last}")
        if grammar is None and options.schema is not None:
            grammar = self.compile(options.schema)
        return Generation(options.fit(ids, window), options, self.tokenizer, grammar)

    def compile(self, schema: Mapping[str, Any]) -> Grammar:
        """The grammar of one answer by a JSON Schema; may be called from any thread.

        Raises:
            ValueError: as :meth:`~inference.text.grammar.GrammarCompiler.compile`.
        """
        return self._compiler.compile(schema)

    @cached_property
    def _compiler(self) -> GrammarCompiler:
        return GrammarCompiler(self.tokenizer)

    def stream(
        self,
        prompt: str,
        options: SamplingOptions | None = None,
        truncate: bool = False,
        raw: bool = False,
    ) -> Iterator[str]:
        """The generated text, piece by piece as it is made; see :meth:`begin`."""
        generation = self.begin(prompt, options or SamplingOptions(), truncate, raw)
        return (piece for _, piece in self.run([generation]) if piece)

    def generate(
        self,
        prompts: Sequence[str],
        options: SamplingOptions | Sequence[SamplingOptions] | None = None,
        truncate: bool = False,
        raw: bool = False,
    ) -> list[Generation]:
        """Completes all prompts, as many at once as there are slots; each as if it were alone."""
        options = options or SamplingOptions()
        each = [options] * len(prompts) if isinstance(options, SamplingOptions) else options
        begun = [self.begin(p, o, truncate, raw) for p, o in zip(prompts, each, strict=True)]
        for _ in self.run(begun):
            pass
        return begun

    def run(self, generations: Sequence[Generation]) -> Iterator[tuple[Generation, str]]:
        """Runs generations to their end: pairs of one of them and its next piece of text.

        Raises:
            GrammarError: one of them cannot be continued by its schema.
        """
        loop = DecodeLoop(self.engine)
        for generation in generations:
            loop.add(generation)
        try:
            while loop.busy:
                for generation, piece in loop.step():
                    yield generation, piece
                    if generation.error is not None:
                        raise generation.error
        finally:
            loop.clear()
