"""The pages of the course: their form, their quotations, their code and their commands."""

import ast
import itertools
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from course import pages
from course.catalogue import read as lessons
from course.pages import FOLDER, Page
from course.quotes import source_of
from scripts.cli import COMMANDS
from tests.conftest import ROOT
from tests.helpers.kernels import require
from tests.helpers.snippets import check_code

PAGES = pages.read()
INSTALLING = {1: "01-gpu-machine", 2: "02-uv", 3: "03-install"}
LESSONS = {lesson.step: lesson for lesson in lessons()}
# Sections in their order; those of the second line are for what a step has.
FORM = ["The code", "Run it", "The picture", "How to read the picture", "How to read the output"]
FORM += ["Shapes", "What goes wrong", "The course's figure and ours", "Exercise"]
FORM += ["Three questions", "Next"]
OPTIONAL = {"The picture", "How to read the picture", "How to read the output", "Shapes"}
PROGRAMS = ("gpu-learning", "make", "uv", "git", "cd", "nvidia-smi", "python3", "source", "sudo")
PROGRAMS += (
    ".venv/bin/python",
    ".venv/bin/uv",
    ".venv/bin/gpu-learning",
    "podman",
    "nvidia-ctk",
    "export",
)
# One step shows that a command is right; the lessons have tests of their own.
SHORT = ("--trainer.max_epochs=1", "--trainer.limit_train_batches=3")


def stem(page: Page) -> str:
    return page.path.stem


each_page = pytest.mark.parametrize("page", PAGES, ids=stem)


def test_every_page_is_a_step() -> None:
    names = [page.path.stem for page in PAGES]
    slugs = INSTALLING | {step: lesson.slug for step, lesson in LESSONS.items()}
    assert names == [slugs[page.step] for page in PAGES]
    assert set(range(1, 26)) <= {page.step for page in PAGES}


@each_page
def test_form(page: Page) -> None:
    level, heading, _ = page.headings[0]
    assert (level, heading) == (1, f"Step {page.step}: {page.title}")
    assert page.idea
    sections = list(page.sections)
    lines = page.source.splitlines()
    assert max(map(len, lines)) <= 120, max(lines, key=len)
    assert len(page.questions) == 3
    assert all(question.endswith("?") for question in page.questions)
    if page.step in INSTALLING:
        assert {"Run it", "What goes wrong", "Three questions", "Next"} <= set(sections)
        assert 200 <= page.words <= 1200
        return
    assert page.title == LESSONS[page.step].title
    form = FORM
    if page.step > 25:  # the course ends there
        form = ["What to measure" if "course's figure" in name else name for name in FORM]
    assert set(form) - OPTIONAL <= set(sections) <= set(form)
    assert sections == [name for name in form if name in sections]
    assert page.reading
    assert ("The picture" in sections) == ("How to read the picture" in sections)
    assert 500 <= page.words <= 1200


@each_page
def test_links_and_images(page: Page) -> None:
    assert bool(page.images) == ("The picture" in page.sections)
    for address in page.images:
        path = page.path.parent / address
        assert path.stat().st_size <= 80 * 1024, address
        with Image.open(path) as image:
            assert image.format == "PNG"
    known = {path.name for path in FOLDER.glob("*.md")}
    steps = INSTALLING | {step: lesson.slug for step, lesson in LESSONS.items()}
    for address in page.links:
        if address.startswith("https://"):
            continue
        target = address.partition("#")[0]
        # Pages of steps that are being written are named by the course.
        assert (page.path.parent / target).exists() or target in known | {
            f"{slug}.md" for slug in steps.values()
        }, address


@each_page
def test_code_can_be_pasted_at_the_prompt(page: Page) -> None:
    """Before Python 3.13 the prompt wants an empty line after an indented block, none inside it."""
    indented = (ast.For, ast.While, ast.If, ast.With, ast.Try, ast.FunctionDef, ast.ClassDef)
    own = [block for block in page.blocks if block.language == "python" and not block.quote]
    for block in own:
        statements = ast.parse(block.code).body
        for one, following in itertools.pairwise(statements):
            ends = isinstance(one, indented) and following.lineno == one.end_lineno + 1
            assert not ends, f"{page.path.name}:{block.line + following.lineno}"
        lines = block.code.splitlines()
        for one in statements:
            if isinstance(one, indented):
                inside = lines[one.lineno - 1 : one.end_lineno or one.lineno]
                assert all(inside), f"{page.path.name}:{block.line + one.lineno}"


@each_page
def test_shapes_are_written_as_torch_documents_them(page: Page) -> None:
    """``(B, T, C)``; brackets are for lists."""
    assert not re.findall(r"`\[(?:[A-Z]|\d+)(?:, (?:[A-Z]|\d+))+\]`", page.source)


@each_page
def test_quotations_are_the_source(page: Page) -> None:
    """``python -m course.pages`` mends what this finds."""
    for block in page.blocks:
        if block.quote:
            assert block.text == source_of(block.quote, ROOT), f"{page.path.name}:{block.line}"
    assert page.with_quotes() == page.source


@pytest.mark.parametrize(
    "page",
    # Triton's simulator takes its time.
    [pytest.param(page, marks=[pytest.mark.slow] if page.step >= 29 else []) for page in PAGES],
    ids=stem,
)
def test_code_runs_and_prints_what_the_page_shows(page: Page) -> None:
    _need_extra(page)
    if page.step in LESSONS and LESSONS[page.step].needs:
        _check_in_a_process(page)
    else:
        check_code(page)


def _need_extra(page: Page) -> None:
    if page.step == 25:
        pytest.importorskip("ollama", reason="needs the extra serve")


def _check_in_a_process(page: Page) -> None:
    require(LESSONS[page.step])
    command = [sys.executable, "-m", "tests.helpers.snippets", page.path.stem]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr


@pytest.mark.gpu
@pytest.mark.parametrize("page", [p for p in PAGES if p.step > 25], ids=stem)
def test_code_of_kernels_runs_on_a_gpu(page: Page) -> None:
    """The process sees the GPU, so that nothing is simulated."""
    _check_in_a_process(page)


@each_page
def test_commands_are_known(page: Page) -> None:
    known = {str(step) for step in LESSONS} | {lesson.name for lesson in LESSONS.values()}
    for line in page.commands:
        program, *arguments = shlex.split(line, comments=True)
        assert program in PROGRAMS, line
        if program.endswith("gpu-learning"):
            assert arguments[0] in {*COMMANDS, "--version"}, line
            if arguments[:1] == ["lessons"] and arguments[2:]:
                assert arguments[2] in known, line
    if page.step not in INSTALLING:
        assert f"gpu-learning lessons run {page.step}" in page.commands
        for action in ("start", "check", "hint"):
            assert f"gpu-learning lessons {action} {page.step}" in page.commands


@pytest.mark.parametrize("action", ["start", "check", "hint", "solution", "run"])
def test_the_actions_of_the_pages_exist(gpu_learning, action: str) -> None:
    code, out, _ = gpu_learning("lessons", action, "--help")
    assert (code, f"lessons {action}" in out) == (0, True)


# Their weights or their models come from other commands than the page's, or a warm-up is longer
# than a few steps.
PARSED = tuple(
    f"configs/{name}.yaml"
    for name in (
        *("gpt2_lora", "gpt2_lora_offline", "transfer", "gpt2_small", "mini_gpt"),
        "mini_gpt_kernels",  # refused without a GPU, unless the interpreter is asked for
    )
)
TRAINING = ("fit", "validate", "test", "predict", "export")


def ours(page: Page) -> list[list[str]]:
    """Arguments of the page's commands of this project, in order, without those of lessons."""
    lines = [shlex.split(line, comments=True) for line in page.commands]
    found = [line[1:] for line in lines if line[0].endswith("gpu-learning")]
    return [line for line in found if line[0] not in ("lessons", "--version")]


def training(page: Page) -> list[list[str]]:
    return [command for command in ours(page) if command[0] in TRAINING]


@pytest.mark.parametrize(
    "page",
    [
        # An export is checked in a process of its own.
        pytest.param(
            page, marks=[pytest.mark.slow] if any(c[0] == "export" for c in ours(page)) else []
        )
        for page in PAGES
        if training(page)
    ],
    ids=stem,
)
def test_training_commands_run(page: Page, gpu_learning, small_mnist: Path, device: str) -> None:
    """In the page's order: what is tested or exported was trained by an earlier line."""
    if any("onnx" in argument for command in training(page) for argument in command):
        pytest.importorskip("onnxscript", reason="the extra [export] is not installed")
    for command in training(page):
        arguments = [*command]
        if command[0] == "fit":
            arguments += SHORT
        if any(name in command for name in PARSED):
            arguments.append("--print_config")
        elif any(argument.startswith("configs/mnist") for argument in command):
            arguments.append("--data.init_args.val_size=100")
        code, _, err = gpu_learning(*arguments)
        assert code == 0, (command, err)


@each_page
def test_options_of_other_commands_exist(page: Page, gpu_learning) -> None:
    _need_extra(page)
    for command in ours(page):
        if command[0] not in TRAINING:
            code, out, err = gpu_learning(command[0], "--help")
            assert code == 0, err
            known = re.findall(r"--[\w-]+", out)
            for argument in command:
                if argument.startswith("--"):
                    assert argument.partition("=")[0] in known, command


def test_run_prints_the_idea_and_how_to_read_the_outcome(gpu_learning) -> None:
    code, out, _ = gpu_learning("lessons", "run", "4")
    assert code == 0
    printed = " ".join(out.split())
    page = pages.find(4)
    assert page
    idea, reading = (" ".join(text.split()) for text in (page.idea, page.reading))
    # rich shows the marks of Markdown as formatting
    assert printed.index(idea) < printed.index("4 Tensors: pass")
    assert reading.replace("`", "") in printed
