"""Every raw format by hand-checked rows; what is said of a file of another format; any CSV against the csv module."""

import csv
import gzip
import io
import json
import tempfile
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recbole_cocorr.__main__ import main
from recbole_cocorr.base.errors import UserError
from recbole_cocorr.data.convert.check import check_inter_file
from recbole_cocorr.data.convert.formats import FORMATS
from recbole_cocorr.data.convert.pipeline import convert
from recbole_cocorr.data.convert.rows import RowError, check_token
from recbole_cocorr.data.convert.times import UNITS, Clock, iso_seconds

AMAZON_2023 = {
    "rating": 5.0,
    "title": "Such a lovely scent",
    "text": 'it\'s "fine"\nreally',
    "images": [],
    "asin": "B00YQ6X8EO",
    "parent_asin": "B00YQ6X8E0",
    "user_id": "AGKHLEW2SOWHNMFQIJGBECAF7INQ",
    "timestamp": 1588687728923,
    "helpful_vote": 0,
    "verified_purchase": True,
}
STEAM = {
    "username": "Chaos Syren",
    "hours": 0.1,
    "product_id": "725280",
    "date": "2017-12-17",
    "text": "This 'would' be cool.\r\n",
    "early_access": False,
}
AMAZON_USER = "AGKHLEW2SOWHNMFQIJGBECAF7INQ"

# Content of a small file of each format, and the rows that a person reads in it: user, item, rating, time.
SAMPLES: dict[str, tuple[str, list[tuple[str, ...]]]] = {
    "amazon-ratings": (
        "A1,B1,5.0,1369699200\nA2,B1,3.0,90\n",
        [("A1", "B1", "5.0", "1369699200"), ("A2", "B1", "3.0", "90")],
    ),
    "amazon-5core": (
        '{"reviewerID": "A1", "asin": "B1", "overall": 5.0, "unixReviewTime": 100}\n',
        [("A1", "B1", "5.0", "100")],
    ),
    "amazon-2023": (
        json.dumps(AMAZON_2023)
        + "\n"
        + json.dumps(AMAZON_2023 | {"parent_asin": "B2", "rating": 1, "timestamp": 1588687729000}),
        [
            (AMAZON_USER, "B00YQ6X8E0", "5.0", "1588687728.923"),
            (AMAZON_USER, "B2", "1", "1588687729"),
        ],
    ),
    "amazon-2023-csv": (
        f"user_id,parent_asin,rating,timestamp\n{AMAZON_USER},B00YQ6X8E0,5.0,1588687728923\nA2,B2,4.0,1588687728000\n",
        [(AMAZON_USER, "B00YQ6X8E0", "5.0", "1588687728.923"), ("A2", "B2", "4.0", "1588687728")],
    ),
    "yelp": (
        '{"user_id": "u", "business_id": "b", "stars": 4.0, "date": "2018-07-07 22:09:11"}\n',
        [("u", "b", "4.0", "1531001351")],
    ),
    "movielens-dat": (
        "1::1193::5::978300760\n1::661::3::978302109\n",
        [("1", "1193", "5", "978300760"), ("1", "661", "3", "978302109")],
    ),
    "movielens-csv": (
        "userId,movieId,rating,timestamp\r\n1,296,5.0,1147880044\r\n1,306,3.5,1147868817\r\n",
        [("1", "296", "5.0", "1147880044"), ("1", "306", "3.5", "1147868817")],
    ),
    "movielens-100k": (
        "196\t242\t3\t881250949\n186\t302\t3\t891717742\n",
        [("196", "242", "3", "881250949"), ("186", "302", "3", "891717742")],
    ),
    "steam": (
        repr(STEAM) + "\n" + repr(STEAM | {"username": "né"}).replace(": '", ": u'").replace("{'", "{u'") + "\n",
        [("Chaos Syren", "725280", "1513468800"), ("né", "725280", "1513468800")],
    ),
    "gowalla": (
        "0\t2010-10-19T23:55:27Z\t30.2359091167\t-97.7951395833\t22847\n0\t2010-10-18T22:17:43Z\t30.2\t-97.7\t420315\n",
        [("0", "22847", "1287532527"), ("0", "420315", "1287440263")],
    ),
    "sequences": (
        "1 7 9 7\r\n\n2 9\n1 4 \n",
        [("1", "7", "1"), ("1", "9", "2"), ("1", "7", "3"), ("2", "9", "1"), ("1", "4", "4")],
    ),
}


def converted(folder: Path, content: str | bytes, format: str, **given):
    source = Path(folder) / "raw"
    source.write_bytes(content.encode() if isinstance(content, str) else content)
    report = convert(source, format, "d", Path(folder) / "out", overwrite=True, **given)
    header, *rows = report.path.read_text(encoding="utf-8").split("\n")[:-1]
    return header, [tuple(row.split("\t")) for row in rows], report


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize("format", SAMPLES)
def test_a_sample_gives_the_rows_that_a_person_reads(tmp_path, format, zipped):
    content, rows = SAMPLES[format]
    raw = content.encode()
    header, found, report = converted(tmp_path, gzip.compress(raw) if zipped else raw, format)
    assert found == rows
    rating = "rating:float\t" if len(rows[0]) == 4 else ""
    assert header == f"user_id:token\titem_id:token\t{rating}timestamp:float"
    check_inter_file(report.path, ["user_id:token", "item_id:token", "timestamp:float"])


def test_every_format_has_a_sample():
    assert set(FORMATS) - set(SAMPLES) == {"amazon-ratings-2018", "yambda", "csv"}


@pytest.mark.parametrize("format", SAMPLES)
@pytest.mark.parametrize("told", [*SAMPLES, "yambda"])
@pytest.mark.parametrize("on_error", ["fail", "skip"])
def test_a_file_of_another_format_is_named(tmp_path, told, format, on_error):
    if told == format:
        return
    with pytest.raises(UserError, match=rf"raw.*looks like --format {format}\b") as caught:
        converted(tmp_path, SAMPLES[format][0], told, on_error=on_error)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_a_bad_row_after_good_ones_is_not_taken_for_another_format(tmp_path):
    with pytest.raises(UserError, match="line 3: 1 field instead of 4") as caught:
        converted(tmp_path, SAMPLES["amazon-ratings"][0] + "x\n", "amazon-ratings")
    assert "looks like" not in str(caught.value)


BAD_ROWS = {
    "steam": [
        (repr({k: v for k, v in STEAM.items() if k != "username"}), "no username"),
        (repr(STEAM | {"date": "Posted May 1"}), "date is 'Posted May 1', not YYYY-MM-DD"),
        ("{'username': print('x')}", "not a JSON object"),
        ("[" * 100_000, "not a JSON object"),
    ],
    "amazon-2023": [
        (json.dumps(AMAZON_2023 | {"timestamp": 1588687728}), "timestamp is 1588687728, which is too small for milli"),
        (json.dumps(AMAZON_2023 | {"timestamp": "1588687728923"}), "timestamp is '1588687728923', not a number"),
        ('{"user_id": "a", "user_id": "b"}', "the key 'user_id' stands twice"),
        (json.dumps({**AMAZON_2023, "parent_asin": None}), "parent_asin is None, not a string"),
    ],
    "gowalla": [
        ("0\t2010-10-19T23:55:27Z\t30.2\t-97.7", "4 fields instead of 5"),
        ("0\t2010-10-19T25:55:27Z\t30.2\t-97.7\t1", "the time is '2010-10-19T25:55:27Z', not YYYY-MM-DD"),
    ],
    "movielens-csv": [
        ("1,2,3", "3 fields instead of 4"),
        ("1,2,x,4", "rating is 'x', not a number"),
        ("1,2,3,", "timestamp is '', neither a number nor a date"),
        (",2,3,4", "the user id is empty"),
        ('1,"2,3,4', "the quotation marks do not match"),
    ],
    "movielens-100k": [("1\t2\t3", "3 fields instead of 4")],
    "sequences": [
        ("3", "the user '3' has no item"),
        ("3 4  5", "'' is no id of letters"),
        ("3\t4 5", r"'3\t4' is no id of letters"),
        ("3 4,5", "'4,5' is no id of letters"),
    ],
    "amazon-2023-csv": [("A,B,5.0,1588687728", "too small for milliseconds")],
}


@pytest.mark.parametrize(("format", "bad", "said"), [(f, *case) for f, cases in BAD_ROWS.items() for case in cases])
def test_a_bad_row_names_file_and_line(tmp_path, format, bad, said):
    content = SAMPLES[format][0].rstrip("\n") + "\n\n" + bad
    number = content.count("\n") + 1
    with pytest.raises(UserError) as caught:
        converted(tmp_path, content, format)
    message = str(caught.value)
    assert message.startswith(f"{tmp_path / 'raw'}, line {number}: ") and said in message
    assert "; expected " in message and "\n" not in message and len(message) < 400
    _, rows, report = converted(tmp_path, content, format, on_error="skip")
    assert rows == SAMPLES[format][1] and report.skipped == 1


def test_amazons_history_is_no_row_and_a_note_says_so(tmp_path):
    content = "user_id,parent_asin,rating,timestamp,history\nA,B2,5.0,1588687728000,B1\nA,B3,5.0,1588687729000,B1 B2\n"
    _, rows, report = converted(tmp_path, content, "amazon-2023-csv")
    assert rows == [("A", "B2", "5.0", "1588687728"), ("A", "B3", "5.0", "1588687729")]
    assert "the column history is not read" in report.notes[0]
    assert not converted(tmp_path, SAMPLES["amazon-2023-csv"][0], "amazon-2023-csv")[2].notes


def test_movies_csv_beside_ratings_csv(tmp_path):
    movies = 'movieId,title,genres\n296,"Pulp Fiction, or so (1994)",Comedy|Crime\n'
    movies += "306,Rouge (1994),(no genres listed)\n9,No,X\n"
    (tmp_path / "movies.csv").write_text(movies)
    converted(tmp_path, SAMPLES["movielens-csv"][0], "movielens-csv")
    assert (tmp_path / "out/d/d.item").read_text().splitlines()[1:] == [
        "296\tPulp Fiction, or so\t1994\tComedy Crime",
        "306\tRouge\t1994\t",
    ]


def test_yambda(tmp_path):
    pyarrow = pytest.importorskip("pyarrow", exc_type=ImportError)
    from pyarrow import parquet

    table = pyarrow.table(
        {"timestamp": [39420, 18_111_700], "item_id": [8326270, 7], "uid": [100, 100], "is_organic": [1, 0]}
    )
    parquet.write_table(table, tmp_path / "flat", row_group_size=1)
    raw = (tmp_path / "flat").read_bytes()
    header, rows, _ = converted(tmp_path, raw, "yambda")
    assert header == "user_id:token\titem_id:token\ttimestamp:float"
    assert rows == [("100", "8326270", "39420"), ("100", "7", "18111700")]
    for cut in (len(raw) // 2, 6):
        with pytest.raises(UserError, match="no whole parquet file"):
            converted(tmp_path, raw[:cut], "yambda")
    with pytest.raises(UserError, match="is a parquet file; of these --format yambda is read"):
        converted(tmp_path, raw, "yelp")
    parquet.write_table(table.rename_columns(["t", "i", "u", "o"]), tmp_path / "other")
    with pytest.raises(UserError, match="no column uid and no item_id and no timestamp; it has t, i, u, o"):
        converted(tmp_path, (tmp_path / "other").read_bytes(), "yambda")
    parquet.write_table(pyarrow.table({"uid": [1, None], "item_id": [1, 1], "timestamp": [1, 1]}), tmp_path / "hole")
    with pytest.raises(UserError, match="row 2: uid is None, not a string"):
        converted(tmp_path, (tmp_path / "hole").read_bytes(), "yambda")


# -- any CSV -----------------------------------------------------------------------------------------

COLUMNS = "user=who,item=what,time=when"


@pytest.mark.parametrize("separator", [",", "\t", ";", "|", " "])
def test_the_separator_is_seen(tmp_path, separator):
    content = "what,when,other,who\ni1,5,x,u1\n".replace(",", separator)
    header, rows, _ = converted(tmp_path, content, "csv", columns=COLUMNS)
    assert header == "user_id:token\titem_id:token\ttimestamp:float" and rows == [("u1", "i1", "5")]


def test_numbers_are_places_in_a_file_without_a_header(tmp_path):
    header, rows, _ = converted(tmp_path, "a;b;3;1600000000000\n", "csv", columns="user=2, item=1, rating=3, time=4")
    assert "rating" in header and rows == [("b", "a", "3", "1600000000")]


def test_fields_with_line_breaks_marks_and_blank_lines(tmp_path):
    content = '\ufeffwho,what,when,text\r\nu1,"i, ""1""",1,"one\r\n\r\ntwo, ""three"""\r\n'
    content += '\r\n"u\u00e9",i2,2,5" disk\r\n,i3,3,\r\n'
    with pytest.raises(UserError, match="line 7: the user id is empty"):
        converted(tmp_path, content, "csv", columns=COLUMNS)
    _, rows, report = converted(tmp_path, content, "csv", columns=COLUMNS, on_error="skip")
    assert rows == [("u1", 'i, "1"', "1"), ("u\u00e9", "i2", "2")] and report.skipped == 1


@pytest.mark.parametrize("rest", ["", "\n" * 3, "u,i,1,x\n" * 40_000])
def test_a_mark_that_is_never_closed_costs_its_own_row_alone(tmp_path, rest):
    content = 'who,what,when,text\nu,i,1,x\nu,i,1,"x\nu,i,2,x\n' + rest
    with pytest.raises(UserError, match="line 3: the quotation marks do not match"):
        converted(tmp_path, content, "csv", columns=COLUMNS)
    _, rows, report = converted(tmp_path, content, "csv", columns=COLUMNS, on_error="skip")
    assert report.skipped == 1 and len(rows) == 2 + rest.count("u")


@pytest.mark.parametrize(
    ("time", "seconds"),
    [
        ("2018-07-07", "1530921600"),
        ("2018-07-07T22:09:11Z", "1531001351"),
        ("2018-07-07 22:09", "1531001340"),
        ("2018-07-08T00:09:11.250+02:00", "1531001351.25"),
        ("2018-07-07 17:09:11-0500", "1531001351"),
        ("2018-07-07 22:09:11+00", "1531001351"),
        ("2018-07-07 22:09:11 UTC", "1531001351"),
        ("1969-12-31T23:59:59.5", "-0.5"),
        ("1531001351", "1531001351"),
        ("1531001351.5", "1531001351.5"),
        ("1531001351250", "1531001351.25"),
        ("1.531001351e12", "1531001351"),
        ("1531001351000000", "1531001351"),
        ("1531001351000000001", "1531001351.000000001"),
        ("7", "7"),
    ],
)
def test_times(tmp_path, time, seconds):
    _, rows, _ = converted(tmp_path, f"who,what,when\nu,i,{time}\n", "csv", columns=COLUMNS)
    assert rows == [("u", "i", seconds)]


@pytest.mark.parametrize(
    "times",
    [
        ("1531001351250", "1531001351"),
        ("1531001351", "1531001351250"),
        ("2018-07-07", "1531001351"),
        ("1531001351", "2018-07-07"),
    ],
)
def test_a_file_has_one_kind_of_times(tmp_path, times):
    content = "who,what,when\n" + "".join(f"u,i,{time}\n" for time in times)
    with pytest.raises(UserError, match=r"line 3: when is .*, which looks like .*, and the first row has"):
        converted(tmp_path, content, "csv", columns=COLUMNS)


def test_the_unit_may_be_said(tmp_path):
    _, rows, _ = converted(
        tmp_path, "who,what,when\nu,i,5\nu,i,1531001351250\n", "csv", columns=COLUMNS, time_unit="ms"
    )
    assert [time for *_, time in rows] == ["0.005", "1531001351.25"]


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        (None, "the format csv needs the columns"),
        ("user=a,item=b", "time is missing"),
        ("user=a", "item and time are missing"),
        ("user=a,item=b,time", "'time' is not user=NAME"),
        ("user=a,item=b,time=c,stars=d", "'stars=d' is not"),
        ("user=a,item=b,time=c,user=d", "user is given twice"),
        ("user=a,item=a,time=c", "a column is named twice"),
        ("user=1,item=b,time=c", "either names of the header or"),
        ("user=who,item=what,time=nothing", "the header has no column 'nothing'; it has 'who, what, when"),
        ("user=who,item=what,time=twice", "the header has two columns 'twice'"),
        ("user=1,item=2,time=9", "5 fields, and the columns 1, 2, 9 are asked for"),
    ],
)
def test_columns_that_do_not_fit(tmp_path, columns, said):
    with pytest.raises(UserError) as caught:
        converted(tmp_path, "who,what,when,twice,twice\nu,i,1,a,b\n", "csv", columns=columns)
    assert said in str(caught.value) and "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_columns_are_for_csv_alone(tmp_path):
    with pytest.raises(UserError, match="columns and time_unit are for the format csv alone; yelp has its own"):
        converted(tmp_path, SAMPLES["yelp"][0], "yelp", columns=COLUMNS)
    with pytest.raises(UserError, match="time_unit is 'h'; it must be one of s, ms, us, ns"):
        converted(tmp_path, "", "csv", columns=COLUMNS, time_unit="h")


def test_the_command_takes_columns(tmp_path, capsys):
    (tmp_path / "raw").write_text("who,what,when\nu,i,2018-07-07\n")
    arguments = ["--format", "csv", "--input", str(tmp_path / "raw"), "--dataset", "d", "--out", str(tmp_path / "out")]
    assert main(["convert", *arguments, "--columns", COLUMNS]) == 0
    assert "rows written:           1" in capsys.readouterr().out
    assert (tmp_path / "out/d/d.inter").read_text().endswith("u\ti\t1530921600\n")


# Not a lone carriage return, which the csv module writes and does not read.
text = st.text(st.characters(codec="utf-8", exclude_characters="\0\r"), max_size=6) | st.sampled_from(
    ['"', '""', "a\nb", "a\r\nb", "\n", "", " ", ",", ";", '5" disk', "NA", "\ufeff", "é"]
)


def good(token: str) -> bool:
    try:
        check_token("id", token)
    except RowError:
        return False
    return True


@settings(max_examples=150, deadline=None)
@given(
    rows=st.lists(st.tuples(text, text, text, st.integers(0, 10**10)), min_size=1, max_size=8),
    separator=st.sampled_from([",", ";", "\t", "|"]),
    quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC]),
    end=st.sampled_from(["\n", "\r\n"]),
    bom=st.booleans(),
    zipped=st.booleans(),
)
def test_what_the_csv_module_wrote_is_read_as_it_reads_it(rows, separator, quoting, end, bom, zipped):
    raw = io.StringIO(newline="")
    writer = csv.writer(raw, delimiter=separator, quoting=quoting, lineterminator=end)
    writer.writerow(["who", "text", "what", "when"])
    writer.writerows((user, note, item, time) for user, item, note, time in rows)
    content = ("\ufeff" if bom else "") + raw.getvalue()
    # The obvious twin holds the whole file and asks the csv module.
    whole = list(csv.reader(io.StringIO(raw.getvalue(), newline=""), delimiter=separator))[1:]
    wanted = [(user, item, time) for user, _, item, time in whole if good(user) and good(item)]
    encoded = content.encode()
    with tempfile.TemporaryDirectory() as folder:
        try:
            _, found, report = converted(
                Path(folder), gzip.compress(encoded) if zipped else encoded, "csv", columns=COLUMNS, on_error="skip"
            )
        except UserError as error:
            assert not wanted and "no good row" in str(error)
            return
    assert found == wanted
    assert report.read == len(whole) == report.written + report.skipped


@given(st.datetimes(datetime(1, 1, 3), datetime(9999, 12, 29)), st.integers(-23 * 60, 23 * 60), st.booleans())
def test_dates_against_datetime(moment, minutes, zoned):
    zone = timezone(timedelta(minutes=minutes)) if zoned else timezone.utc
    aware = moment.replace(tzinfo=zone)
    written = aware.isoformat() if zoned else moment.isoformat(" ")
    passed = aware - datetime(1970, 1, 1, tzinfo=timezone.utc)
    wanted = Decimal(passed.days * 86400 + passed.seconds) + Decimal(passed.microseconds) / 10**6
    assert Decimal(iso_seconds("time", written)) == wanted


@given(st.integers(10**8, 10**11 - 1), st.sampled_from(list(UNITS)), st.integers(0, 10**9 - 1))
def test_units_against_integers(second, unit, part):
    places = UNITS[unit]
    number = second * 10**places + part % 10**places
    assert Decimal(Clock().seconds("time", str(number))) * 10**places == number
