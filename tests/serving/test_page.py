"""The page as it is served, and as a person uses it: in a real Chromium, drawn on with a mouse."""

import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import pytest

from inference.text.generate import TextGenerator
from inference.text.sampling import SamplingOptions
from serving.page import FOLDER
from tests.serving.browsing import SEVEN, draw, says
from tests.serving.live import models_folder, serving

httpx = pytest.importorskip("httpx", reason="needs the extra serve")


@pytest.fixture(scope="module")
def models(artifact: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return models_folder(tmp_path_factory.mktemp("page"), artifact)


@pytest.fixture(scope="module")
def url(models: Path) -> Iterator[str]:
    with serving(models, "--max-tokens=10000000") as (url, _):
        yield url


def test_the_files_of_the_page_name_no_other_machine(url: str) -> None:
    files = {"ui": "html", "ui/style.css": "css"}
    files |= {f"ui/{path.name}": "javascript" for path in FOLDER.glob("*.js")}
    assert "ui/app.js" in files
    for path, kind in files.items():
        answer = httpx.get(f"{url}/{path}")
        assert answer.status_code == 200
        assert answer.headers["content-type"] == f"text/{kind}; charset=utf-8"
        policy = answer.headers["content-security-policy"]
        assert policy.startswith("default-src 'none'; ")
        assert "unsafe" not in policy
        assert "*" not in policy
        # The one address is the name of SVG's language, in the icon; it is not fetched.
        addresses = re.findall(r"(?:https?:)?//[\w.-]+\.\w+[^\s'\"]*", answer.text)
        assert set(addresses) <= {"http://www.w3.org/2000/svg"}
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|\beval\b", answer.text)
        assert httpx.head(f"{url}/{path}").status_code == 200
    assert httpx.get(f"{url}/ui/", follow_redirects=True).url.path == "/ui"
    assert httpx.get(f"{url}/ui/../pyproject.toml").status_code == 404
    assert httpx.get(f"{url}/ui/page.py").status_code == 404


def test_everything_that_can_be_used_has_a_name(url: str) -> None:
    class Names(HTMLParser):
        """Collects what can be used, and what labels it."""

        def __init__(self) -> None:
            super().__init__()
            self.used: list[dict[str, str | None]] = []
            self.labeled: set[str | None] = set()
            self.inside = 0

        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            given = dict(attrs)
            if tag == "label":
                self.inside += 1
                self.labeled.add(given.get("for"))
            elif tag in ("input", "select", "textarea", "canvas"):
                self.used.append(given | {"label": "inside"} if self.inside else given)

        def handle_endtag(self, tag: str) -> None:
            self.inside -= tag == "label"

    names = Names()
    names.feed(httpx.get(f"{url}/ui").text)
    assert len(names.used) > 8
    for given in names.used:
        named = "label" in given or given.get("aria-label") or given.get("id") in names.labeled
        assert named, given


@pytest.mark.slow
def test_a_digit_is_drawn_and_recognized(visit, url: str, workplace: Path) -> None:
    page = visit(url)
    says(page, "#digits-model", "digits")
    assert page.locator("#bars li").count() == 10
    with page.expect_response("**/api/classify") as early:
        box = page.locator("#pad").bounding_box()
        page.mouse.move(box["x"] + 90, box["y"] + 80)
        page.mouse.down()
        page.mouse.move(box["x"] + 200, box["y"] + 80, steps=6)
    assert early.value.status == 200  # while the mouse is still down
    page.mouse.up()
    page.get_by_role("button", name="Clear").click()
    page.locator("#best-label:empty").wait_for(state="attached")
    draw(page, SEVEN)
    says(page, "#best-label", "7")
    assert page.locator("#bars li.best > span").first.inner_text() == "7"
    assert page.locator("#pad").get_attribute("aria-label") == "Drawing area, it shows a 7"
    says(page, "#seen-size", "What the net sees: 28 x 28 pixels.")
    assert page.locator("#seen").evaluate("image => image.naturalWidth") == 28
    says(page, "#digits-about", "MNISTCNN, ")
    # The picture, saved and given as a file, is the same digit.
    picture = workplace / "seven.png"
    page.locator("#pad").screenshot(path=picture)
    page.keyboard.press("Delete")
    page.locator("#clear").click()
    page.locator("#best-label:empty").wait_for(state="attached")
    assert page.locator("#seen").is_hidden()
    page.set_input_files("#file", picture)
    says(page, "#best-label", "7")
    # A file that is no picture is told as the server tells it.
    page.set_input_files(
        "#file", {"name": "a.png", "mimeType": "image/png", "buffer": b"no picture"}
    )
    says(page, "#digits-error", "is not an image that can be read")
    # A seven by the keyboard alone.
    page.locator("#pad").focus()
    page.keyboard.press("Delete")
    for key, times in (
        ("ArrowLeft", 6), ("ArrowUp", 8), (" ", 1), ("ArrowRight", 13), ("ArrowDown", 5),
        ("ArrowLeft", 3), ("ArrowDown", 5), ("ArrowLeft", 3), ("ArrowDown", 8),
    ):  # fmt: skip
        for _ in range(times):
            page.keyboard.press(key)
    says(page, "#best-label", "7")


@pytest.mark.slow
def test_the_newest_drawing_wins(visit, url: str) -> None:
    page = visit(url)
    says(page, "#digits-model", "digits")
    held, aborted = [], []

    def hold(route) -> None:
        if held:
            route.continue_()
        else:
            held.append(route.request)  # the first one gets no answer

    page.route("**/api/classify", hold)
    page.on("requestfailed", lambda request: aborted.append(request))
    draw(page, SEVEN)
    draw(page, SEVEN[-1:] * 2)  # a dot where the seven ends
    says(page, "#best-label", "7")
    assert held[0] in aborted


@pytest.mark.slow
def test_a_finger_draws_on_a_phone(visit, url: str) -> None:
    page = visit(url, viewport={"width": 360, "height": 740}, has_touch=True)
    says(page, "#digits-model", "digits")
    box = page.locator("#pad").bounding_box()
    touch = page.context.new_cdp_session(page)
    for number, (x, y) in enumerate(SEVEN):
        place = {"x": box["x"] + x * box["width"], "y": box["y"] + y * box["height"]}
        kind = "touchMove" if number else "touchStart"
        touch.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": [place]})
    touch.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    # Which digit the net of a few epochs sees in a finger's strokes differs between machines.
    page.locator("#best-label:not(:empty)").wait_for()
    assert page.locator("#best-label").inner_text().isdigit()
    assert page.evaluate("() => scrollY") == 0  # the finger drew and did not scroll


@pytest.mark.slow
def test_a_message_is_answered_token_by_token(visit, url: str, models: Path) -> None:
    page = visit(url)
    says(page, "#text-model", "mini_gpt")
    says(page, "#context", "continues the text above and does not converse")
    page.get_by_text("Settings").click()
    assert page.locator("#system").is_hidden()  # it would be glued to the text
    page.fill("#num_predict", "24")
    page.fill("#message", "the cat")
    for wrong in ("-3", "6"):
        page.fill("#temperature", wrong)
        page.press("#message", "Enter")
        says(page, "#log .error", "Temperature: ")
        assert page.locator(".turn").count() == 0
    page.fill("#temperature", "0")
    page.press("#message", "Enter")
    says(page, ".figures", "24 tokens")
    generator = TextGenerator.load(models / "mini_gpt", device="cpu")
    greedy = generator.generate(["the cat"], SamplingOptions(24, temperature=0))[0].text
    assert page.locator(".turn.model").text_content() == greedy
    # The history goes along, and a stopped answer ends at once and stays.
    page.fill("#num_predict", "10000000")
    page.fill("#message", "the dog")
    with page.expect_request("**/api/chat") as sent:
        page.get_by_role("button", name="Send").click()
    said = sent.value.post_data_json["messages"]
    assert [turn["content"] for turn in said] == ["the cat", greedy, "the dog"]
    page.locator(".turn.model").nth(1).filter(has_text=re.compile(r".{8}", re.DOTALL)).wait_for()
    page.get_by_role("button", name="Stop").click()
    says(page, ".figures", "stopped")
    assert len(page.locator(".turn.model").nth(1).text_content()) >= 8
    # What the model cannot read is told, and the message can be mended.
    page.fill("#message", "<img src=x onerror=alert(1)>")
    page.press("#message", "Enter")
    says(page, "#log .error", "mini_gpt cannot read ( ) 1 < = > ")
    assert page.input_value("#message") == "<img src=x onerror=alert(1)>"
    assert page.locator("#log img").count() == 0
    page.get_by_role("button", name="New chat").click()
    assert page.locator(".turn").count() == 0


@pytest.mark.slow
def test_what_is_missing_is_said_on_the_page(visit, workplace: Path) -> None:
    keys = workplace / "keys"
    keys.write_text("a-key-that-is-long-enough\n")
    keys.chmod(0o600)
    models = workplace / "none"
    models.mkdir()
    with serving(models, f"--api-key-file={keys}") as (url, process):
        page = visit(url, viewport={"width": 360, "height": 740}, has_touch=True)
        page.get_by_label("This server wants an API key.").fill("not-the-key")
        page.get_by_role("button", name="Use it").click()
        says(page, "#key-error", "refused that key")
        page.get_by_label("This server wants an API key.").fill("a-key-that-is-long-enough")
        page.get_by_role("button", name="Use it").click()
        says(page, "#digits-none", "gpu-learning export logs/digits_cnn")
        says(page, "#text-none", "gpu-learning fit -c configs/mini_gpt.yaml")
        assert not page.locator("#key-form").is_visible()
        # Nothing is wider than a phone.
        assert page.locator("body").evaluate("body => body.scrollWidth") <= 360
        process.kill()
        process.wait()
        # Coming back to the page is when it looks again.
        page.locator("body").evaluate("() => window.dispatchEvent(new Event('focus'))")
        says(page, "#gone", "gpu-learning serve models/")
        port = url.rsplit(":", 1)[1]
        with serving(models_folder(workplace / "again"), port=int(port)):
            says(page, "#text-model", "mini_gpt")
            assert not page.locator("#gone").is_visible()
