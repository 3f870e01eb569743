"""The simulation: it would notice a wrong list, its faults are faults, and a whole small run."""

import json
import os
from itertools import combinations
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from recbole.data.interaction import Interaction

from recbole_cocorr.__main__ import main
from recbole_cocorr.correctors.folder import trust_of
from recbole_cocorr.experiments.results.simulation import Simulation
from recbole_cocorr.experiments.simulate import expected, measure
from recbole_cocorr.experiments.simulate.device import judge
from recbole_cocorr.experiments.simulate.faults import LIES, Front, LyingServer
from recbole_cocorr.experiments.simulate.measure import FAULTS
from recbole_cocorr.experiments.simulate.records import RECORD, RECORD_FIELDS, records_of, summary
from recbole_cocorr.service.client.breaker import Breaker
from recbole_cocorr.service.client.client import Client
from recbole_cocorr.service.server.correction_model import load_correction_model
from recbole_cocorr.service.wire import Shape
from tests.conftest import CHECKOUT, write_inter
from tests.device import ITEMS, TOKENS, clicks, tokens_of

FINGERPRINT = "ab" * 16


@pytest.fixture(autouse=True)
def _this_package(monkeypatch):
    """For the processes that are started, wherever the package is installed."""
    monkeypatch.setenv("PYTHONPATH", str(CHECKOUT))


def eager() -> Breaker:
    return Breaker(failures=10**6, first=1e-6, longest=1e-6)


def test_a_wrong_list_is_noticed():
    candidates, expected = ["a", "b", "c"], np.array([1.0, 3.0, 2.0])
    assert judge(["b", "c", "a"], [3, 2, 1], candidates, expected)
    assert judge(["b", "c", "a"], [3.00001, 2, 1], candidates, expected)
    for items, scores in (
        (["b", "c"], [3, 2]),  # one is missing
        (["b", "c", "d"], [3, 2, 1]),
        (["b", "c", "c"], [3, 2, 2]),
        (["c", "b", "a"], [2, 3, 1]),  # out of order
        (["b", "c", "a"], [3, 2, 1.1]),  # of other scores
    ):
        assert not judge(items, scores, candidates, expected)


@pytest.mark.parametrize("lie", LIES)
def test_every_lie_is_found_out(rows, lie):
    server = LyingServer(Shape(2, 3, 8), slow=0.01)
    try:
        server.lie = lie
        address, breaker = f"127.0.0.1:{server.port}", eager()
        with Client(address, None, None, 20, corrector=FINGERPRINT, score_breaker=breaker) as client:
            for _ in range(5):
                result = client.score([1, 2], [3, 4, 5], 3).answer(20)
                assert result.status == ("offline" if lie == "slow" else "refused")
        with Client(f"127.0.0.1:{server.port}", FINGERPRINT, (2, 3, 8), 20, breaker=eager()) as client:
            for _ in range(5):
                assert client.correct(rows, 3, 20).status == ("offline" if lie == "slow" else "refused")
    finally:
        server.close()


def test_the_front_cuts_and_changes(server, rows):
    front, liar = Front(), LyingServer(Shape(2, 3, 8))
    try:
        front.put(server.port)
        address, fingerprint = f"127.0.0.1:{front.port}", server.model.fingerprint
        with Client(address, fingerprint, (2, 3, 8), 20, breaker=eager()) as client:

            def seen(count: int = 30) -> set[str]:
                return {client.correct(rows, 1, 20).status for _ in range(count)}

            assert seen(3) == {"corrected"}
            front.put(server.port, cut_after=1500)
            assert "offline" in seen(60)
            front.put(liar.port)
            assert "refused" in seen()
            front.put(server.port)
            seen()
            assert "corrected" in seen()
    finally:
        front.close()
        liar.close()


def test_a_small_run(trained, checkpoint, artifact, monkeypatch, tmp_path):
    model = trained[0].model

    @torch.no_grad()
    def prepare(file, data_path, users, folder, corrector):
        (folder / "artifact").symlink_to(artifact)
        chosen, scores = [], {"0": [], "1": []}
        for number in range(20):
            rows = clicks(2 + number % 7, seed=number)[-7:]
            some = list(range(1, ITEMS))
            hidden, length = model.hidden_states(torch.tensor([rows])), torch.tensor([len(rows)])
            for name, sent in (("1", model.correction(hidden, length)), ("0", None)):
                user = model.user_vectors(hidden, length, sent)[0]
                scores[name].append((model.item_vectors()[some] @ user).numpy())
            chosen.append({"history": tokens_of(rows), "candidates": [TOKENS[i] for i in some]})
        (folder / "users.json").write_text(json.dumps(chosen))
        np.savez(folder / "expected.npz", **scores)
        return load_correction_model(file), None

    monkeypatch.setattr(measure, "prepare", prepare)
    faults = ("none", "NaN", "frozen", "none")
    settings = {"deadline_ms": 200, "seconds": 1.0, "users": 2000}
    result = measure.measure(checkpoint, None, lists=1, count=1, faults=faults, **settings)
    total = result.total
    assert total["lists"] > 20 and (total["wrong"], total["lost"]) == (0, 0)
    assert total["corrected"] > 0 and total["refused"] > 0
    assert (total["with_correction"], total["with_scores"]) == (total["corrected"], 0)
    assert "frozen" in result.text() and (result.model, result.machine["cores"]) == ("CoCorrRec", os.cpu_count())
    result.save(tmp_path / "s.json")
    assert Simulation.load(tmp_path / "s.json") == result


def train(tmp_path, *flags: str):
    """A checkpoint of a data set in which there is something to learn, and a corrector for it."""
    generator = np.random.default_rng(0)
    rows = []
    for user in range(120):
        start = int(generator.integers(0, 150))
        rows += [(f"u{user}", f"i{(start + step) % 150}", step) for step in range(int(generator.integers(4, 9)))]
    data = write_inter(tmp_path / "data", "chains", rows)
    run = ["run", "--dataset=chains", f"--data_path={data}", "--epochs=8", "--train_batch_size=100", "--use_gpu=False"]
    run += [f"--checkpoint_dir={tmp_path / 'saved'}", "--show_progress=False", "--save_training_state=False"]
    assert main([*run, "--learning_rate=0.01", *flags]) == 0
    (checkpoint,) = (tmp_path / "saved").glob("*.safetensors")
    assert main(["fit-corrector", "--checkpoint", str(checkpoint), "--out", str(tmp_path / "c"), "--l2=1"]) == 0
    return checkpoint, tmp_path / "c"


def test_a_small_run_with_scores(tmp_path):
    pytest.importorskip("onnxscript")
    checkpoint, corrector = train(tmp_path, "--model=GRU4Rec")
    settings = {"deadline_ms": 200, "seconds": 0.7, "users": 30, "corrector": corrector}
    faults = ("none", "NaN", "old model", "none")
    total = measure.measure(checkpoint, None, lists=1, count=1, faults=faults, **settings).total
    assert total["lists"] > 20 and (total["wrong"], total["lost"]) == (0, 0)
    assert total["with_scores"] > 0 and total["refused"] > 0 and total["with_correction"] == 0


def test_what_each_use_of_the_cloud_must_give(trained, tmp_path, monkeypatch, corrector):
    """The four lists are different: a device that used the wrong ones would be found out."""
    recommender, rows = trained[0], [clicks(7, seed=n) for n in range(5)]
    model = recommender.model
    batch = SimpleNamespace(
        interaction=Interaction({model.ITEM_SEQ: torch.tensor(rows), model.ITEM_SEQ_LEN: torch.full((5,), 7)}),
        candidates=torch.arange(1, 31).repeat(5, 1),
    )
    loader = SimpleNamespace(batches=lambda: [batch])
    monkeypatch.setattr(expected, "model_and_rows", lambda *a, **k: (recommender, loader))
    manifest = SimpleNamespace(trust=trust_of(corrector, load_correction_model(trained[1]).fingerprint))
    monkeypatch.setattr("recbole_cocorr.exporter.export.export", lambda *a, **k: manifest)
    model_, scorer = expected.prepare(trained[1], None, 30, tmp_path, corrector)
    assert model_ is not None and scorer is not None
    scores = np.load(tmp_path / "expected.npz")
    assert set(scores.files) == {"0", "1", "2", "3"}
    for a, b in combinations(scores.files, 2):
        assert np.abs(scores[a] - scores[b]).max(axis=1).min() > 1e-2


def test_records_are_what_they_are_read_as(tmp_path):
    (tmp_path / "device-0.records").write_bytes(RECORD.pack(1.5, 2, 3, 1, 0, 3.5, 4.5) + b"half a record")
    (result,) = records_of(tmp_path)
    assert result.item() == (1.5, 2, 3, 1, 0, 3.5, 4.5)


def test_the_exit_status_says_whether_a_list_was_wrong(monkeypatch, capsys, tmp_path):
    for wrong, status in ((0, 0), (1, 1)):
        row = summary("all", np.zeros(3, RECORD_FIELDS), 5.0) | {"wrong": wrong}
        monkeypatch.setattr(measure, "measure", lambda *a, r=row, **k: Simulation([], r))
        assert main(["simulate", "--checkpoint", "x", "--out", str(tmp_path / "s.json")]) == status
    assert json.loads((tmp_path / "s.json").read_text())["total"]["wrong"] == 1
    assert set(LIES) < set(FAULTS)
