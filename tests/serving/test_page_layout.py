"""What a newcomer sees of the page: nothing moves, waiting is told, prompts suit the model."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from serving import course_pages
from serving import page as served
from tests.exporting.text.test_text_export import CHARACTERS
from tests.serving.browsing import SEVEN, WAIT, draw, says
from tests.serving.conftest import until
from tests.serving.live import models_folder, serving

httpx = pytest.importorskip("httpx", reason="needs the extra serve")

DESK, PHONE = {"width": 1400, "height": 1000}, {"width": 390, "height": 844}
TOUCH = {"has_touch": True, "is_mobile": True}


@pytest.fixture(scope="module")
def models(artifact: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return models_folder(tmp_path_factory.mktemp("layout"), artifact)


@pytest.fixture(scope="module")
def url(models: Path) -> Iterator[str]:
    with serving(models, "--max-tokens=10000000") as (url, _):
        yield url


def place(page, selector: str) -> list[float]:
    """Position and size on the page, wherever it is scrolled to."""
    return page.locator(selector).evaluate(
        """element => {
          const box = element.getBoundingClientRect();
          return [box.x + scrollX, box.y + scrollY, box.width, box.height].map(Math.round);
        }"""
    )


def test_the_answer_is_qualified_and_leads_to_the_step_that_explains_it(url: str) -> None:
    document = httpx.get(f"{url}/ui").text
    (address,) = re.findall(r'id="closed".*?href="([^"]+)"', document, re.S)
    assert "softmax" in httpx.get(f"{url}/{address}").text.split("<article>")[1]
    beside = httpx.get(f"{url}/ui/course/12-mnist-cnn").text
    assert f'href="{served.SOFTMAX}"' in beside.partition('id="closed"')[2].partition("</p>")[0]


def test_only_the_try_tab_says_whom_it_talks_to(url: str) -> None:
    assert "to nobody else" in httpx.get(f"{url}/ui").text
    assert "to nobody else" not in httpx.get(f"{url}/ui/course").text


def test_the_net_of_images_has_its_class_name(url: str) -> None:
    models = {one["name"]: one["details"] for one in httpx.get(f"{url}/api/tags").json()["models"]}
    assert models["digits:latest"]["net"] == "MNISTCNN"
    assert "net" not in models["mini_gpt:latest"]


def running(url: str) -> set[str]:
    return {one["name"] for one in httpx.get(f"{url}/api/ps").json()["models"]}


@pytest.mark.slow
@pytest.mark.parametrize("size", [DESK, PHONE], ids=lambda size: f"{size['width']}")
def test_nothing_moves(visit, url: str, size: dict[str, int]) -> None:
    page = visit(url, viewport=size)
    says(page, "#context", "sees the last")
    names = ["#log", "#message", "#send", "#again", "#bars", ".below"]
    before = {name: place(page, name) for name in names}

    def unmoved() -> None:
        assert {name: place(page, name) for name in names} == before

    # Beside the drawing of a phone there would be nothing.
    mark = "label => getComputedStyle(label, '::before').content"
    assert "?" in page.locator("#best-label").evaluate(mark)
    page.locator("#pad").scroll_into_view_if_needed()
    draw(page, SEVEN)
    says(page, "#seen-size", "What the net sees")
    assert page.locator("#best-label").evaluate(mark) == "none"
    unmoved()
    picture = {"name": "a.png", "mimeType": "image/png", "buffer": b"no picture"}
    page.set_input_files("#file", picture)
    says(page, "#digits-error", "is not an image that can be read")
    unmoved()
    page.fill("#message", "Hello!")
    page.press("#message", "Enter")
    says(page, "#log .error", "cannot read")
    unmoved()


@pytest.mark.slow
def test_waiting_is_told(visit, models: Path) -> None:
    with serving(models, "--max-tokens=10000000") as (url, _):
        page = visit(url)
        # Nothing was asked yet, and importing torch takes longer than half a second.
        says(page, "#note", "Loading mini_gpt")
        page.fill("#message", "the cat")
        page.get_by_text("Settings").click()
        page.fill("#num_predict", "10000000")
        page.press("#message", "Enter")
        page.fill("#message", "the dog")
        page.press("#message", "Enter")
        says(page, "#note", "Wait for the answer, or stop it.")
        page.locator(".turn.model").filter(has_text=re.compile(r"\S")).wait_for()
        assert "Loading" not in page.locator("#note").inner_text()
        assert page.input_value("#message") == "the dog"
        page.keyboard.press("Escape")
        says(page, ".figures", "stopped")
        assert page.locator("#note").inner_text() == ""


@pytest.mark.slow
def test_a_model_is_loaded_before_it_is_asked(visit, models: Path) -> None:
    with serving(models) as (url, _):
        page = visit(url)
        says(page, "#digits-model", "digits")
        until(lambda: running(url) == {"mini_gpt:latest", "digits:latest"}, 3 * WAIT / 1000)


@pytest.mark.slow
def test_prompts_suit_the_model(visit, url: str) -> None:
    page = visit(url)
    buttons = page.locator("#empty .prompts button")
    buttons.first.wait_for()
    for text in buttons.all_inner_texts():
        assert set(text) <= set(CHARACTERS)
    says(page, "#context", f"sees the last 2,048 characters and knows {len(CHARACTERS)}: ")
    says(page, "#context", "space")
    page.get_by_text("Settings").click()
    page.fill("#num_predict", "12")
    page.fill("#message", "Quiz!")
    page.press("#message", "Enter")
    lacking = " ".join(sorted(set("Quiz!") - set(CHARACTERS)))
    says(page, "#log .error", f"mini_gpt cannot read {lacking}. It knows")
    # The remedy is one click away, and what was typed stays.
    example = page.locator(".error .prompts button").first
    text = example.inner_text()
    example.click()
    says(page, ".figures", "12 tokens")
    assert page.locator(".turn.user").inner_text() == text
    assert page.locator("#log .error").count() == 0
    assert page.input_value("#message") == "Quiz!"


@pytest.mark.slow
def test_a_phone_has_one_line_of_header_and_no_keyboard_help(visit, url: str) -> None:
    page = visit(url, viewport=PHONE, **TOUCH)
    page.locator("#state.up").wait_for()
    assert not page.locator("#pad-help .desk").is_visible()
    assert page.locator("#pad-help .touch").is_visible()
    assert place(page, "header")[3] < 60
    assert place(page, "#text-title")[1] < PHONE["height"]
    desk = visit(url, viewport=DESK)
    assert desk.locator("#pad-help .desk").is_visible()
    assert not desk.locator("#pad-help .touch").is_visible()


@pytest.mark.slow
def test_no_code_is_cut_at_1400_pixels(visit, url: str) -> None:
    where = course_pages.folder()
    assert where is not None
    page = visit(url, "ui/course", viewport={"width": 1400, "height": 900})
    for name in course_pages.pages(where):
        page.goto(f"{url}/ui/course/{name}")
        cut = page.locator("article pre").evaluate_all(
            "all => all.filter(one => one.scrollWidth > one.clientWidth).map(one => one.innerText)"
        )
        assert not cut, name


@pytest.mark.slow
def test_a_phone_breaks_messages_and_scrolls_code(visit, url: str) -> None:
    page = visit(url, "ui/course/22-mini-gpt", viewport=PHONE, **TOUCH)
    messages = page.locator("article pre.message")
    assert messages.count() == 3
    cut = "all => all.map(one => one.scrollWidth > one.clientWidth)"
    assert not any(messages.evaluate_all(cut))
    # The rest is as it was written, and a shade tells of what is beyond the edge.
    wide = page.locator("article pre:not(.message)")
    assert any(wide.evaluate_all(cut))
    shade = "one => getComputedStyle(one).backgroundAttachment"
    assert wide.first.evaluate(shade).split(", ")[:2] == ["local", "scroll"]


@pytest.mark.slow
def test_the_text_is_in_the_middle_where_nothing_is_beside_it(visit, url: str) -> None:
    page = visit(url, "ui/course/14-lr-schedules", viewport=DESK)
    left, _, width, _ = place(page, "article > p:first-of-type")
    steps = place(page, "#steps")
    main = place(page, "main")
    before = left - (steps[0] + steps[2])
    after = main[0] + main[2] - (left + width)
    # The gap between the columns is on the left alone.
    assert 0 <= before - after <= 60
    assert after > 80


@pytest.mark.slow
def test_code_is_copied_by_keyboard(visit, url: str) -> None:
    allowed = ["clipboard-read", "clipboard-write"]
    page = visit(url, "ui/course/20-attention", permissions=allowed)
    button = page.get_by_role("button", name="Copy the code").first
    button.focus()
    assert button.evaluate("button => getComputedStyle(button).opacity") == "1"
    page.keyboard.press("Enter")
    says(page, "#told", "Copied")
    code = page.locator(".code.python code").first.text_content()
    assert page.evaluate("navigator.clipboard.readText()") == code
    # What a program printed is not for copying.
    assert page.locator(".code.text .copy").count() == 0


@pytest.mark.slow
def test_the_list_of_steps_shows_where_one_is(visit, url: str) -> None:
    page = visit(url, "ui/course/33-cross-entropy", viewport={"width": 1400, "height": 600})
    current = page.locator("#steps [aria-current]")
    until(lambda: page.evaluate("document.getElementById('steps').scrollTop") > 0)
    page.mouse.wheel(0, 3000)
    until(lambda: page.evaluate("scrollY") > 1000)
    box = current.bounding_box()
    assert 0 <= box["y"] < 600
