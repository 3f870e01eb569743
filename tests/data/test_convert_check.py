"""The check of an atomic file before RecBole reads it."""

import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recbole_cocorr.base.errors import UserError
from recbole_cocorr.data.convert import check
from recbole_cocorr.data.convert.check import check_inter_file

HEADER = "user_id:token\titem_id:token\trating:float\ttimestamp:float\n"
REQUIRED = ["user_id", "item_id", "timestamp"]


def checked(tmp_path: Path, content: str | bytes, required=REQUIRED, **settings) -> None:
    path = tmp_path / "d.inter"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    check_inter_file(path, required, **settings)


GOOD = {
    "plain": HEADER + "a\tx\t1\t5\n",
    "no last line end": HEADER + "a\tx\t1\t5",
    "crlf": (HEADER + "a\tx\t1\t5\n").replace("\n", "\r\n"),
    "blank lines": HEADER + "\na\tx\t1\t5\n  \n\n",
    "missing rating": HEADER + "a\tx\t\t5\n",
    "NA rating": HEADER + "a\tx\tNA\t5\n",
    "quotes": HEADER + 'a\t"x\ty"\t1\t5\nb"c\t"d"\t1\t5\n',
    "underscore, which Python reads": HEADER + "a\tx\t1_0\t5\n",
    "sequences": HEADER[:-1] + "\tw:float_seq\tt:token_seq\na\tb\t1\t5\t1 2\tx y\n",
    "unicode": HEADER + "é\t木\t1\t5\n",
}


@pytest.mark.parametrize("case", GOOD)
def test_good_files(tmp_path, case):
    checked(tmp_path, GOOD[case])


def test_other_separators_and_encodings(tmp_path):
    content = (HEADER + "é\tx\t1\t5\n").replace("\t", ",")
    checked(tmp_path, content.encode("latin-1"), separator=",", encoding="latin-1")
    checked(tmp_path, content.encode("utf-16"), separator=",", encoding="utf-16")
    checked(tmp_path, b"\xef\xbb\xbf" + content.encode(), separator=",", encoding="utf-8-sig")
    checked(tmp_path, content.replace(",", "::"), separator="::")
    with pytest.raises(UserError, match="line 3: 3 fields where the header has 4"):
        checked(tmp_path, content.replace(",", "::") + "a::b::1", separator="::")


BAD = {
    "empty": ("", "d.inter, line 1: the file is empty; the first line is a header such as"),
    "blank": ("\n\n", "the file is empty"),
    "no header": ("\n" + HEADER, "the header is missing"),
    "header only": (HEADER, "d.inter: there is a header but no interaction; add one line for each"),
    "header and blanks": (HEADER + "\n \n", "there is a header but no interaction"),
    "untyped": ("user_id\titem_id\ttimestamp\na\tb\t1\n", "line 1, column 1: 'user_id' is not name:type"),
    "two types": ("user_id:token:x\tb\na\tb\n", "line 1, column 1: 'user_id:token:x' is not name:type"),
    "comma": (HEADER.replace("\t", ","), "line 1, column 1: "),
    "type": (
        HEADER.replace("rating:float", "rating:int") + "a\tx\t1\t5\n",
        "the type of 'rating' is 'int'; it is one of",
    ),
    "twice": (
        HEADER.replace("item_id", "user_id") + "a\tx\t1\t5\n",
        "column 2: there are two columns 'user_id'",
    ),
    "no timestamp": (
        "user_id:token\titem_id:token\na\tx\n",
        "no column 'timestamp' among user_id, item_id; add it",
    ),
    "bom": ("\ufeff" + HEADER + "a\tx\t1\t5\n", "line 1: a byte order mark stands before the header"),
    "too few": (
        HEADER + "a\tx\t1\t5\n\na\tx\t5\n",
        "line 4: 3 fields where the header has 4; write one for each",
    ),
    "too many": (HEADER + "a\tx\t1\t5\t9\na\tx\t1\t5\n", "line 2: 5 fields where the header has 4"),
    "as many in all": (HEADER + "a\tx\t5\na\tx\t1\t5\t1\n", "line 2: 3 fields"),
    "float": (
        HEADER + "a\tx\t1\t5\nb\tx\tgood\t5\n",
        "line 3, column 3 (rating): 'good' is not a number; write",
    ),
    "time": (HEADER + "a\tx\t1\t2018-01-01\n", "line 2, column 4 (timestamp): '2018-01-01' is not a number"),
    "no time": (HEADER + "a\tx\t1\t5\na\tx\t1\t\n", "line 3, column 4 (timestamp): '' is no finite number"),
    "nan time": (HEADER + "a\tx\t1\tnan\n", "line 2, column 4 (timestamp): 'nan' is no finite number"),
    "endless time": (HEADER + "a\tx\t1\tinf\n", "line 2, column 4 (timestamp): 'inf' is no finite number"),
    "open quote": (HEADER + 'a\t"x\t1\t5\na\tx\t1\t5\n', "line 2: a field begins with a quotation mark that"),
    "bad bytes": (
        HEADER.encode() + b"a\t\xff\t1\t5\n",
        "bytes that are not utf-8 (invalid start byte); save",
    ),
    "bad header": (b"\xff" + HEADER.encode(), "line 1: the header is not utf-8"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_files(tmp_path, case):
    content, expected = BAD[case]
    with pytest.raises(UserError) as caught:
        checked(tmp_path, content)
    message = str(caught.value)
    assert message.startswith(str(tmp_path / "d.inter")) and expected in message and "\n" not in message


def test_fields_are_counted_row_by_row(tmp_path):
    content = "w:float\tuser_id:token\titem_id:token\n1\ta\n2\tb\tx\ty\n"
    with pytest.raises(UserError, match="line 2: 2 fields where the header has 3"):
        checked(tmp_path, content, ["user_id"])


def test_required_types(tmp_path):
    content = "user_id:token\titem_id:token\ttimestamp:token\na\tx\t5\n"
    checked(tmp_path, content)
    with pytest.raises(UserError, match="the column 'timestamp' has the type token; it must be float"):
        checked(tmp_path, content, ["timestamp:float"])


def test_no_file(tmp_path):
    with pytest.raises(UserError, match=r"there is no file .*d\.inter; put the interactions there"):
        check_inter_file(tmp_path / "d.inter", REQUIRED)
    with pytest.raises(UserError, match="there is no file"):
        check_inter_file(tmp_path, REQUIRED)
    with pytest.raises(UserError, match="encoding is 'utf-99', which Python does not know; for UTF-8"):
        checked(tmp_path, GOOD["plain"], encoding="utf-99")


def test_chunks_are_cut_anywhere(tmp_path, monkeypatch):
    monkeypatch.setattr(check, "_CHUNK", 64)
    monkeypatch.setattr(check, "_scan", lambda *_: pytest.fail("the quick way did not do"))
    checked(tmp_path, HEADER + "".join(f"a{n}\tx{n}\t1\t{n}\n" for n in range(50)))


cells = st.sampled_from(["a", "1", "", "2.5", "x y", "é", "nan", '"', '"q"', "\r", "1e400", "\0", "_1"])
lines_of_cells = st.lists(st.lists(cells, min_size=0, max_size=5).map("\t".join), max_size=6)


@settings(max_examples=200, deadline=None)
@given(lines_of_cells)
def test_the_quick_way_never_passes_what_the_slow_way_refuses(tmp_path_factory, rows):
    path = tmp_path_factory.mktemp("d") / "d.inter"
    path.write_text(HEADER + "\n".join(rows), encoding="utf-8", newline="")
    columns = [tuple(name.split(":")) for name in HEADER.strip().split("\t")]
    if check._well_formed(path, columns, REQUIRED, "\t", "utf-8"):
        check._scan(path, columns, REQUIRED, "\t", "utf-8")


def test_half_a_million_rows_take_well_under_a_second(tmp_path):
    path = tmp_path / "d.inter"
    path.write_text(HEADER + "".join(f"A{n % 9999}\tB{n % 777}\t5.0\t{n}\n" for n in range(500_000)))
    check_inter_file(path, REQUIRED)  # imports
    start = time.process_time()
    check_inter_file(path, REQUIRED)
    assert time.process_time() - start < 1
