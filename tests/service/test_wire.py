"""Bytes: sizes to the byte, back and forth, and what is refused."""

import importlib.util
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from recbole_cocorr.service import wire
from recbole_cocorr.service.v1 import correction_pb2 as pb
from tests.conftest import CHECKOUT

FLOATS = st.floats(-1000, 1000, width=32)


def test_sizes_are_the_papers():
    assert len(wire.encode_rows(np.ones((10, 64)))) == 2560
    shape = wire.Shape(4, 10, 16)
    assert shape.bytes == 4160
    assert len(wire.encode_correction(np.zeros(shape.attention), np.zeros(shape.bias))) == 4160
    assert len(wire.encode_rows(np.ones((10, 64)), wire.FLOAT16)) == 1280
    assert len(wire.encode_rows(np.ones((10, 64)), wire.INT8)) == 680


def test_float32_is_little_endian_row_after_row():
    assert wire.encode_rows(np.array([[1.0, -2.0]])) == b"\x00\x00\x80\x3f\x00\x00\x00\xc0"


@given(arrays.arrays(np.float32, st.tuples(st.integers(1, 7), st.integers(1, 9)), elements=FLOATS))
def test_rows_come_back(rows):
    width = rows.shape[1]
    exact = wire.decode_rows(wire.encode_rows(rows), wire.FLOAT32, width, 7)
    assert exact.dtype == np.float32
    assert np.array_equal(exact, rows)
    half = wire.decode_rows(wire.encode_rows(rows, wire.FLOAT16), wire.FLOAT16, width, 7)
    assert np.array_equal(half, rows.astype(np.float16).astype(np.float32))
    small = wire.decode_rows(wire.encode_rows(rows, wire.INT8), wire.INT8, width, 7)
    step = np.abs(rows).max(axis=1, keepdims=True) / 127
    assert (np.abs(small - rows) <= 0.501 * step + 1e-37).all()


@given(st.binary(max_size=300), st.integers(-2, 9), st.integers(1, 9), st.integers(1, 5))
def test_any_bytes_are_rows_or_an_error(payload, encoding, width, most):
    try:
        rows = wire.decode_rows(payload, encoding, width, most)
    except wire.WireError:
        return
    assert rows.shape[1] == width and 1 <= len(rows) <= most
    assert np.isfinite(rows).all()


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 2e6])
def test_numbers_that_no_hidden_state_has_are_refused(bad):
    rows = np.ones((2, 3), np.float32)
    rows[1, 2] = bad
    with pytest.raises(wire.WireError, match="not finite"):
        wire.decode_rows(rows.tobytes(), wire.FLOAT32, 3, 7)


@given(st.binary(max_size=200))
def test_any_bytes_are_a_correction_or_an_error(payload):
    shape = wire.Shape(1, 2, 3)
    try:
        attention, bias = wire.decode_correction(payload, shape)
    except wire.WireError:
        return
    assert len(payload) == 40 and attention.shape == (1, 2, 2) and bias.shape == (1, 2, 3)


def test_a_correction_comes_back():
    rng, shape = np.random.default_rng(0), wire.Shape(2, 3, 4)
    attention, bias = (rng.standard_normal(s).astype(np.float32) for s in (shape.attention, shape.bias))
    again = wire.decode_correction(wire.encode_correction(attention, bias), shape)
    assert np.array_equal(again[0], attention) and np.array_equal(again[1], bias)
    bias[0, 0, 0] = np.nan
    with pytest.raises(wire.WireError, match="not finite"):
        wire.decode_correction(wire.encode_correction(attention, bias), shape)


def test_sizes_of_scores_are_the_documented():
    assert len(wire.encode_items(range(1, 11))) + len(wire.encode_items(range(1, 101))) == 440
    assert len(wire.encode_scores(np.zeros(100), wire.FLOAT16)) == 200
    assert 4 * (wire.MOST_CLICKS + wire.MOST_CANDIDATES) == 2560
    assert wire.encode_items([1, 258]) == b"\x01\x00\x00\x00\x02\x01\x00\x00"
    assert wire.encode_scores([1.0, -2.0], wire.FLOAT16) == b"\x00\x3c\x00\xc0"


@given(st.lists(st.integers(1, 2**31 - 1), min_size=1, max_size=9))
def test_items_come_back(rows):
    assert wire.decode_items(wire.encode_items(rows), 2**31, 9, "clicks").tolist() == rows


@pytest.mark.parametrize("bad", [[], [0], [-1], [2**31], [1.0], [[1]], ["1"], [True], 3])
def test_what_is_no_row_is_not_sent(bad):
    with pytest.raises(wire.WireError, match="rows of the catalogue"):
        wire.encode_items(bad)


@given(st.binary(max_size=60), st.integers(1, 2**31), st.integers(1, 12))
def test_any_bytes_are_items_or_an_error(payload, n_items, most):
    try:
        rows = wire.decode_items(payload, n_items, most, "clicks")
    except wire.WireError:
        return
    assert len(rows) == len(payload) // 4 and 1 <= len(rows) <= most
    assert rows.min() >= 1 and rows.max() < n_items


@given(
    arrays.arrays(np.float32, st.integers(1, 9), elements=st.floats(width=32, allow_nan=False, allow_infinity=False))
)
def test_scores_come_back(scores):
    exact = wire.decode_scores(wire.encode_scores(scores, wire.FLOAT32), wire.FLOAT32, len(scores))
    assert np.array_equal(exact, scores)
    half = wire.decode_scores(wire.encode_scores(scores, wire.FLOAT16), wire.FLOAT16, len(scores))
    assert np.array_equal(half, np.clip(scores, -65504, 65504).astype(np.float16).astype(np.float32))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_scores_that_are_not_finite_are_neither_sent_nor_read(bad):
    scores = np.array([1.0, bad], np.float32)
    for encoding, kind in ((wire.FLOAT32, "<f4"), (wire.FLOAT16, "<f2")):
        with pytest.raises(wire.WireError, match="not finite"):
            wire.encode_scores(scores, encoding)
        with pytest.raises(wire.WireError, match="not finite"):
            wire.decode_scores(scores.astype(kind).tobytes(), encoding, 2)
    with pytest.raises(wire.WireError, match="float32"):
        wire.encode_scores(scores[:1], wire.INT8)


@given(st.binary(max_size=40), st.integers(-3, 9), st.integers(0, 12))
def test_any_bytes_are_scores_or_an_error(payload, encoding, count):
    try:
        scores = wire.decode_scores(payload, encoding, count)
    except wire.WireError:
        return
    assert len(scores) == count and np.isfinite(scores).all()


def test_encodings_are_the_protos():
    assert dict(pb.Encoding.items()) == {name.upper(): number for name, number in wire.ENCODINGS.items()}
    assert pb.DESCRIPTOR.services_by_name["Corrections"].full_name == wire.SERVICE


@pytest.mark.skipif(importlib.util.find_spec("grpc_tools") is None, reason="grpcio-tools is not installed")
def test_the_generated_code_is_of_the_proto(tmp_path):
    name = "recbole_cocorr/service/v1/correction.proto"
    command = [sys.executable, "-m", "grpc_tools.protoc", "-I.", f"--python_out={tmp_path}", name]
    subprocess.run(command, cwd=CHECKOUT, check=True)
    made = (tmp_path / name).with_name("correction_pb2.py").read_text()
    assert made == (CHECKOUT / name).with_name("correction_pb2.py").read_text(), "run `make proto`"
