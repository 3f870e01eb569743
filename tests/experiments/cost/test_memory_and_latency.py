"""Peak memory is counted to the byte; latency is measured under the conditions that it states."""

import pytest
import torch
from torch import nn

from recbole_cocorr.experiments.cost import latency
from recbole_cocorr.experiments.cost.field import build, history
from recbole_cocorr.experiments.cost.latency import inference_latency, one_user_scorer, threads, times_in_turn
from recbole_cocorr.experiments.cost.memory import peak_bytes
from recbole_cocorr.experiments.entries import catalogue_entries
from recbole_cocorr.models.length_groups import ByLength

FIELD = [entry for entry in catalogue_entries() if entry.label != "Pop"]
LABELS = {entry.label: entry for entry in FIELD}
KB = 1024


def block(kilobytes: int) -> torch.Tensor:
    return torch.empty(kilobytes * KB, dtype=torch.uint8)


def test_the_peak_is_what_is_held_at_once():
    def work():
        a = block(3)
        b = block(5)
        del a
        c = block(1)
        return b, c

    assert peak_bytes(work) == 8 * KB


def test_what_is_freed_before_the_end_counts():
    def work():
        block(9)
        return block(2)

    assert peak_bytes(work) == 9 * KB


def test_what_lay_there_before_does_not_count():
    x, kept = block(100), []

    def work():
        if not kept:
            kept.append(block(50))
        return x[:10].clone(), kept[0]

    assert peak_bytes(work) == 10


def test_temporaries_inside_an_operation_count():
    x = torch.randn(64, 64)
    inside = peak_bytes(lambda: nn.functional.layer_norm(x.T, (64,)))  # a contiguous copy, and two moments a row
    assert inside > x.numel() * 4


def test_the_profiler_is_quiet_and_standard_error_survives(capfd):
    import os

    assert peak_bytes(lambda: block(1)) == KB
    os.write(2, b"still there")
    assert capfd.readouterr().err == "still there"


def test_an_error_inside_leaves_all_as_it_was(capfd):
    calls = []

    def work():
        calls.append(1)
        if len(calls) == 2:
            raise ZeroDivisionError
        return block(1)

    with pytest.raises(ZeroDivisionError):
        peak_bytes(work)
    assert peak_bytes(lambda: block(4)) == 4 * KB
    assert capfd.readouterr().err == ""


def test_calls_take_turns():
    order = []
    taken = times_in_turn({"a": lambda: order.append("a"), "b": lambda: order.append("b")}, 4)
    assert order == ["a", "b"] * 5  # once untimed
    assert {name: len(t) for name, t in taken.items()} == {"a": 4, "b": 4}


def test_a_slow_call_leaves_the_later_rounds(monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(latency.time, "perf_counter", lambda: clock[0])

    def slow():
        clock[0] += 2.0

    taken = times_in_turn({"slow": slow, "quick": lambda: None}, 20, most_seconds=5.0)
    assert taken["slow"] == [2.0] * 3 and len(taken["quick"]) == 20


def test_the_latency_is_the_median_in_microseconds(monkeypatch):
    model = build(LABELS["GRU4Rec"], 5, 50, 5)
    monkeypatch.setattr(latency, "times_in_turn", lambda calls, repeats: {"": [1e-3, 5e-3, 2e-3]})
    assert inference_latency(model, history(model, 5), 3) == pytest.approx(2000)


def test_the_latency_is_that_of_one_thread_without_gradients_in_evaluation_mode(monkeypatch):
    model = build(LABELS["CoCorrRec"], 5, 50, 5).train()
    torch.set_num_threads(2)
    seen = []
    encode = model.encode
    monkeypatch.setattr(
        model,
        "encode",
        lambda inter: (
            seen.append((torch.get_num_threads(), torch.is_grad_enabled(), model.training, len(inter))) or encode(inter)
        ),
    )
    assert inference_latency(model, history(model, 5), repeats=4) > 0
    assert seen == [(1, False, False, 1)] * 5
    assert model.training and torch.get_num_threads() == 2


def test_any_model_of_the_field_has_a_latency():
    for entry in FIELD:
        model = build(entry, 5, 30, 5)
        assert inference_latency(model, history(model, 5), 1, torch.tensor([[3, 1, 4]])) > 0


def test_repeats_must_be_at_least_one():
    model = build(LABELS["GRU4Rec"], 5, 50, 5)
    with pytest.raises(ValueError, match="at least 1"):
        inference_latency(model, history(model, 5), 0)


def test_threads_come_back():
    before = torch.get_num_threads()
    with pytest.raises(ZeroDivisionError), threads(1):
        raise ZeroDivisionError
    assert torch.get_num_threads() == before


@torch.no_grad()
def test_one_user_is_not_sorted_by_length():
    model = build(LABELS["SASRec"], 5, 50, 5)
    scorer = one_user_scorer(model, history(model, 5))
    assert not isinstance(scorer.encode, ByLength)
    torch.testing.assert_close(scorer.all_items(history(model, 5)), model.full_sort_predict(history(model, 5)))
