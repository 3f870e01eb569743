"""The rule by which a device asks: its arithmetic, its share, and what a file of it must hold."""

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recbole_cocorr.artifact.manifest import parse_manifest, read_manifest
from recbole_cocorr.artifact.request_rule import RequestRule, certainty
from recbole_cocorr.base.errors import UserError
from recbole_cocorr.base.readers import Record
from recbole_cocorr.correctors import Trust
from recbole_cocorr.correctors.fit_request_rule import fit_request_rule
from recbole_cocorr.correctors.folder import request_rule_of, save_corrector
from tests.correctors.test_folder import ITEMS, OLD
from tests.reference import requests_naive

RULE = RequestRule(0.05, -0.01, -0.04, (-0.02, 0.0, 0.01, 0.04))
LISTS = st.lists(st.floats(-20, 20), min_size=1, max_size=20)


@settings(deadline=None)
@given(LISTS, st.integers(0, 5000), st.integers(0, 3))
def test_it_is_the_slow_twins_number(scores, clicks, missing):
    padded = np.array(scores + [-math.inf] * missing)
    assert certainty(padded) == pytest.approx(requests_naive.certainty(padded.tolist()))
    wanted = requests_naive.expected_gain(RULE, padded.tolist(), clicks)
    assert RULE.expected_gain(padded, clicks) == pytest.approx(wanted)
    in_a_batch = RULE.expected_gain(np.stack([padded, padded[::-1]]), np.array([clicks, clicks]))
    assert in_a_batch == pytest.approx([wanted, wanted])  # the order of the candidates does not matter


def test_scores_of_any_size_are_no_overflow():
    assert certainty(np.array([1e6, 0.0])) == 1 and certainty(np.full(4, -1e300)) == 0.25


def made(count: int = 400, seed: int = 0):
    generator = np.random.default_rng(seed)
    scores, clicks = 3 * generator.standard_normal((count, 30)), generator.integers(1, 60, count)
    return scores, clicks, 0.05 - 0.02 * np.log(clicks) - 0.03 * certainty(scores)


def test_the_weights_are_found_and_each_share_is_kept():
    scores, clicks, gain = made()
    rule = fit_request_rule(scores, clicks, gain)
    assert (rule.base, rule.per_log_click, rule.per_certainty) == pytest.approx((0.05, -0.02, -0.03))
    for share in (0.05, 0.1, 0.25, 0.5, 0.73, 0.95):
        asks = rule.asks(scores, clicks, share)
        assert asks.mean() == pytest.approx(share, abs=0.02)
        assert gain[asks].min() >= gain[~asks].max() - 1e-12
    assert rule.asks(scores, clicks, 1).all() and not rule.asks(scores, clicks, 0).any()
    # The same numbers each time, also from the rule's file.
    again = RequestRule.of(Record(json.loads(json.dumps(fit_request_rule(scores, clicks, gain).described())), "f"))
    assert again == rule
    assert list(rule.gains) == sorted(rule.gains)


def test_rankings_that_are_all_alike_ask_for_nothing_rather_than_all():
    rule = fit_request_rule(np.zeros((9, 4)), np.full(9, 3), np.full(9, 0.1))
    for share in (0.1, 0.9):
        assert rule.threshold(share) == pytest.approx(0.1)
    assert not RequestRule(0.1, 0, 0, (0.1, 0.1)).asks(np.zeros(4), 3, 0.9)


@pytest.mark.parametrize("damage", ["empty", "score", "gain"])
def test_what_cannot_be_learned_from(damage):
    scores, clicks, gain = made(0 if damage == "empty" else 20)
    if damage == "score":
        scores[3, 4] = np.nan
    if damage == "gain":
        gain[3] = np.inf
    with pytest.raises(UserError, match="no user has one" if damage == "empty" else "not finite"):
        fit_request_rule(scores, clicks, gain)


DAMAGES = [
    ({"base": "1"}, "base is '1'"),
    ({"base": math.nan}, "base is nan"),
    ({"per_log_click": None}, "per_log_click is None"),
    ({"per_certainty": 1e7}, "per_certainty is 10000000"),
    ({"gains": [0.1]}, "gains is a list of 1; it must be a list of 2 to 1001 rising numbers"),
    ({"gains": [0.2, 0.1]}, "gains is a list of 2; it must"),
    ({"gains": [0.1, math.nan]}, "gains is a list of 2; it must"),
    ({"gains": [0.1, 10**400]}, "gains is a list of 2; it must"),
    ({"gains": [0.1, True]}, "gains is a list of 2; it must be a list of"),
    ({"gains": [0.1] * 1002}, "gains is a list of 1002"),
    ({"more": 1}, "more is 1; it must be left out"),
]


@pytest.mark.parametrize(("change", "said"), DAMAGES)
def test_a_damaged_file_is_one_sentence(change, said):
    with pytest.raises(UserError, match=rf"^f: requests\.{said}"):
        RequestRule.of(Record({"requests": {**RULE.described(), **change}}, "f").record("requests"))


def test_the_correctors_folder_keeps_it(tmp_path):
    save_corrector(tmp_path, OLD, Trust(1.0, 0.0), ITEMS, "f" * 32, {})
    assert request_rule_of(tmp_path) is None
    save_corrector(tmp_path, OLD, Trust(1.0, 0.0), ITEMS, "f" * 32, {}, rule=RULE)
    assert request_rule_of(tmp_path) == RULE
    text = (tmp_path / "trust.json").read_text()
    (tmp_path / "trust.json").write_text(text.replace('"per_certainty": -0.04', '"per_certainty": NaN'))
    with pytest.raises(UserError, match=r"trust\.json: requests\.per_certainty is nan"):
        request_rule_of(tmp_path)


def test_the_manifest_keeps_it_beside_a_trust(written):
    manifest = read_manifest(written("GRU4Rec")[1])
    plain = manifest.to_json()
    assert "requests" not in json.loads(plain)
    manifest = parse_manifest(plain.encode(), "m")
    manifest.requests = RULE
    with pytest.raises(UserError, match="m: requests is an object of 4; it must be left out where no corrector"):
        parse_manifest(manifest.to_json().encode(), "m")
    manifest.trust = {"base": 2.0, "per_log_click": -0.3, "scale": 0.01, "corrector": "c" * 32}
    assert parse_manifest(manifest.to_json().encode(), "m").requests == RULE
