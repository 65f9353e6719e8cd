"""Every experiment of configs/ trains on a GPU, is scored and exported, and its files run there."""

from pathlib import Path

import numpy as np
import pytest
import torch

from inference import load
from inference.text.generate import TextGenerator
from inference.text.sampling import SamplingOptions
from lightning_modules.evaluate import evaluate
from tests.conftest import ROOT
from tests.helpers.image_folders import make_folder
from training.cli import TrainCLI

CONFIGS = sorted(path.stem for path in (ROOT / "configs").glob("*.yaml") if path.stem != "trainer")
LANGUAGE_MODELS = ("mini_gpt", "gpt2")
MNIST = [name for name in CONFIGS if name.startswith(("mnist", "transfer"))]


# Shorter than the start of a command, as they are.
SECONDS = ("binary_classifier", "curve_regressor", "dropout", "line_regressor", "word_similarity")
# In the vocabulary of the experiment's characters.
PROMPT = dict.fromkeys(CONFIGS, "The") | {"mini_gpt": "the", "mini_gpt_kernels": "the"}


def is_language_model(config: str) -> bool:
    return config.startswith(LANGUAGE_MODELS)


@pytest.fixture
def options(request: pytest.FixtureRequest, workplace: Path) -> list[str]:
    """What makes the experiment a matter of seconds, and complete without a download."""
    config = request.getfixturevalue("config")
    if config in SECONDS:
        return []
    # The longest warm-up of a learning rate has 100 steps.
    short = ["--trainer.max_epochs=5", "--trainer.limit_train_batches=25"]
    if config in MNIST:
        request.getfixturevalue("small_mnist")
        short += ["--data.init_args.val_size=100"]
    if config == "transfer":
        TrainCLI(["fit", "-c", "configs/mnist_cnn_backbone.yaml", *short])
        short += [f"--model.init_args.backbone={next(workplace.rglob('best.ckpt'))}"]
    if config.startswith("image"):
        short += [f"--data.init_args.root={make_folder(workplace / 'shapes')}"]
    if config == "image_transfer":
        short += ["--model.init_args.weights=none", "--model.init_args.unfreeze_after=null"]
    if config.startswith("gpt2_lora"):
        base = request.getfixturevalue("gpt2_base")
        short += [f"--model.init_args.pretrained={base}", "--data.init_args.context=160"]
    if "shakespeare" in config or config == "mini_gpt_cpu":
        text = workplace / "text.txt"
        text.write_text("KING and ROMEO: The To be, or not to be, that is the question.\n" * 400)
        short += [f"--data.init_args.source={text}"]
    return short


@pytest.mark.slow
@pytest.mark.gpu
@pytest.mark.parametrize("config", CONFIGS)
def test_fit_score_and_export(
    config: str, options: list[str], gpu_learning, workplace: Path
) -> None:
    path = f"configs/{config}.yaml"
    code, _, err = gpu_learning("fit", "-c", path, *options)
    assert code == 0, err
    if (
        config == "mini_gpt_course"
    ):  # no held-out text, and no files: half its positions are untrained
        return
    # Language models have no test split: what they are worth is their loss on held-out text.
    score = "validate" if is_language_model(config) else "test"
    code, out, err = gpu_learning(score, "-c", path, *options)
    assert code == 0, err
    assert "loss" in out
    formats = "safetensors" if is_language_model(config) else "pt2,torchscript"
    if config.startswith("gpt2_lora"):
        formats = "peft,merged,safetensors"
    export = ("export", f"logs/{config}", "--format", formats, "--device", "cuda")
    code, _, err = gpu_learning(*export)
    if config == "word_similarity":  # an embedding takes indices, and files take numbers
        assert code == 1
        assert "tokens or indices" in err
        return
    assert code == 0, err
    folder = workplace / "models" / config
    if is_language_model(config):
        on_device, on_cpu = (TextGenerator.load(folder, device=at) for at in ("cuda", "cpu"))
        greedy = SamplingOptions(4, temperature=0)
        texts = [made.generate([PROMPT[config]], greedy)[0].text for made in (on_device, on_cpu)]
        assert texts[0] == texts[1] != ""
        return
    checkpoint = next((workplace / "logs" / config).rglob("best.ckpt"))
    # Some modules build their net from the data; a checkpoint knows its shape.
    kind = type(TrainCLI(["fit", "-c", path, *options], run=False).model)
    # On the GPU, too: convolutions take TF32 there, on both sides.
    module = kind.load_from_checkpoint(checkpoint, map_location="cuda", weights_only=True)
    inputs = torch.randn(16, *module.example_input_array.shape[1:])
    np.testing.assert_allclose(
        load(folder, device="cuda")(inputs.numpy()),
        evaluate(module, inputs).numpy().reshape(16, -1),
        atol=1e-3,
    )
