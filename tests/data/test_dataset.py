"""Rows, order and contents are RecBole's; memory is not."""

import shutil

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from recbole.data.dataset import SequentialDataset

from recbole_cocorr.base.errors import UserError
from recbole_cocorr.data.dataset import SequenceDataset, create_dataset
from recbole_cocorr.data.loaders import data_preparation
from recbole_cocorr.training.config import Config
from tests.conftest import random_rows, write_inter

SPLITS = [
    {"LS": "valid_and_test"},
    {"LS": "valid_only"},
    {"LS": "test_only"},
    {"RS": [0.7, 0.2, 0.1]},
]


def config_for(folder, name="small", **more):
    return Config(
        "GRU4Rec",
        name,
        None,
        {"data_path": str(folder), "load_col": {"inter": "*"}, "use_gpu": False, "show_progress": False, **more},
        overrides={},
    )


def same_rows(ours, theirs):
    assert len(ours) == len(theirs)
    if len(theirs) == 0:
        return
    mine, stock = ours[torch.arange(len(ours))], theirs[torch.arange(len(theirs))]
    assert set(mine.columns) == set(stock.columns)
    for column in stock.columns:
        assert torch.equal(mine[column], stock[column]), column


@pytest.mark.parametrize("split", SPLITS, ids=str)
@pytest.mark.parametrize("length", [1, 4, 50])
def test_rows_and_order_are_recboles(small_data, split, length):
    more = {
        "MAX_ITEM_LIST_LENGTH": length,
        "eval_args": {"split": split, "order": "TO", "group_by": "user", "mode": "full"},
    }
    ours = SequenceDataset(config_for(small_data, **more)).build()
    theirs = SequentialDataset(config_for(small_data, **more)).build()
    for mine, stock in zip(ours, theirs, strict=True):
        same_rows(mine, stock)


@given(st.lists(st.tuples(st.integers(1, 5), st.integers(1, 6), st.integers(0, 4)), min_size=2, max_size=40))
@settings(max_examples=40, deadline=None)
def test_rows_are_recboles_with_equal_timestamps_and_short_users(tmp_path_factory, rows):
    if len({u for u, _, _ in rows}) == len(rows):
        return  # no user has two interactions: no row at all
    folder = write_inter(tmp_path_factory.mktemp("tied"), "small", [(f"u{u}", f"i{i}", t) for u, i, t in rows])
    config = config_for(folder, MAX_ITEM_LIST_LENGTH=3)
    for mine, stock in zip(SequenceDataset(config).build(), SequentialDataset(config).build(), strict=True):
        same_rows(mine, stock)


def test_further_columns_travel_into_the_histories(tmp_path):
    rows = [(f"u{u}", f"i{u * 3 + k}", k, k + 0.5, f"{k} {k + 1}") for u in range(1, 5) for k in range(6)]
    header = "user_id:token\titem_id:token\ttimestamp:float\trating:float\ttags:token_seq"
    config = config_for(write_inter(tmp_path, "small", rows, header), MAX_ITEM_LIST_LENGTH=4)
    for mine, stock in zip(SequenceDataset(config).build(), SequentialDataset(config).build(), strict=True):
        same_rows(mine, stock)


def test_timestamps_close_to_each_other_keep_their_order(tmp_path):
    """RecBole rounds to float32, in which these four seconds are one."""
    start = 1_700_000_000
    rows = [("u1", f"i{k}", start + 4 - k) for k in range(5)]
    dataset = SequenceDataset(config_for(write_inter(tmp_path, "small", rows)))
    *_, test = dataset.build()
    last = test[torch.tensor([0])]
    read = dataset.field2id_token["item_id"][last["item_id_list"][0, :4].numpy()]
    assert read.tolist() == ["i4", "i3", "i2", "i1"]
    assert dataset.id2token("item_id", last["item_id"].tolist()) == ["i0"]


def test_memory_does_not_grow_with_the_length(small_data):
    def numbers(length):
        train = SequenceDataset(config_for(small_data, MAX_ITEM_LIST_LENGTH=length)).build()[0]
        return sum(v.numel() for f in (train.inter_feat, train._sequences) for v in f.interaction.values())

    assert numbers(500) == numbers(5)


def test_inter_matrix_is_recboles(small_data):
    config = config_for(small_data, MAX_ITEM_LIST_LENGTH=4)
    ours, theirs = SequenceDataset(config).build()[0], SequentialDataset(config).build()[0]
    assert (ours.inter_matrix("csr") != theirs.inter_matrix("csr")).nnz == 0


def test_history_pairs_are_everything_before_the_target(small_data):
    dataset = SequenceDataset(config_for(small_data, MAX_ITEM_LIST_LENGTH=2))
    test = dataset.build()[2]
    rows = torch.tensor([3, 0])
    owner, items = test.history_pairs(rows)
    long = SequenceDataset(config_for(small_data, MAX_ITEM_LIST_LENGTH=100)).build()[2]
    for place, row in enumerate(rows):
        whole = long[row[None]]
        expected = whole["item_id_list"][0, : int(whole["item_length"])]
        assert items[owner == place].tolist() == expected.tolist()


def test_single_row_and_slices(small_data):
    train = SequenceDataset(config_for(small_data)).build()[0]
    assert torch.equal(train[5]["item_id_list"], train[torch.tensor([5])]["item_id_list"][0])
    assert torch.equal(train[2:4]["item_id_list"], train[torch.tensor([2, 3])]["item_id_list"])


# -- loaders ------------------------------------------------------------------------------------


def test_the_order_of_batches_is_recboles_for_the_same_seed(small_data):
    from recbole.data import data_preparation as recbole_preparation

    more = {"loss_type": "CE", "train_batch_size": 64, "seed": 7}
    ours = data_preparation(config := config_for(small_data, **more), create_dataset(config))[0]
    stock = recbole_preparation(config, SequentialDataset(config))[0]
    for epoch in range(3):
        ours.set_epoch(epoch)
        for mine, theirs in zip(ours, stock, strict=True):
            for column in theirs.columns:
                assert torch.equal(mine[column], theirs[column])


def test_an_epoch_can_be_entered_from_anywhere(small_data):
    config = config_for(small_data, protocol="paper")
    straight = data_preparation(config, create_dataset(config))[0]
    jumped = data_preparation(config, create_dataset(config))[0]
    for epoch in range(4):
        straight.set_epoch(epoch)
        expected = list(straight)
    jumped.set_epoch(3)
    for mine, theirs in zip(jumped, expected, strict=True):
        for column in theirs.columns:
            assert torch.equal(mine[column], theirs[column])


def touched_by(dataset):
    users, items = dataset.inter_feat["user_id"].to_numpy(), dataset.inter_feat["item_id"].to_numpy()
    return {u: set(items[users == u].tolist()) for u in np.unique(users)}


def test_training_negatives_follow_the_protocol(small_data):
    config = config_for(small_data)
    dataset = create_dataset(config)
    touched = touched_by(dataset)
    train = data_preparation(config, dataset)[0]
    seen = []
    for epoch in (0, 1):
        train.set_epoch(epoch)
        drawn = {}
        for batch in train:
            assert batch["neg_items"].shape == (len(batch), 4)
            for user, item, negatives in zip(
                batch["user_id"].tolist(), batch["item_id"].tolist(), batch["neg_items"].tolist(), strict=True
            ):
                assert not set(negatives) & touched[user]
                assert len(set(negatives)) == 4
                drawn[user, item, len(drawn)] = negatives
        seen.append(sorted(map(tuple, drawn.values())))
    assert seen[0] != seen[1], "afresh each epoch"


def test_fixed_negatives_stay(small_data):
    config = config_for(
        small_data, train_neg_sample_args={"distribution": "uniform", "sample_num": 4, "fixed": True}, shuffle=False
    )
    train = data_preparation(config, create_dataset(config))[0]
    epochs = []
    for epoch in (0, 5):
        train.set_epoch(epoch)
        epochs.append(torch.cat([batch["neg_items"] for batch in train]))
    assert torch.equal(*epochs)


def test_candidates_are_the_same_for_every_model_and_length(small_data):
    tables = []
    for model, length in (("GRU4Rec", 10), ("SASRec", 3)):
        config = Config(
            model,
            "small",
            None,
            {"data_path": str(small_data), "MAX_ITEM_LIST_LENGTH": length, "use_gpu": False, "epochs": 1},
            overrides={},
        )
        dataset = create_dataset(config)
        touched = touched_by(dataset)
        _, valid, test = data_preparation(config, dataset)
        for loader in (valid, test):
            for user, row in zip(loader.users, loader.candidates.tolist(), strict=True):
                assert row[0] in touched[user]
                assert len(set(row[1:])) == 100
                assert not set(row[1:]) & touched[user]
        tables.append((valid.candidates, test.candidates))
    assert torch.equal(tables[0][0], tables[1][0])
    assert torch.equal(tables[0][1], tables[1][1])
    assert not torch.equal(tables[0][0], tables[0][1])


def test_a_small_catalogue_gives_what_there_is_and_says_so(tmp_path, caplog):
    folder = write_inter(tmp_path, "small", random_rows(20, 30, 4, 8))
    config = config_for(folder)
    dataset = create_dataset(config)
    touched = touched_by(dataset)
    items = dataset.item_num - 1
    with caplog.at_level("WARNING"):
        test = data_preparation(config, dataset)[2]
    assert "fewer than 100 items that their user never touched" in caplog.text
    for user, row in zip(test.users, test.candidates.tolist(), strict=True):
        assert sorted(i for i in row[1:] if i) == sorted(set(range(1, items + 1)) - touched[user])


# -- errors -------------------------------------------------------------------------------------


def test_nothing_left_after_filtering(small_data):
    config = config_for(small_data, user_inter_num_interval="[1000,inf)", item_inter_num_interval="[5,inf)")
    with pytest.raises(UserError, match=r"no interaction of 'small' is left.*user_inter_num_interval"):
        create_dataset(config)


def test_unknown_dataset_names_the_folder(tmp_path):
    config = config_for(tmp_path, "nosuchdata")
    with pytest.raises(UserError, match=r"nosuchdata.*nosuchdata\.inter.*--data_path"):
        create_dataset(config)


def test_failed_download_names_the_folder_and_leaves_nothing(tmp_path, monkeypatch):
    import recbole.data.dataset.dataset as module

    def no_network(url):
        raise OSError("Name or service not known")

    monkeypatch.setattr(module, "decide_download", no_network)
    config = config_for(tmp_path, "amazon-books")
    with pytest.raises(UserError, match=r"download of 'amazon-books' from https.*failed.*amazon-books\.inter.*by hand"):
        create_dataset(config)
    assert not (tmp_path / "amazon-books").exists()


def test_a_folder_without_the_file(tmp_path):
    (tmp_path / "small").mkdir()
    with pytest.raises(UserError, match=r"holds no small\.inter"):
        create_dataset(config_for(tmp_path))


def test_no_training_row(tmp_path):
    folder = write_inter(tmp_path, "small", [(f"u{k}", f"i{k}", k) for k in range(5)])
    config = config_for(folder)
    with pytest.raises(UserError, match="leaves no training row"):
        data_preparation(config, create_dataset(config))


def test_items_that_nobody_clicked_are_in_no_catalogue(small_data, tmp_path):
    """A model that reads NAME.item ranks what the others rank, against the same negatives."""
    folder = tmp_path / "small"
    shutil.copytree(small_data / "small", folder)
    own = create_dataset(config_for(tmp_path))
    items = [*own.field2id_token["item_id"][1:], "never-1", "never-2"]
    lines = ["item_id:token\tclass:token", *(f"{item}\tc{place % 3}" for place, item in enumerate(items))]
    (folder / "small.item").write_text("\n".join(lines) + "\n")
    config = config_for(tmp_path, load_col={"inter": "*", "item": ["item_id", "class"]})
    ours = create_dataset(config)
    assert ours.field2id_token["item_id"].tolist() == own.field2id_token["item_id"].tolist()
    valid = data_preparation(config, ours)[1]
    other = config_for(tmp_path)
    assert np.array_equal(*(batch_of(loader) for loader in (valid, data_preparation(other, create_dataset(other))[1])))
    assert len(ours.item_feat) == ours.item_num


def batch_of(loader) -> np.ndarray:
    return next(iter(loader)).candidates.numpy()
