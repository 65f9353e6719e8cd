"""Images of one's own from the folder to the page: four classes in color, with bad files."""

import base64
import io
import json
import logging
import warnings
from pathlib import Path
from shutil import copytree

import numpy as np
import pytest
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from inference import Classifier, load
from inference.manifest import read_manifest
from scripts.cli import main
from tests.conftest import ROOT
from tests.helpers.image_folders import CLASSES, make_folder, shape, spoil
from tests.serving.browsing import says
from tests.serving.live import serving

httpx = pytest.importorskip("httpx", reason="needs the extra serve")
for package in ("onnx", "onnxruntime", "onnxscript", "safetensors"):
    pytest.importorskip(package, reason="the extra [export] is not installed")

pytestmark = pytest.mark.slow
FORMATS = "onnx,torchscript,onnx-int8,safetensors"


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ``shapes``, its trained run in ``logs`` and ``models/shapes``."""
    place = tmp_path_factory.mktemp("own")
    spoil(make_folder(place / "shapes"))
    (place / "configs").symlink_to(ROOT / "configs")
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        patch.chdir(place)
        root = "--data.init_args.root=shapes"
        for command in (
            ["fit", "-c", "configs/image_folder.yaml", root, "--trainer.max_epochs=8"],
            ["test", "-c", "configs/image_folder.yaml", root],
            ["export", "logs/image_folder", "--name", "shapes", "--format", FORMATS],
        ):
            assert main(command) == 0
    return place


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Shapes that the training has not seen, 64 pixels wide, as JPEG files."""
    folder = tmp_path_factory.mktemp("new")
    generator = np.random.default_rng(9)
    for number in range(40):
        kind = number % 4
        shape(kind, 64, generator).save(folder / f"{number:02} {CLASSES[kind]}.jpg", quality=95)
    return folder


def test_it_was_learned(project: Path) -> None:
    (run,) = (project / "logs" / "image_folder").iterdir()
    events = EventAccumulator(str(run)).Reload()
    assert events.Scalars("test/acc")[-1].value >= 0.95
    for name in CLASSES:
        assert f"test_classes/acc_{name}" in events.Tags()["scalars"]
    assert {"test/predictions", "test/confusion", "images/filters"} <= set(events.Tags()["images"])
    assert (run / "predictions.png").is_file()


def test_the_manifest_says_what_the_model_takes(project: Path) -> None:
    manifest = read_manifest(project / "models" / "shapes")
    assert manifest.labels == tuple(sorted(CLASSES))
    assert manifest.preprocessing == "resize-crop"
    assert manifest.input_shape == (3, 32, 32)
    assert len(manifest.mean or ()) == len(manifest.std or ()) == 3
    assert manifest.document["schema"] == 3
    assert set(manifest.files) == set(FORMATS.split(","))


@pytest.mark.parametrize("runtime", ["onnx", "torchscript", "onnx-int8"])
def test_every_format_names_new_images(project: Path, pictures: Path, runtime: str) -> None:
    model = load(project / "models" / "shapes", runtime)
    assert isinstance(model, Classifier)
    paths = sorted(pictures.iterdir())
    found = [prediction.label for prediction in model.predict_batch(paths)]
    right = [path.stem.partition(" ")[2] for path in paths]
    assert np.mean([a == b for a, b in zip(found, right, strict=True)]) >= 0.9
    one = model.predict(paths[0])
    assert dict(one).keys() == {"label", "confidence", "all_probs", "inverted"}
    with pytest.raises(ValueError, match="is not a digit; use label"):
        _ = one.digit


def test_classify_prints_names(project: Path, pictures: Path, gpu_learning) -> None:
    model = project / "models" / "shapes"
    code, out, _ = gpu_learning("classify", model, pictures, "--json")
    assert code == 0
    rows = [json.loads(line) for line in out.splitlines()]
    assert {row["label"] for row in rows} == set(CLASSES)
    assert all(f'"label": "{name}"' in out for name in CLASSES)
    code, _, err = gpu_learning("classify", model, pictures, "--ink", "dark")
    assert code == 1
    assert "--ink is for models of digits" in err


def test_the_server_answers_with_names(project: Path, pictures: Path) -> None:
    path = sorted(pictures.iterdir())[1]
    name = path.stem.partition(" ")[2]
    with serving(project / "models") as (url, _):
        image = base64.b64encode(path.read_bytes()).decode()
        body = {"model": "shapes", "images": [image, "bm8gaW1hZ2U="]}
        good, bad = httpx.post(f"{url}/api/classify", json=body).json()["results"]
        assert good["label"] == name
        assert good["digit"] is None
        assert list(good["probabilities"]) == sorted(CLASSES)
        assert "not an image" in bad["error"]
        assert "seen" not in good
        again, bad = httpx.post(f"{url}/api/classify", json=body | {"seen": True}).json()["results"]
        assert (again["label"], list(bad)) == (name, ["error"])
        content = base64.b64decode(again["seen"].removeprefix("data:image/png;base64,"))
        with Image.open(io.BytesIO(content)) as seen:
            shown = np.asarray(seen.convert("RGB"), dtype=np.float32) / 255
        classifier = load(project / "models" / "shapes")
        expected = classifier.seen(path).transpose(1, 2, 0)
        assert shown.shape[:2] == tuple(classifier.manifest.input_shape[-2:])
        assert np.abs(shown - expected).max() <= 0.5 / 255 + 1e-6
        files = {"images": path.read_bytes()}
        answer = httpx.post(f"{url}/api/classify", data={"model": "shapes"}, files=files).json()
        assert answer["results"][0]["label"] == name
        (model,) = httpx.get(f"{url}/api/tags").json()["models"]
        assert model["details"]["labels"] == sorted(CLASSES)
        assert model["details"]["preprocessing"] == "resize-crop"


def test_the_page_shows_names(
    project: Path, pictures: Path, artifact: Path, visit, tmp_path
) -> None:
    models = copytree(project / "models", tmp_path / "models")
    copytree(artifact, models / "digits")
    path = sorted(pictures.iterdir())[2]
    with serving(models) as (url, _):
        page = visit(url)
        page.locator("#digits-model").select_option("shapes:latest")
        says(page, "#digits-title", "Classify an image")
        assert page.locator("#bars li").count() == 4
        assert page.locator("#undo").is_hidden()
        page.set_input_files("#file", path)
        says(page, "#best-label", path.stem.partition(" ")[2])
        assert page.locator("#bars li.best").count() == 1
        label = page.locator("#pad").get_attribute("aria-label")
        assert label == f"Image area, it shows {path.stem.partition(' ')[2]}"
        # A stroke is for digits.
        page.locator("#clear").click()
        page.locator("#pad").click()
        assert page.locator("#best-label").inner_text() == ""
        page.locator("#digits-model").select_option("digits:latest")
        says(page, "#digits-title", "Draw a digit")
        assert page.locator("#bars li").count() == 10


@pytest.mark.parametrize(("side", "gray", "count"), [(64, True, 160), (224, False, 40)])
def test_other_sizes(
    side: int, gray: bool, count: int, workplace: Path, gpu_learning, caplog
) -> None:
    make_folder(workplace / "set", side=side, count=count, gray=gray)
    fit = ("fit", "-c", "configs/image_folder.yaml", "--data.init_args.root=set")
    with caplog.at_level(logging.INFO):
        code, _, err = gpu_learning(*fit, "--trainer.max_epochs=2")
    assert code == 0, err
    channels = 1 if gray else 3
    assert f"{count} images of 4 classes as {channels} x {side} x {side} take" in caplog.text
    code, _, err = gpu_learning("export", "logs/image_folder", "--format", "onnx,torchscript")
    assert code == 0, err
    model = load("models/image_folder")
    assert model.manifest.input_shape == (channels, side, side)
    Image.new("RGB", (300, 200), "blue").save("new.png")
    assert model.predict("new.png").label in CLASSES
