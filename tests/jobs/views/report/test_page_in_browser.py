"""The page in a real browser: a thousand pictures, chosen and looked at by mouse and by keyboard."""

from __future__ import annotations

import io
from collections.abc import Iterator

import numpy as np
import pytest
from browser import Browser
from destinations import Made, make_destination
from PIL import Image

from i2r import Action, Finding, What
from jobs.views.report.page import write_report
from pipeline.records.manifest import Status

COUNT = 1_000
WIDTH, HEIGHT = 64, 48
NOISE = Finding(What.NOISE, 0.999, 1.0, Action.CORRECTED)
MARKS = Finding(What.MARKS, 0.97, 0.1, Action.SUSPECTED, parameters={"boxes": [[8, 8, 24, 24]]})
NASTY = ["<img src=x onerror=a()>.png", "photo\u202egnp.png", "\u05e2\u05d9\u05e8.png", "50% #1?.png"]
"""Names with markup, a mark that turns the direction, another direction, and signs of addresses."""

CONTRASTS = """(() => {
  const parts = (colour) => colour.match(/[\\d.]+/g).map(Number);
  const light = (colour) => parts(colour).slice(0, 3).map((value) => value / 255)
    .map((value) => (value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4))
    .reduce((sum, value, index) => sum + value * [0.2126, 0.7152, 0.0722][index], 0);
  const behind = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const colour = getComputedStyle(at).backgroundColor;
      if (parts(colour)[3] === undefined || parts(colour)[3] > 0.5) return colour;
    }
    return "rgb(255, 255, 255)";
  };
  const found = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    if (!walker.currentNode.data.trim() || !element.checkVisibility()) continue;
    if (element.closest("script, [disabled]")) continue;
    const both = [light(getComputedStyle(element).color), light(behind(element))];
    const [one, other] = both.sort((a, b) => b - a);
    const contrast = (one + 0.05) / (other + 0.05);
    if (contrast < 4.5) found.push(`${walker.currentNode.data.trim()}: ${contrast.toFixed(2)}`);
  }
  return found;
})()"""
"""Texts on the page whose contrast with what is behind them is too low (WCAG 2.2, 1.4.3)."""


def png(seed: int, high: int) -> bytes:
    """A small picture of noise up to some value."""
    stream = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, high, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


def made(number: int, bytes_of: list[bytes]) -> Made:
    name = NASTY[number] if number < len(NASTY) else f"{number:04d}.png"
    key, row = f"box {number % 10}/{name}", {"width": WIDTH, "height": HEIGHT}
    if number % 50 == 49:
        return Made(key, Status.FAILED, b"hello")
    if number % 2:
        findings = [MARKS] if number % 100 == 1 else []
        return Made(key, Status.UNCHANGED, bytes_of[1], bytes_of[1], findings, row)
    row |= {"rectified_fraction": 1.0, "consistency_psnr": 30.0 + number / 50}
    return Made(key, Status.RESTORED, bytes_of[0], bytes_of[1], [NOISE], row)


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The address of a page of a thousand pictures, four of which have previews."""
    bytes_of = [png(0, 250), png(1, 100)]
    folder = tmp_path_factory.mktemp("page")
    dest = make_destination(folder, [made(number, bytes_of) for number in range(COUNT)])
    return write_report(str(dest), previews=4)


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with Browser(tmp_path_factory.mktemp("profile")) as browser:
        yield browser


@pytest.fixture
def browser(started: Browser, page: str) -> Iterator[Browser]:
    """A browser that shows the page, and has nothing to complain of in the end."""
    started.complaints.clear()
    started.open(page)
    started.until("pictures.all.length === data.total")
    yield started
    assert started.complaints == []


def shown(browser: Browser) -> int:
    return int(browser.run("pictures.chosen.length"))


def choose(browser: Browser, name: str, value: str) -> None:
    browser.run(
        f"{name}.value = '{value}'; document.getElementById('{name}').dispatchEvent(new Event('change'))"
    )


def test_only_what_is_in_sight_exists_and_the_worst_comes_first(browser: Browser) -> None:
    assert shown(browser) == COUNT
    tiles = browser.run("grid.tiles.size")
    assert 10 < tiles < 80
    assert browser.run("grid.list.querySelector('li').getAttribute('aria-setsize')") == str(COUNT)
    assert browser.run("pictures.chosen[0].change") == max(
        browser.run("pictures.all.map(row => row.change || 0)")
    )
    browser.run("scrollTo(0, document.body.scrollHeight)")
    browser.until(f"grid.tiles.has({COUNT - 1})")
    assert browser.run("grid.tiles.size") < 80
    browser.until("[...document.querySelectorAll('.grid img')].every(image => image.naturalWidth > 0)")


def test_pictures_are_chosen_by_status_finding_folder_change_and_name(browser: Browser) -> None:
    browser.run("document.querySelector('[data-status=failed]').click()")
    assert (shown(browser), browser.run("pictures.chosen[0].code")) == (20, "unreadable")
    browser.run("document.getElementById('reset').click()")
    choose(browser, "finding", "suspected/marks")
    assert shown(browser) == 10
    choose(browser, "finding", "")
    choose(browser, "folder", "box 3")
    assert shown(browser) == 100
    choose(browser, "change", "5")
    assert shown(browser) == 0
    assert browser.run("document.getElementById('nothing').checkVisibility()")
    browser.run("document.getElementById('reset').click()")
    took = [
        browser.run(
            "(() => { const start = performance.now(); search.value = 'BOX 4 002'; "
            "search.dispatchEvent(new Event('input')); return performance.now() - start; })()"
        )
        for _ in range(5)
    ]
    assert shown(browser) == 1
    assert min(took) < 200  # milliseconds
    assert browser.run("document.getElementById('count').textContent") == "1 of 1,000"


def test_a_card_opens_slides_blinks_and_closes_by_keys_alone(browser: Browser) -> None:
    browser.run("grid.focus(0)")
    browser.press("ArrowRight", "ArrowLeft", "Enter")
    assert browser.until("card.dialog.open")
    browser.until("card.stage.sides.before.firstChild.naturalWidth === 64")
    browser.until("card.stage.sides.after.firstChild.naturalWidth === 64")
    clip = "card.stage.sides.after.style.clipPath"
    assert browser.run(clip) == "inset(0px 0px 0px 50%)"
    browser.run("card.stage.handle.focus()")
    browser.press("ArrowRight", "ArrowRight")
    assert browser.run("[card.stage.handle.ariaValueNow, card.index]") == ["54", 0]
    assert browser.run(clip) == "inset(0px 0px 0px 54%)"
    browser.run("document.querySelector('#card h2').focus()")
    browser.ask("Input.dispatchKeyEvent", type="keyDown", key="b")
    assert browser.run("card.stage.sides.after.checkVisibility()") is False
    browser.ask("Input.dispatchKeyEvent", type="keyUp", key="b")
    assert browser.run("card.stage.sides.after.checkVisibility()") is True
    browser.press("4", "z")
    assert browser.run("[card.stage.view, card.stage.zoom]") == ["difference", 1]
    browser.press("1", "ArrowRight", "ArrowRight", "Escape")
    browser.until("!card.dialog.open && document.activeElement.closest('li')?.dataset.index === '2'")


def test_the_border_follows_the_mouse_and_places_are_framed(browser: Browser) -> None:
    choose(browser, "finding", "suspected/marks")
    browser.run("grid.open(0)")
    assert browser.run("document.querySelectorAll('#card .boxes rect').length") == 1
    assert browser.run("card.stage.handle.checkVisibility()") is False  # nothing was changed
    assert "marks suspected, 97 % sure" in browser.run("document.getElementById('about').innerText")
    browser.press("Escape")
    choose(browser, "finding", "corrected/noise")
    browser.run("grid.open(0)")
    left, top, width, height = browser.run(
        "(({left, top, width, height}) => [left, top, width, height])"
        "(card.stage.root.getBoundingClientRect())"
    )
    browser.drag((left + width / 2, top + height / 2), (left + width / 4, top + height / 2))
    assert browser.run("Math.round(card.stage.split)") == 25
    links = browser.run("[...document.querySelectorAll('#about .links a')].map(link => link.href)")
    assert ["/in/" in links[0], "/out/" in links[1]] == [True, True]


def test_names_are_text_whatever_is_in_them(browser: Browser) -> None:
    assert browser.run("document.querySelectorAll('.grid [src=\"x\"], .grid [onerror]').length") == 0
    for name in NASTY:
        browser.run(f"choose({{search: {name[:8]!r}}})")
        assert shown(browser) == 1
        browser.run("grid.open(0)")
        browser.until("card.stage.sides.after.firstChild.naturalWidth === 64")
        told = browser.run("document.querySelector('#card h2').textContent")
        assert told.endswith(name.replace("\u202e", "\u2039202E\u203a"))
        browser.press("Escape")


@pytest.mark.parametrize(("width", "dark"), [(1400, False), (400, True)])
def test_it_is_accessible(browser: Browser, page: str, width: int, dark: bool) -> None:
    browser.open(page, width, 900, dark=dark)
    browser.until("pictures.all.length === data.total")
    browser.run("for (const details of document.querySelectorAll('details')) details.open = true")
    assert browser.run(CONTRASTS) == []
    assert browser.run("document.documentElement.scrollWidth") <= width
    assert nameless(browser) == []
    walked = []
    for _ in range(16):
        browser.press("Tab")
        walked.append(browser.run("(({id, className}) => id || className)(document.activeElement)"))
    wanted = ["skip", "search", "finding", "folder", "change", "sort"]
    assert [name for name in walked if name in wanted][: len(wanted)] == wanted
    browser.run("grid.open(0)")
    assert browser.run(CONTRASTS) == []
    assert nameless(browser) == []
    assert browser.run("document.activeElement.id") == "card-name"
    assert browser.run("document.querySelector('#card').scrollWidth") <= width


def nameless(browser: Browser) -> list[str]:
    """Controls, dialogs, lists and pictures without a name for those who do not see them."""
    roles = {
        "button",
        "link",
        "combobox",
        "searchbox",
        "slider",
        "radio",
        "radiogroup",
        "dialog",
        "search",
        "image",
    }
    nodes = browser.ask("Accessibility.getFullAXTree")["nodes"]
    return [
        node["role"]["value"]
        for node in nodes
        if not node.get("ignored")
        and node["role"]["value"] in roles
        and not node.get("name", {}).get("value")
    ]
