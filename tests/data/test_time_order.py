"""The times as the file writes them decide every order and every cut, whatever float32 makes of them."""

from functools import cache

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from recbole_cocorr.data.clicks import training_interactions
from recbole_cocorr.data.dataset import create_dataset
from recbole_cocorr.training.config import Config
from tests.conftest import write_inter
from tests.reference import splits_naive

SPLITS = [
    {"LS": "valid_and_test"},
    {"LS": "valid_only"},
    {"LS": "test_only"},
    {"RS": [0.6, 0.2, 0.2]},
    {"RS": [0.8, 0.1, 0.1]},
    {"RS": [5, 1, 0]},
    {"TS": [0.6, 0.2, 0.2]},
    {"TS": [0.5, 0.0, 0.5]},
]
# How an offset of a few units is written: seconds and milliseconds of today, fractions of a second, nanoseconds.
WRITTEN = [
    lambda k: str(1_700_000_000 + k),
    lambda k: str(1_700_000_000_000 + k),
    lambda k: f"1700000000.{k:03}",
    lambda k: f"1700000000.{k:09}",
    lambda k: str(1_700_000_000_000_000_000 + k),
    lambda k: str(k - 7),
]


def config_for(folder, model="GRU4Rec", split=None, group_by="user", **more):
    arguments = {"split": split or {"LS": "valid_and_test"}, "order": "TO", "group_by": group_by, "mode": "full"}
    given = {"data_path": str(folder), "use_gpu": False, "show_progress": False, "eval_args": arguments, **more}
    return Config(model, "small", None, given, overrides={})


@cache
def config_of(which: int, group_by: str) -> Config:
    """Configurations take longer than small data: one for each way to split."""
    return config_for(".", split=SPLITS[which], group_by=group_by, MAX_ITEM_LIST_LENGTH=50)


def rows_of(part):
    """A part's rows in tokens: user, items before, item."""
    if not len(part):
        return []
    users, items = part.field2id_token["user_id"], part.field2id_token["item_id"]
    batch = part[torch.arange(len(part))]
    return [
        (users[user], tuple(items[history[:length]]), items[item])
        for user, history, length, item in zip(
            batch["user_id"].numpy(),
            batch["item_id_list"].numpy(),
            batch["item_length"].tolist(),
            batch["item_id"].numpy(),
            strict=True,
        )
    ]


def clicks_in(draw_order, write):
    """Clicks (user, item, time) with an item each, so that a history says which clicks it holds."""
    return [(f"u{user}", f"i{place}", write(k)) for place, (user, k) in enumerate(draw_order)]


some_clicks = st.lists(st.tuples(st.integers(1, 5), st.integers(0, 30)), min_size=2, max_size=30).filter(
    lambda rows: len({user for user, _ in rows}) < len(rows)
)


@given(
    rows=some_clicks,
    write=st.sampled_from(WRITTEN),
    which=st.integers(0, len(SPLITS) - 1),
    group_by=st.sampled_from(["user", "none"]),
)
@example(rows=[(k, k) for k in range(9, 0, -1) for _ in (0, 1)], write=WRITTEN[0], which=3, group_by="none")
@settings(max_examples=60, deadline=None)
def test_every_split_follows_the_written_times(tmp_path_factory, rows, write, which, group_by):
    clicks = clicks_in(rows, write)
    config = config_of(which, group_by)
    config["data_path"] = str(write_inter(tmp_path_factory.mktemp("times"), "small", clicks) / "small")
    expected = splits_naive.split_rows(clicks, SPLITS[which], group_by == "user")
    assert [rows_of(part) for part in create_dataset(config).build()] == expected


@pytest.mark.parametrize("split", [SPLITS[0], SPLITS[3], SPLITS[6]], ids=str)
def test_a_model_with_a_dataset_class_of_its_own_follows_them_too(tmp_path, split):
    generator = np.random.default_rng(3)
    rows = [(int(generator.integers(1, 6)), int(k)) for k in generator.permutation(60)]
    clicks = clicks_in(rows, WRITTEN[0])
    config = config_for(
        write_inter(tmp_path, "small", clicks), "DIEN", split=split, group_by="none", MAX_ITEM_LIST_LENGTH=50
    )
    assert [rows_of(part) for part in create_dataset(config).build()] == splits_naive.split_rows(clicks, split, False)


@pytest.mark.parametrize("keep", ["first", "last"])
def test_of_repeated_interactions_the_written_times_choose(tmp_path, keep):
    """Among equal times the file's order does; pandas' sort, which RecBole uses, does not keep it."""
    generator = np.random.default_rng(1)
    rows = [(int(u), int(i), int(k)) for u, i, k in generator.integers(0, 9, size=(400, 3))]
    clicks = [(f"u{u}", f"i{i}", str(1_700_000_000 + k), str(place)) for place, (u, i, k) in enumerate(rows)]
    header = "user_id:token\titem_id:token\ttimestamp:float\tplace:token"
    folder = write_inter(tmp_path, "small", clicks, header)
    dataset = create_dataset(config_for(folder, rm_dup_inter=keep, load_col={"inter": "*"}))
    ordered = sorted(enumerate(rows), key=lambda row: (row[1][2], row[0]))
    kept = {}
    for place, (user, item, _) in ordered if keep == "last" else reversed(ordered):
        kept[user, item] = str(place)
    places = dataset.field2id_token["place"][dataset.inter_feat["place"].to_numpy()]
    assert sorted(places) == sorted(kept.values())


@pytest.mark.parametrize(
    "more",
    [
        {"normalize_all": True},
        {"normalize_field": ["timestamp"]},
        {"numerical_features": ["timestamp"], "discretization": {"timestamp": {"method": "ED", "bucket": 3}}},
        {"val_interval": {"timestamp": "[1700000005,1700000025)"}},
        {"user_inter_num_interval": "[4,inf)"},
    ],
    ids=str,
)
@pytest.mark.parametrize("split", [{"LS": "valid_and_test"}, {"RS": [0.6, 0.2, 0.2]}], ids=str)
def test_what_settings_do_to_the_column_or_the_rows_changes_no_order(tmp_path, split, more):
    generator = np.random.default_rng(5)
    clicks = clicks_in([(int(generator.integers(1, 6)), int(k)) for k in generator.permutation(40)], WRITTEN[0])
    dataset = create_dataset(config_for(write_inter(tmp_path, "small", clicks), split=split, group_by="none", **more))
    parts = [rows_of(part) for part in dataset.build()]
    if "val_interval" in more:
        clicks = [click for click in clicks if 1_700_000_005 <= int(click[2]) < 1_700_000_025]
    if "user_inter_num_interval" in more:
        clicks = [click for click in clicks if sum(other[0] == click[0] for other in clicks) >= 4]
    expected = splits_naive.split_rows(clicks, split, False)
    short = [[(user, before[-10:], item) for user, before, item in part] for part in expected]  # L is 10
    assert parts == short


def test_times_are_given_as_written_where_the_column_is_scaled(tmp_path):
    clicks = clicks_in([(1, 3), (1, 1), (2, 2), (2, 5)], WRITTEN[0])
    dataset = create_dataset(config_for(write_inter(tmp_path, "small", clicks), normalize_all=True)).unsplit()
    assert dataset.interactions()[2].tolist() == [1_700_000_000 + k for k in (1, 3, 2, 5)]


@pytest.mark.parametrize("split", [{"RS": [0.5, 0.2, 0.3]}, {"TS": [0.5, 0.2, 0.3]}], ids=str)
def test_a_first_click_after_the_cut_is_no_training_click(tmp_path, split):
    """It is the target of no row, so no list of held-out targets has it."""
    early = [(1, k) for k in range(8)] + [(2, k) for k in range(8)]
    late = [(3, 100), (3, 101), (3, 102), (4, 103), (4, 104), (4, 105), (5, 110)]
    clicks = clicks_in(early + late, WRITTEN[0])
    dataset = create_dataset(config_for(write_inter(tmp_path, "small", clicks), split=split, group_by="none"))
    train, valid, _ = dataset.build()
    users, items = training_interactions(valid)
    shown = {(user, item) for user, before, last in rows_of(train) for item in (*before, last)}
    tokens = train.field2id_token
    assert {(tokens["user_id"][u], tokens["item_id"][i]) for u, i in zip(users, items, strict=True)} == shown


@pytest.mark.parametrize("split", [{"LS": "valid_and_test"}, {"RS": [0.8, 0.1, 0.1]}], ids=str)
def test_a_users_only_click_is_a_training_click(tmp_path, split):
    """No row has it as its target, in no split; every split says the same."""
    clicks = clicks_in([(1, k) for k in range(8)] + [(2, 3)], WRITTEN[0])
    dataset = create_dataset(config_for(write_inter(tmp_path, "small", clicks), split=split, group_by="user"))
    splits = dataset.build()
    for part in splits:
        users, items = part.training_interactions()
        tokens = part.field2id_token
        own = [str(tokens["item_id"][i]) for u, i in zip(users, items, strict=True) if tokens["user_id"][u] == "u2"]
        assert len(own) == 1
        held_out = {(u, i) for other in splits[1:] for u, *_, i in rows_of(other)}
        assert held_out and not held_out & {
            (tokens["user_id"][u], tokens["item_id"][i]) for u, i in zip(users, items, strict=True)
        }
