"""web/js: the session in the browser gives what the session in Python gives for the same clicks."""

import shutil

import numpy as np
import pytest

from recbole_cocorr.device import Session
from tests.demo import artifact_served, assert_same_ranking
from tests.device import WINDOW, clicks, sent_to, tokens_of
from tests.device.test_neighbours import made_up, with_table

# steps: ["click", token] or ["history", [tokens]]; after each, the ranking of the whole catalogue.
RUN = """
async ([runtime, policy, steps, k]) => {
  const { Artifact, Session } = await import("/js/index.js");
  const { onnxRuntime: onnx } = await import("/js/onnx_runtime.js");
  window.artifact ??= await Artifact.fetch(new URL("/artifact/", location), { runtime, onnx });
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


def same_as_python(page, folder, policy: str, steps: list, runtime: str = "onnx") -> None:
    session = Session.open(folder, policy=policy)
    for (what, value), found in zip(steps, page.evaluate(RUN, [runtime, policy, steps, 100]), strict=True):
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
    ("name", "table", "settings", "policies", "by"),
    [
        ("CoCorrRec", "fp32", {}, ["window", "carry"], "onnx"),
        ("CoCorrRec", "fp16", {}, ["window"], "onnx"),
        ("CoCorrRec", "int8", {}, ["carry"], "onnx"),
        ("CoCorrRec", "int8", {}, ["window", "carry"], "native"),  # the rest of native: test_js_package.py
        ("CoCorrRec", "fp32", {"mini_batch_size": WINDOW}, ["window", "carry"], "onnx"),
        ("GRU4Rec", "fp32", {}, ["window", "carry"], "onnx"),
        # CoCorrRec norms what it reads, so a scale that is lost does not show.
        ("GRU4Rec", "int8", {}, ["carry"], "onnx"),
        ("SASRec", "fp32", {}, ["window"], "onnx"),
    ],
)
def test_click_by_click_it_ranks_as_python_does(
    written, runtime, new_page, tmp_path, name, table, settings, policies, by
):
    _, folder = written(name, table, **settings)
    with artifact_served(folder, runtime, tmp_path) as server:
        page = new_page(server.address)
        for policy in policies:
            same_as_python(page, folder, policy, all_steps(), by)
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


@pytest.mark.parametrize("decay", [0.9, 0.3])
def test_with_a_neighbour_table_it_ranks_as_python_does(written, runtime, new_page, tmp_path, decay):
    """Repeats, unknown items, and more clicks than count: p is made anew on both sides."""
    folder = shutil.copytree(written()[1], tmp_path / "table")
    with_table(folder, made_up(decay))
    tokens = tokens_of(clicks(60, seed=7))
    steps = [*all_steps(), ["history", tokens], ["click", tokens[0]], ["click", tokens[0]], ["history", tokens * 5]]
    with artifact_served(folder, runtime, tmp_path / "site") as server:
        page = new_page(server.address)
        for policy in ("window", "carry"):
            same_as_python(page, folder, policy, [*steps, *[["click", token] for token in tokens]])
        assert page.said == []


CORRECTED = """
async ([runtime, policy, lengths, tokens, correction]) => {
  const { Artifact, Session } = await import("/js/index.js");
  const { onnxRuntime: onnx } = await import("/js/onnx_runtime.js");
  window.artifact ??= await Artifact.fetch(new URL("/artifact/", location), { runtime, onnx });
  const seen = [];
  for (const length of lengths) {
    const session = new Session(window.artifact, policy);
    await session.history(tokens.slice(0, length));
    const asked = session.hiddenStates();
    await session.apply(Float32Array.from(correction).buffer, asked.clicks, asked.fingerprint);
    const ranking = session.rankAll(100);
    const { corrected } = session;
    session.withoutCorrection();
    const alone = session.rankAll(100);
    await session.click(tokens[length]); // the state is what it would be without a correction
    const after = session.rankAll(100);
    seen.push({ rows: [...asked.rows], ranking, corrected, alone, after, still: session.corrected });
  }
  return seen;
}
"""


@pytest.mark.parametrize(
    ("table", "settings", "policies", "by"),
    [
        ("fp32", {}, ["window", "carry"], "onnx"),
        ("fp32", {}, ["window", "carry"], "native"),
        ("int8", {}, ["carry"], "onnx"),
        ("fp16", {}, ["window"], "native"),
        # Has the graph `window`, which makes no state.
        ("fp32", {"mini_batch_size": WINDOW}, ["window", "carry"], "onnx"),
    ],
)
def test_a_correction_changes_the_ranking_as_in_python(
    written, runtime, new_page, tmp_path, table, settings, policies, by
):
    recommender, folder = written("CoCorrRec", table, **settings)
    _, sent = sent_to(recommender.model)
    body = np.concatenate([part.ravel() for part in sent]).tolist()
    lengths, tokens = [1, 2, 3, 4, WINDOW - 1, WINDOW, WINDOW + 1, 16], tokens_of(clicks(20, seed=5))
    with artifact_served(folder, runtime, tmp_path) as server:
        page = new_page(server.address)
        for policy in policies:
            for length, found in zip(
                lengths, page.evaluate(CORRECTED, [by, policy, lengths, tokens, body]), strict=True
            ):
                session = Session.open(folder, policy=policy)
                session.history(tokens[:length])
                asked, alone = session.hidden_states(), session.rank_all(100)
                np.testing.assert_allclose(found["rows"], asked.hidden_states.ravel(), rtol=1e-5, atol=1e-6)
                session.apply(sent, asked.clicks, asked.fingerprint)
                ranking = session.rank_all(100)
                assert_same_ranking(found["ranking"], ranking.items, ranking.scores)
                assert_same_ranking(found["alone"], alone.items, alone.scores)
                session.click(tokens[length])
                after = session.rank_all(100)
                assert_same_ranking(found["after"], after.items, after.scores)
                assert (found["corrected"], found["still"]) == (True, False)
        assert page.said == []


def test_a_correction_that_does_not_fit_is_refused(written, runtime, new_page, tmp_path):
    _, folder = written()
    attempts = """
      async () => {
        const { Artifact, Session } = await import("/js/index.js");
        const artifact = await Artifact.fetch(new URL("/artifact/", location));
        const said = [];
        const attempt = async (work) => { try { await work(); } catch (error) { said.push(error.message); } };
        const session = new Session(artifact);
        const { fingerprint } = artifact.manifest;
        const body = () => new Float32Array(2 * 3 * (3 + 8));
        await attempt(() => session.hiddenStates());
        await session.click("item-1");
        const before = session.rankAll(40).map((one) => one.score);
        await attempt(() => session.apply(body().buffer, 2, fingerprint));
        await attempt(() => session.apply(body().buffer, NaN, fingerprint));
        await attempt(() => session.apply(body().buffer, 1, "f".repeat(32)));
        await attempt(() => session.apply(body().buffer, 1, null));
        await attempt(() => session.apply(body().subarray(1).slice().buffer, 1, fingerprint));
        await attempt(() => session.apply(body().fill(NaN, 65).buffer, 1, fingerprint));
        await attempt(() => session.apply(body().fill(Infinity, 0, 1).buffer, 1, fingerprint));
        const same = session.rankAll(40).every((one, i) => one.score === before[i]);
        artifact.manifest.correction = null;
        await attempt(() => session.apply(body().buffer, 1, fingerprint));
        return [said, same, session.corrected];
      }
    """
    with artifact_served(folder, runtime, tmp_path) as server:
        said, same, corrected = new_page(server.address).evaluate(attempts)
    other, not_finite = "the correction was made by another model", "a correction with numbers that are not finite"
    assert said == [
        "the session has read no click yet; click or history comes first",
        "the correction is of 2 clicks, and the session has read 1",
        "the correction is of NaN clicks, and the session has read 1",
        other,
        other,
        "a correction of 260 bytes; this model reads 264",
        not_finite,
        not_finite,
        "this CoCorrRec takes no correction",
    ]
    assert (same, corrected) == (True, False)


def test_calls_that_do_not_wait_are_read_in_order(written, runtime, new_page, tmp_path):
    _, folder = written()
    tokens = tokens_of(clicks(9))
    session = Session.open(folder, policy="carry")
    session.history(tokens)
    ranking = session.rank_all(100)
    at_once = """
      async (tokens) => {
        const { Artifact, Session } = await import("/js/index.js");
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
        const { Artifact, Session } = await import("/js/index.js");
        const { onnxRuntime: onnx } = await import("/js/onnx_runtime.js");
        const artifact = await Artifact.fetch(new URL("/artifact/", location), { runtime: "onnx", onnx });
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
