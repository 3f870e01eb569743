"""Interactions from Parquet files: the same rows and numbers as from a .inter file, in a tenth of the memory."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from recbole_cocorr.base.errors import UserError
from recbole_cocorr.data import parquet as reader
from recbole_cocorr.data.dataset import create_dataset
from recbole_cocorr.data.loaders import data_preparation
from recbole_cocorr.data.parquet_dataset import ParquetDataset
from recbole_cocorr.training.checkpoint import plain_config
from recbole_cocorr.training.config import Config
from recbole_cocorr.training.data_of import data_of
from recbole_cocorr.training.prepare import prepare
from tests.conftest import random_rows, write_inter

pyarrow = pytest.importorskip("pyarrow")
parquet = pytest.importorskip("pyarrow.parquet")

NAMES = ["user_id", "item_id", "timestamp"]


def config_for(folder, name="small", model="GRU4Rec", **more):
    given = {"data_path": str(folder), "use_gpu": False, "show_progress": False, "protocol": "full", **more}
    return Config(model, name, None, given, overrides={})


def write(folder: Path, rows, name="small", file=None, names=NAMES, types=None, **options) -> Path:
    """Write rows as ``folder/name/name.parquet``; returns ``folder``, the data_path."""
    (folder / name).mkdir(parents=True, exist_ok=True)
    columns = [
        pyarrow.array(list(column), kind)
        for column, kind in zip(zip(*rows, strict=True), types or [None] * 3, strict=False)
    ]
    path = folder / name / (file or f"{name}.parquet")
    path.parent.mkdir(exist_ok=True)
    parquet.write_table(pyarrow.table(columns, names), path, **options)
    return folder


def both(folder: Path, rows, **options):
    """Folders with the same rows as text and as Parquet."""
    text = [(u, i, f"{t:d}" if isinstance(t, int) else repr(t)) for u, i, t in rows]
    return write_inter(folder / "text", "small", text), write(folder / "parquet", rows, **options)


def same(ours, theirs):
    """Whether two data sets give the same batches; times alone are in none from Parquet."""
    assert len(ours) == len(theirs)
    if len(theirs) == 0:
        return
    mine, other = ours[torch.arange(len(ours))], theirs[torch.arange(len(theirs))]
    assert set(other.columns) - set(mine.columns) == {"timestamp", "timestamp_list"}
    for column in mine.columns:
        assert mine[column].dtype == other[column].dtype, column
        assert torch.equal(mine[column], other[column]), column


SETTINGS = [
    {"eval_args": {"split": split, "order": "TO", "group_by": group, "mode": "full"}}
    for split, group in [
        ({"LS": "valid_and_test"}, "user"),
        ({"LS": "test_only"}, "user"),
        ({"RS": [0.7, 0.2, 0.1]}, "user"),
        ({"RS": [0.7, 0.2, 0.1]}, "none"),
        ({"TS": [0.6, 0.2, 0.2]}, "user"),
    ]
] + [
    {"user_inter_num_interval": "[4,25)", "item_inter_num_interval": "[4,inf)"},
    {"item_inter_num_interval": "[6,inf)", "rm_dup_inter": "last"},
    {"rm_dup_inter": "first"},
    {"shuffle_history": True},
]


@pytest.mark.parametrize("more", SETTINGS, ids=str)
def test_rows_are_those_of_a_text_file(tmp_path, monkeypatch, more):
    monkeypatch.setattr(reader, "_ROWS", 100)
    rows = random_rows(60, 40, 3, 30)
    text, columns = (config_for(f, **more, MAX_ITEM_LIST_LENGTH=5) for f in both(tmp_path, rows, row_group_size=77))
    theirs, ours = create_dataset(text), create_dataset(columns)
    assert str(ours).splitlines()[:7:2] == str(theirs).splitlines()[:7:2]
    for field in NAMES[:2]:
        assert ours.num(field) == theirs.num(field)
        assert ours.field2id_token[field].tolist() == theirs.field2id_token[field].tolist()
        token = theirs.field2id_token[field][-1]
        assert ours.token2id(field, str(token)) == theirs.token2id(field, str(token))
    splits, expected = ours.build(), theirs.build()
    for mine, other in zip(splits, expected, strict=True):
        same(mine, other)
    train, wanted = splits[0], expected[0]
    for mine, other in zip(train.interactions(), wanted.interactions(), strict=True):
        assert mine.dtype == other.dtype and np.array_equal(mine, other)
    for mine, other in zip(train.training_interactions(), wanted.training_interactions(), strict=True):
        assert np.array_equal(mine, other)
    assert np.array_equal(train.training_times(), wanted.training_times())
    test, other = splits[2], expected[2]
    for mine, histories in zip(test.histories(1), other.histories(1), strict=True):
        assert mine.tolist() == histories.tolist()
    for mine, pairs in zip(*(d.history_pairs(torch.tensor([1, 0])) for d in (test, other)), strict=True):
        assert torch.equal(mine, pairs)


@given(
    st.lists(st.tuples(st.integers(1, 5), st.integers(1, 6), st.integers(0, 4)), min_size=2, max_size=40),
    st.sampled_from(["user", "none"]),
    st.integers(1, 7),
)
@settings(max_examples=40, deadline=None)
def test_rows_are_the_same_with_equal_times_and_short_users(tmp_path_factory, rows, group, size):
    if len({u for u, _, _ in rows}) == len(rows):
        return  # no user has two interactions: no row at all
    rows = [(f"u{u}", f"i{i}", t) for u, i, t in rows]
    more = {"eval_args": {"split": {"RS": [2, 1, 1]}, "order": "TO", "group_by": group, "mode": "full"}}
    folders = both(tmp_path_factory.mktemp("tied"), rows)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(reader, "_ROWS", size)
        patched.setattr(reader, "_AT_ONCE", size)
        theirs, ours = (create_dataset(config_for(f, MAX_ITEM_LIST_LENGTH=3, **more)).build() for f in folders)
    for mine, other in zip(ours, theirs, strict=True):
        same(mine, other)


@pytest.mark.parametrize("training_rows", ["prefix", "sequence"])
@pytest.mark.parametrize("protocol", ["paper", "full"])
def test_ml_100k_trains_to_the_same_numbers(tmp_path, protocol, training_rows):
    import recbole

    shipped = Path(recbole.__file__).parent / "dataset_example/ml-100k/ml-100k.inter"
    lines = [line.split("\t") for line in shipped.read_text().splitlines()[1:20001]]
    rows = [(int(user), int(item), float(time)) for user, item, _, time in lines]
    (tmp_path / "text" / "clicks").mkdir(parents=True)
    text = ["user_id:token\titem_id:token\ttimestamp:float", *(f"{u}\t{i}\t{t:.0f}" for u, i, t in rows)]
    (tmp_path / "text" / "clicks" / "clicks.inter").write_text("\n".join(text) + "\n")
    write(tmp_path / "parquet", rows, "clicks")
    losses, results = [], []
    for folder in ("text", "parquet"):
        more = {"training_rows": training_rows, "use_gcn": False, "epochs": 1, "state": "error"}
        config = config_for(tmp_path / folder, "clicks", "CoCorrRec", protocol=protocol, **more, checkpoint_dir=folder)
        prepared = prepare(config)
        prepared.trainer.fit(prepared.data.train, prepared.data.valid, saved=False)
        losses.append(prepared.trainer.train_loss_dict)
        results.append(prepared.trainer.evaluate(prepared.data.test, load_best_model=False))
    assert losses[0] == losses[1]
    assert results[0] == results[1]


def test_an_interaction_takes_nine_bytes(tmp_path):
    rows = random_rows(200, 500, 3, 30)
    config = config_for(write(tmp_path, rows))
    whole = create_dataset(config)
    train, valid, _ = data_preparation(config, whole)
    dataset = train.dataset
    arrays = {id(a): a for d in (whole, dataset) for a in vars(d).values() if isinstance(a, np.ndarray) and a.size}
    assert [a.dtype.itemsize for a in arrays.values()] == [1]  # what may be learned from
    assert dataset.item_order().dtype == dataset.row_places().dtype == np.int32
    assert dataset.item_order() is valid.dataset.item_order() is whole.item_order()
    assert len(whole.row_places()) == 0  # each row is in one of the parts


def test_types_of_columns(tmp_path):
    rows = [(u, i, 1_700_000_000 + u * 3 + i) for u in range(1, 9) for i in range(1, 6)]
    expected = create_dataset(config_for(write(tmp_path / "plain", rows))).build()
    assert expected[0].interactions()[2][0] == 1_700_000_004
    text = pyarrow.string()
    kinds = [
        [text, pyarrow.large_string(), pyarrow.float64()],
        [pyarrow.int8(), pyarrow.uint32(), pyarrow.int32()],
        [pyarrow.dictionary(pyarrow.int8(), text), text, pyarrow.timestamp("s")],
        [pyarrow.int64(), pyarrow.int64(), pyarrow.timestamp("ns", "UTC")],
    ]
    for number, types in enumerate(kinds):
        as_text = [
            tuple(str(v) if "string" in str(k) else v for v, k in zip(row[:2], types, strict=False)) for row in rows
        ]
        nanoseconds = [row[2] * (10**9 if "[ns" in str(types[2]) else 1) for row in rows]
        table = [(*two, time) for two, time in zip(as_text, nanoseconds, strict=True)]
        ours = create_dataset(config_for(write(tmp_path / str(number), table, types=types))).build()
        for mine, other in zip(ours, expected, strict=True):
            assert torch.equal(mine[torch.arange(8)]["item_id_list"], other[torch.arange(8)]["item_id_list"])
        assert np.array_equal(ours[0].interactions()[2], expected[0].interactions()[2])


def test_times_are_compared_to_the_last_digit(tmp_path):
    start = 1_700_000_000_000_000_000
    rows = [("u1", f"i{k}", start + 4 - k) for k in range(5)]
    *_, test = create_dataset(config_for(write(tmp_path, rows))).build()
    read = test.field2id_token["item_id"][test[torch.tensor([0])]["item_id_list"][0, :4].numpy()]
    assert read.tolist() == ["i4", "i3", "i2", "i1"]


def test_a_folder_of_files_and_other_names_of_columns(tmp_path):
    rows = random_rows(30, 40, 3, 20)
    names = ["who", "what", "when"]
    whole = config_for(write(tmp_path / "one", rows))
    for number, part in enumerate((rows[:100], rows[100:101], rows[101:])):
        write(tmp_path / "many", part, file=f"small.parquet/part-{number}.parquet", names=names)
    fields = dict(zip(["USER_ID_FIELD", "ITEM_ID_FIELD", "TIME_FIELD"], names, strict=True))
    many = config_for(tmp_path / "many", **fields, load_col={"inter": names})
    for mine, other in zip(create_dataset(many).build(), create_dataset(whole).build(), strict=True):
        assert (
            mine[torch.arange(len(mine))]["what_list"].tolist()
            == other[torch.arange(len(other))]["item_id_list"].tolist()
        )


def test_the_data_of_a_checkpoint_are_read_again(tmp_path, small_data):
    config = config_for(write(tmp_path, random_rows(30, 40, 3, 20)))
    data = data_preparation(config, dataset := create_dataset(config))
    again = data_of(plain_config(config.final_config_dict), dataset.field2id_token["item_id"].tolist(), "it")
    same_rows = again.test.dataset.row_places(), data[2].dataset.row_places()
    assert np.array_equal(*same_rows) and isinstance(again.dataset, ParquetDataset)


BAD = {
    r"small.parquet: no column 'timestamp' among user_id, item_id, time; .* TIME_FIELD": {
        "names": ["user_id", "item_id", "time"]
    },
    r"two columns 'user_id'": {"names": ["user_id", "user_id", "timestamp"]},
    r"small.parquet, row 251: user_id has no value": {"rows": {250: (None, "i1", 7)}},
    r"small.parquet, row 3: item_id has no value": {"rows": {2: ("u1", None, 7)}},
    r"small.parquet, row 120: timestamp is nan, no finite number": {"rows": {119: ("u1", "i1", float("nan"))}},
    r"'timestamp' has the type string; it must hold whole numbers, floats or timestamps": {
        "rows": dict.fromkeys(range(300), ("u1", "i1", "yesterday"))
    },
    r"'item_id' has the type double; it must hold whole numbers or text": {
        "rows": dict.fromkeys(range(300), ("u1", 1.5, 7))
    },
    r"'user_id' has the type list.*; it must hold whole numbers or text": {
        "rows": dict.fromkeys(range(300), (["u1"], "i1", 7))
    },
}


@pytest.mark.parametrize("message", BAD)
def test_a_bad_file_is_named_with_its_row(tmp_path, monkeypatch, message):
    monkeypatch.setattr(reader, "_ROWS", 64)
    rows = [(u, i, float(t)) for u, i, t in random_rows(60, 40, 5, 5)]
    change = dict(BAD[message])
    for row, values in change.pop("rows", {}).items():
        rows[row] = values
    folder = write(tmp_path, rows, **change)
    with pytest.raises(UserError, match=message):
        create_dataset(config_for(folder))


def test_what_cannot_be_read_is_said(tmp_path):
    rows = random_rows(10, 20, 5, 5)
    folder = write(tmp_path / "whole", rows)
    file = folder / "small" / "small.parquet"
    refused = {
        "load_col asks for item, rating; of a Parquet file": {"load_col": {"inter": [*NAMES, "rating"], "item": ["a"]}},
        "val_interval is": {"val_interval": {"timestamp": "[0,inf)"}},
        "a split by time reads .inter files": {"protocol": "time"},
        "no interaction of 'small' is left after filtering": {"user_inter_num_interval": "[100,inf)"},
    }
    for message, more in refused.items():
        with pytest.raises(UserError, match=message):
            create_dataset(config_for(folder, **more))
    with pytest.raises(UserError, match=r"the dataset class of DIEN reads .inter files"):
        create_dataset(config_for(folder, model="DIEN"))
    file.write_bytes(file.read_bytes()[:-9])
    with pytest.raises(UserError, match=r"small.parquet is no whole Parquet file"):
        create_dataset(config_for(folder))
    write_inter(folder, "small", rows)
    with pytest.raises(UserError, match=r"both .*small.inter and small.parquet are there"):
        create_dataset(config_for(folder))


def test_an_empty_file_and_files_of_two_kinds(tmp_path):
    kinds = [pyarrow.string(), pyarrow.string(), pyarrow.int64()]
    empty = pyarrow.table([pyarrow.array([], kind) for kind in kinds], NAMES)
    (tmp_path / "small").mkdir()
    parquet.write_table(empty, tmp_path / "small" / "small.parquet")
    with pytest.raises(UserError, match="there is no interaction"):
        create_dataset(config_for(tmp_path))
    write(tmp_path / "two", [("u1", "i1", 1)], file="small.parquet/a.parquet")
    write(tmp_path / "two", [(1, "i1", 1)], file="small.parquet/b.parquet")
    with pytest.raises(UserError, match=r"b.parquet: its columns are whole number, text, whole number, those of"):
        create_dataset(config_for(tmp_path / "two"))
