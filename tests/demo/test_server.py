"""The server knows its site's addresses and no others."""

import http.client
import socket

import pytest

from recbole_cocorr.base.errors import UserError
from recbole_cocorr.demo.server import bind
from recbole_cocorr.demo.site import content_type
from tests.demo import served


@pytest.fixture
def ask(tmp_path):
    (tmp_path / "secret").write_text("secret")
    page = tmp_path / "page.html"
    page.write_text("page")
    site = {"/": page, "/bytes.json": b"{}", "/gone.js": tmp_path / "gone.js"}
    with served(site) as server:

        def ask(address: str, method: str = "GET", headers: dict[str, str] | None = None):
            connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=10)
            connection.request(method, address, headers=headers or {})
            answer = connection.getresponse()
            body = answer.read()
            connection.close()
            return answer, body

        yield ask


def test_what_the_site_has(ask):
    answer, body = ask("/?a=b")
    assert (answer.status, body) == (200, b"page")
    assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
    assert "connect-src 'self'" in answer.headers["Content-Security-Policy"]
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    answer, body = ask("/bytes.json", "HEAD")
    assert (answer.status, body, answer.headers["Content-Length"]) == (200, b"", "2")


@pytest.mark.parametrize(
    "address", ["/secret", "/../secret", "/%2e%2e/secret", "//secret", "/./page.html", "/page.html", "*"]
)
def test_what_the_site_has_not(ask, address):
    answer, body = ask(address)
    assert answer.status == 404
    assert b"secret" not in body.replace(address.encode(), b"")


def test_a_file_that_went_away_and_a_method_that_is_not_served(ask):
    assert ask("/gone.js")[0].status == 410
    assert ask("/", "POST")[0].status == 501


@pytest.mark.parametrize("host", ["rebound.example", "127.0.0.1", "[", "", "127.0.0.1:1", "http://["])
def test_a_strangers_name_for_this_server(ask, host):
    answer, body = ask("/", headers={"Host": host})
    assert answer.status == 400 and body != b"page"


def test_localhost_is_this_server(tmp_path):
    with served({"/": b"page"}) as server:
        connection = http.client.HTTPConnection("localhost", server.server_port, timeout=10)
        connection.request("GET", "/")
        assert connection.getresponse().status == 200
        connection.close()


def test_it_listens_on_loopback_alone():
    server = bind(0)
    try:
        assert server.server_address[0] == "127.0.0.1"
        assert server.address == f"http://127.0.0.1:{server.server_port}/"
    finally:
        server.server_close()


def test_a_port_that_cannot_be_used():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(UserError, match=rf"port {port} cannot be used \(.*\); --port=0 takes a free one"):
            bind(port)
    with pytest.raises(UserError, match="port is 70000; it must be from 0 to 65535"):
        bind(70000)


@pytest.mark.parametrize(
    ("address", "kind"),
    [
        ("/", "text/html; charset=utf-8"),
        ("/js/main.js", "text/javascript; charset=utf-8"),
        ("/runtime/ort.wasm.bundle.min.mjs", "text/javascript; charset=utf-8"),
        ("/runtime/a.wasm", "application/wasm"),
        ("/artifact/step.onnx", "application/octet-stream"),
    ],
)
def test_media_types(address, kind):
    assert content_type(address) == kind
