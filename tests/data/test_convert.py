"""``python -m recbole_cocorr convert``: formats, options, errors, and what is left on the disk."""

import errno
import gzip
import json
import os
import shutil
from pathlib import Path

import pytest

from recbole_cocorr.__main__ import main
from recbole_cocorr.base.errors import UserError
from recbole_cocorr.base.files import atomic_write
from recbole_cocorr.base.together import finish
from recbole_cocorr.data.convert import formats
from recbole_cocorr.data.convert.formats import FORMATS
from recbole_cocorr.data.convert.pipeline import convert
from recbole_cocorr.data.convert.rows import MISSING_VALUES
from recbole_cocorr.data.convert.times import iso_seconds
from recbole_cocorr.data.dataset import create_dataset
from tests.base.stopped import killed_at_every_step

HEADER = "user_id:token\titem_id:token\trating:float\ttimestamp:float"

AMAZON = "A1,B1,5.0,100\nA2,B1,3.0,90\nA1,B2,1.0,100\n"
JSON_ROW = {"reviewerID": "A1", "asin": "B1", "overall": 5.0, "unixReviewTime": 100, "helpful": [0, 1]}
YELP_ROW = {"user_id": "u", "business_id": "b", "stars": 4.0, "date": "2018-07-07 22:09:11", "text": "né"}


def write(path: Path, content: str | bytes, zipped: bool = False) -> Path:
    data = content.encode() if isinstance(content, str) else content
    path.write_bytes(gzip.compress(data) if zipped else data)
    return path


def rows_of(path: Path) -> list[tuple[str, ...]]:
    header, *rows = path.read_text(encoding="utf-8").split("\n")[:-1]
    assert header == HEADER
    return [tuple(row.split("\t")) for row in rows]


def run(tmp_path: Path, content: str | bytes, format: str = "amazon-ratings", zipped: bool = False, **settings):
    source = write(tmp_path / "raw", content, zipped)
    report = convert(source, format, "d", tmp_path / "out", **settings)
    return rows_of(report.path), report


def files_in(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


# --- formats


@pytest.mark.parametrize("zipped", [False, True])
def test_amazon_ratings(tmp_path, zipped):
    rows, report = run(tmp_path, AMAZON, zipped=zipped)
    assert rows == [("A1", "B1", "5.0", "100"), ("A2", "B1", "3.0", "90"), ("A1", "B2", "1.0", "100")]
    assert (report.read, report.written, report.users, report.items) == (3, 3, 2, 2)


def test_amazon_2018_has_the_item_first(tmp_path):
    rows, _ = run(tmp_path, AMAZON, "amazon-ratings-2018")
    assert rows[0] == ("B1", "A1", "5.0", "100")


def test_quoted_csv_fields(tmp_path):
    rows, _ = run(tmp_path, '"a,1","b ""x""",5,1\n')
    assert rows == [("a,1", 'b "x"', "5", "1")]


@pytest.mark.parametrize("spell", [json.dumps, repr], ids=["json", "python literal"])
def test_amazon_5core(tmp_path, spell):
    rows, _ = run(tmp_path, spell(JSON_ROW) + "\n", "amazon-5core")
    assert rows == [("A1", "B1", "5.0", "100")]


def test_python_literals_are_not_executed(tmp_path):
    line = "{'reviewerID': __import__('os').system('touch ran'), 'asin': 'B', 'overall': 1, 'unixReviewTime': 1}"
    with pytest.raises(UserError, match="not a JSON object"):
        run(tmp_path, line, "amazon-5core")
    assert not Path("ran").exists()


def test_whole_numbers_are_ids_in_json(tmp_path):
    rows, _ = run(tmp_path, json.dumps(JSON_ROW | {"asin": 31887}), "amazon-5core")
    assert rows[0][1] == "31887"


@pytest.mark.parametrize(
    ("date", "seconds"),
    [
        ("2018-07-07 22:09:11", 1531001351),
        ("2018-07-07", 1530921600),
        ("1970-01-01", 0),
        ("1969-12-31 23:59:59", -1),
        ("2016-02-29 00:00:01", 1456704001),
    ],
)
def test_yelp_dates_are_utc(tmp_path, monkeypatch, date, seconds):
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    assert iso_seconds("date", date) == str(seconds)
    rows, _ = run(tmp_path, json.dumps(YELP_ROW | {"date": date}), "yelp")
    assert rows == [("u", "b", "4.0", str(seconds))]


def test_movielens_with_movies_and_users(tmp_path):
    movies = "1::Toy Story (1995)::Animation|Children's\n2::Nobody saw this (2000)::Drama\n"
    movies += '3::"Great" Léon::Sci-Fi\n1::Again (1999)::Drama\n4::A::B (1980)::(no genres listed)\n'
    write(tmp_path / "movies.dat", movies.encode("latin-1"))
    write(tmp_path / "users.dat", "7::F::1::10::48067\n8::M::56::16::70072\n")
    rows, report = run(tmp_path, "7::1::5::100\n7::3::4.5::101\n7::4::1::102\n", "movielens-dat")
    assert rows == [("7", "1", "5", "100"), ("7", "3", "4.5", "101"), ("7", "4", "1", "102")]
    item = (tmp_path / "out/d/d.item").read_text(encoding="utf-8").splitlines()
    assert item == [
        "item_id:token\tmovie_title:token_seq\trelease_year:token\tgenre:token_seq",
        "1\tToy Story\t1995\tAnimation Children's",
        '3\t"""Great"" Léon"\t\tSci-Fi',
        "4\tA::B\t1980\t",
    ]
    user = (tmp_path / "out/d/d.user").read_text().splitlines()
    assert user == [
        "user_id:token\tage:token\tgender:token\toccupation:token\tzip_code:token",
        "7\t1\tF\t10\t48067",
    ]
    assert "3 rows from movies.dat" in report.side[0]


def test_movies_in_utf8_are_seen_as_such(tmp_path):
    write(tmp_path / "movies.dat", "1::Léon (1994)::Crime\n")
    run(tmp_path, "7::1::5::100\n", "movielens-dat")
    assert "Léon" in (tmp_path / "out/d/d.item").read_text(encoding="utf-8")


def test_a_bad_movie_is_an_error_or_counted(tmp_path):
    write(tmp_path / "movies.dat", "1::Toy Story\n")
    with pytest.raises(UserError, match=r"movies\.dat, line 1: 2 fields instead of 3; expected item::title"):
        run(tmp_path, "7::1::5::100\n", "movielens-dat")
    assert not (tmp_path / "out").exists()
    _, report = run(tmp_path, "7::1::5::100\n", "movielens-dat", on_error="skip")
    assert "1 skipped" in report.side[0]


def test_latin1_on_request(tmp_path):
    rows, _ = run(tmp_path, "é,b,1,1\n".encode("latin-1"), encoding="latin-1")
    assert rows[0][0] == "é"


@pytest.mark.parametrize("zipped", [False, True])
def test_bom_crlf_and_blank_lines(tmp_path, zipped):
    content = b"\xef\xbb\xbfA1,B1,5.0,100\r\n\r\n  \n\nA2,B1,3.0,90"
    rows, report = run(tmp_path, content, zipped=zipped)
    assert rows == [("A1", "B1", "5.0", "100"), ("A2", "B1", "3.0", "90")]
    assert report.read == 2


# --- options


DUPLICATES = "a,x,1,5\na,y,1,5\na,x,2,3\na,x,3,5\na,x,4,9\na,x,5,3\na,x,6,9\n"


@pytest.mark.parametrize(
    ("rule", "ratings"),
    [("keep", "1123456"), ("exact", "1124"), ("first", "12"), ("last", "16")],
)
def test_duplicates(tmp_path, rule, ratings):
    rows, report = run(tmp_path, DUPLICATES, duplicates=rule)
    assert "".join(row[2] for row in rows) == ratings
    assert report.duplicates == 7 - len(ratings)
    assert report.read == report.written + report.duplicates


def test_duplicates_are_kept_by_default(tmp_path):
    rows, report = run(tmp_path, "a,x,1,5\na,x,1,5\n")
    assert len(rows) == 2 and report.duplicates == 0


def test_k_core_is_iterated(tmp_path):
    # Item z has two users until user c, who has one interaction only, is dropped; then user b follows.
    content = "a,x,1,1\na,y,1,2\nd,x,1,1\nd,y,1,2\nb,x,1,1\nb,z,1,2\nc,z,1,1\n"
    rows, report = run(tmp_path, content, min_user_inter=2, min_item_inter=2)
    assert [row[:2] for row in rows] == [("a", "x"), ("a", "y"), ("d", "x"), ("d", "y")]
    assert (report.filtered, report.users, report.items) == (3, 2, 2)


def test_duplicates_are_dropped_before_the_k_core_counts(tmp_path):
    content = "a,x,1,1\na,x,1,1\nb,x,1,1\nb,y,1,2\nc,x,1,1\nc,y,1,2\n"
    rows, report = run(tmp_path, content, duplicates="exact", min_user_inter=2)
    assert {row[0] for row in rows} == {"b", "c"}
    assert (report.duplicates, report.filtered, report.written) == (1, 1, 4)


def test_few_interactions_are_kept_by_default(tmp_path):
    assert len(run(tmp_path, "a,x,1,1\n")[0]) == 1


def test_bad_rows_are_counted_on_request(tmp_path):
    content = b"A1,B1,5.0,100\nA1,B1,5.0\nA1,\xff,5.0,1\nA3,B1,x,1\n,B1,1,1\nA2,B1,3.0,90\n"
    rows, report = run(tmp_path, content, on_error="skip")
    assert len(rows) == 2
    assert (report.read, report.written, report.skipped, report.users, report.items) == (6, 2, 4, 2, 1)
    assert "line 2: 3 fields instead of 4" in report.first_skipped


def test_swapped_columns_are_noted(tmp_path):
    content = "A39HTATAQ9V7YF,0205616461,5.0,1369699200\nA3JM6GV9MNOF9X,B00000016X,3.0,1355443200\n"
    assert not run(tmp_path, content)[1].notes
    _, report = run(tmp_path, content, "amazon-ratings-2018", overwrite=True)
    assert report.notes and "--format amazon-ratings swaps" in report.notes[0]


def test_recbole_reads_it_and_equal_timestamps_keep_their_order(tmp_path, make_config):
    items = [f"i{number}" for number in (5, 3, 9, 1, 7, 2, 8)]
    content = "".join(f"u,{item},1,1369699200\n" for item in items) + "v,007,1,5\nv,i5,1,4\nv,i3,1,6\n"
    source = write(tmp_path / "raw", content)
    convert(source, "amazon-ratings", "d", tmp_path / "out")
    from recbole_cocorr.data.dataset import create_dataset

    dataset = create_dataset(make_config(dataset="d", data_path=str(tmp_path / "out")))
    dataset.build()
    rows = dataset._sequences
    read = [
        (str(dataset.id2token("user_id", int(user))), str(dataset.id2token("item_id", int(item))))
        for user, item in zip(rows["user_id"], rows["item_id"], strict=True)
    ]
    assert [item for user, item in read if user == "u"] == items
    assert [item for user, item in read if user == "v"] == ["i5", "007", "i3"]


# --- errors: one sentence, with the file, the line, what is wrong and what would be right


def j(**changes) -> str:
    return json.dumps(JSON_ROW | changes)


BAD_ROWS = {
    "too few fields": ("amazon-ratings", "A,B,5\n", "3 fields instead of 4 (user,item,rating,timestamp)"),
    "too many": ("amazon-ratings", "A,B,5,1,x\n", "5 fields instead of 4"),
    "other order": ("amazon-ratings-2018", "A,B,5\n", "3 fields instead of 4 (item,user,rating,timestamp)"),
    "header": (
        "amazon-ratings",
        "user,item,rating,timestamp\n",
        "rating is 'rating', not a number; expected",
    ),
    "no header wanted": ("amazon-ratings", "user,item,rating,timestamp\n", "without a header line"),
    "rating": ("amazon-ratings", "A,B,good,1\n", "rating is 'good', not a number"),
    "underscore": ("amazon-ratings", "A,B,1_0,1\n", "rating is '1_0', not a number"),
    "nan": ("amazon-ratings", "A,B,nan,1\n", "rating is 'nan', not a finite number"),
    "infinite": ("amazon-ratings", "A,B,1,1e999\n", "timestamp is '1e999', not a finite number"),
    "no time": ("amazon-ratings", "A,B,1,\n", "timestamp is '', not a number"),
    "other digits": ("amazon-ratings", "A,B,1,١٢\n", "timestamp is '١٢', not a number"),
    "empty user": ("amazon-ratings", ",B,5,1\n", "the user id is empty"),
    "blank item": ("amazon-ratings", "A, ,5,1\n", "the item id is empty"),
    "tab": ("amazon-ratings", "A\tx,B,5,1\n", "the user id 'A\\tx' contains a tab"),
    "carriage return": ("amazon-ratings", "A\rx,B,5,1\n", "contains a carriage return"),
    "NUL": ("amazon-ratings", "A\0x,B,5,1\n", "contains a NUL"),
    "newline": ("amazon-ratings", '"A\nx",B,5,1\n', "a quotation mark is not closed on its line"),
    "newline in json": ("amazon-5core", j(asin="B\nx"), "the item id 'B\\nx' contains a line break"),
    "quotation mark": ("amazon-5core", j(asin='"B'), "begins with a quotation mark"),
    "quotes": ("amazon-ratings", 'A"x"y,"B"z,5,1\n', "the quotation marks do not match"),
    "missing value": (
        "amazon-ratings",
        "NA,B,5,1\n",
        "the user id 'NA' would be read by RecBole as a missing value",
    ),
    "padding": ("amazon-ratings", "A,[PAD],5,1\n", "the item id '[PAD]' is the name of RecBole's padding"),
    "surrogate": ("amazon-5core", j(asin="\ud800"), "half of a surrogate pair"),
    "not json": ("amazon-5core", "{'a': 1, }}\n", "not a JSON object (Expecting property name"),
    "csv as json": (
        "amazon-5core",
        "A,B,5,1\n",
        "expected one JSON object with reviewerID, asin, overall and",
    ),
    "cut json": ("amazon-5core", j()[:40], "not a JSON object"),
    "list": ("amazon-5core", "[1]\n", "a list instead of a JSON object"),
    "number": ("amazon-5core", "12\n", "a number instead of a JSON object"),
    "missing field": ("amazon-5core", '{"asin": "B", "overall": 1}', "no reviewerID and no unixReviewTime"),
    "text as number": ("amazon-5core", j(overall="5"), "overall is '5', not a number"),
    "true as number": ("amazon-5core", j(overall=True), "overall is True, not a number"),
    "NaN": ("amazon-5core", j(overall=float("nan")), "overall is not a finite number"),
    "huge": ("amazon-5core", j(unixReviewTime=10**400), "unixReviewTime is not a finite number"),
    "null id": ("amazon-5core", j(asin=None), "asin is None, not a string"),
    "deep": ("amazon-5core", "[" * 100_000, "not a JSON object"),
    "date": (
        "yelp",
        json.dumps(YELP_ROW | {"date": "07/07/2018"}),
        "date is '07/07/2018', not YYYY-MM-DD or",
    ),
    "no such day": ("yelp", json.dumps(YELP_ROW | {"date": "2018-02-30"}), "date is '2018-02-30', not"),
    "date as number": ("yelp", json.dumps(YELP_ROW | {"date": 5}), "date is 5, not"),
    "literal in yelp": ("yelp", repr(YELP_ROW), "not a JSON object"),
    "single colons": ("movielens-dat", "1:2:3:4\n", "1 field instead of 4 (user::item::rating::timestamp)"),
    "tabs": ("movielens-dat", "196\t242\t3\t881250949\n", "expected user::item::rating::timestamp"),
    "not utf-8": (
        "amazon-ratings",
        b"A,\xff,5,1\n",
        "byte 3 is not UTF-8; save the file as UTF-8, or say --encoding",
    ),
}
GOOD_ROW = {
    "amazon-ratings": "A,B,5,1",
    "amazon-ratings-2018": "B,A,5,1",
    "amazon-5core": json.dumps(JSON_ROW),
    "yelp": json.dumps(YELP_ROW),
    "movielens-dat": "1::2::3::4",
}


@pytest.mark.parametrize("case", BAD_ROWS)
def test_a_bad_row_is_named(tmp_path, case):
    format, bad, expected = BAD_ROWS[case]
    bad = bad.encode() if isinstance(bad, str) else bad
    content = GOOD_ROW[format].encode() + b"\n\n" + bad
    with pytest.raises(UserError) as caught:
        run(tmp_path, content, format)
    message = str(caught.value)
    assert message.startswith(f"{tmp_path / 'raw'}, line 3: ")
    assert expected in message
    assert ("; expected " in message or "; save " in message) and "\n" not in message and len(message) < 400
    assert files_in(tmp_path) == ["cwd", "raw"]
    _, report = run(tmp_path, content, format, on_error="skip")
    assert report.written == 1 and report.skipped >= 1


@pytest.mark.parametrize(
    ("format", "row"),
    [
        ("yelp", YELP_ROW | {"text": "cut \ud83d"}),
        ("amazon-5core", JSON_ROW | {"reviewText": "cut \ud83d", "ok": True}),
    ],
)
def test_half_a_character_in_a_text_that_is_not_used(tmp_path, format, row):
    _, report = run(tmp_path, json.dumps(row).encode(), format)
    assert (report.written, report.skipped) == (1, 0)


def truncated() -> bytes:
    whole = gzip.compress("".join(f"A{n},B{n * 7919 % 1000},5.0,{n}\n" for n in range(20_000)).encode())
    return whole[: len(whole) // 2]


BAD_FILES = {
    "empty": (b"", "raw is empty; expected lines of user,item,rating,timestamp"),
    "blank": (b"\n \r\n", "raw is empty"),
    "empty gz": (gzip.compress(b""), "raw is empty"),
    "cut gz": (truncated(), "the gzip file ends early (truncated); download it again"),
    "cut gz header": (b"\x1f\x8b\x08", "somewhere after line 0: the gzip file ends early"),
    "not gz": (b"\x1f\x8b\x09" + bytes(30), "the gzip file is damaged (Unknown compression method)"),
    "gz and more": (gzip.compress(b"A,B,5,1\n") + b"rest", "the gzip file is damaged (Not a gzipped file"),
    "gz with a bad sum": (gzip.compress(b"A,B,5,1\n")[:-8] + bytes(8), "the gzip file is damaged (CRC"),
    "zip": (b"PK\x03\x04" + bytes(30), "is a zip archive; unpack it and name the file inside"),
    "bzip2": (b"BZh91AY", "is compressed with bzip2; unpack it"),
    "tar": (b"a".ljust(257, b"\0") + b"ustar\x0000", "is a tar archive; unpack it"),
    "tar.gz": (gzip.compress(b"a".ljust(257, b"\0") + b"ustar\x0000"), "is a tar archive; unpack it"),
    "utf-16": ("A,B,5,1\n".encode("utf-16"), "is UTF-16 text; save it as UTF-8"),
    "one line": (b"A" * 2**24 + b"A", "line 1: the line is longer than 16 MiB; expected text"),
}


@pytest.mark.parametrize("on_error", ["fail", "skip"])
@pytest.mark.parametrize("case", BAD_FILES)
def test_a_bad_file_is_named(tmp_path, case, on_error):
    content, expected = BAD_FILES[case]
    with pytest.raises(UserError) as caught:
        run(tmp_path, content, on_error=on_error)
    message = str(caught.value)
    assert str(tmp_path / "raw") in message and expected in message and "\n" not in message
    assert files_in(tmp_path) == ["cwd", "raw"]


def test_nothing_but_bad_rows(tmp_path):
    with pytest.raises(UserError, match=r"no good row among 2; the first problem: .*line 1: 1 field instead"):
        run(tmp_path, "x\ny\n", on_error="skip")
    assert files_in(tmp_path) == ["cwd", "raw"]


def test_nothing_left_by_the_k_core(tmp_path):
    with pytest.raises(UserError, match=r"no interaction is left with --min_user_inter 9 and .* take smaller"):
        run(tmp_path, AMAZON, min_user_inter=9)
    assert files_in(tmp_path) == ["cwd", "raw"]


def test_input_that_is_no_file(tmp_path):
    with pytest.raises(UserError, match=r"there is no file .*nowhere; name an existing file"):
        convert(tmp_path / "nowhere", "yelp", "d", tmp_path / "out")
    with pytest.raises(UserError, match="is a folder; name the file in it"):
        convert(tmp_path / "cwd", "yelp", "d", tmp_path / "out")
    with pytest.raises(UserError, match="is not a regular file; write the data to a file"):
        convert("/dev/null", "yelp", "d", tmp_path / "out")
    assert files_in(tmp_path) == ["cwd"]


def test_input_that_cannot_be_read(tmp_path, monkeypatch):
    def refuse(path):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr("recbole_cocorr.data.convert.source.open_binary", refuse)
    with pytest.raises(UserError, match=r"raw: it cannot be read \(Permission denied\)"):
        run(tmp_path, AMAZON)


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "../d", ".hidden", "-x", "a\nb", "a b"])
def test_dataset_names_that_are_no_folder_names(tmp_path, name):
    with pytest.raises(UserError, match=r"the dataset name .* will not do; take letters, digits"):
        convert(write(tmp_path / "raw", AMAZON), "amazon-ratings", name, tmp_path / "out")


@pytest.mark.parametrize("setting", ["duplicates", "on_error", "encoding"])
def test_unknown_settings(tmp_path, setting):
    with pytest.raises(UserError, match=f"{setting} is 'x'; it must be one of "):
        run(tmp_path, AMAZON, **{setting: "x"})
    with pytest.raises(UserError, match="format is 'x'; it must be one of amazon-ratings, "):
        run(tmp_path, AMAZON, "x")


def test_missing_values_are_those_of_pandas():
    from pandas._libs.parsers import STR_NA_VALUES

    assert {""} | MISSING_VALUES == STR_NA_VALUES


# --- what is left on the disk


def test_an_earlier_result_is_kept_unless_told_otherwise(tmp_path):
    run(tmp_path, AMAZON)
    with pytest.raises(UserError, match=r"d\.inter exists already; add --overwrite"):
        run(tmp_path, "A9,B9,1,1\n")
    assert len(rows_of(tmp_path / "out/d/d.inter")) == 3
    rows, _ = run(tmp_path, "A9,B9,1,1\n", overwrite=True)
    assert rows == [("A9", "B9", "1", "1")]
    assert files_in(tmp_path / "out") == ["d", "d/d.inter"]


def test_a_foreign_item_file_is_left_and_noted(tmp_path):
    (tmp_path / "out/d").mkdir(parents=True)
    write(tmp_path / "out/d/d.item", "mine")
    _, report = run(tmp_path, AMAZON)
    assert (tmp_path / "out/d/d.item").read_text() == "mine"
    assert "d.item was there before and is left as it was" in report.notes[0]


def test_an_item_file_that_would_be_replaced_is_refused(tmp_path):
    (tmp_path / "out/d").mkdir(parents=True)
    write(tmp_path / "out/d/d.item", "mine")
    write(tmp_path / "movies.dat", "1::Toy Story (1995)::Drama\n")
    with pytest.raises(UserError, match=r"d\.item exists already"):
        run(tmp_path, "7::1::5::100\n", "movielens-dat")
    assert files_in(tmp_path / "out") == ["d", "d/d.item"]


@pytest.mark.parametrize("settings", [{}, {"duplicates": "exact"}], ids=["direct", "filtered"])
@pytest.mark.parametrize("earlier", [False, True])
@pytest.mark.parametrize("failure", [KeyboardInterrupt(), OSError(errno.ENOSPC, "No space left on device")])
def test_a_failure_leaves_what_was_there(tmp_path, monkeypatch, failure, earlier, settings):
    if earlier:
        run(tmp_path, "old,old,1,1\n")

    def fail(*_):
        raise failure

    monkeypatch.setattr(os, "fsync", fail)
    expected = KeyboardInterrupt if isinstance(failure, KeyboardInterrupt) else UserError
    with pytest.raises(expected) as caught:
        run(tmp_path, AMAZON, overwrite=True, **settings)
    if expected is UserError:
        assert "out/d cannot be written (No space left on device); free some space" in str(caught.value)
    assert files_in(tmp_path) == ["cwd", *(["out", "out/d", "out/d/d.inter"] if earlier else []), "raw"]
    if earlier:
        assert rows_of(tmp_path / "out/d/d.inter") == [("old", "old", "1", "1")]


def test_an_interrupt_while_reading(tmp_path, monkeypatch):
    def interrupted(path, progress):
        yield 1, b"A,B,5,1"
        assert any(name.endswith(".tmp") for name in files_in(tmp_path))
        raise KeyboardInterrupt

    monkeypatch.setattr(formats, "lines", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, AMAZON)
    assert files_in(tmp_path) == ["cwd", "raw"]


def test_the_result_does_not_appear_before_it_is_whole(tmp_path, monkeypatch):
    real = formats.lines
    seen = []

    def watch(*args):
        for line in real(*args):
            seen.append((tmp_path / "out/d/d.inter").exists())
            yield line

    monkeypatch.setattr(formats, "lines", watch)
    run(tmp_path, AMAZON)
    assert seen == [False] * 3


def test_out_that_cannot_be_a_folder(tmp_path):
    write(tmp_path / "out", "a file")
    with pytest.raises(UserError, match=r"out/d cannot be written \(.*\); make it writable or choose another"):
        run(tmp_path, AMAZON)


# --- atomic_write


def test_atomic_write_text_and_bytes(tmp_path):
    with atomic_write(tmp_path / "a") as file:
        file.write("é\n")
    with atomic_write(str(tmp_path / "b"), "wb") as file:
        file.write(b"\0")
        Path(file.name).stat()  # a real path, for writers that want one
    assert (tmp_path / "a").read_bytes() == "é\n".encode() and (tmp_path / "b").read_bytes() == b"\0"
    assert files_in(tmp_path) == ["a", "b", "cwd"]


def test_atomic_write_into_the_working_directory():
    with atomic_write("plain") as file:
        file.write("x")
    assert os.listdir() == ["plain"]


def test_atomic_write_keeps_rights_and_links(tmp_path):
    old = os.umask(0o027)
    try:
        with atomic_write(tmp_path / "a") as file:
            file.write("1")
    finally:
        os.umask(old)
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o640
    os.chmod(tmp_path / "a", 0o604)
    (tmp_path / "link").symlink_to("a")
    with atomic_write(tmp_path / "link") as file:
        file.write("2")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "a").read_text() == "2" and (tmp_path / "a").stat().st_mode & 0o777 == 0o604


@pytest.mark.parametrize("failure", [ValueError, KeyboardInterrupt, SystemExit])
def test_atomic_write_leaves_nothing_of_a_failure(tmp_path, failure):
    write(tmp_path / "a", "old")
    with pytest.raises(failure), atomic_write(tmp_path / "a") as file:
        file.write("half")
        raise failure
    assert (tmp_path / "a").read_text() == "old" and files_in(tmp_path) == ["a", "cwd"]


def test_atomic_write_refuses(tmp_path):
    with pytest.raises(ValueError, match="atomic_write knows"), atomic_write(tmp_path / "a", "a"):
        pass
    with pytest.raises(IsADirectoryError), atomic_write(tmp_path / "cwd"):
        pass
    with pytest.raises(FileNotFoundError), atomic_write(tmp_path / "none/a"):
        pass
    assert files_in(tmp_path) == ["cwd"]


# --- command line


def test_command(tmp_path, capsys):
    source = write(tmp_path / "raw", AMAZON + "A1,B1,5.0,100\nbad\n")
    arguments = ["--format", "amazon-ratings", "--input", str(source), "--dataset", "d", "--out", "my out"]
    arguments += ["--duplicates", "exact", "--on_error", "skip", "--min_user_inter", "2"]
    assert main(["convert", *arguments]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert [line.split(":")[1].strip() for line in printed[:7]] == ["5", "2", "1", "1", "1", "1", "2"]
    assert printed[7].startswith("first row skipped:") and "line 5" in printed[7]
    assert printed[8].split() == ["written:", "my", "out/d/d.inter"]
    assert printed[9] == ("next: python -m recbole_cocorr run --model=CoCorrRec --dataset=d '--data_path=my out'")
    assert main(["convert", *arguments]) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("error: ") and captured.err.count("\n") == 1 and not captured.out


@pytest.mark.parametrize(
    "extra",
    [
        ["--min_user_inter", "-1"],
        ["--min_item_inter", "x"],
        ["--format", "tsv"],
        ["--time_unit", "h"],
        ["--duplicates", "no"],
    ],
)
def test_command_refuses_bad_options(tmp_path, extra, capsys):
    arguments = ["--format", "yelp", "--input", "x", "--dataset", "d", *extra]
    with pytest.raises(SystemExit) as caught:
        main(["convert", *arguments])
    assert caught.value.code == 2 and extra[0] in capsys.readouterr().err


def test_help_names_every_format(capsys):
    with pytest.raises(SystemExit):
        main(["convert", "--help"])
    printed = capsys.readouterr().out
    assert all(f"  {name} " in printed for name in FORMATS)


def test_a_bar_counts_the_bytes_of_the_file(tmp_path, capsys):
    content = "".join(f"A{n},B{n % 7},5.0,{n}\n" for n in range(9000))
    run(tmp_path, content, zipped=True, progress=True)
    size = (tmp_path / "raw").stat().st_size
    assert f"{size / 1000:.3g}k/{size / 1000:.3g}k" in capsys.readouterr().err
    run(tmp_path, content, progress=False, overwrite=True)
    assert not capsys.readouterr().err


# --- two writers, and kills

MOVIES = "7::1::5::100\n8::2::4::200\n"


def movies(tmp_path: Path, titles: str) -> None:
    write(tmp_path / "movies.dat", titles)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs processes that fork")
def test_killed_at_every_step_of_an_overwrite(tmp_path):
    """Interactions and items are those of one conversion; the next one leaves nothing of the killed one."""
    folder = tmp_path / "out" / "d"

    def old():
        shutil.rmtree(tmp_path / "out", ignore_errors=True)
        movies(tmp_path, "1::Old::Drama\n2::Old::Drama\n")
        run(tmp_path, MOVIES, "movielens-dat")

    def new():
        movies(tmp_path, "1::New::Drama\n2::New::Drama\n")
        run(tmp_path, MOVIES.replace("100", "111"), "movielens-dat", overwrite=True)

    def check():
        finish(folder)
        times, titles = (folder / "d.inter").read_text(), (folder / "d.item").read_text()
        assert ("111" in times) == ("New" in titles) != ("Old" in titles)
        found.append("New" in titles)
        new()
        assert files_in(tmp_path / "out") == ["d", "d/d.inter", "d/d.item"]

    found: list[bool] = []
    killed_at_every_step(tmp_path / "out", old, new, check)
    assert set(found) == {False, True}


def test_training_finishes_what_a_killed_conversion_began(tmp_path, make_config, small_data):
    """The moment between the one step that counts and the end."""
    source = small_data / "small" / "small.inter"
    folder = tmp_path / "data" / "small"
    (folder / ".switch" / "files").mkdir(parents=True)
    shutil.copy(source, folder / ".switch" / "files")
    (folder / "small.inter").write_text("the old one\n")
    assert len(create_dataset(make_config(data_path=str(tmp_path / "data"))).inter_feat)
    assert files_in(folder) == ["small.inter"]


def test_the_second_of_two_conversions_is_refused_at_the_end_too(tmp_path, monkeypatch):
    real, begun = formats.lines, []

    def faster(*arguments, **options):
        if not begun:
            begun.append(True)
            run(tmp_path, "first,B1,1,1\n")
        yield from real(*arguments, **options)

    monkeypatch.setattr(formats, "lines", faster)
    with pytest.raises(UserError, match=r"d\.inter exists already; add --overwrite"):
        run(tmp_path, AMAZON)
    assert rows_of(tmp_path / "out/d/d.inter") == [("first", "B1", "1", "1")]
    assert files_in(tmp_path / "out") == ["d", "d/d.inter"]
