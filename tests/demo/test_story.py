"""What the page tells: an example before the first click, two lists without a cloud, and because of which click."""

import shutil

import numpy as np
import pytest

from recbole_cocorr.correctors.neighbours import corrector_of
from recbole_cocorr.device import Session
from tests.demo import artifact_served, pick, ranking_of, title
from tests.device import ITEMS, TOKENS
from tests.device.test_neighbours import made_up, with_table

DECAY = 0.5
EXAMPLE = TOKENS[1:4]  # the best known
LOG = ["item-5", "item-9", "item-5", "item-20", "item-21", "item-2"]


@pytest.fixture
def folders(written, tmp_path):
    """The artifact without and with a neighbour table, and the table as a dense matrix [clicked item, item]."""
    plain, folder = written()[1], tmp_path / "artifact"
    shutil.copytree(plain, folder)
    table = with_table(folder, made_up(DECAY))
    return plain, folder, corrector_of(table, DECAY).weights.toarray()


@pytest.fixture
def opened(folders, runtime, new_page, tmp_path):
    with artifact_served(folders[1], runtime, tmp_path) as server:
        yield lambda **options: new_page(server.address, **options)


def ranked(folder, log: list[str]) -> list[str]:
    session = Session.open(folder)
    session.history(log)
    return session.rank_all(ITEMS, exclude=log).items


def clicked_for(weights: np.ndarray, log: list[str], token: str) -> str | None:
    """The click that adds most to the item's score."""
    shares = {}
    for age, click in enumerate(reversed(log)):
        shares[click] = shares.get(click, 0) + weights[TOKENS.index(click), TOKENS.index(token)] * DECAY**age
    click = max(shares, key=shares.get)
    return click if shares[click] > 0 else None


def check_lists(page, folders, log: list[str]) -> int:
    """Both lists are Python's, and each title that the table lifted says because of which click."""
    plain, folder, weights = folders
    alone, second = ranked(plain, log), ranked(folder, log)
    assert ranking_of(page) == alone[:20]
    assert ranking_of(page, "corrected") == second[:20] != alone[:20]
    lines = page.eval_on_selector_all(
        "#corrected button", "all => all.map(b => [...b.querySelectorAll('.because')].map(e => e.textContent))"
    )
    explained = 0
    for place, (token, said) in enumerate(zip(second[:20], lines, strict=True)):
        click = clicked_for(weights, log, token) if alone.index(token) > place else None
        assert said == ([] if click is None else [f"because you clicked “{title(click)}”"])
        explained += click is not None
    return explained


def test_a_first_visit_shows_an_example(opened, folders):
    page = opened()
    assert check_lists(page, folders, EXAMPLE) > 3
    clicked = "“{}”, “{}” and “{}”".format(*map(title, EXAMPLE))
    assert page.inner_text("#news") == (
        f"An example: suppose you clicked {clicked}. Click any title, and the lists become yours."
    )
    assert (page.inner_text("#clicks"), page.inner_text("#sent")) == ("0", "0")
    assert page.inner_text("#log") == ""
    assert page.said == []


def test_the_table_says_because_of_which_click(opened, folders):
    page = opened()
    loaded = list(page.asked)
    explained = 0
    for place, token in enumerate(LOG, 1):
        pick(page, token)
        explained += check_lists(page, folders, LOG[:place])
    assert explained > 20
    assert page.inner_text("#next-title") == "The model alone"
    assert page.inner_text("#cloud-title") == "With the neighbour table"
    assert page.asked == loaded, "a click has asked for something"
    check_sentence(page, folders, LOG)


def check_sentence(page, folders, log: list[str]) -> None:
    """The sentence is about the title whose rise shows most, among those that a click speaks for."""
    plain, folder, weights = folders
    alone, second = ranked(plain, log), ranked(folder, log)
    rises = [(1 / (to + 1) - 1 / (alone.index(t) + 1), t) for to, t in enumerate(second[:20])]
    _, token = max(rise for rise in rises if rise[0] > 0 and clicked_for(weights, log, rise[1]))
    assert page.inner_text("#cloud-said") == (
        "The neighbour table on this device, made of everybody's clicks, "
        f"lifted “{title(token)}” from place {alone.index(token) + 1} to place {second.index(token) + 1}, "
        f"because you clicked “{title(clicked_for(weights, log, token))}”."
    )


@pytest.mark.parametrize("width", [390, 700, 1280])
def test_place_by_place_the_lists_stand_beside_each_other(opened, width):
    page = opened(width=width)
    pick(page, "item-5")
    assert page.evaluate("document.documentElement.scrollWidth") == width
    box = "all => all.map(e => e.getBoundingClientRect()).map(({ top, left, height }) => [top, left, height])"
    ours, other = (page.eval_on_selector_all(f"#{which} button", box) for which in ("ranking", "corrected"))
    assert len(ours) == len(other) == 20
    for (top, left, height), (top_2, left_2, _) in zip(ours, other, strict=True):
        assert (top, left < left_2, height >= 44) == (top_2, True, True)


WAIT = """
  async ([drawn, came]) => {
    const { Cloud } = await import("/js/cloud.js");
    let now = 1000;
    performance.now = () => now;
    const answered = Promise.withResolvers();
    window.fetch = () => answered.promise;
    const pending = new Cloud(location.href, 50000).ask("v1/score", {}, new Int32Array(1));
    now += drawn; // the page draws the first list
    const within = pending.within(50000);
    now += came;
    answered.resolve(new Response(new Uint8Array(4)));
    const answer = await within;
    return [answer?.milliseconds ?? null, (await pending.answer).milliseconds];
  }
"""


@pytest.mark.parametrize(("drawn", "came", "expected"), [(30, 19, [49, 49]), (30, 41, [None, 71]), (71, 0, [None, 71])])
def test_deadline_and_round_trip_begin_at_the_same_moment(opened, drawn, came, expected):
    """In seconds: no real clock comes near to the deadline of 50."""
    answer, round_trip = opened().evaluate(WAIT, [1000 * drawn, 1000 * came])
    assert [answer and answer / 1000, round_trip / 1000] == expected
