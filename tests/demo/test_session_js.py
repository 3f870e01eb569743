"""web/js: the session in the browser gives what the session in Python gives for the same clicks."""

import numpy as np
import pytest

from recbole_cocorr.device import Session
from tests.demo import artifact_served, assert_same_ranking
from tests.device import WINDOW, clicks, tokens_of

# steps: ["click", token] or ["history", [tokens]]; after each, the ranking of the whole catalogue.
RUN = """
async ([policy, steps, k]) => {
  const { Artifact } = await import("/js/artifact.js");
  const { Session } = await import("/js/session.js");
  window.artifact ??= await Artifact.fetch(new URL("/artifact/", location));
  const session = new Session(window.artifact, policy);
  const seen = [];
  for (const [what, value] of steps) {
    const answer = await session[what](value);
    const ranking = session.clicks ? session.rankAll(k) : [];
    seen.push({ answer, ranking, clicks: session.clicks });
  }
  return seen;
}
"""


def same_as_python(page, folder, policy: str, steps: list) -> None:
    session = Session.open(folder, policy=policy)
    for (what, value), found in zip(steps, page.evaluate(RUN, [policy, steps, 100]), strict=True):
        assert found["answer"] == getattr(session, what)(value)
        assert found["clicks"] == session.clicks
        ranking = session.rank_all(100) if session.clicks else None
        assert bool(ranking) == bool(found["ranking"])
        if ranking:
            assert_same_ranking(found["ranking"], ranking.items, ranking.scores)


def all_steps() -> list:
    tokens = tokens_of(clicks(3 * WINDOW + 2))
    one_by_one = [["click", token] for token in tokens]
    unknown = [["click", "no such item"], ["history", ["nor this", "nor this", "item-3"]], ["click", "item-3"]]
    return [*unknown[:1], *one_by_one, *unknown]


@pytest.mark.parametrize(
    ("name", "table", "settings", "policies"),
    [
        ("CoCorrRec", "fp32", {}, ["window", "carry"]),
        ("CoCorrRec", "fp16", {}, ["window"]),
        ("CoCorrRec", "int8", {}, ["carry"]),
        ("CoCorrRec", "fp32", {"mini_batch_size": WINDOW}, ["window", "carry"]),
        ("GRU4Rec", "fp32", {}, ["window", "carry"]),
        ("GRU4Rec", "int8", {}, ["carry"]),  # CoCorrRec norms what it reads, so a scale that is lost does not show
        ("SASRec", "fp32", {}, ["window"]),
    ],
)
def test_click_by_click_it_ranks_as_python_does(written, runtime, new_page, tmp_path, name, table, settings, policies):
    _, folder = written(name, table, **settings)
    with artifact_served(folder, runtime, tmp_path) as server:
        page = new_page(server.address)
        for policy in policies:
            same_as_python(page, folder, policy, all_steps())
        assert page.said == []


@pytest.mark.parametrize("policy", ["window", "carry"])
def test_a_history_and_the_clicks_after_it(written, runtime, new_page, tmp_path, policy):
    _, folder = written()
    tokens = tokens_of(clicks(40, seed=3))
    with artifact_served(folder, runtime, tmp_path) as server:
        page = new_page(server.address)
        for length in (1, 2, 3, 4, WINDOW - 1, WINDOW, WINDOW + 1, 20):
            rest = [["click", token] for token in tokens[length : length + 3]]
            more = ["history", tokens[length + 3 : length + 6]]
            same_as_python(page, folder, policy, [["history", tokens[:length]], *rest, more, *rest])


def test_calls_that_do_not_wait_are_read_in_order(written, runtime, new_page, tmp_path):
    _, folder = written()
    tokens = tokens_of(clicks(9))
    session = Session.open(folder, policy="carry")
    session.history(tokens)
    ranking = session.rank_all(100)
    at_once = """
      async (tokens) => {
        const { Artifact } = await import("/js/artifact.js");
        const { Session } = await import("/js/session.js");
        const session = new Session(await Artifact.fetch(new URL("/artifact/", location)), "carry");
        await Promise.all(tokens.map((token) => session.click(token)));
        return session.rankAll(100);
      }
    """
    with artifact_served(folder, runtime, tmp_path) as server:
        found = new_page(server.address).evaluate(at_once, tokens)
    assert_same_ranking(found, ranking.items, ranking.scores)


def test_what_is_wrong_is_said(written, runtime, new_page, tmp_path):
    _, folder = written()
    attempts = """
      async () => {
        const { Artifact } = await import("/js/artifact.js");
        const { Session } = await import("/js/session.js");
        const artifact = await Artifact.fetch(new URL("/artifact/", location));
        const said = [];
        const attempt = async (work) => { try { await work(); } catch (error) { said.push(error.message); } };
        const session = new Session(artifact);
        await attempt(() => session.rankAll(3));
        await session.click("item-1");
        await attempt(() => session.rankAll(0));
        await attempt(() => new Session(artifact, "neither"));
        artifact.items.rows.fill(NaN);
        await attempt(() => session.click("item-2"));
        return [said, session.clicks, session.rankAll(2, ["item-1"]).length];
      }
    """
    with artifact_served(folder, runtime, tmp_path) as server:
        said, clicked, ranked = new_page(server.address).evaluate(attempts)
    assert said == [
        "the session has read no click yet; click or history comes first",
        "k is 0; it must be a whole number from 1 on",
        "policy is neither; it must be carry or window",
        "the item table is damaged: a user vector is not finite",
    ]
    assert (clicked, ranked) == (1, 2)


def test_every_half_is_read_as_numpy_reads_it(written, runtime, new_page, tmp_path):
    _, folder = written()
    with artifact_served(folder, runtime, tmp_path) as server:
        read = """
          async () => {
            const { halfToNumber } = await import("/js/table.js");
            return Array.from({ length: 65536 }, (_, bits) => String(halfToNumber(bits)));
          }
        """
        found = new_page(server.address).evaluate(read)
    expected = np.arange(65536, dtype=np.uint16).view(np.float16).astype(np.float64)
    np.testing.assert_array_equal(np.array([float(text.replace("Infinity", "inf")) for text in found]), expected)
