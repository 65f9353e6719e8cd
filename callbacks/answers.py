"""What a fine-tuned language model answers."""

from dataclasses import asdict
from typing import Any

import lightning.pytorch as pl

from callbacks.tensorboard import add_texts
from inference.text.generate import TextGenerator
from inference.text.sampling import SamplingOptions
from inference.text.tokenizer import Tokenizer


class Answers(pl.Callback):
    """Asks the model after each validation, and scores its answers to the held-out questions.

    Logs ``val/exact_match`` (share of the answers that are the expected ones, articles, punctuation
    and capitals aside) and ``val/token_f1`` (harmonic mean of precision and recall of their words;
    P. Rajpurkar et al., SQuAD, 2016), and adds the answers to ``questions`` to TensorBoard. The
    answers are greedy and made by the project's own sampler from a merged copy of the weights, so
    the training does not notice. In the check before a training it answers too. Not for sharded
    weights (FSDP).

    Args:
        questions: what is asked in every epoch, beside the held-out questions.
        every_n_epochs: epochs between two rounds of questions.
        max_new_tokens: longest answer.

    Raises:
        ValueError: an interval below 1, or a module or data that answers no questions.

    Example::

        callbacks+:
          - class_path: callbacks.Answers
            init_args: {questions: ["What is a GPU?"]}
    """

    def __init__(
        self,
        questions: tuple[str, ...] = ("What is a GPU?", "What is LoRA?"),
        every_n_epochs: int = 1,
        max_new_tokens: int = 40,
    ) -> None:
        if every_n_epochs < 1:
            raise ValueError(f"every_n_epochs must be at least 1, got {every_n_epochs}")
        self.questions = list(questions)
        self.every_n_epochs = every_n_epochs
        self.options = SamplingOptions(max_new_tokens, temperature=0)

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        if not hasattr(pl_module, "merged") or not hasattr(trainer.datamodule, "held_out"):
            raise ValueError("Answers needs a GPT2LoRA and an InstructionDataModule; take it out")

    # All processes answer alike: what is logged must be the same in each.
    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        last = trainer.current_epoch + 1 == trainer.max_epochs
        due = trainer.sanity_checking or (trainer.current_epoch + 1) % self.every_n_epochs == 0
        if not (due or last):
            return
        data: Any = trainer.datamodule
        asked = [*self.questions, *(question for question, _ in data.held_out)]
        answers = self._ask(pl_module, data, asked)
        if trainer.is_global_zero:
            shown = zip(self.questions, answers, strict=False)
            add_texts(trainer, {f"answers/{question}": answer for question, answer in shown})
        if data.held_out:
            found = answers[len(self.questions) :]
            scores = score(found, [answer for _, answer in data.held_out])
            pl_module.log_dict({f"val/{name}": value for name, value in scores.items()})

    def _ask(self, pl_module: Any, data: Any, questions: list[str]) -> list[str]:
        net = pl_module.merged()
        generator = TextGenerator(
            asdict(net.config),
            net.state_dict(),
            Tokenizer(data.tokenizer.to_json()),
            device="cpu",
            slots=min(8, len(questions)),
            template=data.template,
        )
        return [text.text.strip() for text in generator.generate(questions, self.options)]


def score(answers: list[str], expected: list[str]) -> dict[str, float]:
    """``exact_match`` and ``token_f1`` of answers, as SQuAD counts them, from 0 to 1."""
    from torchmetrics.functional.text import squad  # transformers and all text metrics with it

    numbered = list(enumerate(zip(answers, expected, strict=True)))
    found = squad(
        [{"prediction_text": answer, "id": str(number)} for number, (answer, _) in numbered],
        [
            {"answers": {"text": [wanted], "answer_start": [0]}, "id": str(number)}
            for number, (_, wanted) in numbered
        ],
    )
    return {
        "exact_match": found["exact_match"].item() / 100,
        "token_f1": found["f1"].item() / 100,
    }
