"""The exercises: starters, solutions, hints, and what is said of more than 330 wrong solutions."""

import ast
import functools
import re
from pathlib import Path

import pytest
import torch
import yaml
from torch import nn

from callbacks import WarmupCosine
from course.catalogue import read
from course.exercises import step14_lr_schedules, step22_mini_gpt, step24_lora
from course.exercises.attempt import judge
from course.exercises.source import Exercise
from datamodules import InstructionDataModule
from inference.text.sampling import Sampler, SamplingOptions
from tests.conftest import ROOT
from tests.helpers.kernels import judged, require

EXERCISES = {lesson.name: Exercise(lesson) for lesson in read()}
WRONG = yaml.safe_load(Path(__file__).with_name("wrong.yaml").read_text(encoding="utf-8"))
CASES = [
    # Those of kernels are judged together, by the first of their tests.
    pytest.param(name, number, marks=[pytest.mark.slow] if EXERCISES[name].lesson.needs else [])
    for name, entries in WRONG.items()
    for number in range(len(entries))
]
every = pytest.mark.parametrize("exercise", EXERCISES.values(), ids=list(EXERCISES))


def verdict(exercise: Exercise, source: str, folder: Path) -> tuple[str, str]:
    if exercise.lesson.needs:
        one = verdicts(exercise.name)
        return one[source] if source in one else verdicts(exercise.name, wrong=True)[source]
    path = folder / exercise.file
    path.write_text(source, encoding="utf-8")
    found = judge(exercise, path)
    return found.status, found.sentence


@functools.cache
def verdicts(name: str, wrong: bool = False) -> dict[str, tuple[str, str]]:
    """On what the tests write for an exercise of kernels, from one process for all files."""
    exercise = EXERCISES[name]
    require(exercise.lesson)
    sources = [exercise.solution, *untouched(exercise), half_written(exercise)]
    if wrong:
        sources = [wrong_solution(name, number) for number in range(len(WRONG[name]))]
    return dict(zip(sources, judged(exercise.lesson, sources), strict=True))


def untouched(exercise: Exercise) -> tuple[str, str]:
    return exercise.starter, exercise.starter.replace("\n", "\r\n") + "\n# later\n"


def half_written(exercise: Exercise) -> str:
    """Only the first hole is filled."""
    first = exercise.source.index("# END SOLUTION")
    head = exercise.source[:first].replace("# BEGIN SOLUTION", "pass")
    stub = re.sub(
        r"# BEGIN SOLUTION\n.*?# END SOLUTION",
        "raise NotImplementedError()",
        exercise.source[first:].partition("# BEGIN HIDDEN TESTS")[0].partition("\n")[2],
        flags=re.DOTALL,
    )
    return head + "\n" + stub


def wrong_solution(name: str, number: int) -> str:
    exercise, wrong = EXERCISES[name], WRONG[name][number]
    assert exercise.solution.count(wrong["old"]) == 1
    return exercise.solution.replace(wrong["old"], wrong["new"])


def test_every_lesson_has_an_exercise() -> None:
    here = {path.stem for path in (ROOT / "course" / "exercises").glob("step*.py")}
    assert here == {f"step{exercise.stem}" for exercise in EXERCISES.values()}
    assert len(here) >= 22
    for lesson in read():
        assert lesson.minutes > 0, lesson
        assert lesson.able_to, lesson


@every
def test_the_courses_own_solution_passes(exercise: Exercise, tmp_path: Path) -> None:
    assert verdict(exercise, exercise.solution, tmp_path)[0] == "pass"


@every
def test_an_untouched_starter_is_not_started(exercise: Exercise, tmp_path: Path) -> None:
    for source in untouched(exercise):
        status, sentence = verdict(exercise, source, tmp_path)
        assert status == "not started"
        assert "YOUR CODE HERE" in sentence


@every
def test_a_starter_shows_no_solution(exercise: Exercise) -> None:
    assert exercise.starter.count("raise NotImplementedError()") >= 1
    for text in (exercise.starter, exercise.solution):
        ast.parse(text)
        assert "BEGIN" not in text
        assert "HINTS" not in text
        assert "noqa" not in text
        assert all(len(line) <= 80 for line in text.splitlines())
    assert f"gpu-learning lessons check {exercise.lesson.step}\n" in exercise.starter
    holes = exercise.starter.count("YOUR CODE HERE")
    assert exercise.source.count("# BEGIN SOLUTION") == holes


@every
def test_hints(exercise: Exercise) -> None:
    assert 2 <= len(exercise.hints) <= 3
    if not exercise.lesson.needs:  # importing numba and Triton is for processes of their own
        assert exercise.hints == exercise.load().HINTS


@every
def test_each_function_of_several_has_a_hint(exercise: Exercise) -> None:
    functions = [
        node.name
        for node in ast.parse(exercise.source.partition("# BEGIN HIDDEN TESTS")[0]).body
        if isinstance(node, ast.FunctionDef | ast.ClassDef)
        and "# BEGIN SOLUTION" in (ast.get_source_segment(exercise.source, node) or "")
    ]
    about = {name: exercise.hints_about(name) for name in functions}
    if len(functions) == 1:
        assert about == {functions[0]: []}
    else:
        assert all(about.values()), about
        assert {one for numbers in about.values() for one in numbers} == {
            *range(1, len(exercise.hints) + 1)
        }


def test_the_first_wrong_function_is_named(tmp_path: Path) -> None:
    exercise = EXERCISES["activations"]
    path = tmp_path / exercise.file
    for wrong, function in (
        (exercise.solution.replace("s * (1 - s)", "s"), "sigmoid_slope"),
        (exercise.solution.replace("both.bias", "first.bias"), "collapse"),
        (half_written(exercise), "sigmoid_slope"),
        ("x = 1\n" + exercise.solution.replace("def relu", "def rel"), "relu"),
        ("1 / 0\n" + exercise.solution, ""),
        (exercise.solution, ""),
    ):
        path.write_text(wrong, encoding="utf-8")
        assert judge(exercise, path).function == function


@pytest.mark.parametrize(
    "exercise",
    [one for one in EXERCISES.values() if one.starter.count("YOUR CODE HERE") > 1],
    ids=lambda one: one.name,
)
def test_a_solution_half_written_says_which_function(exercise: Exercise, tmp_path: Path) -> None:
    status, sentence = verdict(exercise, half_written(exercise), tmp_path)
    assert status == "fail"
    assert " is not written yet (line " in sentence


@pytest.mark.parametrize(("name", "number"), CASES)
def test_a_wrong_solution_is_told_what_is_wrong(name: str, number: int, tmp_path: Path) -> None:
    exercise, wrong = EXERCISES[name], WRONG[name][number]
    status, sentence = verdict(exercise, wrong_solution(name, number), tmp_path)
    # "#" stands for numbers that come of random ones, or for several.
    pattern = re.escape(wrong["says"]).replace(r"\#", r"-?(?:\d[-+\d., e]*|nan|inf)")
    assert status == "fail"
    assert re.fullmatch(pattern, sentence), sentence


def test_the_wrong_solutions_are_told_different_things() -> None:
    said = [wrong["says"] for entries in WRONG.values() for wrong in entries]
    assert len(said) == len(set(said)) >= 60
    assert set(WRONG) == set(EXERCISES)
    assert all(len(entries) >= 3 for entries in WRONG.values())


def test_the_learning_rate_is_that_of_the_callback() -> None:
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.02)
    scheduler = WarmupCosine(5, min_ratio=0.1).build(optimizer, 30)
    for step in range(30):
        expected = step14_lr_schedules.learning_rate(step, 5, 30, 0.02, 0.002)
        assert scheduler.get_last_lr()[0] == pytest.approx(expected)
        optimizer.step()
        scheduler.step()


@pytest.mark.parametrize("asked", [{"top_k": 4}, {"top_p": 0.7}, {"temperature": 1.4}])
def test_what_is_left_is_what_the_sampler_draws(asked: dict[str, float]) -> None:
    torch.manual_seed(0)
    logits = 2 * torch.randn(12)
    options = SamplingOptions(**{"temperature": 1.0, **asked})  # type: ignore[arg-type]
    left = step22_mini_gpt.top_p(step22_mini_gpt.top_k(logits, options.top_k), options.top_p)
    probabilities = step22_mini_gpt.with_temperature(left, options.temperature)
    draws = 4000
    choice = Sampler(draws, len(logits), 1, torch.device("cpu"))
    choice.set(dict.fromkeys(range(draws), options))
    # Every quantile once, so that the shares are the probabilities.
    choice.noise.copy_(((torch.arange(draws) + 0.5) / draws)[:, None])
    positions = torch.zeros(draws, dtype=torch.long)
    drawn = choice.sample(logits.expand(draws, -1), positions).bincount(minlength=len(logits))
    torch.testing.assert_close(drawn / draws, probabilities, atol=1e-3, rtol=0)


def test_the_targets_are_those_of_the_data_module() -> None:
    class End:
        end = 0

    data = InstructionDataModule(context=9)
    data.tokenizer = End()  # type: ignore[assignment]
    prompt, answer = [5, 6, 7], [8, 9, 0]
    _, targets = data._rows([(prompt, answer)], pack=False)
    assert torch.equal(targets[0], step24_lora.targets(prompt, answer, 9))
