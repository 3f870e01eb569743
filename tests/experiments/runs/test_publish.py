"""What is published says the same as the results folder, and nothing of where it was made."""

import dataclasses
import gzip
import json
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recbole_cocorr.base.errors import UserError
from recbole_cocorr.base.readers import read_json
from recbole_cocorr.experiments.runs.publish import publish, without_paths
from recbole_cocorr.experiments.runs.run_files import PACKED_RUN_FILE, read_failures, read_results, write_failures
from recbole_cocorr.report.report import build
from tests.made_results import made_run, write_results


@pytest.fixture
def results(tmp_path):
    runs = [made_run(label, seed=seed, users=40) for label in ("GRU4Rec", "CoCorrRec") for seed in (1, 2)]
    for run in runs:
        run.config["checkpoint_dir"] = str(tmp_path / "runs" / "one")
        run.settings["data_path"] = "/home/ann/data"
        run.ranks.users[0] = "/users/1"
    return write_results(tmp_path / "results", runs)


def test_a_published_folder_says_the_same(results, tmp_path):
    files = publish(results, tmp_path / "out")
    before, after = read_results(results), read_results(tmp_path / "out")
    assert len(files) == 1 + len(before) == 5
    for old, new in zip(before, after, strict=True):
        assert new.settings["data_path"] == "data" and new.config["checkpoint_dir"] == "one"
        old.config, old.settings = new.config, new.settings
        assert dataclasses.asdict(old) == dataclasses.asdict(new)
    tables = [[table.rows for table in build(folder).tables] for folder in (results, tmp_path / "out")]
    assert tables[0] == tables[1]
    assert not any(b"home" in gzip.decompress(f.read_bytes()) for f in files if f.suffix == ".gz")


def test_the_same_records_have_the_same_bytes(results, tmp_path):
    first = {f.name: f.read_bytes() for f in publish(results, tmp_path / "a")}
    assert first == {f.name: f.read_bytes() for f in publish(results, tmp_path / "b")}


def test_ranks_may_stay_behind(results, tmp_path):
    with_ranks = publish(results, tmp_path / "a")
    without = publish(results, tmp_path / "b", ranks=False)
    assert all(run.ranks is None for run in read_results(tmp_path / "b"))
    assert sum(f.stat().st_size for f in without) < sum(f.stat().st_size for f in with_ranks)


def test_what_cannot_be_published(results, tmp_path):
    with pytest.raises(UserError, match="is no results folder"):
        publish(tmp_path, tmp_path / "out")
    with pytest.raises(UserError, match="would be published into itself"):
        publish(results, results)
    with pytest.raises(UserError, match="has no finished run"):
        publish(write_results(tmp_path / "empty", []), tmp_path / "out")


@pytest.mark.parametrize(
    "damage, sentence",
    [
        (lambda raw: raw[:-9], "is cut off"),
        (lambda raw: raw + b"x", "something stands behind its end"),
        (lambda raw: b"{}", "is no gzip file"),
    ],
)
def test_a_damaged_record_is_refused(results, tmp_path, damage, sentence):
    file = next(f for f in publish(results, tmp_path / "out") if f.name == PACKED_RUN_FILE)
    file.write_bytes(damage(file.read_bytes()))
    with pytest.raises(UserError, match=sentence):
        read_results(tmp_path / "out")


def test_a_small_file_does_not_unpack_to_a_large_one(tmp_path):
    pack = zlib.compressobj(wbits=16 + zlib.MAX_WBITS)
    packed = b"".join(pack.compress(b" " * 1_000_000) for _ in range(3)) + pack.flush()
    (tmp_path / "a.json.gz").write_bytes(packed)
    with pytest.raises(UserError, match="unpacks to more than 1000000 bytes; no record is so large"):
        read_json(tmp_path / "a.json.gz", "record", most_bytes=1_000_000)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(st.characters(exclude_characters="/\\")),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(JSON)
def test_what_is_no_path_stays(value):
    assert without_paths(value) == value


@pytest.mark.parametrize(
    "path, name",
    [("/home/ann/data", "data"), ("C:\\Users\\ann", "ann"), ("data/ml-1m", "data/ml-1m"), ("/", "/"), ("a /b", "a /b")],
)
def test_an_absolute_path_becomes_its_name(path, name):
    assert without_paths(json.loads(json.dumps({"a": [path]}))) == {"a": [name]}


@pytest.mark.parametrize(
    "sentence, shown",
    [
        ("/home/ann/data/ml-1m: no .inter file", "ml-1m: no .inter file"),
        ("cannot open '/home/ann/model.safetensors' (or /tmp/x)", "cannot open 'model.safetensors' (or x)"),
        ("C:\\Users\\ann\\x.json is cut off", "x.json is cut off"),
        ("no and/or in 1/2, see https://pytorch.org/docs", "no and/or in 1/2, see https://pytorch.org/docs"),
    ],
)
def test_a_path_in_an_error_becomes_its_name(results, tmp_path, sentence, shown):
    write_failures(results, {"one": sentence})
    publish(results, tmp_path / "out")
    assert read_failures(tmp_path / "out") == {"one": shown}
    assert without_paths({"problems": [sentence]}) == {"problems": [shown]}
