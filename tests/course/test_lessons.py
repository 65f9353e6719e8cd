"""``gpu-learning lessons``: what it lists, runs and verifies, and how it fails."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml

from course import (
    artifacts,
    catalogue,
    classification,
    dropout,
    gpt2,
    language,
    training_step,
)
from course.catalogue import Figure, Lesson, Rule, find, read, show
from course.runner import Measured, Result, Run, Skipped, lines, run_lesson
from lightning_modules.nets import CNN
from tests.conftest import ROOT
from tests.helpers.kernels import require


def test_every_step_is_listed(gpu_learning) -> None:
    code, out, _ = gpu_learning("lessons")
    assert code == 0
    lessons = read()
    assert [lesson.step for lesson in lessons] == list(range(4, 4 + len(lessons)))
    assert len(lessons) >= 27
    for lesson in lessons:
        assert f"{lesson.step:>4}  {lesson.title}" in out
    parts = [lesson.part for lesson in lessons if lesson.part]
    assert lessons[0].part
    assert [line for line in out.splitlines() if line in parts] == parts


def test_every_config_named_exists() -> None:
    for lesson in read():
        for config in lesson.configs:
            assert Path(config).is_file(), lesson


def test_what_lessons_print_is_rounded(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    inputs = torch.linspace(0, 1, 5)[:, None]
    training_step.show_graph(torch.nn.Linear(1, 1), inputs, 2 * inputs)
    checked = {"max_difference": 4.76837158203125e-06, "accuracy": 0.98871234, "inputs": 10000}
    entry = {"bytes": 214111, "checked": checked}
    said = artifacts.told("onnx", entry)
    assert said == "onnx: 214,111 bytes, max difference 4.768e-06, accuracy 0.9887, inputs 10,000"
    assert not re.search(r"\d\.\d{5}", capsys.readouterr().out)


def test_the_elements_that_lesson_27_prints_are_rounded(workplace: Path) -> None:
    require(find(read(), "27"))
    command = [sys.executable, "-m", "scripts.cli", "lessons", "run", "27"]
    result = subprocess.run(command, capture_output=True, text=True)  # numba's simulator is its own
    assert result.returncode == 0, result.stderr
    _, *lists = re.split(r"21 elements, .*, the last: \[(.+)\]", result.stdout)
    # The inputs are random, and 0.08788 has four digits as well.
    numbers = ", ".join(lists[::2]).split(", ")
    assert len(numbers) == 2 * 6
    assert numbers == [show(float(number)) for number in numbers]
    assert not re.search(r"\d\.\d{5}", re.sub(r"the last: .*", "", result.stdout))


@pytest.mark.slow
def test_verify_json(gpu_learning, workplace: Path, device: str) -> None:
    code, out, err = gpu_learning(
        "lessons", "verify", "--json", "4", "5", "6", "7", "9", "20", "21"
    )
    report = json.loads(out)
    assert code == 0, (report, err)
    assert report["count"] == {"pass": 7, "fail": 0, "not built": 0, "skipped": 0}
    rows = {row["step"]: row for row in report["lessons"]}
    line = {figure["name"]: figure for figure in rows[7]["figures"]}
    assert line["x = 10"]["ours"] == pytest.approx(21, abs=0.005)
    assert line["x = 10"]["course"] == "21.00"
    # Every loss of the loop by hand has the bits of the Trainer's.
    assert line["losses by hand equal the Trainer's"]["ours"] == 1000
    assert line["hooks of a step, in order"]["status"] == "pass"
    assert rows[7]["insight"]
    assert set(rows[7]["shown_by"]) <= line.keys()
    assert all(figure["status"] == "pass" for figure in rows[21]["figures"])
    assert rows[7]["seconds"] > 0
    assert (workplace / "logs" / "lessons" / "07-line" / "fit.png").is_file()
    assert (workplace / "logs" / "lessons" / "20-attention" / "attention.png").is_file()
    assert (workplace / "logs" / "lessons" / "21-transformer-block" / "alike.png").is_file()


def test_run_shows_the_command_and_the_outcome(gpu_learning, device: str) -> None:
    code, out, _ = gpu_learning("lessons", "run", "words")
    assert code == 0
    assert "gpu-learning fit -c configs/word_similarity.yaml" in out
    assert "related, the lowest" in out
    assert "Pictures:\n  logs/lessons/19-words/" in out


@pytest.mark.parametrize("columns", [60, 80, 200])
def test_the_table_fits_the_terminal(
    gpu_learning, monkeypatch: pytest.MonkeyPatch, columns: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    code, out, _ = gpu_learning("lessons", "verify", "4")
    assert code == 0
    table = out.partition("\n\n")[0].splitlines()  # then come the counts and a folder
    assert max(map(len, table)) <= columns
    assert table[0].startswith("   4  Tensors: pass")
    row = next(line for line in table if line.startswith("a + b"))
    assert row.endswith(" pass")


def test_without_a_terminal_the_table_has_80_columns(
    gpu_learning, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("COLUMNS")
    code, out, _ = gpu_learning("lessons", "verify", "4")
    assert code == 0
    assert max(map(len, out.splitlines())) <= 80


def test_a_long_list_is_shown_once_and_whole() -> None:
    words = ["training_step", "optimizer_zero_grad", "backward", "optimizer_step"]
    figure = Figure("hooks of a step, in order", "not asked", Rule(equal=words))
    one = Measured(figure, str(figure.rule), words, "pass")
    rows = lines(Result(find(read(), "line"), "pass", 1.0, figures=(one,)), 80)
    assert max(map(len, rows)) <= 80
    told = "".join("".join(rows).split())
    assert all(told.count(word) == 1 for word in words)
    assert "asexpected" in told
    assert "thecourse" not in told  # it says nothing of this figure


def test_a_run_that_passed_is_in_the_progress(gpu_learning, workplace: Path) -> None:
    assert "not begun" in gpu_learning("lessons", "progress")[1].splitlines()[0]
    assert gpu_learning("lessons", "run", "4")[0] == 0
    _, out, _ = gpu_learning("lessons", "progress")
    assert "run, exercise open" in out.splitlines()[0]
    assert "lessons: 1 run" in out
    rows = json.loads(gpu_learning("lessons", "progress", "--json")[1])["exercises"]
    assert [row["run"] for row in rows[:2]] == [True, False]
    assert "run, exercise open" in gpu_learning("lessons")[1].splitlines()[1]
    gpu_learning("lessons", "start", "4")
    assert "run, exercise started" in gpu_learning("lessons", "progress")[1]
    (workplace / "logs" / "lessons" / "04-tensors" / "result.json").write_text('{"status": "fa')
    assert "run, exercise" not in gpu_learning("lessons", "progress")[1]


@pytest.mark.slow
def test_run_says_what_it_is_about_before_torch_is_imported(workplace: Path) -> None:
    command = [sys.executable, "-m", "scripts.cli", "lessons", "run", "4"]
    ended = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=True
    )
    said = ended.stdout
    assert said.index("a shape, a type and a device") < said.index("starting torch")
    assert said.index("starting torch") < said.index("Tensors: pass")


@pytest.mark.slow
def test_step_25_talks_to_our_own_server(gpu_learning, workplace: Path, device: str) -> None:
    pytest.importorskip("uvicorn", reason="needs the extra serve")
    from tests.serving.live import models_folder

    models_folder(workplace)
    code, out, err = gpu_learning("lessons", "run", "25")
    assert code == 0, (out, err)
    assert "gpu-learning serve models" in out
    assert "fail" not in out


def test_what_is_not_built_is_no_pass(tmp_path: Path) -> None:
    planned = Lesson(step=99, name="planned", title="Planned", sees="Nothing yet.")
    result = run_lesson(planned, tmp_path, reduced=True, silent=True)
    assert (result.status, result.figures) == ("not built", ())


def test_mnist_is_skipped_where_it_is_not(gpu_learning) -> None:
    code, out, _ = gpu_learning("lessons", "verify", "--json", "10", "12", "15")
    assert code == 0
    for row in json.loads(out)["lessons"]:
        assert row["status"] == "skipped"
        assert "needs MNIST in data/MNIST/raw" in row["reason"]


def test_a_long_lesson_says_how_long_it_takes(gpu_learning) -> None:
    _, long, _ = gpu_learning("lessons", "run", "10")  # skipped, without MNIST
    _, short, _ = gpu_learning("lessons", "run", "4")
    assert f"about {find(read(), '10').seconds} s on two processor cores" in long
    assert "processor cores" not in short


def test_run_of_what_the_machine_lacks_is_no_failure(gpu_learning) -> None:
    code, out, _ = gpu_learning("lessons", "run", "10")
    assert code == 0
    assert "skipped (needs MNIST in data/MNIST/raw" in out
    assert "How to read it" not in out  # there is nothing to read


def test_ctrl_c_in_a_fit_of_a_lesson_names_the_lesson(
    gpu_learning, workplace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its fit has a checkpoint, which resumes the fit alone."""

    def check(run: Run) -> None:
        spy = {"class_path": "tests.scripts.spies.Interrupt"}
        (workplace / "spy.yaml").write_text(yaml.safe_dump({"trainer": {"callbacks+": [spy]}}))
        run.fit("digits_cnn", "-c", "spy.yaml", "--trainer.max_epochs=2")

    monkeypatch.setattr("course.tensors.tensors", check)
    code, _, err = gpu_learning("lessons", "--logs", "my logs", "run", "4")
    assert code == 130
    assert "interrupted; to run it again:\n  gpu-learning lessons --logs 'my logs' run 4\n" in err


def test_bits_of_a_distribution() -> None:
    even = torch.zeros(3, 8)
    assert gpt2.mean_bits(even) == pytest.approx(3)  # eight tokens alike
    assert gpt2.mean_bits(torch.tensor([[50.0, 0.0]])) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize(
    ("asked", "hint"),
    [
        ("90", f"the nearest is {read()[-1].step}"),
        ("atention", "did you mean 20 (attention)?"),
        ("xyzzy", "lessons lists them"),
    ],
)
def test_unknown_lesson(gpu_learning, asked: str, hint: str) -> None:
    code, _, err = gpu_learning("lessons", "run", asked)
    assert code == 2
    assert f"there is no lesson '{asked}'" in err
    assert hint in err


@pytest.mark.parametrize("action", ["run", "start"])
def test_steps_without_a_lesson_name_their_page(gpu_learning, action: str) -> None:
    code, _, err = gpu_learning("lessons", action, "3")
    assert code == 2
    assert "steps 1 to 3 set up the machine and have no lesson: read docs/course/01-" in err
    assert (ROOT / re.search(r"docs/course/[\w-]+\.md", err)[0]).is_file()  # type: ignore[index]


def test_found_by_number_and_name() -> None:
    lessons = read()
    assert find(lessons, "9") is find(lessons, "09") is find(lessons, "binary-classifier")
    assert find(lessons, "09-binary-classifier").step == 9


VALUE = {"value": 1.0}


def empty(run: Run) -> dict[str, float]:
    return {}


def one(run: Run) -> dict[str, float]:
    (run.folder / "seen").touch()
    return VALUE


def broken(run: Run) -> dict[str, float]:
    raise RuntimeError("out of order")


def lacking(run: Run) -> dict[str, float]:
    raise Skipped("needs a thing")


def partly(run: Run) -> dict[str, float]:
    run.skip("value", "needs a GPU")
    return {}


def exports(run: Run) -> dict[str, float]:
    """As steps 22 and 24 do: a fit whose config exports at its end."""
    short = ("--trainer.max_epochs=1", "--data.init_args.batches=60")
    run.fit("mini_gpt", *short)
    assert (run.models / "mini_gpt" / "manifest.json").is_file()
    return VALUE


def lesson(check: str, rule: Rule | None = None) -> Lesson:
    figures = (Figure("value", "1", rule or Rule(equal=1), Rule(at_least=0.5)),)
    return Lesson(99, "test", "Test", "Nothing", check=f"{__name__}:{check}", figures=figures)


@pytest.mark.parametrize(
    ("check", "status"),
    [
        ("one", "pass"),
        ("empty", "fail"),
        ("broken", "fail"),
        ("lacking", "skipped"),
        ("partly", "skipped"),
        ("absent", "fail"),
    ],
)
def test_a_lesson_passes_only_when_it_ran(tmp_path: Path, check: str, status: str) -> None:
    result = run_lesson(lesson(check), tmp_path, reduced=False, silent=True)
    assert result.status == status
    assert (tmp_path / "99-test" / "seen").exists() == (check == "one")


@pytest.mark.slow
def test_a_lesson_leaves_the_users_models_alone(workplace: Path) -> None:
    mine = workplace / "models" / "mini_gpt"
    mine.mkdir(parents=True)
    (mine / "manifest.json").write_text("mine")
    (mine / "model.gguf").write_bytes(b"my weights")
    root = workplace / "logs" / "lessons"
    result = run_lesson(lesson("exports"), root, reduced=False, silent=True)
    assert result.status == "pass", result.reason
    assert (mine / "manifest.json").read_text() == "mine"
    assert (mine / "model.gguf").read_bytes() == b"my weights"
    assert len(list((workplace / "models").rglob("*"))) == 3
    assert (root / "models" / "mini_gpt" / "manifest.json").is_file()


def test_no_lesson_names_the_users_models() -> None:
    """What a lesson writes goes through ``Run``; two read models that the user may have."""
    reading = {"gpt2.py": 'Path("models/gpt2")', "served.py": 'Path("models/mini_gpt")'}
    lessons = set((ROOT / "course").glob("*.py")) - set((ROOT / "course").glob("*_pipeline.py"))
    for path in lessons:
        text = path.read_text().replace(reading.get(path.name, ""), "")
        assert not re.search(r"""["']models/""", text), path


def test_a_value_off_the_rule_fails(tmp_path: Path) -> None:
    strict = lesson("one", Rule(at_least=2))
    assert run_lesson(strict, tmp_path, reduced=False, silent=True).status == "fail"
    assert run_lesson(strict, tmp_path, reduced=True, silent=True).status == "pass"


def test_a_failure_shows_itself_in_run(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="out of order"):
        run_lesson(lesson("broken"), tmp_path, reduced=False, silent=False)


def test_rules() -> None:
    assert Rule(equal=[1, [2.0]], within=0.1).holds([1.05, [1.95]])
    assert not Rule(equal=[1, 2]).holds([1, 2, 3])
    assert Rule(at_least=1, at_most=2).holds(2)
    assert not Rule(at_most=2).holds(2.1)
    assert Rule(equal=["a", "b"]).holds(["a", "b"])
    assert not Rule(equal="MseLossBackward0").holds("AddmmBackward0")
    with pytest.raises(ValueError, match="needs equal, at_least or at_most"):
        Rule()


def test_values_are_shown_so_that_they_can_be_told_apart() -> None:
    assert catalogue.show(52138) == "52,138"
    assert catalogue.show([[15496, 11], [1.5]]) == "[[15496, 11], [1.5]]"
    assert catalogue.show([True]) == "[yes]"


def test_text_as_numbers(gpu_learning, workplace: Path) -> None:
    pytest.importorskip("tokenizers", reason="needs the extra llm")
    code, out, _ = gpu_learning("lessons", "verify", "--json", "18")
    row = json.loads(out)["lessons"][0]
    status = {figure["name"]: figure["status"] for figure in row["figures"]}
    # GPT-2's own files are not shipped.
    assert status.pop("Hello, world! in GPT-2's tokens") == "skipped"
    assert set(status.values()) == {"pass"}
    assert code == 0
    assert (workplace / "logs" / "lessons" / "18-text" / "tokens.png").is_file()


def test_the_data_file_is_checked(tmp_path: Path) -> None:
    path = tmp_path / "lessons.yaml"
    entry = "- {step: 1, name: a, title: A, sees: a, check: m:f}\n"
    path.write_text(entry)
    with pytest.raises(ValueError, match="expects nothing"):
        catalogue.read(path)
    shown = "figures: [{name: a, course: 1, equal: 1}], insight: a"
    path.write_text(entry.replace("}", f", {shown}, shown_by: [b]}}"))
    with pytest.raises(ValueError, match=r"no figures \['b'\]"):
        catalogue.read(path)
    path.write_text(entry.replace("}", f", {shown}}}"))
    with pytest.raises(ValueError, match="both insight and shown_by"):
        catalogue.read(path)
    path.write_text(entry.replace(", check: m:f", "") * 2)
    with pytest.raises(ValueError, match="step twice"):
        catalogue.read(path)


def test_a_number_of_the_dropout_study_holds_with_fit(gpu_learning, workplace: Path) -> None:
    train, test = dropout.accuracies(Run(workplace / "logs"), "noisy", 0.5, seed=3)
    assert train > test
    code, _, err = gpu_learning(
        *("fit", "-c", "configs/dropout.yaml", "--seed_everything=3", "--data.init_args.seed=3")
    )
    assert code == 0, err
    seed = "--data.init_args.seed=3"
    code, out, err = gpu_learning("test", "-c", "configs/dropout.yaml", seed, "--ckpt_path=last")
    assert code == 0, err
    shown = next(line for line in out.splitlines() if "test/acc" in line)
    assert f"{test:.3f}"[:5] in shown


def test_the_classifier_has_the_courses_losses() -> None:
    losses = COURSE[9]["losses"]
    assert classification.the_courses_losses() == pytest.approx(losses, abs=1e-4)


def test_sizes_of_known_models() -> None:
    assert language.gpt_parameters(768, 12, 12, 1024) == COURSE[23]["parameters"]
    transformers = pytest.importorskip("transformers", reason="needs the extra llm")
    with torch.device("meta"):
        llama = transformers.LlamaForCausalLM(transformers.LlamaConfig())
    counted = sum(parameter.numel() for parameter in llama.parameters())
    assert language.llama_parameters(4096, 32, 11008, 32000) == counted


def test_attention_moves_a_word_to_its_neighbor() -> None:
    # Scores 2 for itself and 2 for the neighbor: half of each.
    assert language.bank_between_meanings("river") == pytest.approx(1)
    assert language.bank_between_meanings("loan") == pytest.approx(-1)


def test_shapes_through_the_cnn() -> None:
    steps = [shape for name, shape in classification.shapes(CNN().eval()) if name[:4] != "relu"]
    assert steps == COURSE[12]["shapes"]


def test_dropout_draws_in_training_mode_alone() -> None:
    assert list(dropout.modes().values()) == [True, False]


NUMBER = re.compile(r"(?<![\w.])-?\d+(?:,\d{3})*(?:\.\d+)?")
COURSE = yaml.safe_load((ROOT / "course" / "figures.yaml").read_text())


def numbers_of(value: object) -> set[float]:
    """All numbers in a value of ``figures.yaml``."""
    values = value.values() if isinstance(value, dict) else value
    if isinstance(value, dict | list):
        return set().union(*map(numbers_of, values))  # type: ignore[arg-type]
    return {float(str(value))}


def quoted_numbers(text: str) -> set[float]:
    """All numbers that a quotation of the course names."""
    return {float(number.replace(",", "")) for number in NUMBER.findall(text)}


@pytest.mark.parametrize("lesson", read(), ids=lambda lesson: lesson.slug)
def test_the_course_is_quoted_as_it_says(lesson: Lesson) -> None:
    known = numbers_of(COURSE.get(lesson.step, {}))  # the course ends with step 25
    for figure in lesson.figures:
        wrong = quoted_numbers(figure.course) - known
        assert not wrong, (figure.name, figure.course)


def test_the_benchmarks_quote_the_course_as_it_says() -> None:
    page = (ROOT / "docs" / "benchmarks.md").read_text()
    section = page[page.index("## The course's lessons") :].partition("\n## ")[0]
    rows = [re.split(r" *\| *", line)[1:-1] for line in section.splitlines() if line[:1] == "|"]
    table = [row for row in rows if re.match(r"\d+: ", row[0])]
    assert len(table) >= 7
    for row in table:
        step = int(row[0].partition(":")[0])
        assert quoted_numbers(row[1]) <= numbers_of(COURSE[step]), row


def test_quotations_are_read_as_numbers() -> None:
    quoted = "-0.020 (97.8 -> 95.8 %), 109,386, [5, 7, 9], 0-D"
    assert quoted_numbers(quoted) == {-0.02, 97.8, 95.8, 109386, 5, 7, 9, 0}
    assert numbers_of({"a": [1, [2.5]], "b": 3}) == {1, 2.5, 3}
