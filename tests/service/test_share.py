"""A session that may ask for only a share of its rankings asks where its rule expects most, and counts."""

import pytest

from recbole_cocorr import open_session
from recbole_cocorr.artifact.manifest import read_manifest
from recbole_cocorr.artifact.request_rule import RequestRule
from recbole_cocorr.base.errors import UserError
from recbole_cocorr.correctors.folder import save_corrector, trust_of
from recbole_cocorr.device import Session
from recbole_cocorr.exporter.export import export
from recbole_cocorr.service import CorrectedSession
from tests.device import TOKENS, clicks, tokens_of
from tests.reference import requests_naive
from tests.service.test_scores_session import NAMES, TRUST, _Cloud, answer, trusting

# Expects more of a shorter history and of a list that the device is less sure of.
RULE = RequestRule(1.0, -0.2, -1.0, tuple(n / 10 for n in range(-4, 6)))


@pytest.fixture(scope="module")
def ruled(checkpoint, artifact, corrector):
    """An artifact that trusts the corrector and says when to ask."""
    folder = trusting(artifact, checkpoint.parent / "ruled", corrector)
    manifest = read_manifest(folder)
    manifest.requests = RULE
    (folder / "manifest.json").write_text(manifest.to_json())
    return folder


@pytest.fixture
def cloud():
    return _Cloud()


@pytest.mark.parametrize("share", [0.0, 0.2, 0.5, 0.8, 1.0])
def test_it_asks_where_the_rule_says_so(ruled, cloud, share):
    rows = clicks(40, seed=4)
    session = CorrectedSession(Session.open(ruled), cloud, 0.0, share=share)
    lists = [NAMES, NAMES[:2], TOKENS[5:25]]
    wanted = []
    for number, row in enumerate(rows, 1):
        session.click(TOKENS[row])
        for names in lists:
            own = session.session.rank(names)
            gain = requests_naive.expected_gain(RULE, own.scores, number)
            wanted.append(share == 1 or (share > 0 and gain > RULE.threshold(share)))
            before = len(cloud.sent)
            result = session.rank(names)
            asked = len(cloud.sent) > before
            assert (result.items, result.scores) == (own.items, own.scores)
            if asked or any(wanted[-len(lists) :]):  # an answer on the way covers a shorter list
                continue
            assert (result.status, result.upload_bytes, result.waited_ms) == ("unasked", 0, 0)
            assert "little was expected" in result.reason
    assert 0 < sum(wanted) < len(wanted) or share in (0, 1)
    assert session.asked == len(cloud.sent)
    if share in (0, 1):
        assert (session.spared == 0) == (share == 1) and (session.asked == 0) == (share == 0)


def test_each_ranking_decides_for_its_own_list(ruled, cloud):
    session = CorrectedSession(Session.open(ruled), cloud, 0.0, share=0.5)
    session.history(tokens_of(clicks(9)))
    gains = {n: float(RULE.expected_gain(session.session.rank(NAMES[:n]).scores, 9)) for n in (2, 29)}
    less, more = sorted(gains, key=gains.get)
    share = next(s / 100 for s in range(1, 100) if gains[less] < RULE.threshold(s / 100) < gains[more])
    session = CorrectedSession(Session.open(ruled), cloud, 0.0, share=share)
    session.history(tokens_of(clicks(9)))
    assert session.rank(NAMES[:less]).status == "unasked" and (session.asked, session.spared) == (0, 1)
    assert session.rank(NAMES[:more]).status == "late" and (session.asked, session.spared) == (1, 1)
    assert session.rank(NAMES[:less]).status == ("late" if less < more else "unasked")  # a covered list costs nothing
    cloud.sent[-1].settle(answer(more))
    result = session.rank(NAMES[:more])
    assert result.used == ("scores",), result.reason


def test_what_is_expected_is_asked_for_after_the_clicks_that_are_worth_it(ruled, cloud):
    session = CorrectedSession(Session.open(ruled), cloud, 0.0, share=0.5)
    session.expect(NAMES)
    for row in clicks(30, seed=2):
        before = len(cloud.sent)
        session.click(TOKENS[row])
        gain = requests_naive.expected_gain(RULE, session.session.rank(NAMES).scores, session.clicks)
        assert len(cloud.sent) - before == (gain > RULE.threshold(0.5))
    assert session.asked == len(cloud.sent) and session.asked + session.spared == 30
    assert session.asked and session.spared


@pytest.mark.parametrize("share", [-0.1, 1.1, float("nan"), "half", None, True])
def test_a_share_that_is_none(ruled, cloud, share):
    with pytest.raises(UserError, match=r"share is .* a number from 0 to 1"):
        CorrectedSession(Session.open(ruled), cloud, 0.0, share=share)


def test_an_artifact_that_does_not_say_when(checkpoint, artifact, corrector, cloud):
    silent = trusting(artifact, checkpoint.parent / "silent", corrector)
    assert CorrectedSession(Session.open(silent), cloud, 0.0).asked == 0
    with pytest.raises(UserError, match="does not say when to ask, so share must be 1; run fit-corrector again"):
        CorrectedSession(Session.open(silent), cloud, 0.0, share=0.5)
    # A share is of requests for scores; a session that makes none takes none.
    with pytest.raises(UserError, match=r"share is of requests for scores, and .* asks for no scores"):
        open_session(silent, cloud="127.0.0.1:1", scores=False, share=0.5)


def test_export_takes_it_along_unless_the_device_has_a_table(checkpoint, artifact, corrector, item_item, tmp_path):
    trust = trust_of(corrector, read_manifest(artifact).fingerprint)
    save_corrector(tmp_path / "c", item_item, TRUST, TOKENS, read_manifest(artifact).fingerprint, {}, rule=RULE)
    manifest = export(checkpoint, tmp_path / "a", corrector=tmp_path / "c", neighbours=0)
    assert manifest.requests == RULE and read_manifest(tmp_path / "a").requests == RULE
    assert manifest.trust["items"] == trust["items"]
    plain = export(checkpoint, tmp_path / "b", corrector=corrector, neighbours=0)
    assert plain.requests is None and "requests" not in (tmp_path / "b" / "manifest.json").read_text()
