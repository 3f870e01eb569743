"""The client: what it makes of each answer, and that it never waits or raises."""

import http.client
import os
import signal
import socket
import ssl
import subprocess
import sys
import time
from contextlib import nullcontext

import grpc
import numpy as np
import pytest

from recbole_cocorr.base.errors import UserError
from recbole_cocorr.service.client.breaker import Breaker
from recbole_cocorr.service.client.client import CORRECTED, LATE, OFFLINE, REFUSED, Client
from recbole_cocorr.service.server.settings import ServeSettings
from recbole_cocorr.service.v1 import correction_pb2 as pb
from recbole_cocorr.service.wire import CORRECT, SERVICE
from tests.conftest import CHECKOUT
from tests.service import TOKEN, answering, process, serving

SHAPE, FINGERPRINT = (2, 3, 8), "ab" * 16
# Far more than anything here takes; a test that needs it has failed.
LONG = 20.0


def good(raw: bytes, **changed) -> bytes:
    asked = pb.CorrectRequest.FromString(raw)
    parts = {"fingerprint": asked.fingerprint, "clicks": asked.clicks, "correction": bytes(264)}
    parts |= {"heads": 2, "mini_batch": 3, "head_width": 8}
    return pb.CorrectReply(**{**parts, **changed}).SerializeToString()


def eager() -> Breaker:
    """Opens late and waits for next to nothing."""
    return Breaker(failures=1000, first=1e-6, longest=1e-6)


def test_a_correction(server, rows):
    with Client(f"127.0.0.1:{server.port}", server.model.fingerprint, SHAPE, timeout=LONG) as client:
        pending = client.upload(rows, 5)
        answer = pending.answer(LONG)
        assert (answer.status, answer.reason, pending.upload_bytes) == (CORRECTED, "", 320)
        assert answer.content.attention.shape == (2, 3, 3) and answer.content.bias.shape == (2, 3, 8)
        assert pending.answer(0) is answer


@pytest.mark.parametrize("encoding", ["float16", "int8"])
def test_shorter_uploads_give_nearly_the_same(server, rows, encoding):
    address = f"127.0.0.1:{server.port}"
    with (
        Client(address, server.model.fingerprint, SHAPE, LONG) as plain,
        Client(address, server.model.fingerprint, SHAPE, LONG, encoding) as short,
    ):
        exact, near = plain.correct(rows, 1, LONG), short.correct(rows, 1, LONG)
        assert near.status == CORRECTED
        spread = np.abs(exact.content.bias).max()
        assert 0 < np.abs(near.content.bias - exact.content.bias).max() < 0.05 * spread


BAD = {
    "garbage": lambda raw: b"\xff" * 50,
    "empty": lambda raw: b"",
    "another model": lambda raw: good(raw, fingerprint=b"x" * 16),
    "other clicks": lambda raw: good(raw, clicks=8),
    "another shape": lambda raw: good(raw, heads=3, correction=bytes(396)),
    "too short": lambda raw: good(raw, correction=bytes(260)),
    "NaN": lambda raw: good(raw, correction=np.full(66, np.nan, np.float32).tobytes()),
    "infinite": lambda raw: good(raw, correction=np.full(66, np.inf, np.float32).tobytes()),
}


@pytest.mark.parametrize("kind", BAD)
def test_what_is_no_correction_is_refused(rows, kind):
    with (
        answering("Correct", lambda raw, context: BAD[kind](raw)) as address,
        Client(address, FINGERPRINT, SHAPE, LONG, breaker=Breaker(failures=2, first=60, longest=60)) as client,
    ):
        answers = [client.correct(rows, 7, LONG) for _ in range(3)]
        assert [a.status for a in answers] == [REFUSED] * 3
        assert answers[0].content is None and answers[0].reason.startswith("the answer cannot be used")
        # The third was not even sent.
        assert client.upload(rows, 7).upload_bytes == 0


def test_an_answer_that_is_too_large_is_not_read(rows):
    with (
        answering("Correct", lambda raw, context: good(raw, correction=bytes(1 << 21))) as address,
        Client(address, FINGERPRINT, SHAPE, LONG) as client,
    ):
        assert client.correct(rows, 7, LONG).status in (REFUSED, OFFLINE)


@pytest.mark.parametrize(
    ("code", "status", "lasting"),
    [
        (grpc.StatusCode.FAILED_PRECONDITION, REFUSED, True),
        (grpc.StatusCode.UNAUTHENTICATED, REFUSED, True),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, REFUSED, False),
        (grpc.StatusCode.INVALID_ARGUMENT, REFUSED, False),
        (grpc.StatusCode.UNAVAILABLE, OFFLINE, False),
        (grpc.StatusCode.INTERNAL, OFFLINE, False),
        (grpc.StatusCode.CANCELLED, OFFLINE, False),
    ],
)
def test_errors(rows, code, status, lasting):
    calls = []

    def answer(raw, context):
        calls.append(raw)
        context.abort(code, "no")

    with (
        answering("Correct", answer) as address,
        Client(address, FINGERPRINT, SHAPE, LONG, breaker=Breaker(failures=3, first=60, longest=60)) as client,
    ):
        answers = [client.correct(rows, 1, LONG) for _ in range(2)]
        assert {a.status for a in answers} == {status}
        assert len(calls) == (1 if lasting else 2)


def test_nobody_there_is_offline_and_soon_not_asked(rows):
    with socket.socket() as taken:  # bound, and not listening
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        breaker = Breaker(failures=3, first=60, longest=60)
        with Client(f"127.0.0.1:{port}", FINGERPRINT, SHAPE, LONG, breaker=breaker) as client:
            pending = [client.upload(rows, 1) for _ in range(3)]
            assert [p.answer(LONG).status for p in pending] == [OFFLINE] * 3
            after = client.upload(rows, 1)
            assert (after.answer(0).status, after.upload_bytes) == (OFFLINE, 0)


def test_a_name_that_does_not_exist_is_offline(rows):
    with Client("no-such-host.invalid:1", FINGERPRINT, SHAPE, timeout=LONG) as client:
        assert client.correct(rows, 1, LONG).status == OFFLINE


def test_late_and_then_there(rows):
    import threading

    go = threading.Event()

    def answer(raw, context):
        assert go.wait(LONG)
        return good(raw)

    with answering("Correct", answer) as address, Client(address, FINGERPRINT, SHAPE, LONG) as client:
        pending = client.upload(rows, 1)
        assert pending.answer(0.01).status == LATE and not pending.done
        go.set()
        assert pending.answer(LONG).status == CORRECTED
        assert not client.breaker.reason


def test_a_service_that_never_answers_is_left_alone(rows):
    import threading

    go = threading.Event()

    def answer(raw, context):
        go.wait(LONG)
        return good(raw)

    with answering("Correct", answer) as address:
        breaker = Breaker(failures=3, first=60, longest=60)
        with Client(address, FINGERPRINT, SHAPE, LONG, breaker=breaker) as client:
            for _ in range(3):
                pending = client.upload(rows, 1)
                assert pending.answer(0.01).status == LATE
                pending.cancel()
                assert pending.done
            assert client.upload(rows, 1).answer(0).status == OFFLINE
            # A click soon after the last, before anybody waited, says nothing of the service.
        patient = Breaker(failures=1, first=60, longest=60)
        with Client(address, FINGERPRINT, SHAPE, LONG, breaker=patient) as client:
            pending = client.upload(rows, 1)
            pending.cancel()
            assert pending.done
            assert not patient.reason
        go.set()


def test_a_closed_client_is_offline(rows, server):
    client = Client(f"127.0.0.1:{server.port}", server.model.fingerprint, SHAPE)
    client.close()
    client.close()
    assert client.correct(rows, 1, LONG).status == OFFLINE


def test_a_connection_cut_in_the_middle(rows):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = Client(f"127.0.0.1:{listener.getsockname()[1]}", FINGERPRINT, SHAPE, LONG)
        pending = client.upload(rows, 1)
        connection, _ = listener.accept()
        connection.recv(10)
        connection.sendall(b"\x00\x00\x12\x04")  # the head of an HTTP/2 frame, and no more
        connection.close()
        assert pending.answer(LONG).status == OFFLINE
        client.close()


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"target": ""}, "HOST:PORT"),
        ({"fingerprint": "x"}, "32 hexadecimal"),
        ({"encoding": "int4"}, "float32, float16, int8"),
        ({"timeout": 0}, "above 0"),
        ({"timeout": True}, "above 0"),
        ({"certificate": "x"}, "belong together"),
        ({"ca": "no-such-file"}, "no ca file"),
        ({"target": "example.com:1", "token": TOKEN}, "unencrypted"),
        ({"token": "two words"}, "visible ASCII"),
    ],
)
def test_settings_that_do_not_fit(settings, words):
    with pytest.raises(UserError, match=words):
        Client(**{"target": "127.0.0.1:1", "fingerprint": FINGERPRINT, "shape": SHAPE, **settings})


def test_hidden_states_that_are_none(rows):
    with Client("127.0.0.1:1", FINGERPRINT, SHAPE) as client:
        for bad in (rows[0], rows * np.nan, np.zeros((0, 16))):
            with pytest.raises(UserError, match="cannot be sent"):
                client.upload(bad, 1)


def test_tokens(checkpoint, rows, monkeypatch):
    monkeypatch.setenv("RECBOLE_COCORR_TOKENS", TOKEN)
    with serving(ServeSettings(str(checkpoint), "127.0.0.1:0")) as server:
        address, fingerprint = f"127.0.0.1:{server.port}", server.model.fingerprint
        for token, status in ((TOKEN, CORRECTED), ("wrong" + TOKEN, REFUSED), (None, REFUSED)):
            with Client(address, fingerprint, SHAPE, LONG, token=token) as client:
                assert client.correct(rows, 1, LONG).status == status


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    """Two authorities, a certificate for localhost by the first, one for a device by each."""
    folder = tmp_path_factory.mktemp("tls")

    def openssl(*arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)

    try:
        subprocess.run(["openssl", "version"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("openssl is not here")
    curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    for ca in ("ca", "other"):
        to = ["-keyout", f"{ca}.key", "-out", f"{ca}.pem", "-days", "2", "-subj", f"/CN={ca}"]
        # Python 3.13 and newer ask for the usage, and for the key identifiers below.
        openssl("req", "-x509", *curve, *to, "-addext", "keyUsage=critical,keyCertSign,cRLSign")
    extensions = "subjectAltName=DNS:localhost,IP:127.0.0.1\nsubjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid\n"
    (folder / "names").write_text(extensions)
    for name, ca in (("server", "ca"), ("device", "ca"), ("stranger", "other")):
        openssl("req", "-new", *curve, "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN={name}")
        signed = ["-CA", f"{ca}.pem", "-CAkey", f"{ca}.key", "-CAcreateserial", "-extfile", "names"]
        openssl("x509", "-req", "-in", f"{name}.csr", *signed, "-out", f"{name}.pem", "-days", "2")
    return folder


def test_tls(checkpoint, rows, certificates):
    pair = {"tls_cert": str(certificates / "server.pem"), "tls_key": str(certificates / "server.key")}
    with serving(ServeSettings(str(checkpoint), "127.0.0.1:0", **pair)) as server:
        address = f"localhost:{server.port}"
        for settings, status in (
            ({"ca": certificates / "ca.pem"}, CORRECTED),
            ({"ca": certificates / "other.pem"}, OFFLINE),  # somebody else's server
            ({}, OFFLINE),  # without TLS
            ({"ca": certificates / "ca.pem", "server_name": "elsewhere"}, OFFLINE),
        ):
            with Client(address, server.model.fingerprint, SHAPE, LONG, **settings) as client:
                assert client.correct(rows, 1, LONG).status == status, settings


def test_mutual_tls(checkpoint, rows, certificates):
    names = {"tls_cert": "server.pem", "tls_key": "server.key", "tls_client_ca": "ca.pem"}
    settings = {key: str(certificates / name) for key, name in names.items()}
    with serving(ServeSettings(str(checkpoint), "127.0.0.1:0", **settings)) as server:
        for name, status in (("device", CORRECTED), ("stranger", OFFLINE), (None, OFFLINE)):
            own = {"certificate": certificates / f"{name}.pem", "key": certificates / f"{name}.key"} if name else {}
            address = f"localhost:{server.port}"
            with Client(address, server.model.fingerprint, SHAPE, LONG, ca=certificates / "ca.pem", **own) as client:
                assert client.correct(rows, 1, LONG).status == status, name


def test_mutual_tls_over_http(checkpoint, certificates):
    names = {"tls_cert": "server.pem", "tls_key": "server.key", "tls_client_ca": "ca.pem"}
    settings = {key: str(certificates / name) for key, name in names.items()}
    with serving(ServeSettings(str(checkpoint), "127.0.0.1:0", http="127.0.0.1:0", **settings)) as server:
        for name in ("device", "stranger", None):
            tls = ssl.create_default_context(cafile=certificates / "ca.pem")
            if name:
                tls.load_cert_chain(certificates / f"{name}.pem", certificates / f"{name}.key")
            connection = http.client.HTTPSConnection("localhost", server.http_port, context=tls, timeout=20)
            with nullcontext() if name == "device" else pytest.raises(OSError):
                for _ in range(2):
                    connection.request("GET", "/v1/describe")
                    assert connection.getresponse().read()
            connection.close()


def test_killed_and_started_again_on_one_client(checkpoint, rows, server):
    running, port = process(checkpoint)
    breaker = Breaker(failures=2, first=0.01, longest=0.1)
    with Client(f"127.0.0.1:{port}", server.model.fingerprint, SHAPE, LONG, breaker=breaker) as client:
        assert client.correct(rows, 1, LONG).status == CORRECTED
        # Frozen: whoever waits, waits as long as told, and then is not kept waiting any more.
        os.kill(running.pid, signal.SIGSTOP)
        seen = [client.correct(rows, 1, 0.02).status for _ in range(50)]
        assert set(seen) == {LATE, OFFLINE} and seen[0] == LATE
        os.kill(running.pid, signal.SIGCONT)
        until(lambda: client.correct(rows, 1, LONG).status == CORRECTED)
        running.kill()
        running.wait()
        until(lambda: client.correct(rows, 1, LONG).status == OFFLINE)
        running, _ = process(checkpoint, port=port)
        until(lambda: client.correct(rows, 1, LONG).status == CORRECTED)
    running.send_signal(signal.SIGTERM)
    assert running.wait(LONG) == 0


def until(done, most: float = 60.0) -> None:
    end = time.monotonic() + most
    while not done():
        assert time.monotonic() < end
        time.sleep(0.01)


ALONE = """
import sys

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {refused}:
            raise ImportError(name + " is not on the device")

sys.meta_path.insert(0, Refuse())
import numpy
from recbole_cocorr.service import Client
with Client(sys.argv[1], sys.argv[2], (2, 3, 8), timeout=20) as client:
    print(client.correct(numpy.ones((3, 16)), 1, 20).status)
"""
REFUSED_PACKAGES = (
    "torch recbole pandas scipy onnx onnxruntime safetensors yaml sklearn ray prometheus_client grpc_health"
)


def test_numpy_grpcio_and_protobuf_are_all_it_needs(server):
    command = [sys.executable, "-c", ALONE.format(refused=REFUSED_PACKAGES.split())]
    command += [f"127.0.0.1:{server.port}", server.model.fingerprint]
    environment = {**os.environ, "PYTHONPATH": str(CHECKOUT)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "corrected\n"), done.stderr[-2000:]


def test_the_method_is_the_protos():
    assert f"/{SERVICE}/{pb.DESCRIPTOR.services_by_name['Corrections'].methods[0].name}" == CORRECT
