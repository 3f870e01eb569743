"""Data that come already split: every history counts, items have one number, and what makes no sense is refused."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from recbole_cocorr.__main__ import main
from recbole_cocorr.base.errors import UserError
from recbole_cocorr.data.dataset import create_dataset
from recbole_cocorr.data.loaders import data_preparation
from recbole_cocorr.experiments.results.device_quality import DeviceQuality
from recbole_cocorr.training.config import Config
from tests.conftest import write_inter

HEADER = "user_id:token\titem_id_list:token_seq\titem_id:token"
NAMES = ["train", "valid", "test"]
FILES = {
    "train": [("u1", "a b", "c"), ("u2", "d", "e"), ("u3", "f g h i j", "k")],
    "valid": [("u1", "a b c", "d"), ("u2", "d e", "a")],
    "test": [("u1", "a b c d", "e"), ("u3", "f g h i j k", "l")],
}


def write_files(folder, files, header=HEADER):
    (folder / "pre").mkdir(parents=True, exist_ok=True)
    for name, rows in files.items():
        lines = [header, *("\t".join(map(str, row)) for row in rows)]
        (folder / "pre" / f"pre.{name}.inter").write_text("\n".join(lines) + "\n")
    return folder


def config_for(folder, **more):
    given = {
        "data_path": str(folder),
        "benchmark_filename": NAMES,
        "load_col": None,
        "use_gpu": False,
        "show_progress": False,
        "MAX_ITEM_LIST_LENGTH": 4,
        **more,
    }
    return Config("GRU4Rec", "pre", None, given, overrides={})


def loaders_for(folder, **more):
    config = config_for(folder, **more)
    return data_preparation(config, create_dataset(config))


item = st.integers(1, 25).map(lambda k: f"i{k}")
row = st.tuples(st.integers(1, 4).map(lambda k: f"u{k}"), st.lists(item, min_size=1, max_size=7).map(" ".join), item)
files = st.fixed_dictionaries({name: st.lists(row, min_size=1, max_size=6) for name in NAMES})


@given(files=files, mode=st.sampled_from(["uni5", "pop5"]))
@settings(max_examples=25, deadline=None)
def test_what_a_user_has_seen_anywhere_is_never_a_negative(tmp_path_factory, files, mode):
    folder = write_files(tmp_path_factory.mktemp("split"), files)
    arguments = {"split": {"LS": "valid_and_test"}, "order": "TO", "group_by": "user", "mode": mode}
    train, valid, test = loaders_for(folder, eval_args=arguments)
    seen = {}
    for rows in files.values():
        for user, history, target in rows:
            seen.setdefault(user, set()).update([*history.split(), target])
    tokens = train.dataset.field2id_token
    everything = set(tokens["item_id"][1:])
    assert everything == set().union(*seen.values())

    for batch in train:
        for user, drawn in zip(batch["user_id"].tolist(), batch["neg_items"].tolist(), strict=True):
            names = {tokens["item_id"][k] for k in drawn if k}
            assert len(names) == min(4, len(everything - seen[tokens["user_id"][user]]))
            assert not names & seen[tokens["user_id"][user]]
    for loader, rows in ((valid, files["valid"]), (test, files["test"])):
        for (user, _, target), candidates in zip(rows, loader.candidates.tolist(), strict=True):
            names = {tokens["item_id"][k] for k in candidates[1:] if k}
            assert tokens["item_id"][candidates[0]] == target
            assert len(names) == min(5, len(everything - seen[user]))
            assert not names & seen[user]


@pytest.mark.parametrize("alias", [None, ["item_id_list"]], ids=str)
def test_a_row_is_that_of_its_file(tmp_path, alias):
    """Its newest items, numbered as targets are, padded to the model's length."""
    loaders = loaders_for(write_files(tmp_path, FILES), alias_of_item_id=alias)
    for loader, rows in zip(loaders, FILES.values(), strict=True):
        dataset = loader.dataset
        batch = dataset[torch.arange(len(dataset))]
        assert batch["item_id_list"].shape == (len(rows), 4)
        for place, (user, history, target) in enumerate(rows):
            newest = history.split()[-4:]
            numbers = batch["item_id_list"][place].tolist()
            assert dataset.id2token("item_id", numbers[: len(newest)]).tolist() == newest
            assert not any(numbers[len(newest) :])
            assert int(batch["item_length"][place]) == len(newest)
            assert dataset.id2token("item_id", [int(batch["item_id"][place])]).tolist() == [target]
            assert dataset.id2token("user_id", [int(batch["user_id"][place])]).tolist() == [user]


def test_a_column_and_its_list_are_numbered_together(tmp_path):
    header = HEADER + "\tshop:token\tshop_list:token_seq"
    files = {
        name: [(*row, f"s{k}", " ".join("s1" for _ in row[1].split())) for k, row in enumerate(rows)]
        for name, rows in FILES.items()
    }
    dataset = loaders_for(write_files(tmp_path, files, header))[0].dataset
    batch = dataset[torch.arange(len(dataset))]
    assert batch["shop_list"][0, 0] == batch["shop"][1]


def test_full_ranking_can_leave_out_the_whole_history(tmp_path):
    arguments = {"split": {"LS": "valid_and_test"}, "order": "TO", "group_by": "user", "mode": "full"}
    test = loaders_for(write_files(tmp_path, FILES), eval_mask_history=True, eval_args=arguments)[2]
    owner, items = test.dataset.history_pairs(torch.tensor([1, 0]))
    names = test.dataset.id2token("item_id", items.tolist())
    assert [" ".join(names[owner == k]) for k in (0, 1)] == ["f g h i j k", "a b c d"]


def test_further_columns_of_items_count_as_seen(tmp_path):
    """In ordinary data too: what alias_of_item_id names are items that the user was shown."""
    rows = [(f"u{u}", f"i{3 * u + k}", k, f"i{k} x{u}") for u in range(4) for k in range(4)]
    header = "user_id:token\titem_id:token\ttimestamp:float\tshown:token_seq"
    folder = write_inter(tmp_path, "small", rows, header)
    given = {"data_path": str(folder), "load_col": None, "alias_of_item_id": ["shown"], "use_gpu": False}
    config = Config("GRU4Rec", "small", None, given, overrides={})
    test = data_preparation(config, create_dataset(config))[2]
    tokens = test.dataset.field2id_token
    for user, candidates in zip(test.users, test.candidates.tolist(), strict=True):
        name = tokens["user_id"][user]
        own = {t for u, i, _, shown in rows if u == name for t in (i, *shown.split())}
        assert {tokens["item_id"][k] for k in candidates[1:] if k} == set(tokens["item_id"][1:]) - own


def changed(name, rows):
    return {**FILES, name: rows}


BAD = [
    (changed("valid", [("u1", "", "d")]), HEADER, {}, r"pre\.valid\.inter, interaction 1: item_id_list is empty"),
    (
        changed("test", [("u1", "a", "b"), ("", "a", "b")]),
        HEADER,
        {},
        r"pre\.test\.inter, interaction 2: there is no u",
    ),
    (changed("test", [("u1", "a", "")]), HEADER, {}, r"pre\.test\.inter, interaction 1: there is no item_id"),
    (FILES, HEADER.replace("token_seq", "token"), {}, "'item_id_list' has the type token; it must be token_seq"),
    (FILES, HEADER.replace("item_id_list", "history"), {}, "no column 'item_id_list' among user_id, history"),
    (FILES, HEADER, {"LIST_SUFFIX": "_before"}, "no column 'item_id_before'"),
    (FILES, HEADER, {"load_col": {"inter": ["user_id", "item_id"]}}, "load_col leaves out 'item_id_list'"),
    (FILES, HEADER, {"seq_len": {"item_id_list": 2}}, "seq_len has 'item_id_list', and would keep the oldest clicks"),
    (FILES, HEADER, {"alias_of_user_id": ["item_id_list"]}, "should not have the same field"),
    (FILES, HEADER, {"benchmark_filename": ["train", "val", "test"]}, r"there is no file .*pre\.val\.inter"),
    (FILES, HEADER, {"benchmark_filename": ["train", "test"]}, "must be a list of three names"),
    (FILES, HEADER, {"benchmark_filename": ["train", "valid", "train"]}, "tested on what it was trained on"),
    (FILES, HEADER, {"ITEM_LIST_LENGTH_FIELD": "item_id_list"}, "are both 'item_id_list'"),
]


@pytest.mark.parametrize(("files", "header", "more", "words"), BAD, ids=[words for *_, words in BAD])
def test_what_would_give_meaningless_numbers_is_refused(tmp_path, files, header, more, words):
    with pytest.raises(UserError, match=words):
        create_dataset(config_for(write_files(tmp_path, files, header), **more))


def test_files_with_different_columns_are_refused(tmp_path):
    write_files(tmp_path, FILES, HEADER + "\tshop:token")
    for name, rows in FILES.items():
        write_files(tmp_path, {name: [(*row, "s") for row in rows]}, HEADER + "\tshop:token")
    write_files(tmp_path, {"test": FILES["test"]})
    with pytest.raises(UserError, match=r"pre\.test\.inter has other columns than pre\.train\.inter: shop:token"):
        create_dataset(config_for(tmp_path))


@pytest.mark.parametrize(("lengths", "good"), [("2 1 5 3 2 4 6", True), ("2 1 5 3 2 4 5", False)])
def test_a_length_must_be_that_of_its_list(tmp_path, lengths, good):
    numbers = iter(lengths.split())
    files = {name: [(*row, next(numbers)) for row in rows] for name, rows in FILES.items()}
    write_files(tmp_path, files, HEADER + "\titem_length:float")
    if good:
        create_dataset(config_for(tmp_path))
        return
    with pytest.raises(UserError, match=r"pre\.test\.inter, interaction 2: item_length is not the number of items"):
        create_dataset(config_for(tmp_path))


COLLIDING = [
    ("inter", "user_id:token\titem_id:token\ttimestamp:float\titem_id_list:token_seq", "a b", "made for the batches"),
    ("inter", "user_id:token\titem_id:token\ttimestamp:float\titem_length:float", "3", "made for the batches"),
    ("inter", "user_id:token\titem_id:token\ttimestamp:float\tneg_item_id:token", "a", "made for the batches"),
    ("item", "item_id:token\titem_length:float", "90", "made for the batches"),
    ("item", "item_id:token\ttimestamp:float", "90", "both .inter and .item have a column 'timestamp'"),
]


@pytest.mark.parametrize(("source", "header", "value", "words"), COLLIDING, ids=lambda v: v[-20:])
def test_a_column_with_the_name_of_one_that_is_made_is_refused(tmp_path, source, header, value, words):
    rows = [(f"u{u}", f"i{k}", k) for u in range(3) for k in range(4)]
    if source == "inter":
        folder = write_inter(tmp_path, "small", [(*row, value) for row in rows], header)
    else:
        folder = write_inter(tmp_path, "small", rows)
        (folder / "small" / "small.item").write_text(header + "\n" + "".join(f"i{k}\t{value}\n" for k in range(4)))
    given = {"data_path": str(folder), "load_col": None, "use_gpu": False}
    with pytest.raises(UserError, match=words):
        create_dataset(Config("GRU4Rec", "small", None, given, overrides={}))


def test_what_reads_whole_histories_says_what_it_cannot_read(tmp_path, capsys):
    """The quality of a device alone can be measured."""
    folder = write_files(tmp_path, FILES)
    train = ["run", "--model=CoCorrRec", "--dataset=pre", f"--data_path={folder}", f"--checkpoint_dir={tmp_path / 's'}"]
    train += [f"--benchmark_filename={NAMES}", "--load_col=None", "--use_gpu=False", "--epochs=1"]
    assert main([*train, "--MAX_ITEM_LIST_LENGTH=4", "--item_init=random"]) == 0
    (file,) = (f for f in (tmp_path / "s").glob("*.safetensors") if ".training" not in f.name)
    out = tmp_path / "q.json"
    assert main(["device-eval", f"--checkpoint={file}", f"--out={out}", "--phase=both"]) == 0
    assert {row["targets"] for row in DeviceQuality.load(out).rows if not row["clicks"]} == {2}
    capsys.readouterr()
    for command in (["device-eval", "--neighbours=2"], ["requests"]):
        assert main([*command, f"--checkpoint={file}"]) == 2
        assert "cannot read" in (said := capsys.readouterr().err) or "cannot be read" in said
