"""``/ui``: the page and the course, files of this project and nothing from elsewhere.

The browser is told so too: the content security policy lets it load and ask nothing but this
server, and run no script that is written into the page.
"""

from collections.abc import Sequence
from functools import cache
from html import escape
from pathlib import Path
from string import Template

from fastapi import APIRouter
from fastapi.responses import FileResponse, HTMLResponse, RedirectResponse, Response
from starlette.exceptions import HTTPException

from serving import course_pages
from serving.course_pages import CoursePage

FOLDER = Path(__file__).parent / "page"
FILES = {
    "/ui/app.js": ("app.js", "text/javascript; charset=utf-8"),
    "/ui/style.css": ("style.css", "text/css; charset=utf-8"),
}
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
MISSING = "The pages of the course are not installed here; they are in docs/course of the project."

router = APIRouter(include_in_schema=False)


def _route(path: str, name: str, kind: str) -> None:
    def answer() -> Response:
        return FileResponse(FOLDER / name, media_type=kind, headers=HEADERS)

    router.add_api_route(path, answer, methods=["GET", "HEAD"])


for _path, (_name, _kind) in FILES.items():
    _route(_path, _name, _kind)


@router.api_route("/ui", methods=["GET", "HEAD"])
def ui() -> Response:
    """Both things to try: drawing a digit, writing with a language model."""
    return _html("gpu-learning", _part("digits") + _part("text"), root="", kind="both", live=True)


@router.get("/ui/")
def without_slash() -> Response:
    """The page names its files relative to ``/ui``, so that it works behind a path prefix."""
    return RedirectResponse("../ui", status_code=308)


@router.api_route("/ui/course", methods=["GET", "HEAD"])
def course() -> Response:
    """The steps of the course."""
    where = course_pages.folder()
    if where is None:
        return _html("Course", f'<p class="none">{MISSING}</p>', root="../", kind="course")
    steps = _steps(list(course_pages.pages(where).values()), None, root="course/")
    main = f"<article><h1>The course</h1>\n<p>One idea each. Read, run, look.</p>{steps}</article>"
    return _html("Course", main, root="../", kind="course")


@router.get("/ui/course/")
def course_without_slash() -> Response:
    return RedirectResponse("../course", status_code=308)


@router.api_route("/ui/course/{name}", methods=["GET", "HEAD"])
def step(name: str) -> Response:
    """One step, with what there is to try beside it."""
    where = course_pages.folder()
    found = course_pages.pages(where) if where else {}
    if (page := found.get(name)) is None:
        raise HTTPException(404)
    steps = list(found.values())
    main = f'<article>{page.html}</article>\n<nav id="steps" aria-label="Steps of the course">'
    main += f"<h2>All steps</h2>{_steps(steps, page)}</nav>\n"
    live = page.step in DIGIT_STEPS + TEXT_STEPS
    if live:
        main = f'{main}<div class="try">{_tries(page)}</div>\n'
    skip = '<p class="skip"><a href="#steps">All steps</a></p>\n'
    return _html(page.title, skip + main, root="../../", kind="course", live=live)


@router.api_route("/ui/course/images/{name}", methods=["GET", "HEAD"])
def image(name: str) -> Response:
    where = course_pages.folder()
    found = course_pages.images(where) if where else {}
    if name not in found:
        raise HTTPException(404)
    return FileResponse(found[name], media_type="image/png", headers=HEADERS)


def _tries(page: CoursePage) -> str:
    """The script of the page wants both parts; the one that the step is not about is hidden."""
    shown = {"digits": page.step in DIGIT_STEPS, "text": page.step in TEXT_STEPS}
    parts = [
        _part(name) if wanted else f"<div hidden>{_part(name)}</div>"
        for name, wanted in shown.items()
    ]
    return "".join(parts)


def _steps(steps: Sequence[CoursePage], here: CoursePage | None, root: str = "") -> str:
    rows = [
        f'<li><a href="{root}{step.name}"{_current(step == here)}>{escape(step.title)}</a></li>'
        for step in steps
    ]
    return f'<ul class="steps">{"".join(rows)}</ul>'


def _html(title: str, main: str, root: str, kind: str, live: bool = False) -> Response:
    """A page around ``main``.

    Args:
        title: of the browser's tab.
        main: HTML of the page's own part.
        root: from the page's address to that of the server, so that a path prefix does not matter.
        kind: class of ``main``.
        live: with the script, and what it tells about the server.
    """
    document = Template(_part("index")).substitute(
        title=escape(title),
        main=main,
        kind=kind,
        root=root,
        here_ui=_current(kind == "both"),
        here_course=_current(kind == "course"),
        heading="h1" if kind == "both" else "p",
        script=f'<script type="module" src="{root}ui/app.js"></script>\n' if live else "",
        state='<p id="state" role="status">Connecting</p>' if live else "",
        notices=_part("notices") if live else "",
    )
    return HTMLResponse(document, headers=HEADERS)


def _current(here: bool) -> str:
    return ' aria-current="page"' if here else ""


@cache
def _part(name: str) -> str:
    return (FOLDER / f"{name}.html").read_text(encoding="utf-8")
