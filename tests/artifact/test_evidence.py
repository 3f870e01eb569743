"""The cloud's item-item scores in a device's ranking."""

import dataclasses
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recbole_cocorr.__main__ import main
from recbole_cocorr.artifact.manifest import parse_manifest
from recbole_cocorr.base.errors import UserError
from recbole_cocorr.correctors import Trust
from recbole_cocorr.correctors.folder import load_corrector, trust_of
from recbole_cocorr.device import Evidence, Session
from tests.device import TOKENS, clicks, tokens_of

TRUST = {"base": 2.0, "per_log_click": -0.3, "scale": 0.01, "corrector": "c" * 32}


def opened(written, trust=TRUST):
    _, folder = written("CoCorrRec")
    session = Session.open(folder)
    session.artifact.manifest = dataclasses.replace(session.artifact.manifest, trust=trust)
    session.history(tokens_of(clicks(7)))
    return session


@settings(deadline=None, max_examples=25)
@given(st.dictionaries(st.sampled_from(TOKENS[1:]), st.floats(-1, 1, width=32), max_size=12), st.integers(0, 7))
def test_it_is_the_trusts_arithmetic(written, scores, known):
    session = opened(written)
    names = TOKENS[1:20]
    alone = session.rank(names)
    own = dict(zip(alone.items, alone.scores, strict=True))
    found = session.rank(names, evidence=Evidence(scores, known, TRUST["corrector"]))
    device = np.array([[own[n] for n in names]])
    cloud = np.array([[scores.get(n, 0.0) for n in names]])
    wanted = Trust(2.0, -0.3).fuse(device, cloud, np.array([known]))[0]
    assert found.scores == pytest.approx(sorted(wanted, reverse=True), rel=1e-4, abs=1e-5)
    for name, score in zip(found.items, found.scores, strict=True):
        assert score == pytest.approx(wanted[names.index(name)], rel=1e-4, abs=1e-5)


def test_without_a_score_the_list_is_the_devices(written):
    session = opened(written)
    names = TOKENS[1:20]
    for scores in ({}, dict.fromkeys(names, 0.0), {"strange": 5.0}):
        assert session.rank(names, evidence=Evidence(scores, 7, TRUST["corrector"])) == session.rank(names)


@pytest.mark.parametrize(
    "evidence, said",
    [
        (Evidence({}, 7, "d" * 32), "of the corrector 'dddd"),
        (Evidence({}, 8, "c" * 32), "of 8 clicks, and the session has read 7"),
        (Evidence({}, -1, "c" * 32), "of -1 clicks"),
        (Evidence({TOKENS[1]: float("nan")}, 7, "c" * 32), "not finite"),
        (Evidence({TOKENS[1]: float("inf")}, 7, "c" * 32), "not finite"),
    ],
)
def test_evidence_that_is_none(written, evidence, said):
    with pytest.raises(UserError, match=said):
        opened(written).rank(TOKENS[1:5], evidence=evidence)


def test_an_artifact_without_trust(written):
    with pytest.raises(UserError, match="has no trust in item-item scores"):
        opened(written, None).rank(TOKENS[1:5], evidence=Evidence({}, 7, "c" * 32))


@pytest.mark.parametrize(
    "bad",
    [
        [],
        {},
        {**TRUST, "scale": 0.0},
        {**TRUST, "base": "2"},
        {**TRUST, "base": 1e9},
        {**TRUST, "corrector": 3},
        {k: v for k, v in TRUST.items() if k != "base"},
        {**TRUST, "more": 1},
        {**TRUST, "items": 3},
    ],
)
def test_a_manifest_with_other_trust_is_refused(written, bad):
    _, folder = written("CoCorrRec")
    manifest = Session.open(folder).artifact.manifest
    for good in (TRUST, {**TRUST, "items": "d" * 32}):
        assert parse_manifest(dataclasses.replace(manifest, trust=good).to_json().encode(), "m").trust == good
    with pytest.raises(UserError, match=r"^m: trust(\.\w+)? is"):
        parse_manifest(dataclasses.replace(manifest, trust=bad).to_json().encode(), "m")


def test_from_the_checkpoint_to_the_device(tmp_path, capsys):
    """The commands: train, fit, export; the device ranks as the protocol's arithmetic does."""
    from tests.conftest import write_inter

    generator = np.random.default_rng(0)
    rows = []
    for user in range(150):
        start = int(generator.integers(0, 150))
        rows += [(f"u{user}", f"i{(start + step) % 150}", step) for step in range(int(generator.integers(4, 9)))]
    data = write_inter(tmp_path / "data", "chains", rows)
    run = ["run", "--model=CoCorrRec", "--dataset=chains", f"--data_path={data}", "--epochs=12", "--use_gcn=False"]
    run += ["--item_init=random", "--dropout_prob=0.2"]  # a start from the clicks would leave the scores nothing to add
    run += ["--train_batch_size=100", f"--checkpoint_dir={tmp_path / 'saved'}", "--show_progress=False"]
    assert main([*run, "--use_gpu=False", "--save_training_state=False", "--learning_rate=0.01"]) == 0
    (checkpoint,) = (tmp_path / "saved").glob("*.safetensors")
    fit = ["fit-corrector", "--checkpoint", str(checkpoint), "--out", str(tmp_path / "c"), "--l2=1"]
    assert main(fit) == 0
    printed = capsys.readouterr().out
    assert "with the cloud" in printed
    export = [
        "export",
        "--checkpoint",
        str(checkpoint),
        "--out",
        str(tmp_path / "a"),
        "--corrector",
        str(tmp_path / "c"),
        "--neighbours=0",
    ]
    assert main(export) == 0
    corrector, items, digest = load_corrector(tmp_path / "c")
    session = Session.open(tmp_path / "a")
    assert session.artifact.manifest.trust == trust_of(tmp_path / "c", session.fingerprint)
    assert session.artifact.manifest.trust["corrector"] == digest
    assert session.artifact.manifest.trust["items"] == session.artifact.manifest.catalogue()
    history, names = ["i7", "i8", "i9"], [f"i{n}" for n in range(5, 25)]
    ids = {token: number for number, token in enumerate(items)}
    session.history(history)
    scores = corrector.scores([np.array([ids[t] for t in history])], np.array([[ids[t] for t in names]]))[0]
    evidence = Evidence(dict(zip(names, map(float, scores), strict=True)), 3, digest)
    assert scores.max() > 0
    place = session.rank(names, evidence=evidence).items.index("i10")
    assert place <= session.rank(names).items.index("i10") and place < 3

    other = json.loads((tmp_path / "c" / "trust.json").read_text())
    other["fingerprint"] = "0" * 32
    (tmp_path / "c" / "trust.json").write_text(json.dumps(other))
    assert main([*export, "--overwrite"]) == 2
    assert "fitted for another model" in capsys.readouterr().err
    (tmp_path / "c" / "item_item.safetensors").unlink()
    with pytest.raises(UserError, match="there is no item-item file"):
        load_corrector(tmp_path / "c")
    with pytest.raises(UserError, match="fit-corrector makes it"):
        load_corrector(tmp_path)
