"""Converters and filters against slow obvious references, on random input."""

import csv
import gzip
import io
import json
import tempfile
from array import array
from collections import Counter
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recbole_cocorr.base.errors import UserError
from recbole_cocorr.data.convert.check import check_inter_file
from recbole_cocorr.data.convert.filters import DUPLICATES, drop_duplicates, k_core
from recbole_cocorr.data.convert.formats import FORMATS
from recbole_cocorr.data.convert.pipeline import convert
from recbole_cocorr.data.convert.rows import RowError, check_token


def is_token(text: str) -> bool:
    try:
        check_token("id", text)
    except RowError:
        return False
    return True


# U+FEFF at the beginning of a file is its byte order mark.
tokens = st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\t\r\n\0\ufeff"), min_size=1).filter(
    is_token
)
plain_tokens = tokens.filter(lambda text: ":" not in text)
numbers = st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(2**53), 2**53)
seconds = st.integers(-62135596800, 253402300799)  # years 1 to 9999


def as_csv(row) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="").writerow(row)
    return text.getvalue()


def as_amazon(spell):
    names = ("reviewerID", "asin", "overall", "unixReviewTime")
    return lambda row: spell(dict(zip(names, row, strict=True)) | {"reviewText": 'it\'s "fine"'})


def as_yelp(row) -> str:
    user, item, rating, time = row
    date = datetime(1970, 1, 1) + timedelta(seconds=time)
    text = f"{date.year:04}-{date:%m-%d %H:%M:%S}"
    return json.dumps({"user_id": user, "business_id": item, "stars": rating, "date": text, "useful": 0})


WRITERS = {
    "csv": ("amazon-ratings", tokens, numbers, as_csv),
    "csv, 2018": ("amazon-ratings-2018", tokens, numbers, lambda row: as_csv((row[1], row[0], *row[2:]))),
    "json": ("amazon-5core", tokens, numbers, as_amazon(json.dumps)),
    "literals": ("amazon-5core", tokens, numbers, as_amazon(repr)),
    "yelp": ("yelp", tokens, seconds, as_yelp),
    "dat": ("movielens-dat", plain_tokens, numbers, lambda row: "::".join(map(str, row))),
}


@pytest.mark.parametrize("writer", WRITERS)
@settings(max_examples=40, deadline=None)
@given(data=st.data(), zipped=st.booleans(), end=st.sampled_from(["\n", "\r\n", "\n\n"]))
def test_what_was_written_raw_is_read_back(writer, data, zipped, end):
    format, ids, times, spell = WRITERS[writer]
    rows = data.draw(st.lists(st.tuples(ids, ids, numbers, times), min_size=1, max_size=8))
    raw = "".join(spell(row) + end for row in rows).encode()
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, "raw")
        source.write_bytes(gzip.compress(raw) if zipped else raw)
        report = convert(source, format, "d", folder)
        # As RecBole reads it.
        names = report.path.read_text(encoding="utf-8").partition("\n")[0].split("\t")
        types = {name: float if name.endswith(":float") else str for name in names}
        table = pd.read_csv(report.path, delimiter="\t", dtype=types, engine="python")
        fields = [line.split("\t") for line in report.path.read_text(encoding="utf-8").split("\n")[1:-1]]
        check_inter_file(report.path, ["user_id", "item_id:token", "timestamp:float"])
    expected = [(user, item, float(rating), float(time)) for user, item, rating, time in rows]
    assert [(*row[:2], *map(float, row[2:])) for row in fields] == expected
    assert [tuple(row[:2]) for row in table.itertuples(index=False)] == [row[:2] for row in expected]
    # pandas' own conversion is off by a last digit or two.
    assert np.allclose(table.to_numpy()[:, 2:].astype(float), [row[2:] for row in expected], rtol=1e-12, atol=0)
    assert (report.users, report.items) == (len({r[0] for r in rows}), len({r[1] for r in rows}))


pieces = """A1,B1,5.0,100|1::2::3::4|{"user_id": "u", "business_id": "b", "stars": 1, "date": "2018-01-01"}
{"reviewerID": "A", "asin": "B", "overall": 1, "unixReviewTime": 1}|"|,|::|{|}|[|'|:|1e999|NaN|\\ud800"""
fragments = st.sampled_from(
    [
        *pieces.replace("\n", "|").encode().split(b"|"),
        b"\n",
        b"\r",
        b"\xff",
        b"\0",
        b"\x1f\x8b",
        b"\xef\xbb\xbf",
    ]
)
garbage = st.lists(fragments | st.binary(max_size=12), max_size=12).map(b"".join)


@pytest.mark.parametrize("format", FORMATS)
@settings(max_examples=80, deadline=None)
@given(content=garbage, zipped=st.booleans(), cut=st.integers(0, 30), skip=st.booleans())
def test_garbage_is_converted_or_refused(format, content, zipped, cut, skip):
    data = gzip.compress(content) if zipped else content
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, "raw")
        source.write_bytes(data[: max(0, len(data) - cut)] if zipped else data)
        try:
            columns = "user=1,item=2,time=4,rating=3" if format == "csv" else None
            report = convert(source, format, "d", folder, on_error="skip" if skip else "fail", columns=columns)
        except UserError as error:
            assert "\n" not in str(error) and str(source) in str(error)
            assert [path.name for path in Path(folder).iterdir()] == ["raw"]
        else:
            rated = format == "csv" or FORMATS[format].rated
            check_inter_file(report.path, ["user_id", "item_id", *(["rating"] if rated else []), "timestamp"])
            assert report.read == report.written + report.skipped


interactions = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6), st.integers(0, 3)), max_size=40)


def columns(rows):
    users, items, times = zip(*rows, strict=True) if rows else ((), (), ())
    return array("I", users), array("I", items), array("d", times)


@settings(deadline=None)
@given(interactions, st.integers(0, 4), st.integers(0, 4), st.data())
def test_k_core_against_the_obvious(rows, min_user, min_item, data):
    keep = bytearray(data.draw(st.lists(st.booleans(), min_size=len(rows), max_size=len(rows))))
    expected = [(place, *row[:2]) for place, row in enumerate(rows) if keep[place]]
    before = len(expected)
    while True:
        user_count, item_count = Counter(u for _, u, _ in expected), Counter(i for _, _, i in expected)
        left = [r for r in expected if user_count[r[1]] >= min_user and item_count[r[2]] >= min_item]
        if left == expected:
            break
        expected = left
    users, items, _ = columns(rows)
    dropped = k_core(users, items, min_user, min_item, keep)
    assert [place for place, live in enumerate(keep) if live] == [place for place, _, _ in expected]
    assert dropped == before - len(expected)


@pytest.mark.parametrize("rule", DUPLICATES)
@settings(deadline=None)
@given(interactions)
def test_duplicates_against_the_obvious(rule, rows):
    expected = []
    for place, (user, item, time) in enumerate(rows):
        same = [(t, p) for p, (u, i, t) in enumerate(rows) if (u, i) == (user, item)]
        stays = {
            "keep": True,
            "exact": not any(t == time and p < place for t, p in same),
            "first": (time, place) == min(same),
            "last": (time, place) == max(same),
        }
        if stays[rule]:
            expected.append(place)
    keep = bytearray(b"\1") * len(rows)
    dropped = drop_duplicates(*columns(rows), rule, keep)
    assert [place for place, live in enumerate(keep) if live] == expected
    assert dropped == len(rows) - len(expected)


def test_unknown_rule():
    with pytest.raises(ValueError, match="it is one of keep, exact, first, last"):
        drop_duplicates([], [], [], "none", bytearray())
