"""The state file: what is saved comes back, and nothing else is taken for it."""

import dataclasses
import os
import random
import signal
import struct
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recbole_cocorr.base.errors import UserError
from recbole_cocorr.base.files import atomic_write
from recbole_cocorr.device import Session
from recbole_cocorr.device.state import Layout, Snapshot, load_state, pack, unpack
from recbole_cocorr.exporter.check import reference
from tests.conftest import CHECKOUT
from tests.device import ITEMS, TOKENS, WINDOW, assert_close, clicks, sent_to, tokens_of

LAYOUT = Layout(bytes(range(16)), 4, 3, 9, (2, 3))
FLOATS = st.floats(width=32, allow_nan=False, allow_infinity=False)


def snapshot(policy="carry", count=5, corrected=False) -> Snapshot:
    recent = np.arange(1, 1 + min(count, 3), dtype=np.int32)
    state = np.arange(6, dtype=np.float32).reshape(2, 3)
    return Snapshot(policy, count, corrected, np.arange(4, dtype=np.float32), recent, state)


@given(
    st.sampled_from(["carry", "window"]),
    st.integers(0, 2**64 - 1),
    st.booleans(),
    st.lists(FLOATS, min_size=4, max_size=4),
    st.lists(st.integers(1, 8), min_size=3, max_size=3),
    st.lists(FLOATS, min_size=6, max_size=6),
)
@settings(max_examples=60, deadline=None)
def test_what_is_packed_comes_back(policy, count, corrected, user, recent, state):
    before = Snapshot(
        policy,
        count,
        corrected,
        np.array(user, np.float32),
        np.array(recent[: min(count, 3)], np.int32),
        np.array(state, np.float32).reshape(2, 3),
    )
    raw = pack(before, LAYOUT)
    assert len(raw) == LAYOUT.size() == 48 + 16 + 12 + 24 + 16
    after = unpack(raw, LAYOUT, "file")
    for field in dataclasses.fields(Snapshot):
        ours, theirs = getattr(after, field.name), getattr(before, field.name)
        assert np.array_equal(ours, theirs), field.name


def test_the_layout_is_the_documented_one():
    """Byte by byte, as docs/device.md says: a file of today is read tomorrow."""
    raw = pack(snapshot("window", 5, True), LAYOUT)
    assert raw[:8] == b"RCCSTATE"
    assert struct.unpack("<II", raw[8:16]) == (1, 116)
    assert raw[16:32] == bytes(range(16))
    assert raw[32:36] == b"\1\1\0\0"
    assert struct.unpack("<IQ", raw[36:48]) == (3, 5)
    assert np.frombuffer(raw[48:64], "<f4").tolist() == [0, 1, 2, 3]
    assert np.frombuffer(raw[64:76], "<i4").tolist() == [1, 2, 3]
    assert np.frombuffer(raw[76:100], "<f4").tolist() == [0, 1, 2, 3, 4, 5]


def test_any_changed_byte_is_noticed():
    raw = pack(snapshot(), LAYOUT)
    for place in range(len(raw)):
        for change in (0x01, 0x80):
            damaged = bytearray(raw)
            damaged[place] ^= change
            with pytest.raises(UserError):
                unpack(bytes(damaged), LAYOUT, "file")
    for length in range(len(raw)):
        with pytest.raises(UserError):
            unpack(raw[:length], LAYOUT, "file")
    with pytest.raises(UserError):
        unpack(raw + b"\0", LAYOUT, "file")


@pytest.mark.parametrize("seed", range(60))
def test_parts_of_two_states_are_no_state(seed):
    """Cut, spliced and swapped, with the checksum as it was: refused. Made right: refused, or what a session writes."""
    chance = random.Random(seed)
    one, other = pack(snapshot(), LAYOUT), pack(snapshot("window", 2, True), LAYOUT)
    low, high = sorted(chance.sample(range(8, len(one)), 2))
    mixed = one[:low] + other[low:high] + one[high:]
    if seed % 2:
        size = chance.randint(1, 16)
        mixed = one[:low] + one[high : high + size] + one[low + len(one[high : high + size]) :]
    if mixed not in (one, other):
        with pytest.raises(UserError):
            unpack(mixed, LAYOUT, "file")
    try:
        found = unpack(signed(mixed), LAYOUT, "file")
    except UserError:
        return
    assert np.isfinite(found.user).all() and np.isfinite(found.state).all()
    assert len(found.recent) == min(found.clicks, 3) and (found.recent > 0).all()


@pytest.mark.parametrize("path", ["a\0b", "."])
def test_a_path_that_is_none(path):
    with pytest.raises(UserError, match="state file"):
        load_state(path, LAYOUT)


@given(st.binary(max_size=200))
@settings(max_examples=100, deadline=None)
def test_noise_is_refused(raw):
    for text in (raw, b"RCCSTATE" + raw):
        with pytest.raises(UserError):
            unpack(text, LAYOUT, "file")


def signed(raw: bytes) -> bytes:
    """The bytes with a checksum that is right."""
    import hashlib

    return raw[:-16] + hashlib.blake2b(raw[:-16], digest_size=16).digest()


def with_bytes(place: int, new: bytes) -> bytes:
    raw = pack(snapshot(), LAYOUT)
    return signed(raw[:place] + new + raw[place + len(new) :])


@pytest.mark.parametrize(
    "raw, message",
    [
        (b"", "is no state file of a session"),
        (b"RCCSTATE", "is cut off: it has 8 bytes"),
        (pack(snapshot(), LAYOUT)[:-1], "is damaged: its contents do not match its checksum"),
        (with_bytes(8, struct.pack("<I", 2)), "has the state format 2; this version reads format 1"),
        (with_bytes(16, b"\xff"), "is of another artifact"),
        (with_bytes(32, b"\2"), "holds what no session writes"),
        (with_bytes(33, b"\2"), "holds what no session writes"),
        (with_bytes(34, b"\1"), "holds what no session writes"),
        (with_bytes(36, struct.pack("<I", 2)), "holds what no session writes"),
        (with_bytes(36, struct.pack("<I", 2**31)), "holds what no session writes"),
        (with_bytes(48, struct.pack("<f", float("nan"))), "holds what no session writes"),
        (with_bytes(64, struct.pack("<i", 0)), "holds what no session writes"),
        (with_bytes(64, struct.pack("<i", 9)), "holds what no session writes"),
        (with_bytes(64, struct.pack("<i", -1)), "holds what no session writes"),
        (with_bytes(80, struct.pack("<f", float("inf"))), "holds what no session writes"),
    ],
)
def test_what_is_refused_and_why(raw, message):
    with pytest.raises(UserError, match=rf"^file {message}"):
        unpack(raw, LAYOUT, "file")


# -- sessions ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["CoCorrRec", "GRU4Rec", "SASRec", "Mamba4Rec"])
@pytest.mark.parametrize("policy", ["carry", "window"])
@pytest.mark.parametrize("count", [0, 1, 5, 6, 20])
def test_a_session_goes_on_where_it_was(written, tmp_path, name, policy, count):
    if name == "SASRec" and policy == "carry":
        return
    _, folder = written(name)
    rows = clicks(30)
    session = Session.open(folder, policy=policy)
    session.history(tokens_of(rows[:count]))
    session.save(tmp_path / "state")
    again = Session.open(folder, state=tmp_path / "state", policy=policy)
    assert (again.source, again.clicks) == ("state", count)
    if count:
        assert np.array_equal(again.user_vector, session.user_vector)
        assert again.rank_all(5) == session.rank_all(5)
    for row in rows[count:]:
        session.click(TOKENS[row])
        again.click(TOKENS[row])
        assert np.array_equal(again.user_vector, session.user_vector)
    assert (tmp_path / "state").stat().st_size == session.layout.size()


def test_a_corrected_session_stays_corrected(written, tmp_path):
    recommender, folder = written()
    session = Session.open(folder)
    session.history(tokens_of(clicks(5)))
    session.apply(sent_to(recommender.model)[1], clicks=5)
    session.save(tmp_path / "state")
    again = Session.open(folder, state=tmp_path / "state")
    assert again.corrected
    assert np.array_equal(again.user_vector, session.user_vector)
    again.apply(sent_to(recommender.model, 8)[1], clicks=5)  # and can be corrected anew
    session.apply(sent_to(recommender.model, 8)[1], clicks=5)
    assert np.array_equal(again.user_vector, session.user_vector)


def test_states_of_others_are_refused(written, tmp_path):
    _, folder = written()
    _, other = written(table="int8")
    session = Session.open(folder, policy="carry")
    session.history(tokens_of(clicks(9)))
    session.save(tmp_path / "state")
    with pytest.raises(UserError, match="state is of another artifact"):
        Session.open(other, state=tmp_path / "state")
    with pytest.raises(UserError, match="was saved under the policy carry; this session's is window"):
        Session.open(folder, state=tmp_path / "state", policy="window")
    with pytest.raises(UserError, match="there is no state file"):
        Session.open(folder, state=tmp_path / "none")


def test_a_session_is_made_again_from_the_log(written, tmp_path):
    recommender, folder = written()
    rows, path = clicks(20), tmp_path / "state"
    log = ["nobody", *tokens_of(rows)]
    session = Session.open(folder, policy="carry")
    session.history(tokens_of(rows[:12]))
    session.save(path)
    good = path.read_bytes()

    def check(source, refused=None, part=rows):
        again = Session.open(folder, state=path, history=iter(["nobody", *tokens_of(part)]), policy="carry")
        assert (again.source, again.clicks) == (source, len(part))
        assert (again.refused is None) if refused is None else (refused in again.refused)
        if part:
            assert_close(again.user_vector, reference(recommender.model, part))

    check("state")  # eight clicks that it has not seen are read
    check("state", part=rows[:12])
    check("history", "is of other clicks than the history", part=rows[:11])
    check("history", "is of other clicks than the history", part=[*rows[:10], 1, 1, *rows[12:]])
    check("history", "is of other clicks than the history", part=[])
    path.write_bytes(good[:-1])
    check("history", "is damaged")
    path.write_bytes(b"")
    check("history", "is no state file")
    path.unlink()
    check("history", "there is no state file")
    again = Session.open(folder, history=log, policy="carry")
    assert (again.source, again.clicks, again.refused) == ("history", 20, None)


def test_leftovers_of_killed_saves_are_tidied_up(written, tmp_path):
    _, folder = written()
    session = Session.open(folder)
    path = tmp_path / "my [state]*"
    session.save(path)
    old, other = (tmp_path / f".{n}.0123456789abcdef.tmp" for n in ("my [state]*", "my [state]*x"))
    for file in (old, other):
        file.write_bytes(b"half")
    with atomic_write(path, "wb", tidy=False) as living:
        load_state(path, session.layout)
        assert not old.exists(), "of a save that was killed"
        assert Path(living.name).exists(), "of a save that is going on"
        assert other.exists(), "of another file"
        living.write(path.read_bytes())


SAVER = """
import sys
from recbole_cocorr.device import Session
folder, path, first = sys.argv[1], sys.argv[2], int(sys.argv[3])
session = Session.open(folder, state=path, policy="carry")
assert session.clicks >= first, (session.clicks, first)
print(session.clicks, flush=True)
while True:
    session.click(f"item-{1 + session.clicks % 30}")
    session.save(path)
"""


def test_killed_while_saving(written, tmp_path):
    """SIGKILL at moments that are spread over many saves: the state opens each time, and is what its clicks make it."""
    recommender, folder = written()
    path = tmp_path / "state"
    session = Session.open(folder, policy="carry")
    session.save(path)
    rows = [1 + i % 30 for i in range(100_000)]
    generator = np.random.default_rng(0)
    seen, reached = 0, []
    environment = {**os.environ, "PYTHONPATH": str(CHECKOUT), "OMP_NUM_THREADS": "1"}
    for _ in range(12):
        command = [sys.executable, "-c", SAVER, str(folder), str(path), str(seen)]
        process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        try:
            assert process.stdout.readline().strip().isdigit(), process.stderr.read().decode()[-2000:]
            for _ in range(5):  # killed in the middle of whatever it does, looked at while it runs
                time.sleep(float(generator.random()) * 0.02)
                assert load_state(path, session.layout).clicks >= seen
        finally:
            process.send_signal(signal.SIGKILL)
            process.wait()
            process.stdout.close()
            process.stderr.close()
        opened = Session.open(folder, state=path, policy="carry")
        assert opened.clicks >= seen
        seen = opened.clicks
        reached.append(seen)
        if 0 < seen < 400:
            assert_close(opened.user_vector, reference(recommender.model, rows[:seen]))
        elif seen:
            again = Session.open(folder, history=tokens_of(rows[:seen]), policy="carry")
            assert_close(opened.user_vector, again.user_vector)
    assert seen > 20, reached
    assert len(set(reached)) > 6, "the processes did save"
    assert opened.artifact.manifest.window == WINDOW
    assert opened.artifact.manifest.items == ITEMS
