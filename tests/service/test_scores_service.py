"""The Score RPC: what it answers, what it refuses, and its life beside Correct."""

import asyncio
import json
import os
import time
from concurrent.futures import ThreadPoolExecutor

import grpc
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from recbole_cocorr.__main__ import main
from recbole_cocorr.correctors import ItemItem, Trust
from recbole_cocorr.correctors.folder import save_corrector
from recbole_cocorr.service.server.score_model import ScoreModel, ScoreQuery, load_score_model
from recbole_cocorr.service.server.settings import ServeSettings
from recbole_cocorr.service.v1 import correction_pb2 as pb
from recbole_cocorr.service.wire import DESCRIBE, FLOAT16, FLOAT32, SCORE, decode_scores, encode_items
from tests.device import ITEMS, TOKENS, clicks
from tests.service import TOKEN, ask, held, request, serving
from tests.service.test_client import until
from tests.service.test_service import value

OK, INVALID = grpc.StatusCode.OK, grpc.StatusCode.INVALID_ARGUMENT
EXHAUSTED, OTHER = grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.FAILED_PRECONDITION
CLICKED, SOME = [3, 9, 4, 9], [1, 5, 9, 39, 5, 17]


@pytest.fixture(scope="module")
def scoring(checkpoint, corrector):
    """A server of corrections and scores, to be left as it is."""
    with serving(ServeSettings(str(checkpoint), "127.0.0.1:0", str(corrector))) as running:
        yield running


@pytest.fixture
def line(scoring):
    with grpc.insecure_channel(f"127.0.0.1:{scoring.port}") as made:
        yield made


def asking(fingerprint: str, rows=CLICKED, some=SOME, **changed) -> bytes:
    parts = {"corrector": bytes.fromhex(fingerprint), "clicks": 7}
    parts |= {"clicked": np.array(rows, "<i4").tobytes(), "candidates": np.array(some, "<i4").tobytes()}
    return pb.ScoreRequest(**{**parts, **changed}).SerializeToString()


def score(channel, raw: bytes, **how):
    return ask(channel, raw, method=SCORE, **how)


@pytest.mark.parametrize("encoding", [FLOAT32, FLOAT16])
@pytest.mark.parametrize("count", [1, 10, 128])
def test_the_answer_is_the_correctors(scoring, line, item_item, encoding, count):
    rows = clicks(count, seed=count)
    code, raw = score(line, asking(scoring.scorer.fingerprint, rows, encoding=encoding))
    reply = pb.ScoreReply.FromString(raw)
    assert code is OK
    assert (reply.corrector.hex(), reply.clicks, reply.encoding) == (scoring.scorer.fingerprint, 7, encoding)
    wanted = item_item.scores([np.array(rows)], np.array([SOME]))[0]
    assert np.abs(wanted).max() > 0
    found = decode_scores(reply.scores, encoding, len(SOME))
    assert np.array_equal(found, wanted if encoding == FLOAT32 else wanted.astype(np.float16).astype(np.float32))
    assert len(reply.scores) == len(SOME) * (4 if encoding == FLOAT32 else 2)


def test_every_row_of_a_batch_gets_its_own(item_item):
    generator = np.random.default_rng(2)
    asked = [
        ScoreQuery(generator.integers(1, ITEMS, n), generator.integers(1, ITEMS, m), encoding)
        for n, m, encoding in ((1, 9, 0), (50, 1, 1), (7, 30, 1), (7, 9, 0))
    ]
    for a, payload in zip(asked, ScoreModel("f", item_item).correct(asked), strict=True):
        wanted = item_item.scores([a.clicked], a.candidates[None])[0]
        found = decode_scores(payload, a.encoding, len(a.candidates))
        assert np.array_equal(found, wanted if a.encoding == FLOAT32 else wanted.astype(np.float16))


def test_the_largest_request_passes_and_one_row_more_does_not(scoring, line):
    fingerprint = scoring.scorer.fingerprint
    code, raw = score(line, asking(fingerprint, clicks(128), clicks(512)))
    assert code is OK and len(pb.ScoreReply.FromString(raw).scores) == 2048
    assert score(line, asking(fingerprint, clicks(129)))[0] is INVALID
    assert score(line, asking(fingerprint, some=clicks(513)))[0] is INVALID


def test_describe(scoring, line, corrector):
    code, raw = ask(line, b"", method=DESCRIBE)
    told = pb.DescribeReply.FromString(raw)
    assert code is OK and (told.fingerprint.hex(), told.width) == (scoring.model.fingerprint, 16)
    assert told.corrector.hex() == json.loads((corrector / "trust.json").read_text())["corrector"]
    assert (told.items, told.most_clicks, told.most_candidates) == (ITEMS, 128, 512)


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"corrector": b"x" * 16}, OTHER),
        ({"corrector": b"x" * 15}, INVALID),
        ({"corrector": b""}, INVALID),
        ({"clicks": 0}, INVALID),
        ({"encoding": 2}, INVALID),  # int8 is none of scores
        ({"encoding": 77}, INVALID),
        ({"clicked": b""}, INVALID),
        ({"candidates": b""}, INVALID),
        ({"clicked": b"123"}, INVALID),
        ({"candidates": b"12345"}, INVALID),
        ({"clicked": bytes(4)}, INVALID),  # padding
        ({"candidates": np.array([ITEMS], "<i4").tobytes()}, INVALID),
        ({"candidates": np.array([-1], "<i4").tobytes()}, INVALID),
        ({"candidates": np.array([1 << 30], "<i4").tobytes()}, INVALID),
        ({"candidates": bytes(100_000)}, EXHAUSTED),
    ],
)
def test_a_request_that_does_not_fit(scoring, line, change, code):
    assert score(line, asking(scoring.scorer.fingerprint, **change))[0] is code


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_any_bytes_get_an_error_and_never_stop_the_server(scoring, line, data):
    good = asking(scoring.scorer.fingerprint)
    kind = data.draw(st.sampled_from(["bytes", "changed", "fields"]))
    if kind == "bytes":
        raw = data.draw(st.binary(max_size=400))
    elif kind == "changed":
        at = data.draw(st.integers(0, len(good) - 1))
        raw = good[:at] + data.draw(st.binary(max_size=6)) + good[at + data.draw(st.integers(0, 6)) :]
    else:
        raw = pb.ScoreRequest(
            corrector=data.draw(st.sampled_from([bytes.fromhex(scoring.scorer.fingerprint), b"", b"y" * 16])),
            clicks=data.draw(st.integers(0, 2**64 - 1)),
            encoding=data.draw(st.integers(-(2**31), 2**31 - 1)),
            clicked=data.draw(st.binary(max_size=600)),
            candidates=data.draw(st.binary(max_size=600)),
        ).SerializeToString()
    assert score(line, raw)[0] in {OK, INVALID, OTHER, EXHAUSTED}
    assert score(line, good)[0] is OK


@pytest.mark.parametrize("served", ["corrections", "scores"])
def test_what_is_not_served_is_refused(checkpoint, corrector, rows, served):
    chosen = {"checkpoint": str(checkpoint)} if served == "corrections" else {"corrector": str(corrector)}
    with (
        serving(ServeSettings(listen="127.0.0.1:0", **chosen)) as server,
        grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel,
    ):
        model, scorer = server.model, server.scorer
        assert (model is None, scorer is None) == (served == "scores", served == "corrections")
        asked = ask(channel, request(model.fingerprint if model else "ab" * 16, rows))
        scored = score(channel, asking(scorer.fingerprint if scorer else "ab" * 16))
        refused, answered = (scored, asked) if served == "corrections" else (asked, scored)
        assert answered[0] is OK and refused[0] is OTHER
        assert "this service has no" in refused[1]
        told = pb.DescribeReply.FromString(ask(channel, b"", method=DESCRIBE)[1])
        assert (bool(told.fingerprint), bool(told.corrector)) == (model is not None, scorer is not None)
        metric = "corrector_info" if served == "corrections" else "model_info"
        text = [s for m in server.metrics.registry.collect() for s in m.samples if s.name.endswith(metric)]
        assert not text


def test_tokens(corrector, monkeypatch):
    monkeypatch.setenv("RECBOLE_COCORR_TOKENS", TOKEN)
    with (
        serving(ServeSettings("", "127.0.0.1:0", str(corrector))) as server,
        grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel,
    ):
        good = asking(server.scorer.fingerprint)
        assert score(channel, good, metadata=[("authorization", f"Bearer {TOKEN}")])[0] is OK
        for refused in ([], [("authorization", f"Bearer {TOKEN}x")]):
            assert score(channel, good, metadata=refused)[0] is grpc.StatusCode.UNAUTHENTICATED


@pytest.fixture
def gate(monkeypatch):
    with held(monkeypatch, ScoreModel) as events:
        yield events


def test_a_full_queue_is_refused_work_is_dropped_and_corrections_do_not_wait(checkpoint, corrector, rows, gate):
    limits = ServeSettings(str(checkpoint), "127.0.0.1:0", str(corrector), max_queue=2)
    with (
        serving(limits) as server,
        ThreadPoolExecutor(8) as pool,
        grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel,
    ):

        def queued() -> float:
            return value(server, "queued", method="Score")

        good = asking(server.scorer.fingerprint)
        first = pool.submit(score, channel, good)
        assert gate[0].wait(20)
        late = pool.submit(score, channel, good, timeout=1.0)
        until(lambda: late.done() or queued() >= 1)
        waiting = pool.submit(score, channel, good)
        until(lambda: queued() >= 2)
        code, reason = score(channel, good)
        assert code is EXHAUSTED and "too many requests wait" in reason
        assert ask(channel, request(server.model.fingerprint, rows))[0] is OK
        assert late.result()[0] is grpc.StatusCode.DEADLINE_EXCEEDED
        time.sleep(0.2)  # the server's clock for it began a little later
        gate[1].set()
        assert first.result()[0] is waiting.result()[0] is OK
        assert value(server, "dropped_total", method="Score") == 1
        assert value(server, "batch_size_sum", method="Score") == 2
        assert value(server, "batch_size_sum", method="Correct") == 1
        assert value(server, "requests_total", method="Score", code="OK") == 2


def test_a_crowded_connection_waits(corrector, gate):
    with (
        serving(ServeSettings("", "127.0.0.1:0", str(corrector), max_per_connection=2)) as server,
        ThreadPoolExecutor(8) as pool,
        grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel,
    ):
        good = asking(server.scorer.fingerprint)
        taken = [pool.submit(score, channel, good)]
        assert gate[0].wait(20)
        taken.append(pool.submit(score, channel, good))
        until(lambda: value(server, "queued", method="Score") >= 1)
        taken.append(pool.submit(score, channel, good))  # waits at the client
        gate[1].set()
        assert [f.result()[0] for f in taken] == [OK] * 3


def test_a_stop_answers_what_was_taken_in(corrector, gate):
    with (
        ThreadPoolExecutor(4) as pool,
        serving(ServeSettings("", "127.0.0.1:0", str(corrector))) as server,
        grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel,
    ):
        good = asking(server.scorer.fingerprint)
        taken = [pool.submit(score, channel, good)]
        assert gate[0].wait(20)  # or the first batch could have more than one of them
        taken += [pool.submit(score, channel, good) for _ in range(2)]
        until(lambda: value(server, "queued", method="Score") >= 2)
        stopping = asyncio.run_coroutine_threadsafe(server.stop(), server.loop)
        gate[1].set()
        stopping.result(20)
        server.port = 0
        assert [f.result()[0] for f in taken] == [OK] * 3


def reload(server) -> bool:
    return asyncio.run_coroutine_threadsafe(server.reload(), server.loop).result(20)


def test_a_new_corrector_is_taken_over_and_a_bad_one_is_not(checkpoint, item_item, tmp_path):
    folder = tmp_path / "c"
    old = save_corrector(folder, item_item, Trust(1.0, 0.0), TOKENS, "f" * 32, {})
    with (
        serving(ServeSettings(str(checkpoint), "127.0.0.1:0", str(folder))) as server,
        grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel,
    ):
        assert server.scorer.fingerprint == old
        (folder / "item_item.safetensors").write_bytes(b"half a file")
        assert not reload(server)
        (folder / "trust.json").unlink()
        assert not reload(server)
        assert value(server, "reloads_total", result="failed") == 2
        assert score(channel, asking(old))[0] is OK
        # A corrector may be of more items than the one before.
        larger = ItemItem.fit(np.arange(900) % 90, 1 + np.arange(900) % 59, 60, 1.0, 20)
        new = save_corrector(folder, larger, Trust(1.0, 0.0), [f"x{n}" for n in range(60)], "f" * 32, {})
        assert reload(server) and value(server, "corrector_info", fingerprint=new) == 1
        assert value(server, "corrector_info", fingerprint=old) == 0
        code, reason = score(channel, asking(old))
        assert code is OTHER and f"another one than the service's, {new}" in reason
        assert score(channel, asking(new, some=[59]))[0] is OK
        assert server.model is not None


def test_a_new_corrector_is_noticed(item_item, tmp_path):
    folder = tmp_path / "c"
    save_corrector(folder, item_item, Trust(1.0, 0.0), TOKENS, "f" * 32, {})
    with serving(ServeSettings("", "127.0.0.1:0", str(folder), watch=0.01)) as server:
        watching = asyncio.run_coroutine_threadsafe(server.watch(), server.loop)
        decayed = ItemItem(item_item.weights, 0.5)
        new = save_corrector(folder, decayed, Trust(1.0, 0.0), TOKENS, "f" * 32, {})
        os.utime(folder / "trust.json", ns=(1, 1))
        until(lambda: server.scorer.fingerprint == new)
        watching.cancel()


def test_a_folder_that_is_none(tmp_path, corrector, capsys):
    assert main(["serve", "--corrector", str(tmp_path), "--listen", "127.0.0.1:0"]) == 2
    assert "fit-corrector makes it" in capsys.readouterr().err
    assert main(["serve", "--listen", "127.0.0.1:0"]) == 2
    said = capsys.readouterr().err
    assert "--checkpoint FILE.safetensors or --corrector DIR" in said and said.count("\n") == 1
    loaded = load_score_model(corrector)
    assert loaded.items == ITEMS
    assert encode_items([1]) == b"\x01\x00\x00\x00"
