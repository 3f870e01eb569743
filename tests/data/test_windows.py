"""``training_rows: sequence``: every training target once, after clicks that its own row has too."""

from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from recbole_cocorr.base.errors import UserError
from recbole_cocorr.data.dataset import create_dataset
from recbole_cocorr.data.loaders import SequenceLoader, data_preparation
from recbole_cocorr.data.windows import Windows
from tests.conftest import write_inter
from tests.data.test_split_files import FILES, loaders_for, write_files

L = 4


@given(st.lists(st.integers(0, 4 * L + 1), min_size=1, max_size=8), st.integers(1, L), st.randoms())
def test_every_row_is_in_one_window_and_a_window_is_of_one_user(counts, longest, chance):
    # A user's first interaction is no target.
    places, owners, start = [], [], 0
    for user, count in enumerate(counts):
        places += range(start + 1, start + 1 + count)
        owners += [user] * count
        start += 1 + count
    shuffled = list(range(len(places)))
    chance.shuffle(shuffled)
    places, owners = np.array(places, dtype=np.int64)[shuffled], np.array(owners, dtype=np.int64)[shuffled]
    windows = Windows.of(places, longest)
    assert sorted(windows.rows) == list(range(len(places)))
    seen = []
    for number in range(len(windows)):
        rows, real = windows.grid(np.array([number]))
        assert real.all() and 1 <= rows.size <= longest
        rows = rows[0]
        assert len(set(owners[rows])) == 1 and (np.diff(places[rows]) == 1).all()
        seen += rows.tolist()
    assert sorted(seen) == list(range(len(places)))
    assert len(windows) == sum(-(-count // longest) for count in counts)


def test_no_row_makes_no_window():
    assert len(Windows.of(np.empty(0, dtype=np.int64), 3)) == 0


def test_of_a_long_history_the_oldest_window_is_the_short_one():
    windows = Windows.of(np.arange(1, 10), 4)
    assert windows.lengths.tolist() == [1, 4, 4]


def histories(config) -> list[tuple[int, int, tuple[int, ...]]]:
    """User, target and history of every training target, however the rows are made."""
    train, _, _ = data_preparation(config, create_dataset(config))
    found = []
    for rows in train:
        users, lengths, clicks = (rows[name].tolist() for name in ("user_id", "item_length", "item_id_list"))
        if isinstance(train, SequenceLoader):
            for user, length, read, targets in zip(users, lengths, clicks, rows["target_items"].tolist(), strict=True):
                assert not any(read[length:]) and not any(targets[length:]), "padding at the end"
                found += [(user, targets[t], tuple(read[: t + 1])) for t in range(length)]
        else:
            for user, length, read, target in zip(users, lengths, clicks, rows["item_id"].tolist(), strict=True):
                found.append((user, target, tuple(read[:length])))
    return found


SPLITS = [
    {"LS": "valid_and_test"},
    {"LS": "test_only"},
    {"RS": [0.6, 0.2, 0.2]},
    {"TS": [0.6, 0.2, 0.2]},
]


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.sampled_from([1, 2, 3, L, L + 1, L + 2, 2 * L + 1, 2 * L + 3, 3 * L, 3 * L + 2]), min_size=2, max_size=7
    ),
    st.sampled_from(SPLITS),
    st.sampled_from(["user", "none"]),
    st.booleans(),
    st.integers(1, 9),
)
def test_the_targets_are_those_of_the_prefix_rows(tmp_path, make_config, counts, split, group, by_length, batch):
    chance = np.random.default_rng(sum(counts))
    rows = [
        (f"u{user}", f"i{chance.integers(20)}", 10 * place + user)
        for user, count in enumerate([*counts, 5])
        for place in range(count)
    ]
    write_inter(tmp_path, "made", rows)

    def made(**more):
        arguments = {"split": split, "order": "TO", "group_by": group, "mode": "full"}
        return make_config(
            dataset="made",
            data_path=str(tmp_path),
            eval_args=arguments,
            train_batch_size=batch,
            MAX_ITEM_LIST_LENGTH=L,
            loss_type="CE",
            **more,
        )

    prefixes = histories(made())
    windows = histories(made(training_rows="sequence", batch_by_length=by_length))
    assert Counter(row[:2] for row in windows) == Counter(row[:2] for row in prefixes)
    whole = Counter(prefixes)
    for user, target, history in windows:
        assert any(
            count and (user, target) == row[:2] and row[2][len(row[2]) - len(history) :] == history
            for row, count in whole.items()
        )


def test_without_a_long_history_the_histories_are_those_of_the_prefix_rows(make_config):
    config = {"MAX_ITEM_LIST_LENGTH": 40, "loss_type": "CE"}
    assert Counter(histories(make_config(training_rows="sequence", **config))) == Counter(
        histories(make_config(**config))
    )


def test_a_cut_by_time_leaves_the_same_targets(tmp_path, make_config):
    chance = np.random.default_rng(2)
    times = chance.permutation(600) * 997 + 1_000_000_000
    rows = [(f"u{chance.integers(30)}", f"i{chance.integers(80)}", time) for time in times]
    write_inter(tmp_path, "timed", rows)

    def made(**more):
        return make_config(dataset="timed", data_path=str(tmp_path), protocol="time", **more)

    whole, short = made(training_rows="sequence"), made(training_rows="sequence", MAX_ITEM_LIST_LENGTH=3)
    prefixes = Counter(histories(made()))
    assert Counter(histories(whole)) == prefixes and 300 < prefixes.total() < 480
    assert Counter(row[:2] for row in histories(short)) == Counter(row[:2] for row in prefixes.elements())


@pytest.mark.parametrize("loss_type", ["BCE", "BPR"])
def test_a_target_has_the_negatives_of_its_prefix_row(make_config, loss_type):
    # No item twice, so that user and target name the row.
    more = {"loss_type": loss_type, "MAX_ITEM_LIST_LENGTH": 5, "rm_dup_inter": "first"}

    def drawn(epoch: int, **rows) -> dict:
        config = make_config(**more, **rows)
        train, _, _ = data_preparation(config, create_dataset(config))
        train.set_epoch(epoch)
        found = {}
        for part in train:
            targets = part["target_items"] if "target_items" in part else part["item_id"]
            real = targets > 0
            users = part["user_id"].reshape(-1, *[1] * (targets.dim() - 1)).expand_as(targets)
            assert not part["neg_items"][~real].any()
            pairs = zip(users[real].tolist(), targets[real].tolist(), strict=True)
            found.update(zip(pairs, part["neg_items"][real].tolist(), strict=True))
        return found

    for epoch in (0, 3):
        assert drawn(epoch, training_rows="sequence") == drawn(epoch)
    assert drawn(0) != drawn(3)


def test_the_batch_size_counts_windows(make_config):
    config = make_config(training_rows="sequence", train_batch_size=7)
    train, _, _ = data_preparation(config, create_dataset(config))
    sizes = [len(rows) for rows in train]
    assert set(sizes[:-1]) == {7} and len(sizes) == len(train)


@pytest.mark.parametrize("rows", ["prefix", "sequence"])
def test_batches_by_length_hold_each_row_once_and_less_padding(make_config, rows):
    def batches(epoch: int, **more) -> list[torch.Tensor]:
        config = make_config(training_rows=rows, loss_type="CE", train_batch_size=8, **more)
        train, _, _ = data_preparation(config, create_dataset(config))
        train.set_epoch(epoch)
        return [torch.cat([part["user_id"][:, None], part["item_id_list"]], 1) for part in train], [
            part["item_length"] for part in train
        ]

    def padding(lengths) -> int:
        return sum(int((part.max() - part).sum()) for part in lengths)

    plain, sorted_ = batches(1), batches(1, batch_by_length=True)

    def sequences(parts) -> Counter:
        return Counter(tuple(row[row > 0].tolist()) for part in parts for row in part)

    assert sequences(plain[0]) == sequences(sorted_[0])
    assert padding(sorted_[1]) < 0.3 * padding(plain[1])
    again, other = batches(1, batch_by_length=True), batches(2, batch_by_length=True)
    assert all(map(torch.equal, sorted_[1], again[1])) and all(map(torch.equal, sorted_[0], again[0]))
    longest = [int(part.max()) for part in sorted_[1]]
    assert longest != sorted(longest), "the batches come in any order"
    assert longest != [int(part.max()) for part in other[1]]


def test_histories_of_split_files_are_refused(tmp_path):
    with pytest.raises(UserError, match="training_rows is sequence, and the histories of the dataset class SplitFiles"):
        loaders_for(write_files(tmp_path, FILES), training_rows="sequence")
