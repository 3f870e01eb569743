"""Histories in a random order: the same items, the same order each time, in training and evaluation."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from recbole_cocorr.base.errors import UserError
from recbole_cocorr.data.dataset import create_dataset
from recbole_cocorr.data.shuffled import shuffled_steps
from recbole_cocorr.training.prepare import prepare, read_data


@given(
    rows=st.lists(st.tuples(st.integers(0, 10**9), st.integers(0, 12)), min_size=1, max_size=20),
    width=st.integers(12, 20),
    seed=st.integers(0, 2**32 - 1),
)
def test_real_steps_change_places_among_themselves(rows, width, seed):
    end, length = torch.tensor(rows).T
    steps = shuffled_steps(end, length, width, seed)
    for row, real in zip(steps.tolist(), length.tolist(), strict=True):
        assert sorted(row[:real]) == list(range(real)) and row[real:] == list(range(real, width))
    # A row keeps its order, whatever stands beside it.
    alone = torch.cat([shuffled_steps(e[None], n[None], width, seed) for e, n in zip(end, length, strict=True)])
    assert torch.equal(steps, alone)


def test_every_order_comes_equally_often():
    """Of three steps, over 60,000 rows: six orders, each within four standard deviations of a sixth."""
    steps = shuffled_steps(torch.arange(60_000), torch.full((60_000,), 3), 3, 2020)
    _, counts = torch.unique(steps, dim=0, return_counts=True)
    assert len(counts) == 6 and (counts - 10_000).abs().max() < 4 * (60_000 * 5 / 36) ** 0.5


def columns(config, part):
    rows = getattr(read_data(config), part).dataset
    return rows[torch.arange(len(rows))]


@pytest.mark.parametrize("part", ["train", "valid", "test"])
def test_a_history_holds_the_same_items_and_their_times(make_config, part):
    plain, shuffled = (columns(make_config(shuffle_history=on, seed=5), part) for on in (False, True))
    assert torch.equal(plain["item_id"], shuffled["item_id"])
    assert (plain["item_id_list"] != shuffled["item_id_list"]).any(dim=1).float().mean() > 0.5
    for row in range(len(plain)):
        pairs = [
            sorted(zip(c["item_id_list"][row].tolist(), c["timestamp_list"][row].tolist(), strict=True))
            for c in (plain, shuffled)
        ]
        assert pairs[0] == pairs[1]
    again, other = (columns(make_config(shuffle_history=True, seed=seed), part) for seed in (5, 6))
    assert torch.equal(again["item_id_list"], shuffled["item_id_list"])
    assert not torch.equal(other["item_id_list"], shuffled["item_id_list"])


def test_a_model_that_reads_no_order_reaches_the_same(make_config):
    """EASE sums over the history; GRU4Rec reads it in order."""
    results = {}
    for model in ("EASE", "GRU4Rec"):
        for on in (False, True):
            prepared = prepare(make_config(model, shuffle_history=on, epochs=1))
            prepared.trainer.fit(prepared.data.train, prepared.data.valid, saved=False)
            prepared.trainer.evaluate(prepared.data.test, load_best_model=False)
            results[model, on] = prepared.trainer.ranks["test"]
    assert (results["EASE", False] == results["EASE", True]).all()
    assert (results["GRU4Rec", False] != results["GRU4Rec", True]).any()


def test_histories_that_are_not_made_here_are_refused(make_config):
    with pytest.raises(UserError, match="shuffle_history needs histories that are made here"):
        create_dataset(make_config("DIEN", shuffle_history=True))
