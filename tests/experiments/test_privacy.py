"""Privacy: attacks that must succeed do, budgets are what they say, and quality is the model's."""

import json
import math
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from scipy.special import log_ndtr
from scipy.stats import norm

from recbole_cocorr.__main__ import main
from recbole_cocorr.base.errors import UserError
from recbole_cocorr.correctors import ItemItem, Trust
from recbole_cocorr.correctors.folder import save_corrector
from recbole_cocorr.data.clicks import histories
from recbole_cocorr.evaluation.ranking import rank_positive
from recbole_cocorr.experiments.ablation import GivenCorrection, ranks_given
from recbole_cocorr.experiments.evaluation_rows import ndcg_of
from recbole_cocorr.experiments.privacy.attacks import by_length, learned_decoder, nearest, rotated_back
from recbole_cocorr.experiments.privacy.hidden_states import measure_uploads
from recbole_cocorr.experiments.privacy.scores import measure_scores
from recbole_cocorr.experiments.results.privacy import Privacy
from recbole_cocorr.service.client.uploads import (
    NoiseOf,
    coded,
    gaussian_sigma,
    log_normal_cdf,
    rotation,
    sensitivity_of,
)
from recbole_cocorr.training.checkpoint import checkpoint_fingerprint, load_checkpoint
from recbole_cocorr.training.corrected_lists import DeviceScores

RNG = np.random.default_rng(0)
TABLE = np.concatenate([np.zeros((1, 8)), RNG.standard_normal((50, 8))]).astype(np.float32)


def spent(sigma: float, sensitivity: float, epsilon: float) -> float:
    """delta by its definition: the integral of what one density has above e^epsilon of the other."""
    x = np.linspace(-40 * sigma, sensitivity + 40 * sigma, 2_000_001)
    excess = norm.pdf(x, sensitivity, sigma) - np.exp(epsilon + norm.logpdf(x, 0, sigma))
    return float(np.maximum(excess, 0).sum() * (x[1] - x[0]))


@pytest.mark.parametrize("epsilon", [0.1, 1.0, 10.0])
@pytest.mark.parametrize("delta", [1e-2, 1e-4])
def test_the_noise_spends_its_budget_and_no_more(epsilon, delta):
    sigma = gaussian_sigma(3.0, epsilon, delta)
    assert spent(sigma, 3.0, epsilon) == pytest.approx(delta, rel=1e-3)
    if epsilon < 1:  # the textbook's, which is not the least
        assert sigma < 3.0 * math.sqrt(2 * math.log(1.25 / delta)) / epsilon


@pytest.mark.parametrize("x", [-1e4, -200.0, -37.0, -10.001, -9.999, -3.0, 0.0, 2.0, 8.0])
def test_the_logarithm_of_the_normal_distribution(x):
    assert log_normal_cdf(x) == pytest.approx(log_ndtr(x), rel=1e-6)


def test_no_two_hidden_states_are_farther_apart():
    weight = np.array([1.0, -3.0, 2.0], np.float32)
    x = RNG.standard_normal((500, 3))
    x = np.concatenate([x, [[0, 1, 0], [0, -1, 0]]])
    hidden = x / np.sqrt(np.square(x).mean(axis=1, keepdims=True)) * weight
    apart = np.linalg.norm(hidden[:, None] - hidden[None], axis=2).max()
    assert apart == pytest.approx(sensitivity_of(weight))


@pytest.mark.parametrize(("epsilon", "delta"), [(0, 0.1), (-1, 0.1), (1, 0), (1, 1), (float("nan"), 0.1)])
def test_a_budget_that_is_none(epsilon, delta):
    with pytest.raises(UserError, match="epsilon"):
        gaussian_sigma(1, epsilon, delta)


def test_sigma_is_in_units_of_the_sensitivity_and_falls_with_the_budget():
    assert gaussian_sigma(6, 1, 1e-5) == pytest.approx(2 * gaussian_sigma(3, 1, 1e-5))
    result = [gaussian_sigma(1, e, 1e-5) for e in (0.5, 1, 10, 100, 1000, 10_000)]
    assert result == sorted(result, reverse=True) and result[-1] > 0


def test_the_noise_is_what_it_says():
    rows = np.ones((4000, 8), np.float32)
    changed = NoiseOf(2.5, 1)(rows) - rows
    assert changed.std() == pytest.approx(2.5, rel=0.03) and abs(changed.mean()) < 0.1
    assert not np.array_equal(NoiseOf(2.5)(rows), NoiseOf(2.5)(rows))


def test_the_noise_of_rows_that_are_sent_again_is_the_same():
    rows, noise = np.ones((3, 4), np.float32), NoiseOf(1.0)
    first = noise(rows)
    given = first.copy()
    first[:] = 0
    assert np.array_equal(noise(rows), given)
    assert not np.array_equal(noise(rows[:2]), given[:2])


def test_threads_get_the_noise_of_their_own_rows():
    noise, before = NoiseOf(0.0), sys.getswitchinterval()

    def own(number: int) -> bool:
        rows = np.full((2, 3), number, np.float32)
        return all(np.array_equal(noise(rows), rows) for _ in range(4000))

    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(4) as pool:
            assert all(pool.map(own, range(4)))
    finally:
        sys.setswitchinterval(before)


def test_nearest_finds_every_item_and_never_padding():
    order = RNG.permutation(np.arange(1, 51))
    assert np.array_equal(nearest(TABLE[order], TABLE), order)
    assert (nearest(np.zeros((600, 8), np.float32), TABLE) > 0).all()


def test_a_prior_counts_as_much_as_the_noise_is_large():
    prior = np.full(51, math.log(0.001))
    prior[7] = math.log(0.951)
    row = (TABLE[3] + 0.1 * (TABLE[7] - TABLE[3]))[None]
    assert nearest(row, TABLE, prior, 0.01) == [3]
    assert nearest(row, TABLE, prior, 100.0) == [7]
    scores = -np.square(row - TABLE[1:]).sum(axis=1) / (2 * 0.9**2) + prior[1:]
    assert nearest(row, TABLE, prior, 0.9) == [1 + scores.argmax()]


def test_a_rotation_hides_until_enough_pairs_are_known():
    turn = rotation(8, 3)
    np.testing.assert_allclose(turn @ turn.T, np.eye(8), atol=1e-5)
    items = RNG.integers(1, 51, 400)
    turned = TABLE[items] @ turn
    assert (nearest(turned, TABLE) == items).mean() < 0.3
    assert (by_length(turned, TABLE) == items).mean() > 0.95
    back = rotated_back(turned, turned[:20], TABLE[items[:20]])
    assert (nearest(back, TABLE) == items).all()
    two = rotated_back(turned, turned[:2], TABLE[items[:2]])
    assert (nearest(two, TABLE) == items).mean() < 0.9


def test_codes_are_near():
    rows = TABLE[1:]
    assert np.array_equal(coded(rows, "float32"), rows)
    for name, most in (("float16", 2e-3), ("int8", 2e-2)):
        assert 0 < np.abs(coded(rows, name) - rows).max() < most


def test_the_decoder_learns_what_can_be_read():
    mix = RNG.standard_normal((8, 12)).astype(np.float32)
    items = RNG.integers(1, 51, 3000)
    pooled = TABLE[items] @ mix
    read = learned_decoder(pooled[:2000], TABLE[items[:2000]], pooled[2000:], epochs=15)
    assert (nearest(read, TABLE) == items[2000:]).mean() > 0.95


def test_the_table(with_data):
    file, model, test = with_data
    result = measure_uploads(file, None, [1.0, 1e6], 1e-5, clicks=150, seed=0)
    by = {(r["way"], r["attack"]): r for r in result.rows}
    own, none = (ndcg_of(ranks_given(model, test, GivenCorrection(name))[0]).mean() for name in ("own", "none"))
    assert by["nothing is uploaded", "the most popular item"]["ndcg@10"] == pytest.approx(none)
    for name, size in (("float32", 384), ("float16", 192), ("int8", 120)):
        row = by[name, "nearest neighbour"]
        assert (row["recovered"], row["bytes"]) == (1.0, size)
    assert by["float32", "nearest neighbour"]["ndcg@10"] == pytest.approx(own)
    strong, weak = (r for r in result.rows if "epsilon" in r)
    assert strong["recovered"] < 0.3 and weak["recovered"] > 0.9
    assert strong["list_epsilon"] == 6 and weak["ndcg@10"] == pytest.approx(own, abs=0.02)
    # The cloud that holds turned weights, and the one that gets pooled vectors, compute what the plain one does.
    turned = [r for r in result.rows if r["way"] == "secret rotation"]
    pooled = [r for r in result.rows if r["way"] == "pooled on the device"]
    for row in turned + pooled:
        assert row["ndcg@10"] == pytest.approx(own, abs=1e-4)
    assert turned[0]["recovered"] < 0.3
    assert turned[-1]["attack"] == "64 clicks known"  # of 150; 256 are not there
    assert {r["bytes"] for r in pooled} == {128}
    assert "nothing is uploaded" in result.text()


def test_the_command(with_data, tmp_path, capsys):
    file, *_ = with_data
    out = tmp_path / "privacy.json"
    assert main(["privacy", "--checkpoint", str(file), "--epsilons", "5", "--clicks", "50", "--out", str(out)]) == 0
    assert "epsilon 5" in capsys.readouterr().out
    result = Privacy.load(out)
    config = load_checkpoint(file).config
    assert (result.dataset, result.model, result.seed) == (config["dataset"], "CoCorrRec", config["seed"])
    assert result.versions["torch"] == torch.__version__ and result.machine["cores"]
    assert main(["privacy", "--checkpoint", str(file), "--data_path", "nowhere"]) == 2
    assert "nowhere" in capsys.readouterr().err


def test_what_scores_tell(with_data, tmp_path, capsys):
    file, model, test = with_data
    known = histories(test)
    clicked = np.concatenate(known)
    users = np.repeat(np.arange(len(known)), list(map(len, known)))
    read = load_checkpoint(file)
    corrector = ItemItem.fit(users, clicked, len(read.items), 1.0, 20)
    trust = Trust(3.0, 0.1)
    save_corrector(tmp_path / "c", corrector, trust, read.items, checkpoint_fingerprint(read), {})
    result = measure_scores(file, tmp_path / "c")
    none, *rows = result.rows
    candidates = test.candidates.numpy()
    own = DeviceScores(model).of(test, torch.arange(len(candidates)), candidates)

    def ndcg(scores):
        return ndcg_of(rank_positive(torch.from_numpy(scores), test.candidates[:, 1:] > 0).numpy()).mean()

    assert none["ndcg@10"] == pytest.approx(ndcg(own)) and none["told"] == 0
    assert [r["score_clicks"] for r in rows] == [1, 2, 5, 10, 128]
    for row in rows:
        last = [h[-row["score_clicks"] :] for h in known]
        lengths = np.array([len(h) for h in last])
        assert row["told"] == pytest.approx(lengths.sum() / len(clicked)) and row["read"] == 1.0
        assert row["up"] == pytest.approx(4 * (lengths.mean() + (test.candidates > 0).sum(1).double().mean()))
        fused = trust.fuse(own, corrector.scores(last, candidates), lengths)
        assert row["ndcg@10"] == pytest.approx(ndcg(fused), abs=0.01)
    assert rows[-1]["told"] == 1.0 and rows[0]["told"] < 0.5
    assert rows[-1]["ndcg@10"] != none["ndcg@10"]
    out = tmp_path / "p.json"
    flags = ["--corrector", str(tmp_path / "c"), "--clicks", "50", "--epsilons", "5", "--out", str(out)]
    assert main(["privacy", "--checkpoint", str(file), *flags]) == 0
    printed = capsys.readouterr().out
    assert "epsilon 5" in printed and "no scores" in printed and "100.00%" in printed
    content = json.loads(out.read_text())
    assert content["scores"]["rows"] == result.rows
    written = Privacy.load(out)
    assert (written.scores, written.uploads.rows) == (result, content["rows"])
    del content["format"], content["format_version"]  # as earlier versions wrote it
    out.write_text(json.dumps(content))
    assert Privacy.load(out) == written


def test_randomness_of_torch_is_left_alone():
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    learned_decoder(TABLE, TABLE, TABLE, epochs=1)
    assert torch.equal(torch.rand(3), expected)
