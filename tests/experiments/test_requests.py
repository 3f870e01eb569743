"""Quality against the share of requests: every way held against one ranking at a time."""

import json

import numpy as np
import pytest

from recbole_cocorr.__main__ import main
from recbole_cocorr.artifact.request_rule import RequestRule
from recbole_cocorr.base.errors import UserError
from recbole_cocorr.evaluation.ranking import per_row
from recbole_cocorr.experiments.requests import SHARES, Rankings, evenly, rows_of
from recbole_cocorr.experiments.results.requests import WAYS, Requests
from recbole_cocorr.training.corrected_lists import fit_requests, fit_trust
from tests.experiments.test_corrections import chains
from tests.reference import requests_naive
from tests.training.test_corrected_lists import DeviceScores, prepared

__all__ = ["chains"]

RULE = RequestRule(0.1, -0.02, -0.05, tuple(n / 100 for n in range(-5, 11)))


@pytest.mark.parametrize("share", [0.0, 0.1, 0.25, 0.3, 0.5, 0.75, 0.9, 1.0])
def test_requests_that_are_spread_evenly(share):
    clicks = np.arange(1, 200)
    since, count = evenly(clicks, share)
    wanted = [requests_naive.evenly(int(n), share) for n in clicks]
    assert (since.tolist(), count.tolist()) == ([s for s, _ in wanted], [m for _, m in wanted])
    assert ((since == 0) & (count > 0)).mean() == pytest.approx(share, abs=0.01)


def made(rows: int = 60) -> Rankings:
    generator = np.random.default_rng(1)
    ranks = {stale: np.stack([generator.integers(1, 30, rows), np.zeros(rows, int), np.full(rows, 40)], axis=1)
             for stale in (None, *range(60))}  # fmt: skip
    return Rankings(generator.integers(1, 50, rows), generator.standard_normal((rows, 41)), ranks.__getitem__)


def test_each_way_is_that_of_one_ranking_at_a_time():
    rankings = made()
    rows = {(r["way"], r["share"]): r for r in rows_of("scores", RULE, rankings)}
    assert set(rows) == {(way, share) for way in WAYS for share in SHARES}

    def value(stale, row, metric):
        return per_row(rankings.ranks(stale)[[row]], ["ndcg", "hit"], [10])[metric][0]

    for share in SHARES:
        for metric in ("ndcg@10", "hit@10"):
            wanted = {way: [] for way in WAYS}
            for row, (clicks, scores) in enumerate(zip(rankings.clicks, rankings.scores, strict=True)):
                alone, own = value(None, row, metric), value(0, row, metric)
                gain = requests_naive.expected_gain(RULE, scores.tolist(), int(clicks))
                asks = share == 1 or (share > 0 and gain > RULE.threshold(share))
                since, count = requests_naive.evenly(int(clicks), share)
                wanted["rule"].append(own if asks else alone)
                wanted["random"].append(alone + share * (own - alone))
                wanted["evenly"].append(own if count and not since else alone)
                wanted["evenly, last answer kept"].append(value(since, row, metric) if count else alone)
            for way in WAYS:
                assert rows[way, share][metric] == pytest.approx(np.mean(wanted[way])), (way, share)
        rule, none, every = (rows[way]["ndcg@10"] for way in (("rule", share), ("rule", 0.0), ("rule", 1.0)))
        by_chance = none + rows["rule", share]["asked"] * (every - none)
        assert rows["rule", share]["over_random"] == pytest.approx(rule - by_chance, abs=1e-9)
        assert rows["random", share]["over_random"] == 0


def test_the_rule_is_learned_on_the_validation_lists(make_config, monkeypatch):
    network, valid, test, corrector = prepared(make_config)
    trust = fit_trust(DeviceScores(network), valid, corrector)
    rule = fit_requests(DeviceScores(network), valid, corrector, trust)
    assert rule == fit_requests(DeviceScores(network), valid, corrector, trust)
    assert rule != fit_requests(DeviceScores(network), test, corrector, trust)
    full = prepared(make_config, protocol="full")
    trust = fit_trust(DeviceScores(full[0]), full[1], full[3])
    assert len(fit_requests(DeviceScores(full[0]), full[1], full[3], trust).gains) == 21


def test_the_command(chains, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    command = ["run", "--model=CoCorrRec", "--dataset=chains", f"--data_path={chains}", "--use_gpu=False", "--epochs=3"]
    assert main([*command, "--train_batch_size=100", "--hidden_size=16", "--show_progress=False"]) == 0
    (model,) = [f for f in (tmp_path / "saved").glob("*.safetensors") if ".training." not in f.name]
    assert main(["fit-corrector", f"--checkpoint={model}", "--out=c", "--l2=1", "--next_click=0"]) == 0
    capsys.readouterr()
    assert (
        main(["requests", f"--checkpoint={model}", "--corrector=c", "--shares", "0", "0.5", "1", "--out=r.json"]) == 0
    )
    printed = capsys.readouterr().out
    result = Requests.load("r.json")
    assert result.text() == printed.rstrip("\n") and result.answers == ["scores", "correction"]
    rows = {(r["answer"], r["way"], r["share"]): r for r in result.rows}
    assert len(rows) == 2 * 4 * 3
    none, own = (rows["scores", "rule", share]["ndcg@10"] for share in (0.0, 1.0))
    assert none < own, "everybody's clicks say what comes next"
    assert rows["correction", "rule", 1.0]["ndcg@10"] == pytest.approx(none), "the device's own list is corrected"
    # A corrector of before, and a model that asks for nothing.
    content = json.loads((tmp_path / "c" / "trust.json").read_text())
    del content["requests"]
    (tmp_path / "c" / "trust.json").write_text(json.dumps(content))
    assert main(["requests", f"--checkpoint={model}", "--corrector=c"]) == 2
    assert "c does not say when to ask; run fit-corrector again" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["requests", f"--checkpoint={model}", "--shares", "1.5"])
    assert "'1.5' is not a number from 0 to 1" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"way": "guess"}, r"rows\[0\]\.way is 'guess'; it must be one of rule, random"),
        ({"answer": "both"}, r"rows\[0\]\.answer is 'both'"),
        ({"share": 1.2}, r"rows\[0\]\.share is 1\.2; it must be a finite number from 0 to 1"),
        ({"ndcg@10": "high"}, r"rows\[0\]\.ndcg@10 is 'high'"),
    ],
)
def test_a_damaged_file_is_one_sentence(tmp_path, change, said):
    result = Requests("chains", "CoCorrRec", 60, rows_of("scores", RULE, made()))
    result.save(tmp_path / "r.json")
    assert Requests.load(tmp_path / "r.json") == result
    result.rows[0] |= change
    result.save(tmp_path / "r.json")
    with pytest.raises(UserError, match=said):
        Requests.load(tmp_path / "r.json")
