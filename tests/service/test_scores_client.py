"""The client's requests for scores: what it makes of each answer, and that each RPC has a breaker of its own."""

import os
import signal

import grpc
import numpy as np
import pytest

from recbole_cocorr.base.errors import UserError
from recbole_cocorr.correctors.folder import load_corrector
from recbole_cocorr.service.client.breaker import Breaker
from recbole_cocorr.service.client.client import CORRECTED, LATE, OFFLINE, REFUSED, Client
from recbole_cocorr.service.v1 import correction_pb2 as pb
from recbole_cocorr.service.wire import SCORE, SERVICE
from tests.service import answering, process
from tests.service.test_client import FINGERPRINT, LONG, SHAPE, eager, until

CORRECTOR = "cd" * 16
CLICKED, SOME = [3, 9, 4], [1, 5, 9, 39]


def good(raw: bytes, **changed) -> bytes:
    asked = pb.ScoreRequest.FromString(raw)
    parts = {"corrector": asked.corrector, "clicks": asked.clicks, "encoding": asked.encoding, "scores": bytes(8)}
    return pb.ScoreReply(**{**parts, **changed}).SerializeToString()


def asks(address: str, **settings) -> Client:
    return Client(address, None, None, LONG, corrector=CORRECTOR, **settings)


def test_what_is_sent_and_what_comes_back():
    seen = []

    def answer(raw, context):
        seen.append(pb.ScoreRequest.FromString(raw))
        return good(raw, scores=np.array([1, 2, 3, 4.5], "<f2").tobytes())

    with answering("Score", answer) as address, asks(address) as client:
        pending = client.score(CLICKED, SOME, 5)
        found = pending.answer(LONG)
        assert (found.status, found.content.tolist(), found.bytes) == (CORRECTED, [1, 2, 3, 4.5], 8)
        assert pending.upload_bytes == 28
    (sent,) = seen
    assert (sent.corrector.hex(), sent.clicks, sent.encoding) == (CORRECTOR, 5, 1)
    assert np.frombuffer(sent.clicked, "<i4").tolist() == CLICKED
    assert np.frombuffer(sent.candidates, "<i4").tolist() == SOME


BAD = {
    "garbage": lambda raw: b"\xff" * 50,
    "empty": lambda raw: b"",
    "another corrector": lambda raw: good(raw, corrector=b"x" * 16),
    "other clicks": lambda raw: good(raw, clicks=8),
    "another encoding": lambda raw: good(raw, encoding=0, scores=bytes(16)),
    "an unknown encoding": lambda raw: good(raw, encoding=9),
    "too few": lambda raw: good(raw, scores=bytes(6)),
    "too many": lambda raw: good(raw, scores=bytes(10)),
    "NaN": lambda raw: good(raw, scores=np.full(4, np.nan, "<f2").tobytes()),
    "infinite": lambda raw: good(raw, scores=np.full(4, np.inf, "<f2").tobytes()),
}


@pytest.mark.parametrize("kind", BAD)
def test_what_is_no_answer_is_refused(kind):
    with (
        answering("Score", lambda raw, context: BAD[kind](raw)) as address,
        asks(address, score_breaker=Breaker(failures=2, first=60, longest=60)) as client,
    ):
        answers = [client.score(CLICKED, SOME, 7).answer(LONG) for _ in range(3)]
        assert [a.status for a in answers] == [REFUSED] * 3
        assert answers[0].content is None and answers[0].reason.startswith("the answer cannot be used")
        # The third was not even sent.
        assert client.score(CLICKED, SOME, 7).upload_bytes == 0


@pytest.mark.parametrize(
    ("code", "status", "lasting"),
    [
        (grpc.StatusCode.FAILED_PRECONDITION, REFUSED, True),
        (grpc.StatusCode.UNAUTHENTICATED, REFUSED, True),
        (grpc.StatusCode.UNIMPLEMENTED, REFUSED, True),  # a service from before there were scores
        (grpc.StatusCode.RESOURCE_EXHAUSTED, REFUSED, False),
        (grpc.StatusCode.INVALID_ARGUMENT, REFUSED, False),
        (grpc.StatusCode.UNAVAILABLE, OFFLINE, False),
        (grpc.StatusCode.INTERNAL, OFFLINE, False),
    ],
)
def test_errors(code, status, lasting):
    calls = []

    def answer(raw, context):
        calls.append(raw)
        context.abort(code, "no")

    with (
        answering("Score", answer) as address,
        asks(address, score_breaker=Breaker(failures=3, first=60, longest=60)) as client,
    ):
        assert {client.score(CLICKED, SOME, 1).answer(LONG).status for _ in range(2)} == {status}
        assert len(calls) == (1 if lasting else 2)


def test_a_breaker_each(rows):
    with (
        answering("Score", lambda raw, context: good(raw)) as address,
        Client(address, FINGERPRINT, SHAPE, LONG, corrector=CORRECTOR) as client,
    ):
        for _ in range(4):  # the service knows no Correct
            assert client.correct(rows, 1, LONG).status == REFUSED
            assert client.score(CLICKED, SOME, 1).answer(LONG).status == CORRECTED
        assert client.breaker.reason and not client.score_breaker.reason


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"corrector": None}, "or both"),
        ({"fingerprint": FINGERPRINT}, "or both"),
        ({"shape": SHAPE}, "or both"),
        ({"corrector": "x"}, "corrector is 'x'"),
        ({"score_encoding": "int8"}, "float16, float32"),
    ],
)
def test_settings_that_do_not_fit(settings, words):
    with pytest.raises(UserError, match=words):
        Client(**{"target": "127.0.0.1:1", "fingerprint": None, "shape": None, "corrector": CORRECTOR, **settings})


def test_what_cannot_be_asked(rows):
    with asks("127.0.0.1:1", score_breaker=eager()) as client:
        for clicked, some in (
            ([], SOME),
            (CLICKED, []),
            ([0], SOME),
            (CLICKED, [-1]),
            ([1] * 129, SOME),
            ([1], [1] * 513),
        ):
            with pytest.raises(UserError, match="items that cannot be sent"):
                client.score(clicked, some, 1)
        with pytest.raises(UserError, match="asks for no corrections"):
            client.upload(rows, 1)
    with Client("127.0.0.1:1", FINGERPRINT, SHAPE) as client, pytest.raises(UserError, match="asks for no scores"):
        client.score(CLICKED, SOME, 1)


def test_killed_frozen_and_started_again_on_one_client(checkpoint, corrector, item_item):
    flags = ("--corrector", str(corrector))
    running, port = process(checkpoint, *flags)
    _, _, fingerprint = load_corrector(corrector)
    wanted = item_item.scores([np.array(CLICKED)], np.array([SOME]))[0]
    breaker = Breaker(failures=2, first=0.01, longest=0.1)
    settings = {"corrector": fingerprint, "score_encoding": "float32", "score_breaker": breaker}
    with Client(f"127.0.0.1:{port}", None, None, LONG, **settings) as client:

        def asked(wait: float = LONG):
            pending = client.score(CLICKED, SOME, 1)
            found = pending.answer(wait)
            if found.status == LATE:
                pending.cancel()
            assert found.content is None or np.array_equal(found.content, wanted)
            return found.status

        assert asked() == CORRECTED
        os.kill(running.pid, signal.SIGSTOP)
        assert {asked(0.02) for _ in range(50)} == {LATE, OFFLINE}
        os.kill(running.pid, signal.SIGCONT)
        until(lambda: asked() == CORRECTED)
        running.kill()
        running.wait()
        until(lambda: asked() == OFFLINE)
        running, _ = process(checkpoint, *flags, port=port)
        until(lambda: asked() == CORRECTED)
    running.send_signal(signal.SIGTERM)
    assert running.wait(LONG) == 0


def test_the_method_is_the_protos():
    assert f"/{SERVICE}/{pb.DESCRIPTOR.services_by_name['Corrections'].methods_by_name['Score'].name}" == SCORE
