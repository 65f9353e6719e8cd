"""EleutherAI's lm-evaluation-harness counts through our server what ``val/loss`` counts."""

import json
import math
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from datamodules import CharTextDataModule
from datamodules.corpus import cats_and_dogs
from lightning_modules import MiniGPT
from tests.conftest import quiet_trainer
from tests.serving.conftest import export_net, serving

LM_EVAL = shutil.which("lm_eval")
CONTEXT = 32
TASK = """\
task: held_out
dataset_path: json
dataset_kwargs: {{data_files: {{test: {file}}}}}
test_split: test
output_type: loglikelihood_rolling
doc_to_text: ""
doc_to_target: "{{{{text}}}}"
metric_list: [{{metric: byte_perplexity}}, {{metric: bits_per_byte}}]
"""


@pytest.mark.slow
@pytest.mark.skipif(
    LM_EVAL is None,
    reason="lm_eval is not on the PATH: pip install 'lm-eval[api]' transformers, best in an "
    "environment of its own",
)
def test_perplexity_is_that_of_the_validation(workplace: Path) -> None:
    # The harness keeps one position for the token before and one for a token that it drops, so its
    # windows predict one token less than the context has.
    data, module = CharTextDataModule(context=CONTEXT - 1, batches=150), MiniGPT(lr=3e-3)
    trainer = quiet_trainer(max_epochs=1, limit_val_batches=0)
    trainer.fit(module, datamodule=data)
    (scores,) = quiet_trainer().validate(module, datamodule=data, verbose=False)
    loss = scores["val/loss"]
    assert 0.2 < loss < 1.2  # it has learned something

    assert data.tokenizer is not None
    models, tasks = workplace / "models", workplace / "tasks"
    export_net(models / "trained", module.net.cpu(), data.tokenizer.to_json())
    (models / "trained" / "tokenizer_config.json").write_text(
        json.dumps({"tokenizer_class": "PreTrainedTokenizerFast"})
    )
    text = cats_and_dogs()
    held_out = text[int(len(text) * (1 - data.val_fraction)) :]
    tasks.mkdir()
    (tasks / "held_out.jsonl").write_text(json.dumps({"text": held_out[1:]}) + "\n")
    (tasks / "held_out.yaml").write_text(TASK.format(file=tasks / "held_out.jsonl"))
    with serving(models) as server:
        model = {
            "model": "trained",
            "base_url": f"{server.url}/v1/completions",
            "tokenizer": models / "trained",
            "tokenizer_backend": "huggingface",
            "max_length": CONTEXT + 1,
            # The first character of the text is what the first window begins with.
            "custom_prefix_token_id": int(data.tokenizer.encode(held_out[:1])[0]),
        }
        results = _evaluate(model, tasks)
    # One byte is one character is one token.
    assert results["byte_perplexity,none"] == pytest.approx(math.exp(loss), abs=1e-3)
    assert results["bits_per_byte,none"] == pytest.approx(loss / math.log(2), abs=1e-3)


def _evaluate(model: dict[str, object], tasks: Path) -> dict[str, float]:
    """What the harness finds, in a process and perhaps an environment of its own."""
    assert LM_EVAL is not None
    command = [LM_EVAL, "--model", "local-completions", "--tasks", "held_out", "--batch_size", "16"]
    command += ["--model_args", ",".join(f"{name}={value}" for name, value in model.items())]
    command += ["--include_path", str(tasks), "--output_path", str(tasks / "out")]
    offline = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "HF_HOME": str(tasks / "hf")}
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(command, env=environment | offline, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    (report,) = (tasks / "out").rglob("results_*.json")
    return json.loads(report.read_text())["results"]["held_out"]
