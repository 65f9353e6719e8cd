"""``/ui``: the page and the course, files of this project and nothing from elsewhere.

The browser is told so too: the content security policy lets it load and ask nothing but this
server, and run no script that is written into the page.
"""

from collections.abc import Mapping, Sequence
from functools import cache
from html import escape
from pathlib import Path
from string import Template

from fastapi import APIRouter, Request
from fastapi.responses import FileResponse, HTMLResponse, RedirectResponse, Response
from starlette.exceptions import HTTPException

from serving import course_pages
from serving.course_pages import CoursePage
from serving.state import state

FOLDER = Path(__file__).parent / "page"
KINDS = {".js": "text/javascript; charset=utf-8", ".css": "text/css; charset=utf-8"}
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
        "img-src 'self' data: blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    # A new version of the package is seen at the next visit.
    "Cache-Control": "no-cache",
}
# Steps beside which one draws a digit, and those beside which one writes with a model.
DIGIT_STEPS = (10, 12, 17)
TEXT_STEPS = (22, 25)
# The first step after the installation.
FIRST = 4
# The step that explains softmax.
SOFTMAX = "10-mnist-mlp"
FOOTER = "<footer>This page talks to the server that it came from, and to nobody else.</footer>\n"
MISSING = "The pages of the course are not installed here; they are in docs/course of the project."
NO_STEP = (
    '<article class="index"><h1>There is no such page</h1>\n<p>The address names no step of the '
    'course. <a href="../course">All steps of the course</a></p></article>\n'
)
# What stands beside a step whose exercise the learner has done or changed, or whose lesson was run.
MARKS = {
    "done": ' <span class="mark" title="exercise done">done</span>',
    "changed": ' <span class="mark" title="exercise changed since it passed">changed</span>',
    "run": ' <span class="mark" title="lesson run">run</span>',
}

router = APIRouter(include_in_schema=False)


def _route(file: Path) -> None:
    def answer() -> Response:
        return FileResponse(file, media_type=KINDS[file.suffix], headers=HEADERS)

    router.add_api_route(f"/ui/{file.name}", answer, methods=["GET", "HEAD"])


for _file in FOLDER.iterdir():
    if _file.suffix in KINDS:
        _route(_file)


@router.api_route("/ui", methods=["GET", "HEAD"])
def ui() -> Response:
    """Both things to try: drawing a digit, writing with a language model."""
    main = _digits("ui/course/") + _part("text")
    return _html("gpu-learning", main, root="", kind="both", scripts=["app"])


@router.get("/ui/")
def without_slash() -> Response:
    """The page names its files relative to ``/ui``, so that it works behind a path prefix."""
    return RedirectResponse("../ui", status_code=308)


@router.api_route("/ui/course", methods=["GET", "HEAD"])
def course(request: Request) -> Response:
    """The steps of the course."""
    where = course_pages.folder()
    if where is None:
        return _html("Course", f'<p class="none">{MISSING}</p>', root="../", kind="course")
    found = list(course_pages.pages(where).values())
    begin = next(page for page in found if page.step == FIRST)
    hours = round(sum(course_pages.minutes().values()) / 60)
    main = (
        '<article class="index"><h1>The course</h1>\n<p>From the first tensor to a model that '
        "answers over HTTP, and from there to GPU kernels of your own. Each step is one idea, with "
        f"code to run and an exercise; all of them take about {hours} hours.</p>"
        f'<p class="begin"><a href="course/{begin.name}">Begin with step {FIRST}</a>; steps 1 to 3'
        " install what this server already runs on. Below each step is what you can do after it."
        "</p>\n<p>Steps 1 to 25 follow a written course, <em>Learning GPU Programming</em>. Where "
        "a table on their pages compares “the course” with “ours”, the first is what that course "
        "printed, the second what this project measured. You do not need its text.</p>"
        f"{_steps(found, None, _marks(request), root='course/')}</article>"
    )
    return _html("Course", main, root="../", kind="course")


@router.get("/ui/course/")
def course_without_slash() -> Response:
    return RedirectResponse("../course", status_code=308)


@router.api_route("/ui/course/{name}", methods=["GET", "HEAD"])
def step(name: str, request: Request) -> Response:
    """One step, with what there is to try beside it."""
    where = course_pages.folder()
    found = course_pages.pages(where) if where else {}
    if (page := found.get(name)) is None:
        return _html("No such page", NO_STEP, root="../../", kind="course", status=404)
    steps = list(found.values())
    main = (
        f'<div class="page">{_beside(steps, page, _minutes(page))}<article>{page.html}</article>\n'
        f'{_beside(steps, page)}</div>\n<nav id="steps" aria-label="Steps of the course">'
        f"<h2>All steps</h2>{_steps(steps, page, _marks(request))}</nav>\n"
    )
    scripts = ["course"]
    if page.step in DIGIT_STEPS + TEXT_STEPS:
        main += f'<div class="try">{_tries(page)}</div>\n'
        scripts.append("app")
    skip = '<p class="skip"><a href="#steps">All steps</a></p>\n'
    told = '<p id="told" class="unseen" role="status"></p>\n'
    return _html(page.title, skip + main + told, root="../../", kind="course", scripts=scripts)


@router.api_route("/ui/course/images/{name}", methods=["GET", "HEAD"])
def image(name: str) -> Response:
    where = course_pages.folder()
    found = course_pages.images(where) if where else {}
    if name not in found:
        raise HTTPException(404)
    return FileResponse(found[name], media_type="image/png", headers=HEADERS)


def _digits(course: str) -> str:
    """The part that draws, with a link to the step that explains probabilities."""
    why = f' <a href="{course}{SOFTMAX}">Why: softmax</a>' if course_pages.folder() else ""
    return Template(_part("digits")).substitute(why=why)


def _tries(page: CoursePage) -> str:
    """The script of the page wants both parts; the one that the step is not about is hidden."""
    shown = {_digits(""): page.step in DIGIT_STEPS, _part("text"): page.step in TEXT_STEPS}
    return "".join(
        part if wanted else f"<div hidden>{part}</div>" for part, wanted in shown.items()
    )


def _marks(request: Request) -> Mapping[int, str]:
    """What the learner has done; nothing where others than those at this machine may read it."""
    settings = state(request).settings
    return settings.marks() if settings.marks and settings.loopback else {}


def _steps(
    steps: Sequence[CoursePage],
    here: CoursePage | None,
    marks: Mapping[int, str],
    root: str = "",
) -> str:
    """The parts of the course with their steps: beside one of them, or, with what one can do
    afterwards and the minutes, for all.

    ``root`` leads to the folder of the pages.
    """
    rows = [
        f"<h3>{escape(part)}</h3>"
        f'<ul class="steps">{"".join(_row(step, here, marks, root) for step in pages)}</ul>'
        for part, pages in course_pages.in_parts(steps).items()
    ]
    return "".join(rows)


def _row(step: CoursePage, here: CoursePage | None, marks: Mapping[int, str], root: str) -> str:
    title = escape(step.title.removeprefix("Step "))
    link = f'<a href="{root}{step.name}"{_current(step == here)}>{title}</a>'
    mark = MARKS.get(marks.get(step.step, ""), "")
    if here:
        return f"<li>{link}{mark}</li>"
    able = course_pages.outcomes().get(step.step)
    told = f'<p class="able">{escape(able[0].upper() + able[1:])}.</p>' if able else ""
    return f"<li>{link}{mark}{_minutes(step)}{told}</li>"


def _minutes(step: CoursePage) -> str:
    minutes = course_pages.minutes().get(step.step)
    return f' <span class="minutes">{minutes} min</span>' if minutes else ""


def _beside(steps: Sequence[CoursePage], here: CoursePage, between: str = "") -> str:
    """Links to the step before and the step after, and ``between`` them."""
    at = steps.index(here)
    before = _neighbor(steps[at - 1], "prev") if at else ""
    after = _neighbor(steps[at + 1], "next") if at + 1 < len(steps) else ""
    return f'<nav class="beside" aria-label="Steps beside">{before}{between}{after}</nav>\n'


def _neighbor(step: CoursePage, rel: str) -> str:
    return f'<a rel="{rel}" href="{step.name}">{escape(step.title)}</a>'


def _html(
    title: str, main: str, root: str, kind: str, scripts: Sequence[str] = (), status: int = 200
) -> Response:
    """A page around ``main``.

    Args:
        title: of the browser's tab.
        main: HTML of the page's own part.
        root: from the page's address to that of the server, so that a path prefix does not matter.
        kind: class of ``main``.
        scripts: of the page; with ``app`` it tells about the server.
        status: of HTTP.
    """
    live = "app" in scripts
    document = Template(_part("index")).substitute(
        title=escape(title),
        main=main,
        kind=kind,
        root=root,
        here_ui=_current(kind == "both"),
        here_course=_current(kind == "course"),
        heading="h1" if kind == "both" else "p",
        scripts="".join(
            f'<script type="module" src="{root}ui/{name}.js"></script>\n' for name in scripts
        ),
        state='<p id="state" role="status">Connecting</p>' if live else "",
        notices=_part("notices") if live else "",
        footer=FOOTER if kind == "both" else "",
    )
    return HTMLResponse(document, status, HEADERS)


def _current(here: bool) -> str:
    return ' aria-current="page"' if here else ""


@cache
def _part(name: str) -> str:
    return (FOLDER / f"{name}.html").read_text(encoding="utf-8")
