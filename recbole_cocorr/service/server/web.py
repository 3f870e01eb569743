"""An HTTP server that neither slow clients nor strangers' pages hold up or misuse.

Here are its address, a number of connections that nobody can use up, and a look at the header Host.
"""

import asyncio
import ipaddress
import re
import ssl
from collections import Counter
from functools import lru_cache

from recbole_cocorr.service.server.connection import READ, Application, Connection, Request

_HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(:[0-9]{1,5})?")
_LONGEST_HOST = 300
# Seconds between two looks at the connections' deadlines.
_LOOK = 0.1


class Web:
    """Serves an application.

    Parameters
    ----------
    app : Application
    most : int
        Connections. When one more comes, the client that has the most of them loses the one that has been silent or
        incomplete for longest.
    """

    def __init__(self, app: Application, most: int = 256):
        self._app, self._most = app, most
        self._open: dict[Connection, None] = {}
        self._timer: asyncio.TimerHandle | None = None

    async def start(self, host: str, port: int, tls: ssl.SSLContext | None = None, share_port: bool = False) -> int:
        """Listen; returns the port. With ``share_port`` another process may listen on it too.

        Raises
        ------
        OSError
            If the address is not usable.
        """
        times = {"ssl_handshake_timeout": READ} if tls else {}
        self._server = await asyncio.get_running_loop().create_server(
            lambda: Connection(self._app, self), host, port, ssl=tls, reuse_port=share_port or None, **times
        )
        return self._server.sockets[0].getsockname()[1]

    async def stop(self, grace: float) -> None:
        """Take nothing more in, answer earlier requests within ``grace`` seconds, end."""
        self._server.close()
        for connection in list(self._open):
            connection.finish()
        tasks = [connection.task for connection in self._open if connection.task is not None]
        if tasks:
            await asyncio.wait(tasks, timeout=grace)
        await asyncio.sleep(0)
        for connection in list(self._open):
            connection.transport.close()

    def add(self, connection: Connection) -> None:
        """Have one more connection, in the place of another if there are too many."""
        self._open[connection] = None
        if self._timer is None:
            self._look()
        if len(self._open) <= self._most:
            return
        waiting = [c for c in self._open if not c.busy]
        count = Counter(c.host for c in waiting)
        victim = max(waiting, key=lambda c: count[c.host], default=connection)  # of the first of these, the oldest
        victim.end()

    def again(self, connection: Connection) -> None:
        """Note that a connection has done something."""
        if connection in self._open:
            del self._open[connection]
            self._open[connection] = None

    def remove(self, connection: Connection) -> None:
        """Have one connection less."""
        self._open.pop(connection, None)

    def _look(self) -> None:
        """End connections whose time is over. One timer for all costs a request less than one for each."""
        loop = asyncio.get_running_loop()
        now = loop.time()
        for connection in [c for c in self._open if c.until <= now]:
            connection.end()
        self._timer = loop.call_later(_LOOK, self._look) if self._open else None


def host_is_known(request: Request, names: tuple[str, ...] | None = ()) -> bool:
    """Whether a request's Host is well-formed, and an address of this machine's kind rather than a stranger's name.

    A page of a stranger's may have its own name lead to 127.0.0.1 and then read what it likes of a server here; an
    address, localhost and ``names`` cannot be had that way.

    Parameters
    ----------
    request : Request
    names : tuple of str or None
        Further names; None for all.
    """
    host = request.header(b"host")
    return host is not None and len(host) <= _LONGEST_HOST and _is_known(host, names)


@lru_cache(256)
def _is_known(text: str, names: tuple[str, ...] | None) -> bool:
    match = _HOST.fullmatch(text)
    if match is None or (match[2] and int(match[2][1:]) > 65535):
        return False
    host = match[1].lower().rstrip(".")
    try:
        ipaddress.ip_address(host.strip("[]"))
        return True
    except ValueError:
        return host == "localhost" or names is None or host in names
