"""Deltas over HTTP: served from memory with ETag, fetched with bounds, refused with a sentence."""

import asyncio
import http.client
import json
import shutil
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

from recbole_cocorr.artifact.delta import pack_delta
from recbole_cocorr.artifact.latest import LATEST
from recbole_cocorr.artifact.manifest import read_manifest
from recbole_cocorr.base.errors import UserError
from recbole_cocorr.device import Session, apply_delta, fetch_delta
from recbole_cocorr.device.artifact import Artifact
from recbole_cocorr.exporter.delta import build_delta, earlier_delta, write_delta
from recbole_cocorr.service.server.settings import ServeSettings, gather
from tests.service import serving
from tests.service.test_client import until
from tests.service.test_service import value


def next_delta(folder, artifact) -> None:
    """One more delta, with an item more."""
    before = earlier_delta(folder, read_manifest(artifact))
    tokens = [f"new-{i}" for i in range(1 + (0 if before is None else before.new))]
    write_delta(
        folder, build_delta(Artifact(artifact), tokens, np.ones((len(tokens), 16), np.float32), None, None, before)
    )


@pytest.fixture
def deltas(artifact, tmp_path):
    folder = tmp_path / "deltas"
    folder.mkdir()
    next_delta(folder, artifact)
    return folder


def get(port: int, path: str, **headers):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    connection.request("GET", path, headers={k.replace("_", "-"): v for k, v in headers.items()})
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    return answer.status, answer.headers, body


def test_a_device_fetches_what_is_new_and_a_copy_that_is_known_is_not_sent(artifact, deltas, tmp_path):
    own = shutil.copytree(artifact, tmp_path / "own")
    with serving(ServeSettings(listen="127.0.0.1:0", http="127.0.0.1:0", deltas=str(deltas))) as server:
        url = f"http://127.0.0.1:{server.http_port}/deltas/"
        status, headers, body = get(server.http_port, "/deltas/latest.json")
        assert status == 200 and body == (deltas / LATEST).read_bytes() and headers["Cache-Control"] == "no-cache"
        for tag in (headers["ETag"], f'"x", W/{headers["ETag"]}', "*"):
            again = get(server.http_port, "/deltas/latest.json", If_None_Match=tag)
            assert again[0] == 304 and again[2] == b"" and again[1]["ETag"] == headers["ETag"]
        assert get(server.http_port, "/deltas/latest.json", If_None_Match='"x"')[0] == 200
        status, headers, body = get(server.http_port, "/deltas/delta-1.bin")
        assert status == 200 and body == (deltas / "delta-1.bin").read_bytes()
        assert "immutable" in headers["Cache-Control"]
        for path in ("/deltas/", "/deltas/delta-2.bin", "/deltas/../deltas/delta-1.bin", "/deltas/manifest.json"):
            assert get(server.http_port, path)[0] == 404
        assert fetch_delta(url, own) == body
        assert apply_delta(own, body) == 1
        assert fetch_delta(url, own) is None
        (deltas / "delta-1.bin").unlink()  # it is served from memory
        assert fetch_delta(url, artifact) == body
        (deltas / "delta-1.bin").write_bytes(body)
        next_delta(deltas, artifact)
        assert run(server, server.reload())
        assert apply_delta(own, fetch_delta(url, own)) == 2
        assert Session.open(own).click("new-1")
        assert get(server.http_port, "/deltas/delta-1.bin")[0] == 200, "for who read the latest.json of before"
        (deltas / "delta-2.bin").write_bytes(b"no")
        assert not run(server, server.reload())
        assert get(server.http_port, "/deltas/delta-2.bin")[0] == 200, "what was served stays"


def test_a_copy_may_bring_the_name_before_the_delta(artifact, deltas, tmp_path):
    served = shutil.copytree(deltas, tmp_path / "served")
    next_delta(deltas, artifact)
    settings = ServeSettings(listen="127.0.0.1:0", http="127.0.0.1:0", deltas=str(served), watch=0.02)
    with serving(settings) as server:
        watching = asyncio.run_coroutine_threadsafe(server.watch(), server.loop)
        shutil.copy(deltas / LATEST, served)
        until(lambda: value(server, "reloads_total", result="failed") == 1)
        shutil.copy(deltas / "delta-2.bin", served)
        until(lambda: get(server.http_port, "/deltas/delta-2.bin")[0] == 200)
        watching.cancel()


def run(server, call):
    return asyncio.run_coroutine_threadsafe(call, server.loop).result(30)


def test_settings(deltas):
    with pytest.raises(UserError, match="deltas are served over http"):
        gather({"deltas": str(deltas)}, environment={})
    missing = ServeSettings(http="127.0.0.1:0", deltas=str(deltas.parent))
    with pytest.raises(UserError, match="there is no name of the newest delta"), serving(missing):
        pass


@contextmanager
def answering(answers: dict[str, tuple[int, dict, bytes]]):
    """A server that says what it is told to."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            status, headers, body = answers.get(self.path, (404, {}, b""))
            self.send_response(status)
            for name, content in headers.items():
                self.send_header(name, content)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


@contextmanager
def dripping(head: bytes):
    """A server that goes on sending a byte of what the client must read to the end of a line."""
    over, listener = threading.Event(), socket.create_server(("127.0.0.1", 0))

    def drip():
        connection, _ = listener.accept()
        with suppress(OSError), connection:
            connection.sendall(head)
            while not over.wait(0.05):
                connection.sendall(b"0")

    threading.Thread(target=drip, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        over.set()
        listener.close()


def test_servers_that_lie(artifact, deltas):
    latest, raw = json.loads((deltas / LATEST).read_text()), (deltas / "delta-1.bin").read_bytes()

    def told(**change) -> tuple[int, dict, bytes]:
        return 200, {}, json.dumps({**latest, **change}).encode()

    whole, cut = (200, {}, raw), (200, {"Content-Length": "999999"}, raw[:9])
    cases = [
        ({}, "the server says 404"),
        ({"/latest.json": (200, {}, b"x" * 9999)}, "has more than 4096 bytes"),
        ({"/latest.json": (200, {}, b"[]")}, "is no name of the newest delta"),
        ({"/latest.json": (302, {"Location": "file:///etc/hostname"}, b"")}, "cannot be had"),
        ({"/latest.json": told(file="../x")}, "file is '../x'"),
        ({"/latest.json": told(version=-1)}, "version is -1"),
        ({"/latest.json": told(bytes=1 << 40)}, "bytes is"),
        ({"/latest.json": told(bytes=200 << 20)}, "at most 67108864 are read"),
        ({"/latest.json": told(base="0" * 32)}, "of another artifact"),
        ({"/latest.json": told()}, "delta-1.bin cannot be had: the server says 404"),
        ({"/latest.json": told(), "/delta-1.bin": (200, {}, raw[:-1])}, "is cut off or damaged"),
        ({"/latest.json": told(), "/delta-1.bin": (200, {}, raw + b"x")}, "has more than"),
        ({"/latest.json": told(), "/delta-1.bin": cut}, r"cannot be had|cut off"),
        ({"/latest.json": told(blake2b="0" * 32), "/delta-1.bin": whole}, "is cut off or damaged"),
    ]
    for answers, message in cases:
        with answering(answers) as url, pytest.raises(UserError, match=message):
            fetch_delta(url, artifact)
    with answering({"/latest.json": told(), "/delta-1.bin": whole}) as url:
        assert fetch_delta(url + "/", artifact) == raw
        with pytest.raises(UserError, match=r"in time|timed out"):
            fetch_delta(url, artifact, timeout=0.001)
    with pytest.raises(UserError, match="cannot be had"):
        fetch_delta("http://127.0.0.1:9", artifact)
    for head in (b"HTTP/1.1 200 OK\r\nX: ", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0"):
        with dripping(head) as url, ThreadPoolExecutor(1) as pool:
            fetching = pool.submit(fetch_delta, url, artifact, timeout=0.3)
            with pytest.raises(UserError, match="in time"):
                fetching.result(20)
    for url in ("file:///etc/passwd", "ftp://a/b", 5, ""):
        with pytest.raises(UserError, match="must begin with http"):
            fetch_delta(url, artifact)
    assert pack_delta(earlier_delta(deltas, read_manifest(artifact))) == raw
