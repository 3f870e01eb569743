"""The protocol by time: two moments cut all interactions, and nothing after the first reaches training."""

from collections import Counter
from datetime import date
from functools import cache

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from recbole_cocorr.base.errors import UserError
from recbole_cocorr.data.clicks import histories, training_interactions
from recbole_cocorr.data.dataset import create_dataset
from recbole_cocorr.data.loaders import data_preparation
from recbole_cocorr.training.config import Config
from recbole_cocorr.training.corrected_lists import trust_lists
from recbole_cocorr.training.prepare import prepare
from tests.conftest import shared_folder, write_inter
from tests.data.test_time_order import WRITTEN
from tests.reference.cut_naive import Cut, moment


def config_for(folder, model="GRU4Rec", **more):
    given = {"data_path": str(folder), "use_gpu": False, "show_progress": False, "protocol": "time", **more}
    return Config(model, "small", None, given, overrides={})


@cache
def config_of(share_of: str, targets: str, new_items: str) -> Config:
    """Configurations take longer than small data."""
    more = {"share_of": share_of, "targets_per_user": targets, "new_item_targets": new_items}
    return config_for(".", **more, MAX_ITEM_LIST_LENGTH=50)


def rows_of(part):
    """A part's rows in tokens: user, items before, item."""
    if not len(part):
        return []
    items, users = part.field2id_token["item_id"], part.inter_feat["user_id"].numpy()
    batch = part[torch.arange(len(part))]
    shown = batch["user_id"].numpy()
    assert (shown == np.where(users < part.user_num, users, 0)).all()
    return sorted(
        (str(part.all_user_tokens[user]), tuple(items[history[:length]]), str(items[item]) if item else "")
        for user, history, length, item in zip(
            users, batch["item_id_list"].numpy(), batch["item_length"].tolist(), batch["item_id"].numpy(), strict=True
        )
    )


# Two users whose times enclose all others': the times are then no positions, whoever else there is.
ANCHORS = [("a", "i1", 0), ("b", "i2", 1), ("b", "i1", 39), ("a", "i3", 40)]
some_clicks = st.lists(st.tuples(st.integers(1, 5), st.integers(1, 9), st.integers(2, 38)), max_size=30)
shares = st.sampled_from([0.1, 0.25, 1 / 3, 0.5, 0.6, 0.8, 0.9])


@given(
    rows=some_clicks,
    write=st.sampled_from(WRITTEN),
    cuts=st.tuples(st.one_of(shares, st.integers(1, 40)), st.one_of(shares, st.integers(1, 40))),
    share_of=st.sampled_from(["interactions", "span"]),
    targets=st.sampled_from(["last", "every"]),
    new_items=st.sampled_from(["miss", "leave_out"]),
)
@settings(max_examples=120, deadline=None)
def test_a_plain_loop_finds_the_same(tmp_path_factory, rows, write, cuts, share_of, targets, new_items):
    clicks = [(f"u{u}" if isinstance(u, int) else u, f"i{i}" if isinstance(i, int) else i, k) for u, i, k in rows]
    clicks = [(user, item, write(k)) for user, item, k in [*clicks, *ANCHORS]]
    given = [cut if isinstance(cut, float) else write(cut) for cut in cuts]
    given = [cut if isinstance(cut, float) else float(cut) if "." in cut else int(cut) for cut in given]
    exact = [moment(clicks, cut, share_of) for cut in given]
    assume(exact[0] < exact[1])
    expected = Cut(clicks, exact, targets, new_items)
    assume(expected.sizes[0] and expected.sizes[2])
    config = config_of(share_of, targets, new_items)
    config["data_path"] = str(write_inter(tmp_path_factory.mktemp("cut"), "small", clicks) / "small")
    config["valid_from"], config["test_from"] = given
    dataset = create_dataset(config)
    touched = [tuple(pair) for pair in np.stack(dataset.known_interactions(), axis=1)]
    parts = dataset.build()

    assert [rows_of(part) for part in parts] == [sorted(part) for part in expected.rows]
    tokens, users = parts[0].field2id_token["item_id"], parts[0].field2id_token["user_id"]
    assert set(tokens[1:]) == expected.items and parts[0].item_num == len(expected.items) + 1
    assert set(users[1:]) == expected.users and parts[0].user_num == len(expected.users) + 1
    for pairs in (touched, zip(*parts[2].training_interactions(), strict=True)):
        assert sorted((users[u], tokens[i]) for u, i in pairs) == expected.training_clicks
    for phase, name in ((1, "valid"), (2, "test")):
        counts = parts[0].cut[name]
        assert counts["interactions"] == expected.sizes[phase]
        assert counts["of_new_items"] == expected.of_new_items[phase]
        assert counts["of_new_users"] == expected.of_new_users[phase]
        assert counts["without_history"] == expected.without_history[phase]
        left_out = expected.of_new_items[phase] if new_items == "leave_out" else 0
        assert counts["targets"] == len(expected.rows[phase]) + left_out
    # What is left out of the candidates: every known item before the target, without the limit of L.
    if len(parts[2]):
        owner, items = (column.numpy() for column in parts[2].history_pairs(torch.arange(len(parts[2]))))
        ranked = parts[2].all_user_tokens[parts[2].inter_feat["user_id"].numpy()]
        left_out = Counter(zip(ranked[owner], tokens[items], strict=True))
        assert left_out == Counter((user, item) for user, before, _ in expected.rows[2] for item in before)


def made_clicks(later: int) -> list[tuple]:
    """40 users before time 1000; after it what ``later`` says: other users, items, orders and numbers of clicks."""
    early = np.random.default_rng(0)
    rows = []
    for user in range(40):
        rows += [(f"u{user}", f"i{early.integers(1, 60)}", int(k)) for k in early.choice(1000, size=10, replace=False)]
    after = np.random.default_rng(later)
    for _ in range(40 * later):
        user, item = int(after.integers(0, 60)), int(after.integers(1, 60 + 30 * later))
        rows.append((f"u{user}", f"i{item}", int(1000 + after.integers(0, 500))))
    order = np.random.default_rng(later).permutation(len(rows))
    firsts = sorted(range(len(rows)), key=lambda place: rows[place][2] >= 1000)[:400]
    rest = [place for place in order if place >= 400]
    # Rows of the two sides are mixed in the file; those of training keep their own order, which numbers them.
    mixed, left = [], list(firsts)
    for place in rest:
        mixed += [place, *left[:2]]
        left = left[2:]
    return [rows[place] for place in [*mixed, *left]]


@pytest.mark.parametrize(
    ("model", "more"),
    [
        ("CoCorrRec", {"item_init": "item-item", "hidden_size": 8, "num_heads": 2}),
        ("SASRec", {"loss_type": "BCE", "hidden_size": 8, "inner_size": 8}),
        ("SASRec", {"training_rows": "sequence", "hidden_size": 8, "inner_size": 8}),
        ("GRU4Rec", {"softmax_sample_num": 20, "embedding_size": 8, "hidden_size": 8}),
        ("FPMC", {"embedding_size": 8, "loss_type": "BPR"}),
        ("PopRecent", {"recent_days": [0.001, 0.005]}),
        ("EASE", {}),
    ],
)
def test_nothing_after_the_first_cut_reaches_training(tmp_path, model, more):
    trained = []
    for later in (1, 3):
        folder = write_inter(tmp_path / str(later), "small", made_clicks(later))
        settings = {"valid_from": 1000, "test_from": 1200, "epochs": 2, "train_batch_size": 64, "eval_step": 0, **more}
        prepared = prepare(config_for(folder, model, **settings))
        prepared.trainer.fit(prepared.data.train, prepared.data.valid, saved=False)
        trained.append((prepared.data.dataset.field2id_token["item_id"].tolist(), prepared.model.state_dict()))
        assert prepared.data.train.dataset.cut["test"]["of_new_items"] > 0
        result = prepared.trainer.evaluate(prepared.data.test, load_best_model=False)
        assert 0 <= result["ndcg@10"] <= 1
    assert trained[0][0] == trained[1][0]
    assert trained[0][1].keys() == trained[1][1].keys()
    for name, weights in trained[0][1].items():
        assert torch.equal(weights, trained[1][1][name]), name


def test_a_target_that_training_never_saw_is_a_miss_and_stays_in_the_mean(tmp_path):
    clicks = [(f"u{u}", f"i{(u + k) % 4}", 10 * k + u) for u in range(4) for k in range(5)]
    clicks += [(f"w{u}", f"rare{u}", 50 + u) for u in range(30)]
    clicks += [("u0", "i1", 1000), ("u1", "new", 1001), ("u2", "new", 2000), ("u3", "i2", 2001)]
    folder = write_inter(tmp_path, "small", clicks)
    results = {}
    for way in ("miss", "leave_out"):
        config = config_for(folder, "Pop", valid_from=1000, test_from=2000, new_item_targets=way, epochs=1)
        prepared = prepare(config)
        prepared.trainer.fit(prepared.data.train, prepared.data.valid, saved=False)
        results[way] = prepared.trainer.evaluate(prepared.data.test, load_best_model=False)
        ranks = prepared.trainer.ranks["test"]
    assert results["leave_out"]["hit@20"] == 1.0 and results["miss"]["hit@20"] == 0.5
    assert results["miss"]["gauc"] == pytest.approx(results["leave_out"]["gauc"] / 2, abs=1e-4)
    assert len(ranks) == 1


def test_correctors_read_the_histories_of_users_that_training_never_saw(tmp_path):
    clicks = [(f"u{u}", f"i{(u + k) % 4}", 10 * k + u) for u in range(4) for k in range(5)]
    clicks += [("u0", "i1", 1000), ("z", "i1", 2000), ("z", "new", 2001), ("z", "i2", 2002), ("z", "i3", 2003)]
    clicks += [("u0", "new", 2004)]
    config = config_for(write_inter(tmp_path, "small", clicks), valid_from=1000, test_from=2000)
    _, _, test = data_preparation(config, create_dataset(config))
    tokens = test.dataset.field2id_token["item_id"]
    own = ["i0", "i1", "i2", "i3", "i0", "i1"]
    assert [tokens[h].tolist() for h in histories(test)] == [own, ["i1", "i2"]]
    assert len(training_interactions(test.dataset)[0]) == 20
    # How far to trust a corrector cannot be learned from a target that nobody scores.
    rows, candidates = trust_lists(test)
    assert rows.tolist() == [1] and tokens[candidates[0, 0]] == "i3"


@pytest.mark.parametrize("write", WRITTEN[:2] + WRITTEN[4:5])
def test_dates_mean_what_the_unit_of_the_file_says(tmp_path, write):
    """1,700,000,000 is 2023-11-14 22:13:20."""
    clicks = [(f"u{u}", f"i{k}", write(20 * k + u)) for u in range(3) for k in range(5)]
    folder = write_inter(tmp_path, "small", clicks)
    step = {WRITTEN[0]: "2023-11-14 22:14:00", WRITTEN[1]: "2023-11-14T22:13:20.040Z"}
    dates = step.get(write, "2023-11-14 22:13:20.00000004"), "2023-11-15" if write is WRITTEN[0] else 0.9
    given = dates if write is not WRITTEN[0] else (dates[0], "2023-11-14 22:14:40")
    *_, test = create_dataset(config_for(folder, valid_from=given[0], test_from=given[1])).build()
    assert test.cut["training"]["interactions"] == 6
    assert test.cut["first"] == "2023-11-14 22:13:20"


def test_yaml_dates_will_do(tmp_path):
    clicks = [(f"u{u}", f"i{k}", 86400 * (10_000 + k) + u) for u in range(3) for k in range(5)]
    config = config_for(
        write_inter(tmp_path, "small", clicks), valid_from=date(1997, 5, 21), test_from=date(1997, 5, 22)
    )
    train, _, test = create_dataset(config).build()
    assert (train.cut["valid_from"], len(test)) == ("1997-05-21 00:00:00", 3)


POSITIONS = [
    [(f"u{u}", f"i{k}", k) for u in range(5) for k in range(1, 4 + u)],
    [(f"u{u}", f"i{k}", k / 7) for u in range(5) for k in range(4 + u)],
    [(f"u{u}", f"i{k}", 1 + k * (1 + u % 2)) for u in range(5) for k in range(4 + u)],  # with gaps, after a filter
]


@pytest.mark.parametrize("clicks", POSITIONS)
def test_positions_are_refused(tmp_path, clicks):
    with pytest.raises(UserError, match=r"needs real timestamps, and these are positions: 5 of 5 users begin at"):
        create_dataset(config_for(write_inter(tmp_path, "small", clicks)))


def test_row_numbers_are_refused(tmp_path):
    clicks = [(f"u{place // 6}", f"i{place % 7}", place) for place in range(36)]
    with pytest.raises(UserError, match="needs real timestamps, and these are row numbers"):
        create_dataset(config_for(write_inter(tmp_path, "small", clicks)))


@pytest.mark.parametrize("name", ["amazon-beauty", "yelp", "ml-1m"])
def test_the_reference_data_are_refused(name):
    config = Config("GRU4Rec", name, None, {"protocol": "time", "data_path": str(shared_folder("data"))}, overrides={})
    with pytest.raises(UserError, match="these are positions"):
        create_dataset(config)


REAL = [(f"u{u}", f"i{k}", 10 * k + u) for u in range(5) for k in range(10)]


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        (
            {"valid_from": 50, "test_from": 50},
            r"valid_from \(50\) must lie before test_from \(50\); 'small' goes from 0",
        ),
        ({"valid_from": 0.9, "test_from": 0.8}, "must lie before"),
        ({"valid_from": -3, "test_from": 50}, "valid_from is -3, and there is no interaction before"),
        ({"valid_from": 50, "test_from": 500}, "test_from is 500, and there is no interaction from then on"),
        ({"valid_from": "1998-03-07"}, "valid_from is '1998-03-07', and the times of this file are no dates"),
        ({"valid_from": "1998-33-07"}, "valid_from is '1998-33-07', not YYYY-MM-DD"),
        ({"alias_of_item_id": ["item_id_list"]}, "alias_of_item_id cannot be used with a split by time"),
        (
            {"protocol": "full", "eval_args": {"split": {"CUT": "valid_and_test"}, "order": "TO"}},
            "valid_from is not set",
        ),
    ],
)
def test_cuts_that_do_not_fit_are_one_sentence(tmp_path, more, sentence):
    folder = write_inter(tmp_path, "small", REAL)
    with pytest.raises(UserError, match=sentence):
        create_dataset(config_for(folder, **more))


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        ({"valid_from": None}, "valid_from is None; it must be a share between 0 and 1"),
        ({"test_from": True}, "test_from is True; it must be"),
        ({"test_from": [1]}, r"test_from is \[1\]; it must be"),
        ({"share_of": "users"}, "share_of is 'users'; it must be interactions or span"),
        ({"targets_per_user": "first"}, "targets_per_user is 'first'; it must be last or every"),
        ({"new_item_targets": "hit"}, "new_item_targets is 'hit'; it must be miss or leave_out"),
        ({"shuffle_history": True, "training_rows": "sequence"}, "training_rows is sequence and shuffle_history True"),
        ({"shuffle_history": "maybe"}, "shuffle_history is 'maybe'; it must be True or False"),
        (
            {"eval_args": {"split": {"CUT": "valid_and_test"}, "order": "TO", "mode": "uni100"}},
            "a split by CUT ranks among all items",
        ),
        ({"eval_args": {"split": {"CUT": [0.8, 0.9]}, "order": "TO"}}, "eval_args: split is"),
    ],
)
def test_settings_that_do_not_fit_are_one_sentence(tmp_path, more, sentence):
    with pytest.raises(UserError, match=sentence):
        config_for(tmp_path, **more)


def test_a_model_with_its_own_rows_is_refused(tmp_path):
    with pytest.raises(UserError, match="DIEN makes its own histories; its data cannot be split by time"):
        create_dataset(config_for(write_inter(tmp_path, "small", REAL), "DIEN"))


def test_filters_that_look_ahead_are_warned_of(tmp_path, caplog):
    folder = write_inter(tmp_path, "small", REAL)
    create_dataset(config_for(folder, user_inter_num_interval="[2,inf)", rm_dup_inter="last"))
    assert "user_inter_num_interval counts the interactions after the cuts too" in caplog.text
    assert "rm_dup_inter=last drops interactions" in caplog.text
