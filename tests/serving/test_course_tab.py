"""The Course tab: every page of docs/course, from this server alone, as it was written."""

import html
import os
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import pytest

from course import catalogue
from course.exercises.source import Exercise
from course.progress import RESULT, Progress, marks
from serving import course_pages, page
from tests.conftest import ROOT
from tests.serving.browsing import SEVEN, draw, says
from tests.serving.live import models_folder, serving

httpx = pytest.importorskip("httpx", reason="needs the extra serve")
Request = pytest.importorskip("starlette.requests", reason="needs the extra serve").Request

FOLDER = ROOT / "docs" / "course"
SOURCES = sorted(FOLDER.glob("[0-9][0-9]-*.md"))
NAMES = [path.stem for path in SOURCES]
SIZES = [(390, 844), (1400, 900)]
TAGS = {"a", "article", "blockquote", "br", "code", "details", "div", "em", "h1", "h2", "h3", "hr"}
TAGS |= {"img", "li", "ol", "p", "pre", "span", "strong", "sub", "summary", "ul"}
TAGS |= {"table", "tbody", "td", "th", "thead", "tr"}
# Code between fences, and indented text; neither is prose.
FENCE = re.compile(r"^```\w*\n(.*?)^```$", re.M | re.S)
INDENTED = re.compile(r"(?:^    \S.*\n)+", re.M)


@pytest.fixture(scope="module")
def url(artifact: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    models = models_folder(tmp_path_factory.mktemp("course"), artifact)
    with serving(models) as (url, _):
        yield url


class Article(HTMLParser):
    """The text of a page's article, and what its elements name."""

    def __init__(self, document: str) -> None:
        super().__init__()
        self.blocks: list[str] = []
        self.prose: list[str] = []
        self.alternatives: list[str] = []
        self.addresses: list[str] = []
        self.tags: set[str] = set()
        self._open: list[str] = []
        self.feed(document[document.index("<article>") : document.index("</article>")])

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.tags.add(tag)
        self.addresses += [given[name] or "" for name in ("href", "src") if name in given]
        if tag == "img":
            self.prose.append(given["alt"] or "")
            return
        self._open.append(tag)
        if tag == "pre":
            self.blocks.append("")

    def handle_endtag(self, tag: str) -> None:
        self._open.pop()

    def handle_data(self, data: str) -> None:
        if "pre" in self._open:
            self.blocks[-1] += data
        else:
            self.prose.append(data)


def words(text: str) -> list[str]:
    return re.findall(r"[A-Za-z0-9]+", text)


def prose_of(source: str) -> str:
    """A page without its code, comments, tags, and addresses of links and images."""
    source = INDENTED.sub("", FENCE.sub("", source))
    source = re.sub(r"<!--.*?-->|</?(?:details|sub|summary)>", "", source, flags=re.S)
    return html.unescape(re.sub(r"\]\([^)]*\)", "]", source))


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.stem)
def test_a_page_is_its_source(path: Path, url: str) -> None:
    source = path.read_text()
    answer = httpx.get(f"{url}/ui/course/{path.stem}")
    assert answer.status_code == 200
    article = Article(answer.text)
    indented = INDENTED.findall(FENCE.sub("", source))
    shown = [re.sub("^    ", "", block, flags=re.M) for block in indented]
    assert sorted(article.blocks) == sorted(FENCE.findall(source) + shown)
    assert words(" ".join(article.prose)) == words(prose_of(source))
    # Nothing but the folder's own pages and images, whatever the source names.
    for address in article.addresses:
        assert address in NAMES or (FOLDER / address).is_file(), address
        if address not in NAMES:
            assert httpx.get(f"{url}/ui/course/{address}").headers["content-type"] == "image/png"
    assert article.tags <= TAGS


def test_steps_are_in_parts_with_their_minutes_and_neighbors(url: str) -> None:
    contents = httpx.get(f"{url}/ui/course").text
    lessons = catalogue.read()
    parts = [lesson.part for lesson in lessons if lesson.part]
    assert re.findall(r"<h3>(.*?)</h3>", contents) == parts
    for part in contents.split("<h3>")[1:]:
        steps = [int(step) for step in re.findall(r'href="course/(\d+)-', part)]
        first = next(lesson.step for lesson in lessons if lesson.part == part.split("<")[0])
        assert steps == list(range(1 if first == 4 else first, steps[-1] + 1))
    for lesson in lessons:
        name = next(name for name in NAMES if name.startswith(f"{lesson.step:02}"))
        # Where the tests run the record of a learner may be.
        mark = r'(?: <span class="mark"[^\n]*?</span>)?'
        beside = rf"</a>{mark} <span[^>]*>{lesson.minutes} min<"
        assert re.search(rf'"course/{name}">[^\n]*?{beside}', contents)
        able = html.escape(lesson.able_to[0].upper() + lesson.able_to[1:])
        assert contents.count(f'<p class="able">{able}.</p>') == 1
    assert '<a href="course/04-tensors">Begin with step 4</a>' in contents
    for before, name, after in zip([None, *NAMES], NAMES, [*NAMES[1:], None], strict=False):
        document = httpx.get(f"{url}/ui/course/{name}").text
        for rel, beside in (("prev", before), ("next", after)):
            found = re.findall(rf'rel="{rel}" href="([^"]+)"', document)
            assert found == ([beside] * 2 if beside else [])


def test_routes_and_policy(url: str) -> None:
    with httpx.Client(base_url=url) as client:
        check_routes(client)


def check_routes(client) -> None:
    contents = client.get("/ui/course")
    assert [name for name in NAMES if f'href="course/{name}"' in contents.text] == NAMES
    policy = client.get("/ui").headers["content-security-policy"]
    image = next(FOLDER.glob("images/*.png"))
    addresses = ["ui/course", *(f"ui/course/{name}" for name in NAMES)]
    for address in [*addresses, f"ui/course/images/{image.name}"]:
        for method in ("HEAD", "GET"):
            answer = client.request(method, f"/{address}")
            assert answer.status_code == 200
            assert answer.headers["content-security-policy"] == policy
            assert answer.headers["x-content-type-options"] == "nosniff"
        if address in addresses:
            # The policy would refuse both.
            assert not re.search(r"<script(?! type=\"module\" src=)|style=|\son\w+=", answer.text)
    assert client.get(f"/ui/course/images/{image.name}").content == image.read_bytes()
    assert client.get("/ui/course/", follow_redirects=True).url.path == "/ui/course"


@pytest.mark.parametrize(
    "name",
    [
        "26-nothing",
        "14-lr-schedules.md",
        "../index",
        "..%2fcourse.md",
        "%2e%2e%2f%2e%2e%2fREADME.md",
        "images",
        "images/",
        "images/no.png",
        "images/..%2f14-lr-schedules.md",
        "images/%2e%2e/%2e%2e/page.png",
        "images/..%2f..%2fpage.png",
        "images/%00.png",
        "14-lr-schedules%00",
        "%2fetc%2fpasswd",
    ],
)
def test_nothing_else_is_served(name: str, url: str) -> None:
    assert httpx.get(f"{url}/ui/course/{name}", follow_redirects=True).status_code == 404


BAD = """# Step 14: <b>bold</b> & co

<script>alert(1)</script>

<details onclick="alert(1)">
<summary>1. A <img src=x onerror=alert(1)>?</summary>

Text <a href="javascript:alert(1)">here</a>, [there](javascript:alert(1)) and
[elsewhere](https://example.com/a), [up](../../README.md), [next](15-transfer.md#run-it).

![a "picture"](https://example.com/a.png) ![own](images/a.png) ![up](images/../../a.png)

</details>

```"><script>alert(2)</script>
x < 1
```
"""


def test_html_of_a_page_is_text(tmp_path: Path) -> None:
    (tmp_path / "14-bad.md").write_text(BAD)
    made = course_pages.pages(tmp_path)["14-bad"].html
    tags = set(re.findall(r"<(\w+)", made))
    assert not tags & {"script", "b"}
    assert re.findall(r"<(?:a|img)\s[^>]*>", made) == [
        '<a href="15-transfer">',
        '<img src="images/a.png" alt="own" loading="lazy">',
    ]
    assert not re.search(r"<[^>]*\son\w+=", made)
    assert "<details onclick" not in made
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in made


def test_a_page_is_rendered_once_and_again_when_it_changed(tmp_path: Path) -> None:
    path = tmp_path / "14-page.md"
    path.write_text("# Step 14: One\n\nText.\n")
    first = course_pages.pages(tmp_path)["14-page"]
    assert course_pages.pages(tmp_path)["14-page"] is first
    path.write_text("# Step 14: Two\n\nText.\n")
    os.utime(path, ns=(1, 1))  # a file system may have a coarse clock
    assert course_pages.pages(tmp_path)["14-page"].title == "Step 14: Two"


def test_without_pages_the_tab_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(course_pages, "_FOLDERS", (tmp_path / "nothing",))
    assert page.MISSING in bytes(page.course(Request({"type": "http"})).body).decode()


def test_an_unknown_step_is_answered_by_a_page(url: str) -> None:
    answer = httpx.get(f"{url}/ui/course/99-nope")
    assert answer.status_code == 404
    assert answer.headers["content-security-policy"]
    assert re.findall(r'<article.*?href="([^"]+)"', answer.text, re.S) == ["../course"]
    assert 'href="../../ui/style.css"' in answer.text


def learner(folder: Path, logs: Path) -> None:
    """A record as ``lessons`` writes it: exercise 4 done, exercise 5 changed, lesson 6 run."""
    by_step = {lesson.step: lesson for lesson in catalogue.read()}
    progress = Progress(folder)
    folder.mkdir()
    for step in (4, 5):
        exercise = Exercise(by_step[step])
        (folder / exercise.file).write_text("x = 1")
        progress.note(exercise, progress.digest(exercise))
    (folder / Exercise(by_step[5]).file).write_text("x = 2")
    for step, status in ((4, "pass"), (6, "pass"), (7, "fail")):
        run = logs / by_step[step].slug
        run.mkdir(parents=True)
        (run / RESULT).write_text(f'{{"status": "{status}"}}')


def test_marks_are_what_the_record_says(tmp_path: Path) -> None:
    lessons, folder, logs = catalogue.read(), tmp_path / "exercises", tmp_path / "logs"
    assert marks(lessons, folder, logs) == {}
    learner(folder, logs)
    assert marks(lessons, folder, logs) == {4: "done", 5: "changed", 6: "run"}
    (folder / ".progress.json").write_text("{")
    assert marks(lessons, folder, logs) == {4: "run", 6: "run"}


def marked(document: str) -> dict[str, str]:
    rows = re.findall(r"<li>(.*?)</li>", document)
    found = [re.search(r'(\d\d)-.*class="mark"[^>]*>(\w+)', row) for row in rows]
    return {mark[1]: mark[2] for mark in found if mark}


def test_done_steps_are_marked_where_the_server_has_the_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "models").mkdir()
    learner(tmp_path / "exercises", tmp_path / "logs" / "lessons")
    monkeypatch.setenv("PYTHONPATH", str(ROOT), prepend=os.pathsep)
    monkeypatch.chdir(tmp_path)
    with serving(tmp_path / "models") as (url, _):
        for address in ("ui/course", "ui/course/14-lr-schedules"):
            found = marked(httpx.get(f"{url}/{address}").text)
            assert found == {"04": "done", "05": "changed", "06": "run"}
    # Others read this one, and the record is the learner's.
    with serving(tmp_path / "models", "--host=0.0.0.0") as (url, _):
        port = url.rpartition(":")[2]
        assert marked(httpx.get(f"http://127.0.0.1:{port}/ui/course").text) == {}


@pytest.mark.slow
@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}")
def test_pages_fit_the_screen(size: tuple[int, int], visit, url: str) -> None:
    opened = visit(url, "ui/course", viewport={"width": size[0], "height": size[1]})
    for name in ["", *NAMES]:
        opened.goto(f"{url}/ui/course{'/' + name if name else ''}")
        assert opened.evaluate("document.documentElement.scrollWidth") <= size[0], name
        for image in opened.locator("article img").all():
            image.scroll_into_view_if_needed()
            opened.wait_for_function("image => image.naturalWidth > 0", arg=image.element_handle())


@pytest.mark.slow
def test_a_page_is_read_by_keyboard(visit, url: str) -> None:
    opened = visit(url)
    for _ in range(2):
        opened.keyboard.press("Tab")  # Try, Course
    opened.keyboard.press("Enter")
    opened.wait_for_url("**/ui/course")
    opened.locator(".steps a").nth(NAMES.index("20-attention")).focus()
    opened.keyboard.press("Enter")
    opened.wait_for_url("**/ui/course/20-attention")
    assert opened.locator("#steps [aria-current]").inner_text() == "20: Attention"
    opened.locator("summary").first.focus()
    assert not opened.locator("details").first.evaluate("fold => fold.open")
    opened.keyboard.press("Enter")
    assert opened.locator("details").first.evaluate("fold => fold.open")
    opened.locator("article a", has_text="Step 21").focus()
    opened.keyboard.press("Enter")
    opened.wait_for_url("**/ui/course/21-transformer-block")


@pytest.mark.slow
@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}")
def test_what_there_is_to_try_works_beside_the_page(size: tuple[int, int], visit, url: str) -> None:
    screen = {"width": size[0], "height": size[1]}
    opened = visit(url, "ui/course/12-mnist-cnn", viewport=screen)
    says(opened, "#digits-model", "digits")
    opened.locator("#pad").scroll_into_view_if_needed()
    draw(opened, SEVEN)
    says(opened, "#best-label", "7")
    assert not opened.locator("#text").is_visible()
    opened.goto(f"{url}/ui/course/22-mini-gpt")
    says(opened, "#text-model", "mini_gpt")
    opened.get_by_text("Settings").click()
    opened.fill("#num_predict", "12")
    opened.fill("#message", "the cat")
    opened.press("#message", "Enter")
    says(opened, ".figures", "12 tokens")
    assert not opened.locator("#digits").is_visible()
