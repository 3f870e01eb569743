"""The strict reader: what it refuses, and that a refusal is always one sentence."""

import json
import math
import os

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from recbole_cocorr.base.errors import UserError
from recbole_cocorr.base.readers import MOST_DEPTH, Record, parse_json, read_bytes, read_json, versioned
from recbole_cocorr.base.yaml_reader import read_yaml

SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
VALUES = st.recursive(SCALARS, lambda v: st.lists(v, max_size=3) | st.dictionaries(st.text(), v, max_size=3))


@given(VALUES)
def test_what_python_writes_is_read_back(value):
    assert parse_json(json.dumps(value), "x") == value


@given(st.binary(max_size=60))
def test_any_bytes_are_read_or_refused(raw):
    try:
        parse_json(raw, "x.json")
    except UserError as error:
        assert str(error).startswith("x.json")


@pytest.mark.parametrize(
    "text, sentence",
    [
        ("[" * 100_000, "nested too deeply"),
        ("[" * 100_000 + "]" * 100_000, "nested too deeply"),
        ("[" * (MOST_DEPTH + 2) + "]" * (MOST_DEPTH + 2), "nested too deeply"),
        ('{"a":' * 100_000, "nested too deeply"),
        ('{"a": 1, "b": 2, "a": 3}', "the key 'a' stands twice"),
        ("9" * 5000, "not valid JSON"),
        ("NaN", "NaN is no number"),
        ("[1,\n2,,]", "line 2 is not valid JSON"),
        (b"[1,\n\xff]", "line 2 is not UTF-8"),
        ("", "line 1 is not valid JSON"),
    ],
)
def test_texts_that_are_refused(text, sentence):
    with pytest.raises(UserError, match=f"^x.json.*{sentence}"):
        parse_json(text, "x.json")


def test_half_a_character():
    text = r'["\ud83d\ude00", {"a\ud800": 1}]'
    assert parse_json(text, "x")[1] == {"a\ud800": 1}
    with pytest.raises(UserError, match=r"^x.json holds half a character, .ud800; write the whole character itself$"):
        parse_json(text, "x.json", halves=False)


def test_a_character_of_two_halves_is_read():
    assert parse_json(r'["\uD83D\ude00"]', "x", halves=False) == ["\N{GRINNING FACE}"]


def test_the_deepest_text_that_is_read():
    text = "[" * MOST_DEPTH + "]" * MOST_DEPTH
    assert json.dumps(parse_json(text, "x")) == text


def test_nan_where_it_is_allowed():
    assert math.isnan(parse_json("[NaN]", "x", nan=True)[0])


def test_files_that_are_refused(tmp_path):
    with pytest.raises(UserError, match="there is no run record"):
        read_bytes(tmp_path / "absent", "run record")
    with pytest.raises(UserError, match="is a folder; name the run record in it"):
        read_bytes(tmp_path, "run record")
    with pytest.raises(UserError, match="cannot be read"):
        read_bytes("a\0b", "run record")
    (tmp_path / "large").write_bytes(b"x" * 11)
    with pytest.raises(UserError, match="more than 10 bytes"):
        read_bytes(tmp_path / "large", "run record", 10)
    assert read_bytes(tmp_path / "large", "run record", 11) == b"x" * 11


def test_a_pipe_is_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UserError, match="no regular file"):
        read_json(tmp_path / "pipe", "run record")


# Nine lines, each of which repeats the one before twenty times.
LAUGHS = "b0: &b0 [x]\n" + "".join(f"b{i}: &b{i} [{', '.join([f'*b{i - 1}'] * 20)}]\n" for i in range(1, 10))
RECORD = {"n": 3, "x": 0.5, "big": 10**70, "t": "a", "f": True, "l": ["a", "b"], "o": {"n": 1}, "nan": math.nan}
RECORD |= {"w": [1, 3], "o2": {"n": 1, "t": "x"}}


@pytest.mark.parametrize(
    "take, sentence",
    [
        (lambda r: r.whole("n", 4, 5), "n is 3; it must be a whole number from 4 to 5"),
        (lambda r: r.whole("x"), "n is 0.5; it must be a whole number"),
        (lambda r: r.whole("f"), "f is True; it must be a whole number"),
        (lambda r: r.whole("big"), "big is a number of more than 60 digits"),
        (lambda r: r.number("f"), "f is True; it must be a finite number"),
        (lambda r: r.number("nan"), "nan is nan; it must be a finite number"),
        (lambda r: r.number("n", 0, 1), "n is 3; it must be a finite number from 0 to 1"),
        (lambda r: r.text("n"), "n is 3; it must be a text"),
        (lambda r: r.text("t", ["b", "c"]), "t is 'a'; it must be one of b, c"),
        (lambda r: r.flag("n"), "n is 3; it must be true or false"),
        (lambda r: r.array("l", int), "l is a list of 2; it must be a list of whole numbers"),
        (lambda r: r.array("o"), "o is an object of 1; it must be a list"),
        (lambda r: r.numbers("o2"), "o2.t is 'x'; it must be a number"),
        (lambda r: r.wholes("w", 0, 2), "w holds 3; it must hold whole numbers from 0 to 2"),
        (lambda r: r.wholes("l"), "l is a list of 2; it must be a list of whole numbers"),
        (lambda r: r.record("l"), "l is a list of 2; it must be an object"),
        (lambda r: r.record("o").text("n"), "o.n is 1; it must be a text"),
        (lambda r: r.record("o").text("m"), "o.m is missing"),
        (lambda r: r.whole("absent"), "absent is missing"),
    ],
)
def test_values_that_are_refused(take, sentence):
    with pytest.raises(UserError) as error:
        take(Record(RECORD, "x.json"))
    assert str(error.value).startswith("x.json: ")
    assert sentence in str(error.value).replace("x is 0.5", "n is 0.5")


def test_values_that_are_right():
    record = Record(RECORD, "x.json")
    assert record.whole("n", 3, 3) == 3
    assert record.number("n") == 3.0 and type(record.number("n")) is float
    assert record.text("t", ["a"]) == "a"
    assert record.flag("f") is True
    assert record.array("l", str) == ["a", "b"]
    assert record.record("o").whole("n") == 1
    assert record.whole("absent", default=None) is None
    assert record.record("absent", default=None) is None


@pytest.mark.parametrize("content", [[], None, "x", {"format": "b"}, {"format": ["a"]}])
def test_files_of_another_kind(content):
    with pytest.raises(UserError, match="x is no run record of recbole_cocorr"):
        versioned(content, "x", "a", "run record", 1)


@pytest.mark.parametrize("version", [0, 2, True, 1.0, "1", None, [1]])
def test_files_of_another_version(version):
    content = {"format": "a", "format_version": version, "package_version": "9.9"}
    with pytest.raises(UserError, match=r"written by recbole_cocorr 9.9; this version reads format 1; run it again"):
        versioned(content, "x", "a", "run record", 1, "run it again")
    content["format_version"] = 1
    assert versioned(content, "x", "a", "run record", 1).text("package_version") == "9.9"


@pytest.mark.parametrize(
    "text, sentence",
    [
        ("[" * 100_000, "nested too deeply"),
        ("a: &a [*a]", "nested too deeply"),
        (LAUGHS, "holds more than"),
        ("a: [1\nb: 2", "line 2"),
        ("- 1", "not a list"),
        ("1: 2", "the key 1 is no name"),
        ("a: 2025-13-01", "not valid yaml"),
        ("a: !!python/object/apply:os.getcwd []", "not valid yaml"),
    ],
)
@pytest.mark.parametrize("loader", [yaml.SafeLoader, yaml.FullLoader])
def test_yaml_that_is_refused(tmp_path, text, sentence, loader):
    path = tmp_path / "x.yaml"
    path.write_text(text)
    with pytest.raises(UserError, match=f"x.yaml.*{sentence}"):
        read_yaml(path, "configuration file", loader)


@pytest.mark.parametrize(
    "text, sentence",
    [
        ("a: 0x" + "f" * 5000, "a number of too many digits"),
        ("a: " + "9" * 5000, "is not valid yaml"),
        ("a: !!set [1]", "is not valid yaml"),
        ("a: !!int x", "is not valid yaml"),
        ("a: !!float []", "is not valid yaml"),
        ("a: !!timestamp x", "is not valid yaml"),
        (r'a: ["\udfff"]', "holds half a character"),
        (r'a: {b: "\U0000d800"}', "holds half a character"),
        ('"\\ud800": 1', "holds half a character"),
    ],
)
@pytest.mark.parametrize("loader", [yaml.SafeLoader, yaml.FullLoader])
def test_yaml_that_pyyaml_takes_or_trips_over(tmp_path, text, sentence, loader):
    path = tmp_path / "x.yaml"
    path.write_text(text)
    with pytest.raises(UserError, match=f"x.yaml.*{sentence}"):
        read_yaml(path, "configuration file", loader)


def test_yaml_that_only_looks_like_half_a_character(tmp_path):
    path = tmp_path / "x.yaml"
    path.write_text("a: C:\\udata\nb: {2026-11-29: tried}\n")
    assert read_yaml(path, "configuration file")["a"] == "C:\\udata"
    path.write_text("a: &a ['" + "x" * 1000 + "\\ud800']\nb: [" + ", ".join(["*a"] * 30_000) + "]")
    assert len(read_yaml(path, "configuration file")["b"]) == 30_000


@given(st.text(st.sampled_from("ab:!&*[]{}-#'\"|>%@`,? \n\t0x.~<=é\ufeff"), max_size=60))
def test_any_yaml_is_read_or_refused(tmp_path_factory, text):
    path = tmp_path_factory.mktemp("y") / "x.yaml"
    path.write_text(text)
    try:
        assert isinstance(read_yaml(path, "configuration file"), dict)
    except UserError as error:
        assert str(path) in str(error)


def test_a_byte_order_mark_is_no_part_of_the_text(tmp_path):
    (tmp_path / "x").write_bytes(b'\xef\xbb\xbf{"a": 1}')
    assert read_json(tmp_path / "x", "run record") == {"a": 1}
    (tmp_path / "x").write_bytes(b"\xef\xbb\xbfa: 1")
    assert read_yaml(tmp_path / "x", "configuration file") == {"a": 1}


def test_yaml_that_is_read(tmp_path):
    path = tmp_path / "x.yaml"
    path.write_text("a: &a [1, 2]\nb: *a\n")
    assert read_yaml(path, "configuration file") == {"a": [1, 2], "b": [1, 2]}
    path.write_text("")
    assert read_yaml(path, "configuration file") == {}
