"""A web server on loopback that knows the addresses of one site, and no others."""

from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from recbole_cocorr.demo.site import content_type
from recbole_cocorr.errors import UserError

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


class Server(ThreadingHTTPServer):
    """Serves :attr:`site` on 127.0.0.1.

    Attributes
    ----------
    site : dict of str to pathlib.Path or bytes
        By path of the address.
    """

    daemon_threads = True
    site: dict[str, Path | bytes]

    def __init__(self, port: int):
        self.site = {}
        super().__init__(("127.0.0.1", port), _Handler)

    @property
    def address(self) -> str:
        """Where a browser finds the page."""
        return f"http://127.0.0.1:{self.server_port}/"


def bind(port: int) -> Server:
    """A server that has its port, and answers once it is told to serve.

    Parameters
    ----------
    port : int
        0 for any that is free.

    Raises
    ------
    UserError
        If the port is none, or taken.
    """
    if not 0 <= port <= 65535:
        raise UserError(f"port is {port}; it must be from 0 to 65535")
    try:
        return Server(port)
    except OSError as error:
        raise UserError(f"port {port} cannot be used ({error.strerror}); --port=0 takes a free one") from None


class _Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self._answer(True)

    def do_HEAD(self) -> None:
        self._answer(False)

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
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", content_type(address))
        self.send_header("Content-Length", str(len(body)))
        for name, value in _HEADERS.items():
            self.send_header(name, value)
        self.end_headers()
        if with_body:
            self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: the terminal shows the address."""
