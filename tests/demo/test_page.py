"""The page: used as a person uses it, in a browser."""

import json
import re
from urllib.parse import urlsplit

import pytest

from recbole_cocorr.device import Session
from tests.demo import artifact_served, pick, ranking_of, title
from tests.device import ITEMS, TOKENS


@pytest.fixture
def opened(written, runtime, new_page, tmp_path):
    """The page of a small artifact, and its folder."""
    _, folder = written()
    with artifact_served(folder, runtime, tmp_path) as server:
        yield lambda **options: (new_page(server.address, **options), folder)


def wanted(folder, log: list[str]) -> list[str]:
    session = Session.open(folder)
    session.history(log)
    return session.rank_all(20, exclude=log).items


def test_it_ranks_as_python_does_and_asks_nobody(opened):
    page, folder = opened()
    loaded = list(page.asked)
    assert not [url for url in loaded if "/runtime/" in url or ".onnx" in url], "ONNX Runtime is not needed"
    assert page.is_disabled("#cloud-switch")
    assert page.inner_text("#cloud-about") == "Not available: no correction service is at hand."
    assert page.inner_text("#about") == (
        f"CoCorrRec runs in this page: it ranks {ITEMS - 1} titles of ml-100k after every click, and sends nothing."
    )
    log, before = [], None
    for token in ["item-5", "item-9", "item-5", *(f"item-{i}" for i in range(20, 29))]:
        log.append(token)
        pick(page, token)
        expected = wanted(folder, log)
        assert ranking_of(page) == expected
        if before:
            check_moves(page, expected, [t for t in before if t != token])
        session = Session.open(folder)
        session.history(log)
        before = session.rank_all(ITEMS, exclude=log).items
    logged = page.eval_on_selector_all("#log li", "all => all.map(l => l.textContent)")
    assert logged == [title(token) for token in reversed(log)]
    shown = page.eval_on_selector_all("#ranking .title", "all => all.map(t => t.textContent)")
    assert shown == [title(token) for token in expected]
    assert page.said == []
    assert page.asked == loaded, "a click has asked for something"
    assert {urlsplit(url).netloc for url in loaded} == {urlsplit(page.url).netloc}
    assert page.inner_text("#sent") == "0"
    assert float(page.inner_text("#last-ms")) > 0
    assert float(page.inner_text("#median-ms")) > 0


def check_moves(page, after: list[str], before: list[str]) -> None:
    shown = page.eval_on_selector_all("#ranking .move", "all => all.map(m => m.textContent)")
    for place, (token, text) in enumerate(zip(after, shown, strict=True)):
        rose = before.index(token) - place
        assert text == ("–" if not rose else f"▲ {rose}" if rose > 0 else f"▼ {-rose}")


def test_a_request_would_be_counted_and_another_host_is_out_of_reach(opened):
    page, _ = opened()
    page.evaluate("fetch('/titles.json?clicked=item-5').then((answer) => answer.text())")
    page.wait_for_function("() => performance.getEntriesByType('resource').at(-1).name.includes('?clicked')")
    pick(page, "item-5")
    assert page.inner_text("#sent") == "in 1 request"
    assert page.evaluate("fetch('http://localhost:9/').catch(e => e.name)") == "TypeError"
    assert any("Content Security Policy" in said for said in page.said)


def test_clicks_that_come_faster_than_they_are_read(opened):
    page, folder = opened()
    log = [f"item-{i}" for i in range(1, 10)]
    page.evaluate("log => log.forEach(t => document.querySelector(`#found [data-token='${t}']`).click())", log)
    page.wait_for_function("() => document.querySelector('#clicks').textContent === '9'")
    assert ranking_of(page) == wanted(folder, log)
    session = Session.open(folder)
    session.history(log[:-1])
    check_moves(page, wanted(folder, log), session.rank_all(ITEMS, exclude=log).items)


def test_the_keyboard_is_enough(opened):
    page, folder = opened()
    page.focus("#search")
    page.keyboard.type("№ 12")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.dataset.token") == "item-12"
    page.keyboard.press("Enter")
    page.wait_for_function("() => document.querySelector('#clicks').textContent === '1'")
    assert page.evaluate("document.activeElement.dataset.token") == "item-12"
    said = page.inner_text("#news")
    assert said.startswith(f"You clicked “{title('item-12')}”. The model on this device ranked all other titles in ")
    assert said.endswith(f": “{title(wanted(folder, ['item-12'])[0])}” is first.")
    page.keyboard.press("Tab")
    first = wanted(folder, ["item-12"])
    for key, place in (("ArrowDown", 1), ("End", 19), ("Home", 0), ("ArrowUp", 0), ("ArrowDown", 1), ("ArrowDown", 2)):
        page.keyboard.press(key)
        assert page.evaluate("document.activeElement.dataset.token") == first[place]
    page.keyboard.press("Space")
    page.wait_for_function("() => document.querySelector('#clicks').textContent === '2'")
    second = wanted(folder, ["item-12", first[2]])
    assert ranking_of(page) == second
    assert page.evaluate("document.activeElement.dataset.token") == second[2], "the focus left its place"


def test_start_again_forgets(opened):
    page, folder = opened()
    assert page.is_disabled("#again")
    for token in ("item-5", "item-9"):
        pick(page, token)
    page.click("#again")
    page.wait_for_function("() => document.querySelector('#clicks').textContent === '0'")
    assert ranking_of(page) == wanted(folder, TOKENS[1:4]), "the example is there again"
    assert page.evaluate("document.activeElement.id") == "search"
    assert page.inner_text("#news").startswith("An example: suppose you clicked ")
    assert page.is_disabled("#again")
    pick(page, "item-7")
    assert ranking_of(page) == wanted(folder, ["item-7"])
    assert page.eval_on_selector_all("#log li", "all => all.length") == 1


def test_start_again_waits_for_the_click_before_it(opened):
    page, folder = opened()
    pick(page, "item-5")
    page.evaluate(
        """() => {
          document.querySelector("#found [data-token='item-6']").click();
          document.querySelector("#again").click();
          document.querySelector("#found [data-token='item-7']").click();
        }"""
    )
    page.wait_for_function("(text) => document.querySelector('#news').textContent.includes(text)", arg=title("item-7"))
    assert page.inner_text("#clicks") == "1"
    assert ranking_of(page) == wanted(folder, ["item-7"])
    assert page.said == []


def test_the_search_finds_by_words_and_says_when_nothing_is_found(opened):
    page, _ = opened()
    found = "all => all.map(b => b.dataset.token)"
    assert page.eval_on_selector_all("#found button", found) == TOKENS[1:]
    page.fill("#search", "1912 FILM")
    assert page.eval_on_selector_all("#found button", found) == ["item-12"]
    page.fill("#search", "nothing of the kind")
    assert page.eval_on_selector_all("#found button", found) == []
    assert page.inner_text("#found-note") == "No title has these words."


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_can_be_read_on_a_phone(opened, scheme):
    page, _ = opened(width=390, color_scheme=scheme)
    pick(page, "item-5")
    pick(page, "item-6")
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    contrast = """
      () => {
        const luminance = (color) => {
          const parts = color.match(/[\\d.]+/g).slice(0, 3).map((v) => v / 255);
          const linear = parts.map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
          return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2];
        };
        const ground = luminance(getComputedStyle(document.querySelector("section")).backgroundColor);
        return [...document.querySelectorAll("#ranking span, #found span, .note, h2, label, #again")].map((e) => {
          const ink = luminance(getComputedStyle(e).color);
          return (Math.max(ink, ground) + 0.05) / (Math.min(ink, ground) + 0.05);
        });
      }
    """
    assert min(page.evaluate(contrast)) >= 4.5
    heights = page.eval_on_selector_all("li button", "all => all.map(b => b.getBoundingClientRect().height)")
    assert min(heights) >= 44


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda manifest: manifest.update(format_version=9), "the artifact has format 9; this page reads 1"),
        (lambda manifest: manifest["arrays"]["native"].update(bytes=7), "native-.* has .* bytes, the manifest says 7"),
        (lambda manifest: manifest["arrays"]["native"].update(file="gone.bin"), "gone.bin: the server answered 404"),
    ],
)
def test_what_cannot_be_loaded_is_said(written, runtime, new_page, tmp_path, change, said):
    _, folder = written()
    with artifact_served(folder, runtime, tmp_path) as server:
        manifest = json.loads((folder / "manifest.json").read_text())
        change(manifest)
        server.site["/artifact/manifest.json"] = json.dumps(manifest).encode()
        page = new_page(server.address)
        assert re.search(said, page.inner_text("#news"))
        assert not page.is_visible("main")
