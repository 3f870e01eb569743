"""A web server on loopback that knows the addresses of one site, and no others, and asks the cloud for its page."""

import re
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from recbole_cocorr.base.errors import UserError
from recbole_cocorr.demo.site import content_type
from recbole_cocorr.demo.upstream import PATHS, REQUEST_HEADERS, AwayError, Upstream

_HEADERS = {
    # The page may ask this server and nobody else, whatever it is made to show.
    "Content-Security-Policy": "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; style-src 'self'; "
    "img-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    # Alone in its process, the page has a clock that tells microseconds.
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}
# Most bytes that the page may send: many times what a model reads.
_ORIGIN = re.compile(r"null|[a-z][a-z0-9+.-]*://[^\s/\[\]?#@]+|[a-z]+://\[[0-9a-f:.]+\](:[0-9]+)?")
_MOST_BODY = 1 << 20


class Server(ThreadingHTTPServer):
    """Serves :attr:`site` on 127.0.0.1.

    Attributes
    ----------
    site : dict of str to pathlib.Path or bytes
        By path of the address.
    cloud : Upstream or None
        Whom the page's requests to the correction service are handed on to.
    """

    daemon_threads = True
    site: dict[str, Path | bytes]
    cloud: Upstream | None

    def __init__(self, port: int):
        self.site, self.cloud = {}, None
        super().__init__(("127.0.0.1", port), _Handler)

    @property
    def address(self) -> str:
        """Where a browser finds the page."""
        return f"http://127.0.0.1:{self.server_port}/"


def bind(port: int) -> Server:
    """A server that has its port; it answers once it serves.

    Parameters
    ----------
    port : int
        0 for any that is free.

    Raises
    ------
    UserError
        If the port is out of range, or taken.
    """
    if not 0 <= port <= 65535:
        raise UserError(f"port is {port}; it must be from 0 to 65535")
    try:
        return Server(port)
    except OSError as error:
        raise UserError(f"port {port} cannot be used ({error.strerror}); --port=0 takes a free one") from None


class _Handler(BaseHTTPRequestHandler):
    server: Server
    # Connections are kept, and what is small is sent at once: a correction is there in milliseconds.
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1
    timeout = 60

    def do_GET(self) -> None:
        if self._is_ours():
            self._answer(True)

    def do_HEAD(self) -> None:
        if self._is_ours():
            self._answer(False)

    def _is_ours(self) -> bool:
        """Whether Host is this server: a stranger's page may have its own name lead here, and read what it likes."""
        hosts = self.headers.get_all("Host", [])
        names = {f"{name}:{self.server.server_port}" for name in ("127.0.0.1", "localhost")}
        if len(hosts) == 1 and hosts[0].lower() in names:
            return True
        self.close_connection = True
        self.send_error(HTTPStatus.BAD_REQUEST, "Host is not this server")
        return False

    def do_POST(self) -> None:
        if not self._is_ours():
            return
        cloud = self.server.cloud
        if cloud is None or self.path not in PATHS:
            self.send_error(HTTPStatus.NOT_IMPLEMENTED)
            return
        origin = self.headers.get("Origin")
        if origin is not None and origin != f"http://{self.headers['Host']}":
            # Another page in the same browser, or what no browser sends.
            is_origin = _ORIGIN.fullmatch(origin) is not None
            self.send_error(HTTPStatus.FORBIDDEN if is_origin else HTTPStatus.BAD_REQUEST)
            return
        length = self.headers.get("Content-Length", "")
        if not (length.isascii() and length.isdigit()):
            self.send_error(HTTPStatus.LENGTH_REQUIRED)
            return
        if len(length) > 9 or int(length) > _MOST_BODY:
            self.send_error(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
            return
        body = self.rfile.read(int(length))
        headers = {name: self.headers[name] for name in REQUEST_HEADERS if name in self.headers}
        try:
            status, answer_headers, content = cloud.ask("POST", self.path, headers, body)
        except AwayError as error:
            status, answer_headers, content = HTTPStatus.BAD_GATEWAY, {}, f"{error}\n".encode()
        self._send(status, answer_headers, content)

    def _answer(self, with_body: bool) -> None:
        address = self.path.partition("?")[0]
        content = self.server.site.get(address)
        if content is None:
            self.send_error(HTTPStatus.NOT_FOUND)
            return
        try:
            body = content if isinstance(content, bytes) else content.read_bytes()
        except OSError:
            self.send_error(HTTPStatus.GONE)
            return
        self._send(HTTPStatus.OK, {"Content-Type": content_type(address)}, body, with_body)

    def _send(self, status: int, headers: dict[str, str], body: bytes, with_body: bool = True) -> None:
        self.send_response(status)
        for name, value in {**headers, **_HEADERS}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if with_body:
            self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: the terminal shows the address."""
