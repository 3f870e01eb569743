"""The correction service that the page's server asks for the page."""

import http.client
import ssl
import threading
from contextlib import suppress
from urllib.parse import urlsplit

from recbole_cocorr.base.errors import UserError

# What of a request and of its answer is handed on.
REQUEST_HEADERS = ("Content-Type", "X-Fingerprint", "X-Clicks", "X-Clicked")
ANSWER_HEADERS = ("Content-Type", "X-Fingerprint", "X-Clicks", "X-Shape")
PATHS = ("/v1/correct", "/v1/score")
_MOST_ANSWER = 1 << 22
# Connections that wait for the next request.
_MOST_IDLE = 4


class AwayError(Exception):
    """The service cannot be reached, or what it answers is no HTTP."""


class Upstream:
    """A correction service with its HTTP route (``serve --http``); safe to ask from several threads.

    Parameters
    ----------
    url : str
        ``http://HOST:PORT`` or ``https://HOST:PORT``.
    timeout : float
        Seconds that an answer may take.

    Raises
    ------
    UserError
        If it is no such address.
    """

    def __init__(self, url: str, timeout: float = 10.0):
        try:
            address = urlsplit(url)
            port = address.port
        except ValueError:
            address, port = urlsplit(""), None
        right = address.scheme in ("http", "https") and address.hostname and address.path in ("", "/")
        if not right or "@" in url:
            raise UserError(f"--cloud is {url[:80]!r}; it must be http://HOST:PORT, as of `serve --http HOST:PORT`")
        self.url = f"{address.scheme}://{address.netloc}"
        self._host, self._port, self._timeout = address.hostname, port, timeout
        self._tls = ssl.create_default_context() if address.scheme == "https" else None
        self._idle: list[http.client.HTTPConnection] = []
        self._lock = threading.Lock()

    def ask(
        self, method: str, path: str, headers: dict[str, str] | None = None, body: bytes | None = None
    ) -> tuple[int, dict[str, str], bytes]:
        """Status, :data:`ANSWER_HEADERS` and body of the service's answer.

        Raises
        ------
        AwayError
            If there is no answer.
        """
        with self._lock:
            idle = self._idle.pop() if self._idle else None
        try:
            if idle is not None:
                # The service may have closed it meanwhile. Nothing is lost by asking twice: it keeps nothing.
                with suppress(ConnectionError, http.client.HTTPException):
                    return self._exchange(idle, method, path, headers, body)
            return self._exchange(self._connection(), method, path, headers, body)
        except TimeoutError:
            raise AwayError(f"{self.url} does not answer") from None
        except (OSError, http.client.HTTPException) as error:
            what = getattr(error, "strerror", None) or type(error).__name__
            raise AwayError(f"the service at {self.url} cannot be reached ({what})") from None

    def _connection(self) -> http.client.HTTPConnection:
        if self._tls is not None:
            return http.client.HTTPSConnection(self._host, self._port, timeout=self._timeout, context=self._tls)
        return http.client.HTTPConnection(self._host, self._port, timeout=self._timeout)

    def _exchange(
        self, connection: http.client.HTTPConnection, method: str, path: str, headers, body
    ) -> tuple[int, dict[str, str], bytes]:
        try:
            connection.request(method, path, body, headers or {})
            answer = connection.getresponse()
            # Read without a limit, an answer that is cut off is an error; one without a length is limited.
            content = (
                answer.read(_MOST_ANSWER + 1) if (answer.length or _MOST_ANSWER + 1) > _MOST_ANSWER else answer.read()
            )
            if len(content) > _MOST_ANSWER:
                raise http.client.HTTPException("an answer that is too long")
        except BaseException:
            connection.close()
            raise
        with self._lock:
            if answer.will_close or len(self._idle) >= _MOST_IDLE:
                connection.close()
            else:
                self._idle.append(connection)
        # Looked up by name: HTTP does not care for capitals, and the service writes none.
        headers = {name: answer.headers[name] for name in ANSWER_HEADERS if name in answer.headers}
        return answer.status, headers, content

    def close(self) -> None:
        """Close the connections that wait."""
        with self._lock:
            while self._idle:
                self._idle.pop().close()
