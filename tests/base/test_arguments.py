"""The command line's numbers."""

import argparse

import pytest

from recbole_cocorr.base.arguments import count, number


@pytest.mark.parametrize(("text", "found"), [("1", 1), ("0042", 42), ("10000000", 10_000_000)])
def test_counts(text, found):
    assert count(text) == found


@pytest.mark.parametrize("text", ["0", "-1", "1.5", "10000001", "1" * 5000, "x", "", " 1", "\u0661"])
def test_what_is_no_count(text):
    with pytest.raises(argparse.ArgumentTypeError, match=r"is not a whole number from 1 to 10000000$"):
        count(text)


@pytest.mark.parametrize(("text", "found"), [("0", 0.0), ("1e3", 1000.0), ("60000", 60000.0)])
def test_numbers(text, found):
    assert number(text, 60_000) == found


@pytest.mark.parametrize("text", ["-1", "60000.1", "nan", "inf", "x", ""])
def test_what_is_no_number(text):
    with pytest.raises(argparse.ArgumentTypeError, match=r"is not a number from 0 to 60000$"):
        number(text, 60_000)
