"""The simulation: it would notice a wrong list, its faults are faults, and a whole small run."""

import json

import numpy as np
import pytest
import torch

from recbole_cocorr.__main__ import main
from recbole_cocorr.cloud import simulate as simulation
from recbole_cocorr.cloud.breaker import Breaker
from recbole_cocorr.cloud.client import Client
from recbole_cocorr.cloud.correction_model import load_correction_model
from recbole_cocorr.cloud.faults import LIES, Front, LyingServer
from recbole_cocorr.cloud.simulate import FAULTS, simulate, table_text
from recbole_cocorr.cloud.simulated_device import RECORD, judge
from recbole_cocorr.cloud.wire import Shape
from tests.device import ITEMS, TOKENS, clicks, tokens_of

FINGERPRINT = "ab" * 16


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


def test_a_small_run(trained, checkpoint, artifact, monkeypatch):
    model = trained[0].model

    @torch.no_grad()
    def prepare(file, data_path, users, folder):
        (folder / "artifact").symlink_to(artifact)
        chosen, scores = [], {"corrected": [], "alone": []}
        for number in range(20):
            rows = clicks(2 + number % 7, seed=number)[-7:]
            some = list(range(1, ITEMS))
            hidden, length = model.hidden_states(torch.tensor([rows])), torch.tensor([len(rows)])
            for name, sent in (("corrected", model.correction(hidden, length)), ("alone", None)):
                user = model.user_vectors(hidden, length, sent)[0]
                scores[name].append((model.item_vectors()[some] @ user).numpy())
            chosen.append({"history": tokens_of(rows), "candidates": [TOKENS[i] for i in some]})
        (folder / "users.json").write_text(json.dumps(chosen))
        np.savez(folder / "expected.npz", **scores)
        return load_correction_model(file)

    monkeypatch.setattr(simulation, "prepare", prepare)
    faults = ("none", "NaN", "frozen", "none")
    found = simulate(checkpoint, lists=1, count=1, deadline_ms=200, seconds=1.0, faults=faults)
    total = found["total"]
    assert total["lists"] > 20 and (total["wrong"], total["lost"]) == (0, 0)
    assert total["corrected"] > 0 and total["refused"] > 0
    assert "frozen" in table_text(found)


def test_records_are_what_they_are_read_as(tmp_path):
    (tmp_path / "device-0.records").write_bytes(RECORD.pack(1.5, 2, 1, 0, 3.5, 4.5) + b"half a record")
    (found,) = simulation.records_of(tmp_path)
    assert found.item() == (1.5, 2, 1, 0, 3.5, 4.5)


def test_the_exit_status_says_whether_a_list_was_wrong(monkeypatch, capsys, tmp_path):
    for wrong, status in ((0, 0), (1, 1)):
        row = simulation._summary("all", np.zeros(3, simulation._DTYPE), 5.0) | {"wrong": wrong}
        monkeypatch.setattr(simulation, "simulate", lambda *a, r=row, **k: {"rows": [], "total": r})
        assert main(["simulate", "--checkpoint", "x", "--out", str(tmp_path / "s.json")]) == status
    assert json.loads((tmp_path / "s.json").read_text())["total"]["wrong"] == 1
    assert set(LIES) < set(FAULTS)
