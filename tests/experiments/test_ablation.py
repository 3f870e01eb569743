"""The ablation of the correction: each variant against the model called by hand."""

import json

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from recbole_cocorr.__main__ import main
from recbole_cocorr.base.errors import UserError
from recbole_cocorr.data.dataset import create_dataset
from recbole_cocorr.data.loaders import data_preparation
from recbole_cocorr.experiments.ablation import (
    GIVEN_CORRECTIONS,
    GivenCorrection,
    common_share,
    measure,
    ranks_given,
    user_vectors,
)
from recbole_cocorr.experiments.evaluation_rows import other_user_rows
from recbole_cocorr.layers import Correction
from recbole_cocorr.models.factory import build_model


@pytest.fixture
def model_and_test(make_config):
    config = make_config("CoCorrRec", hidden_size=16, num_heads=2)
    train, _, test = data_preparation(config, create_dataset(config))
    torch.manual_seed(1)
    model = build_model(config, train.dataset).eval()
    with torch.no_grad():  # as after training: a correction that matters
        for p in model.parameters():
            p.add_(torch.randn_like(p) * 0.3)
    return model, test


def rows_of(model, test):
    batch = next(test.batches()).interaction
    return batch[model.ITEM_SEQ], batch[model.ITEM_SEQ_LEN]


@torch.no_grad()
def test_own_and_none_are_the_models(model_and_test):
    model, test = model_and_test
    seq, length = rows_of(model, test)
    own, _ = user_vectors(model, seq, length, GivenCorrection("own"))
    torch.testing.assert_close(own, model(seq, length))
    none, sent = user_vectors(model, seq, length, GivenCorrection("none"))
    model.use_gcn = False
    torch.testing.assert_close(none, model(seq, length))
    assert sent is None and not torch.allclose(own, none, atol=1e-3)


@torch.no_grad()
@pytest.mark.parametrize("stale", [1, 2, 5])
def test_a_stale_correction_knows_nothing_of_the_newest_clicks(model_and_test, stale):
    model, test = model_and_test
    seq, length = rows_of(model, test)
    result, _ = user_vectors(model, seq, length, GivenCorrection(f"stale {stale}", stale))
    for row in range(len(seq)):
        hidden, n = model.hidden_states(seq[row : row + 1]), length[row : row + 1]
        seen = seq[row, : int(n) - stale][None]
        correction = model.correction(model.hidden_states(seen), n - stale) if int(n) > stale else None
        torch.testing.assert_close(
            result[row : row + 1], model.user_vectors(hidden, n, correction), rtol=1e-4, atol=1e-5
        )


@torch.no_grad()
def test_another_users_is_another_rows(model_and_test):
    model, test = model_and_test
    seq, length = rows_of(model, test)
    result, _ = user_vectors(model, seq, length, GivenCorrection("another user's"))
    own = model.correction(model.hidden_states(seq), length)
    for row, giver in enumerate(other_user_rows(len(seq))):
        assert row != giver
        sent = Correction(*(part[giver : giver + 1] for part in own))
        hidden = model.hidden_states(seq[row : row + 1])
        wanted = model.user_vectors(hidden, length[row : row + 1], sent)
        torch.testing.assert_close(result[row : row + 1], wanted, rtol=1e-4, atol=1e-5)


@given(st.integers(0, 50), st.integers(0, 5))
def test_everybody_gets_one_of_another(rows, seed):
    result = other_user_rows(rows, seed)
    assert sorted(result) == list(range(rows))
    assert rows < 2 or all(result != np.arange(rows))


def test_own_ranks_are_the_trainers(model_and_test, make_config):
    from recbole_cocorr.training.trainer import Trainer

    model, test = model_and_test
    trainer = Trainer(make_config("CoCorrRec", hidden_size=16, num_heads=2), model)
    trainer.evaluate(test, load_best_model=False)
    table, _ = ranks_given(model, test, GivenCorrection("own"))
    assert np.array_equal(table, trainer.ranks["test"])


@given(st.integers(2, 6), st.floats(0.1, 3.0))
def test_a_constant_is_common_to_all(users, size):
    assert common_share(torch.full((users, 2, 3), size)) == pytest.approx(1.0)


def test_share_of_half():
    # A mean of (1, 0), and an equal part that differs in sign between the two users.
    assert common_share(torch.tensor([[1.0, 1.0], [1.0, -1.0]])) == pytest.approx(0.5)
    assert common_share(torch.tensor([[1.0], [-1.0]])) == pytest.approx(0.0)
    assert common_share(torch.zeros(3, 2)) == 1.0


def test_the_command(small_data, tmp_path, capsys):
    out = tmp_path / "r"
    command = ["benchmark", "--models=CoCorrRec,Pop", "--datasets=small", "--seeds=1", "--learning_rates=0.01"]
    command += [f"--data_path={small_data}", "--use_gpu=False", "--epochs=1", f"--out={out}", "--ablate=correction"]
    command += ["--metrics=['NDCG', 'Hit', 'GAUC', 'ItemCoverage']"]
    assert main([*command, "--threads=1"]) == 0
    printed = capsys.readouterr().out
    assert "another user's" in printed and "common to all users" in printed
    content = json.loads((out / "ablation.json").read_text())
    assert [r["variant"] for r in content["rows"]] == [v.name for v in GIVEN_CORRECTIONS]
    own = content["rows"][0]
    assert own["own_minus_this"] == {"ndcg@10": 0.0, "standard_error": 0.0}
    run = json.loads(next(out.glob("runs/*cocorrrec*/run.json")).read_text())
    assert own["metrics"]["ndcg@10"] == pytest.approx(run["test"]["ndcg@10"], abs=5e-5)


def test_nothing_to_ablate(tmp_path):
    with pytest.raises(UserError, match="no finished run of CoCorrRec"):
        measure(tmp_path)
