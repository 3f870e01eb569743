"""The page's server hands requests on to the correction service, and no others."""

import http.client
import socket
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recbole_cocorr.base.errors import UserError
from recbole_cocorr.demo.upstream import AwayError, Upstream
from tests.demo import served


class _Service(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.seen.append((self.path, dict(self.headers.items()), body))
        self.server.connections.add(self.client_address)
        self.send_response(self.server.status)
        # In small letters, as the service's own server writes them.
        for name, value in {"x-shape": "1,2,3", "x-clicks": "4", "set-cookie": "a=b", "server": "x"}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(self.server.body)))
        self.end_headers()
        self.wfile.write(self.server.body)
        self.close_connection = self.server.closes

    def log_message(self, *_):
        pass


@contextmanager
def service(port: int = 0):
    server = ThreadingHTTPServer(("127.0.0.1", port), _Service)
    server.daemon_threads = True  # a connection that is kept does not keep the test
    server.seen, server.connections, server.closes, server.status, server.body = [], set(), False, 200, b"correction"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def away():
    """The address of nobody."""
    with socket.socket() as made:
        made.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{made.getsockname()[1]}"


@pytest.fixture
def page():
    """The page's server, and a way to ask it."""
    with served({"/": b"page"}) as server:

        def ask(address="/v1/correct", body=b"states", method="POST", **headers):
            connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=10)
            connection.putrequest(method, address)
            headers = {"Content-Length": str(len(body)), **{n.replace("_", "-"): v for n, v in headers.items()}}
            for name, value in headers.items():
                if value is not None:
                    connection.putheader(name, value)
            connection.endheaders()
            connection.send(body)
            answer = connection.getresponse()
            content = answer.read()
            connection.close()
            return answer, content

        yield server, ask


@pytest.mark.parametrize("address", ["/v1/correct", "/v1/score"])
def test_what_is_handed_on(page, address):
    server, ask = page
    with service() as cloud:
        server.cloud = Upstream(f"http://127.0.0.1:{cloud.server_port}")
        own = f"http://127.0.0.1:{server.server_port}"
        answer, content = ask(
            address, Origin=own, X_Fingerprint="f", X_Clicks="4", X_Clicked="2", Cookie="c", X_Other="1"
        )
        assert (answer.status, content) == (200, b"correction")
        assert (answer.headers["X-Shape"], answer.headers["X-Clicks"]) == ("1,2,3", "4")
        assert answer.headers["Set-Cookie"] is None
        assert "connect-src 'self'" in answer.headers["Content-Security-Policy"]
        ((path, headers, body),) = cloud.seen
        assert (path, body) == (address, b"states")
        assert (headers["X-Fingerprint"], headers["X-Clicks"], headers["X-Clicked"]) == ("f", "4", "2")
        assert not {"Cookie", "X-Other", "Origin"} & set(headers)
        cloud.status, cloud.body = 409, b"another model\n"
        answer, content = ask(address)
        assert (answer.status, content) == (409, b"another model\n")
        server.cloud.close()


def test_what_is_not_handed_on(page):
    server, ask = page
    assert ask()[0].status == 501, "there is no cloud"
    with service() as cloud:
        server.cloud = Upstream(f"http://127.0.0.1:{cloud.server_port}")
        assert ask(Origin="http://elsewhere.example")[0].status == 403
        assert ask(Origin="null")[0].status == 403
        assert ask(Origin="http://[::1]:8000")[0].status == 403
        for damaged in ("http://[", "x", "http://a b", ""):
            assert ask(Origin=damaged)[0].status == 400
        assert ask("/v1/describe")[0].status == 501
        assert ask("/v1/correct?x")[0].status == 501
        assert ask(method="GET", body=b"")[0].status == 404
        assert ask(Content_Length=None)[0].status == 411
        assert ask(Content_Length="-1")[0].status == 411
        assert ask(Content_Length=str(1 << 20 | 1))[0].status == 413
        assert ask(Content_Length="9" * 30)[0].status == 413
        assert cloud.seen == []


def test_a_service_that_is_away_is_said_and_comes_back(page, away):
    server, ask = page
    server.cloud = Upstream(away)
    answer, content = ask()
    assert answer.status == 502
    assert content.decode() == f"the service at {away} cannot be reached (Connection refused)\n"
    with service(int(away.rpartition(":")[2])):
        assert ask()[1] == b"correction"
        server.cloud.close()


def test_one_connection_is_kept_and_made_again_when_the_service_has_closed_it():
    with service() as cloud:
        upstream = Upstream(f"http://127.0.0.1:{cloud.server_port}")
        for _ in range(3):
            assert upstream.ask("POST", "/v1/correct", {}, b"x")[2] == b"correction"
        assert len(cloud.connections) == 1
        cloud.closes = True  # without saying so, after the next answer
        for _ in range(3):
            assert upstream.ask("POST", "/v1/correct", {}, b"x")[0] == 200
        assert len(cloud.connections) > 1
        assert len(cloud.seen) == 6
        upstream.close()


@pytest.mark.parametrize("said", [b"", b"nonsense\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort"])
def test_what_is_no_answer_counts_as_away(said):
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer():
            connection, _ = server.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(said)

        thread = threading.Thread(target=answer)
        thread.start()
        with pytest.raises(AwayError, match="cannot be reached"):
            Upstream(f"http://127.0.0.1:{server.getsockname()[1]}").ask("POST", "/v1/correct", {}, b"x")
        thread.join()


def test_an_answer_that_is_too_long_is_not_read_to_its_end():
    with service() as cloud:
        cloud.body = bytes((1 << 22) + 1)
        with pytest.raises(AwayError, match="cannot be reached"):
            Upstream(f"http://127.0.0.1:{cloud.server_port}").ask("POST", "/v1/correct", {}, b"x")


def test_a_service_that_says_nothing_is_not_waited_for_longer_than_told():
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
        with pytest.raises(AwayError, match=f"{url} does not answer"):
            Upstream(url, timeout=0.05).ask("POST", "/v1/correct", {}, b"x")


@pytest.mark.parametrize(
    "url",
    [
        "",
        "127.0.0.1:8080",
        "ftp://a",
        "http://",
        "http://a:b",
        "http://a:99999",
        "http://a/v1",
        "http://u:p@a",
        "http://[a",
    ],
)
def test_an_address_that_is_none(url):
    with pytest.raises(UserError, match="it must be http://HOST:PORT"):
        Upstream(url)


@given(st.text(max_size=30) | st.text(max_size=20).map("http://".__add__))
def test_any_address_is_one_or_a_sentence(url):
    try:
        made = Upstream(url)
    except UserError as error:
        assert "\n" not in str(error)
    else:
        assert made.url.startswith(("http://", "https://"))


def test_a_service_that_falls_silent_on_a_kept_connection_is_not_asked_twice():
    asked = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer():
            connection, _ = server.accept()
            with connection:
                asked.append(connection.recv(65536))
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
                while received := connection.recv(65536):
                    asked.append(received)

        thread = threading.Thread(target=answer)
        thread.start()
        upstream = Upstream(f"http://127.0.0.1:{server.getsockname()[1]}", timeout=0.2)
        assert upstream.ask("POST", "/v1/correct", {}, b"")[2] == b"ok"
        with pytest.raises(AwayError, match="does not answer"):
            upstream.ask("POST", "/v1/correct", {}, b"")
        thread.join()
        assert len(asked) == 2
        server.setblocking(False)
        with pytest.raises(BlockingIOError):
            server.accept()  # nobody else has come
