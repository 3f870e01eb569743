"""The route for a web page: what gRPC answers, and what is not HTTP."""

import asyncio
import http.client
import json
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from recbole_cocorr.service.server.correction_model import CorrectionModel
from recbole_cocorr.service.server.settings import ServeSettings
from recbole_cocorr.service.server.turns import Turns
from recbole_cocorr.service.wire import decode_correction
from tests.service import TOKEN, held, serving
from tests.service.test_service import expected, value

PLACE = "recbole_cocorr.service.server.connection."


@pytest.fixture(scope="module")
def route(checkpoint):
    made = ServeSettings(str(checkpoint), "127.0.0.1:0", http="127.0.0.1:0", http_origin="http://page:1")
    with serving(made) as running:
        yield running


@pytest.fixture
def connection(route):
    made = http.client.HTTPConnection("127.0.0.1", route.http_port, timeout=20)
    yield made
    made.close()


def post(connection, body: bytes, fingerprint: str, clicks="5", path="/v1/correct", **headers):
    connection.request("POST", path, body, {"X-Fingerprint": fingerprint, "X-Clicks": clicks, **headers})
    answer = connection.getresponse()
    return answer, answer.read()


def test_the_answer_is_the_models_on_a_connection_that_is_kept(trained, route, connection, rows):
    for count in (5, 2, 5):
        answer, body = post(connection, rows[:count].tobytes(), route.model.fingerprint, str(count))
        assert answer.status == 200
        assert answer.headers["X-Fingerprint"] == route.model.fingerprint
        assert (answer.headers["X-Clicks"], answer.headers["X-Shape"]) == (str(count), "2,3,8")
        assert answer.headers["Access-Control-Allow-Origin"] == "http://page:1"
        for ours, theirs in zip(
            decode_correction(body, route.model.shape), expected(trained[0], rows[:count]), strict=True
        ):
            np.testing.assert_allclose(ours, theirs, atol=1e-5)


def test_describe_and_the_browsers_question(route, connection):
    connection.request("GET", "/v1/describe")
    told = json.loads(connection.getresponse().read())
    assert told["fingerprint"] == route.model.fingerprint and told["mini_batch"] == 3
    connection.request("OPTIONS", "/v1/correct")
    answer = connection.getresponse()
    assert answer.status == 204 and "X-Clicks" in answer.headers["Access-Control-Allow-Headers"]


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"fingerprint": "ab" * 16}, 409),
        ({"fingerprint": "x"}, 400),
        ({"clicks": "0"}, 400),
        ({"clicks": "-1"}, 400),
        ({"clicks": "9" * 30}, 400),
        ({"body": b""}, 400),
        ({"body": b"1" * 63}, 400),
        ({"body": np.full((1, 16), np.nan, np.float32).tobytes()}, 400),
        ({"body": bytes(64 * 7 + 1)}, 429),
        ({"path": "/other"}, 404),
    ],
)
def test_what_does_not_fit(route, connection, rows, change, status):
    parts = {"body": rows.tobytes(), "fingerprint": route.model.fingerprint, **change}
    assert post(connection, **parts)[0].status == status


@pytest.mark.parametrize("method", ["GET", "POST", "PUT"])
def test_who_asks_something_else_hears_what_there_is(route, method):
    answer = exchange(route.http_port, f"{method} /other HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    assert answer.startswith(b"404 ") and b"POST /v1/correct" in answer


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.one_of(st.binary(min_size=1, max_size=300), st.just(b"POST /v1/correct HTTP/1.1\r\nContent-Length: x\r\n\r\n"))
)
def test_any_bytes_never_stop_it(route, rows, raw):
    with socket.create_connection(("127.0.0.1", route.http_port), 20) as made:
        made.sendall(raw)
        made.shutdown(socket.SHUT_WR)
        while made.recv(4096):
            pass
    connection = http.client.HTTPConnection("127.0.0.1", route.http_port, timeout=20)
    assert post(connection, rows.tobytes(), route.model.fingerprint)[0].status == 200
    connection.close()


def test_tokens(checkpoint, rows, monkeypatch):
    monkeypatch.setenv("RECBOLE_COCORR_TOKENS", TOKEN)
    with serving(ServeSettings(str(checkpoint), "127.0.0.1:0", http="127.0.0.1:0")) as server:
        made = http.client.HTTPConnection("127.0.0.1", server.http_port, timeout=20)
        for token, status in ((TOKEN, 200), (TOKEN + "x", 401), ("", 401)):
            answer, _ = post(made, rows.tobytes(), server.model.fingerprint, Authorization=f"Bearer {token}")
            assert answer.status == status
            assert "Access-Control-Allow-Origin" not in answer.headers
        made.close()


# -- slow clients, strangers' pages ------------------------------------------------------------------


def exchange(port: int, raw: bytes) -> bytes:
    """What raw bytes are answered with, until the server closes or has answered one request."""
    with socket.create_connection(("127.0.0.1", port), 20) as made:
        made.sendall(raw)
        answer = http.client.HTTPResponse(made, method=raw.split(b" ")[0].decode())
        answer.begin()
        return b"%d " % answer.status + answer.read()


@pytest.mark.parametrize(
    ("lines", "status"),
    [
        (b"Host: 127.0.0.1\r\n", 200),
        (b"Host: localhost:80\r\n", 200),
        (b"Host: [::1]:80\r\n", 200),
        (b"", 400),
        (b"Host: \r\n", 400),
        (b"Host: rebound.example\r\n", 400),
        (b"Host: http://[\r\n", 400),
        (b"Host: [\r\n", 400),
        (b"Host: 127.0.0.1:99999\r\n", 400),
        (b"Host: 127.0.0.1\r\nHost: 127.0.0.1\r\n", 400),
        (b"Host: \xff\r\n", 400),
    ],
)
def test_the_host_of_a_request(route, lines, status):
    assert exchange(route.http_port, b"GET /v1/describe HTTP/1.1\r\n" + lines + b"\r\n").startswith(b"%d " % status)


def test_head_and_a_body_that_waits_to_be_asked_for(route, rows):
    head = exchange(route.http_port, b"HEAD /v1/describe HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert head == b"200 "
    with socket.create_connection(("127.0.0.1", route.http_port), 20) as made:
        payload = rows.tobytes()
        lines = f"X-Fingerprint: {route.model.fingerprint}\r\nX-Clicks: 5\r\nContent-Length: {len(payload)}\r\n"
        made.sendall(f"POST /v1/correct HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\n{lines}\r\n".encode())
        assert made.recv(100).startswith(b"HTTP/1.1 100 ")
        made.sendall(payload)
        assert made.recv(100).startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"\r\n",
        b"GET /v1/describe HTTP/1.1\r\n",
        b"POST /v1/correct HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n1",
    ],
)
def test_half_a_request_is_not_waited_for(checkpoint, sent, monkeypatch):
    monkeypatch.setattr(PLACE + "READ", 0.2)
    with (
        serving(ServeSettings(str(checkpoint), "127.0.0.1:0", http="127.0.0.1:0")) as server,
        socket.create_connection(("127.0.0.1", server.http_port), 20) as made,
        suppress(ConnectionError),
    ):
        made.sendall(sent)
        assert made.recv(100) == b""


def test_slow_clients_shut_nobody_out(route):
    slow = [socket.create_connection(("127.0.0.1", route.http_port), 20) for _ in range(300)]
    for one in slow:
        with suppress(ConnectionError):
            one.sendall(b"GET /v1/describe HTTP/1.1\r\n")
    for _ in range(3):
        assert is_served(route.http_port)
    for one in slow:
        one.close()


def is_served(port: int) -> bool:
    return exchange(port, b"GET /v1/describe HTTP/1.1\r\nHost: localhost\r\n\r\n").startswith(b"200 ")


def ended(made: socket.socket, flags: int = 0) -> bool:
    """Whether the server has closed or reset a connection that it has answered nothing on.

    Without flags this waits for the end; a server that waits too is a TimeoutError.
    """
    try:
        assert made.recv(1, flags) == b""
    except BlockingIOError:
        return False
    except ConnectionError:
        pass
    return True


def test_a_head_without_an_end(route, monkeypatch):
    """A head that is too long ends its connection, long before its deadline, and nobody else's."""
    monkeypatch.setattr(PLACE + "READ", 3600.0)
    with socket.create_connection(("127.0.0.1", route.http_port), 20) as made:
        with suppress(ConnectionError):
            made.sendall(b"GET / HTTP/1.1\r\n")
            for _ in range(1000):
                made.sendall(b"X-A: " + b"a" * 1000 + b"\r\n")
        assert is_served(route.http_port)
        assert ended(made)
    assert is_served(route.http_port)


def test_a_head_that_comes_line_by_line(route, monkeypatch):
    """Its lines do not put the deadline off; others are served all the while."""
    monkeypatch.setattr(PLACE + "READ", 1.0)
    with socket.create_connection(("127.0.0.1", route.http_port), 20) as made:
        made.sendall(b"GET / HTTP/1.1\r\n")
        for _ in range(5000):  # 30 kB: not too long
            assert is_served(route.http_port)
            if ended(made, socket.MSG_DONTWAIT):
                return
            with suppress(ConnectionError):
                made.sendall(b"X: a\r\n")
    pytest.fail("the head was waited for")


def test_metrics_ask_for_the_token_too(checkpoint, monkeypatch):
    monkeypatch.setenv("RECBOLE_COCORR_TOKENS", TOKEN)
    with serving(ServeSettings(str(checkpoint), "127.0.0.1:0", metrics="127.0.0.1:0")) as server:
        ask = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n"
        assert exchange(server.metrics_port, ask + b"\r\n").startswith(b"401 ")
        given = ask + f"Authorization: Bearer {TOKEN}\r\n\r\n".encode()
        assert b"recbole_cocorr_requests" in exchange(server.metrics_port, given)


# -- the end -----------------------------------------------------------------------------------------


def test_a_stop_answers_what_was_taken_in_and_refuses_the_rest(checkpoint, rows, monkeypatch):
    stopped, stop = threading.Event(), Turns.stop

    def stop_turns(turns: Turns) -> None:
        stop(turns)
        stopped.set()

    monkeypatch.setattr(Turns, "stop", stop_turns)
    settings_ = ServeSettings(str(checkpoint), "127.0.0.1:0", http="127.0.0.1:0")
    with ThreadPoolExecutor(2) as pool, held(monkeypatch, CorrectionModel) as (begun, open_):
        with serving(settings_) as server:

            def asked() -> int:
                made = http.client.HTTPConnection("127.0.0.1", server.http_port, timeout=20)
                return post(made, rows.tobytes(), server.model.fingerprint)[0].status

            taken = pool.submit(asked)
            assert begun.wait(20)
            stopping = asyncio.run_coroutine_threadsafe(server.stop(), server.loop)
            assert stopped.wait(20)
            late = pool.submit(asked)
            assert late.result(20) == 503
            open_.set()
            assert taken.result(20) == 200
            stopping.result(20)
            server.port = 0
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", server.http_port), 20)


def test_a_client_that_leaves_is_counted_and_not_computed(checkpoint, rows, monkeypatch):
    settings_ = ServeSettings(str(checkpoint), "127.0.0.1:0", http="127.0.0.1:0")
    with held(monkeypatch, CorrectionModel) as (begun, open_), serving(settings_) as server:
        lines = f"X-Fingerprint: {server.model.fingerprint}\r\nX-Clicks: 5\r\nContent-Length: {rows.nbytes}\r\n\r\n"
        raw = b"POST /v1/correct HTTP/1.1\r\nHost: localhost\r\n" + lines.encode() + rows.tobytes()
        first = socket.create_connection(("127.0.0.1", server.http_port), 20)
        first.sendall(raw)
        assert begun.wait(20)
        with socket.create_connection(("127.0.0.1", server.http_port), 20) as second:
            second.sendall(raw)
            wait_until(lambda: value(server, "queued", method="Correct") == 1)
        wait_until(lambda: value(server, "requests_total", method="http", code="CANCELLED") == 1)
        open_.set()
        assert first.recv(20).startswith(b"HTTP/1.1 200 ")
        wait_until(lambda: value(server, "dropped_total", method="Correct") == 1)
        first.close()


def wait_until(condition) -> None:
    """Return once a condition holds; an error after 20 seconds."""
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)
