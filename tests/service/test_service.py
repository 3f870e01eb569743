"""The server: what it answers, and to whom it does not."""

import asyncio
import json
import logging
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace

import grpc
import numpy as np
import pytest
import torch
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from recbole_cocorr.base.errors import UserError
from recbole_cocorr.service.server.batcher import Batcher
from recbole_cocorr.service.server.correction_model import CorrectionModel, load_correction_model
from recbole_cocorr.service.server.metrics import Metrics
from recbole_cocorr.service.server.refusal import CrowdedError
from recbole_cocorr.service.server.server import Server, serve
from recbole_cocorr.service.server.settings import ServeSettings, gather
from recbole_cocorr.service.v1 import correction_pb2 as pb
from recbole_cocorr.service.wire import DESCRIBE, SERVICE, decode_correction
from recbole_cocorr.training.checkpoint import checkpoint_fingerprint, load_checkpoint, save_checkpoint
from tests.conftest import CHECKOUT
from tests.device import make
from tests.service import TOKEN, ask, held, process, request, save, serving
from tests.service.test_client import until

OK, INVALID = grpc.StatusCode.OK, grpc.StatusCode.INVALID_ARGUMENT


def expected(recommender, rows) -> tuple[np.ndarray, np.ndarray]:
    with torch.no_grad():
        sent = recommender.model.correction(torch.from_numpy(rows)[None], torch.tensor([len(rows)]))
    return sent.attention[0].numpy(), sent.bias[0].numpy()


def value(server, name: str, **labels) -> float:
    return server.metrics.registry.get_sample_value(f"recbole_cocorr_{name}", labels) or 0.0


def test_the_answer_is_the_models(trained, server, channel, rows):
    code, raw = ask(channel, request(server.model.fingerprint, rows, 7))
    assert code is OK
    reply = pb.CorrectReply.FromString(raw)
    assert (reply.clicks, reply.fingerprint.hex()) == (7, server.model.fingerprint)
    assert (reply.heads, reply.mini_batch, reply.head_width) == (2, 3, 8)
    for ours, theirs in zip(
        decode_correction(reply.correction, server.model.shape), expected(trained[0], rows), strict=True
    ):
        np.testing.assert_allclose(ours, theirs, atol=1e-5)


def test_the_fingerprint_is_the_checkpoints(server, checkpoint):
    assert server.model.fingerprint == checkpoint_fingerprint(load_checkpoint(checkpoint))


def test_every_row_of_a_batch_gets_its_own(trained, server):
    rng = np.random.default_rng(1)
    uploads = [rng.standard_normal((n, 16)).astype(np.float32) for n in (1, 7, 3, 7, 2)]
    for upload, payload in zip(uploads, server.model.correct(uploads), strict=True):
        for ours, theirs in zip(
            decode_correction(payload, server.model.shape), expected(trained[0], upload), strict=True
        ):
            np.testing.assert_allclose(ours, theirs, atol=1e-5)


def test_describe(server, channel):
    code, raw = ask(channel, b"", method=DESCRIBE)
    told = pb.DescribeReply.FromString(raw)
    assert code is OK and told.fingerprint.hex() == server.model.fingerprint
    assert (told.width, told.most_rows, told.heads, told.mini_batch, told.head_width) == (16, 7, 2, 3, 8)


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"fingerprint": b"x" * 16}, grpc.StatusCode.FAILED_PRECONDITION),
        ({"fingerprint": b"x" * 15}, INVALID),
        ({"fingerprint": b""}, INVALID),
        ({"clicks": 0}, INVALID),
        ({"hidden_states": b""}, INVALID),
        ({"hidden_states": b"1" * 63}, INVALID),
        ({"hidden_states": bytes(64 * 8)}, INVALID),
        ({"hidden_states": np.full((1, 16), np.nan, np.float32).tobytes()}, INVALID),
        ({"hidden_states": np.full((1, 16), 1e30, np.float32).tobytes()}, INVALID),
        ({"encoding": 3}, INVALID),
        ({"hidden_states": bytes(100_000)}, grpc.StatusCode.RESOURCE_EXHAUSTED),
    ],
)
def test_a_request_that_does_not_fit(server, channel, rows, change, code):
    assert ask(channel, request(server.model.fingerprint, rows, **change))[0] is code


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_any_bytes_get_an_error_and_never_stop_the_server(server, channel, data):
    good = request(server.model.fingerprint, np.ones((2, 16), np.float32))
    kind = data.draw(st.sampled_from(["bytes", "changed", "fields"]))
    if kind == "bytes":
        raw = data.draw(st.binary(max_size=400))
    elif kind == "changed":
        at = data.draw(st.integers(0, len(good) - 1))
        raw = good[:at] + data.draw(st.binary(max_size=6)) + good[at + data.draw(st.integers(0, 6)) :]
    else:
        payload = data.draw(st.binary(max_size=600))
        fingerprint = data.draw(st.sampled_from([bytes.fromhex(server.model.fingerprint), b"", b"y" * 16]))
        clicks, encoding = data.draw(st.integers(0, 2**64 - 1)), data.draw(st.integers(-(2**31), 2**31 - 1))
        raw = pb.CorrectRequest(
            fingerprint=fingerprint, clicks=clicks, encoding=encoding, hidden_states=payload
        ).SerializeToString()
    code, _ = ask(channel, raw)
    allowed = {OK, INVALID, grpc.StatusCode.FAILED_PRECONDITION, grpc.StatusCode.RESOURCE_EXHAUSTED}
    assert code in allowed
    assert ask(channel, good)[0] is OK


def test_health_and_reflection(channel):
    health = health_pb2_grpc.HealthStub(channel)
    for name in ("", SERVICE):
        assert health.Check(health_pb2.HealthCheckRequest(service=name)).status == 1
    found = ProtoReflectionDescriptorDatabase(channel)
    assert SERVICE in found.get_services()
    assert found.FindFileContainingSymbol(SERVICE).package == "recbole_cocorr.cloud.v1"


def test_tokens(checkpoint, rows, tmp_path):
    file = tmp_path / "tokens"
    file.write_text(f"# of the phones\n{TOKEN}\nanother-token-of-sixteen\n")
    with (
        serving(ServeSettings(str(checkpoint), "127.0.0.1:0", token_file=str(file))) as server,
        grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel,
    ):
        good = request(server.model.fingerprint, rows)

        def code(*values: str):
            return ask(channel, good, metadata=[("authorization", v) for v in values])[0]

        assert code(f"Bearer {TOKEN}") is OK
        assert code("bearer another-token-of-sixteen") is OK
        refused = ["", "Bearer ", f"Bearer {TOKEN}x", f"Bearer {TOKEN[:-1]}", TOKEN, f"Basic {TOKEN}", "Bearer # of"]
        for value_ in refused:
            assert code(value_) is grpc.StatusCode.UNAUTHENTICATED, value_
        assert code() is grpc.StatusCode.UNAUTHENTICATED
        assert ask(channel, b"", method=DESCRIBE)[0] is grpc.StatusCode.UNAUTHENTICATED
        with pytest.raises(grpc.RpcError):
            ProtoReflectionDescriptorDatabase(channel).get_services()
        # An orchestrator's probe has no token.
        assert health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest()).status == 1
        assert value(server, "requests_total", method="any", code="UNAUTHENTICATED") == len(refused) + 2 + 1


# -- the batcher -------------------------------------------------------------------------------------


class _Slow:
    """A model whose passes are let through one by one, and remembered."""

    def __init__(self):
        self.batches, self.begun, self.go = [], threading.Semaphore(0), threading.Semaphore(0)

    def correct(self, uploads):
        self.batches.append([int(u[0, 0]) for u in uploads])
        self.begun.release()
        assert self.go.acquire(timeout=20)
        return [b"%d" % u[0, 0] for u in uploads]


def row(number: int) -> np.ndarray:
    return np.full((1, 1), number, np.float32)


async def begun(model) -> None:
    assert await asyncio.to_thread(model.begun.acquire, True, 20)


def test_a_lone_request_is_not_held_and_what_waits_goes_together():
    async def run():
        model, batcher = _Slow(), Batcher(Metrics(), most=3)
        batcher.start()
        first = asyncio.create_task(batcher.correct(model, row(0)))
        await begun(model)  # nothing else came, and nothing was waited for
        rest = [asyncio.create_task(batcher.correct(model, row(n))) for n in range(1, 6)]
        await asyncio.sleep(0)
        for _ in range(3):
            model.go.release()
        assert await asyncio.gather(first, *rest) == [b"0", b"1", b"2", b"3", b"4", b"5"]
        assert model.batches == [[0], [1, 2, 3], [4, 5]]
        await batcher.close()

    asyncio.run(run())


def test_a_lone_request_begins_at_once():
    async def run():
        metrics, model = Metrics(), _Slow()
        batcher = Batcher(metrics)
        batcher.start()
        task = asyncio.create_task(batcher.correct(model, row(0)))
        for _ in range(50):  # turns of the event loop, no time
            await asyncio.sleep(0)
        assert metrics.registry.get_sample_value("recbole_cocorr_batch_size_count", {"method": "Correct"}) == 1
        model.go.release()
        await task
        await batcher.close()

    asyncio.run(run())


def test_requests_that_are_handed_over_one_by_one_are_computed_together():
    async def run():
        model, batcher, tasks = _Slow(), Batcher(Metrics()), []
        batcher.start()
        for _ in range(8):
            model.go.release()
        for number in range(8):
            tasks.append(asyncio.create_task(batcher.correct(model, row(number))))
            for _ in range(4):  # of gRPC's, between two requests
                await asyncio.sleep(0)
        await asyncio.gather(*tasks)
        assert model.batches == [list(range(8))]
        await batcher.close()

    asyncio.run(run())


def test_a_request_keeps_the_model_it_came_for():
    async def run():
        old, new, batcher = _Slow(), _Slow(), Batcher(Metrics())
        batcher.start()
        tasks = [asyncio.create_task(batcher.correct(old, row(0)))]
        await begun(old)
        tasks += [asyncio.create_task(batcher.correct(m, row(n))) for n, m in ((1, old), (2, new), (3, new))]
        await asyncio.sleep(0)
        for model in (old, old, new):
            model.go.release()
        await asyncio.gather(*tasks)
        assert (old.batches, new.batches) == ([[0], [1]], [[2, 3]])
        await batcher.close()

    asyncio.run(run())


def test_who_gave_up_is_not_computed_and_makes_room():
    async def run():
        metrics, model = Metrics(), _Slow()
        batcher = Batcher(metrics, waiting=2)
        batcher.start()
        first = asyncio.create_task(batcher.correct(model, row(0)))
        await begun(model)
        gone = asyncio.create_task(batcher.correct(model, row(1)))
        late = asyncio.create_task(batcher.correct(model, row(2), time.monotonic() - 1))
        await asyncio.sleep(0)
        with pytest.raises(CrowdedError):
            await batcher.correct(model, row(3))
        gone.cancel()
        await asyncio.sleep(0)
        last = asyncio.create_task(batcher.correct(model, row(4)))
        await asyncio.sleep(0)
        model.go.release()
        model.go.release()
        assert await asyncio.gather(first, last) == [b"0", b"4"]
        with pytest.raises(TimeoutError):
            await late
        assert model.batches == [[0], [4]]
        assert metrics.registry.get_sample_value("recbole_cocorr_dropped_total", {"method": "Correct"}) == 2
        await batcher.close()

    asyncio.run(run())


def test_a_failing_batch_fails_alone():
    class Failing:
        def correct(self, uploads):
            if uploads[0][0, 0] == 0:
                raise RuntimeError("broken")
            return [b"fine" for _ in uploads]

    async def run():
        batcher = Batcher(Metrics())
        batcher.start()
        with pytest.raises(RuntimeError, match="broken"):
            await batcher.correct(Failing(), row(0))
        assert await batcher.correct(Failing(), row(1)) == b"fine"
        await batcher.close()

    asyncio.run(run())


# -- the server's life -------------------------------------------------------------------------------


@pytest.fixture
def gate(monkeypatch):
    with held(monkeypatch, CorrectionModel) as events:
        yield events


def test_a_full_queue_is_refused_and_a_crowded_connection_waits(checkpoint, rows, gate):
    limits = ServeSettings(str(checkpoint), "127.0.0.1:0", max_queue=2, max_per_connection=5)
    with serving(limits) as server, ThreadPoolExecutor(8) as pool:
        good = request(server.model.fingerprint, rows)
        # Separate pools of connections, or gRPC would make one of the two.
        options = [("grpc.use_local_subchannel_pool", 1)]
        with (
            grpc.insecure_channel(f"127.0.0.1:{server.port}", options) as one,
            grpc.insecure_channel(f"127.0.0.1:{server.port}", options) as two,
        ):
            first = pool.submit(ask, one, good)
            assert gate[0].wait(20)
            waiting = [pool.submit(ask, one, good) for _ in range(2)]
            while value(server, "queued", method="Correct") < 2:
                time.sleep(0.005)
            code, reason = ask(two, good)
            assert code is grpc.StatusCode.RESOURCE_EXHAUSTED and "too many requests wait" in reason
            gate[1].set()
            assert [f.result()[0] for f in (first, *waiting)] == [OK] * 3

    gate[0].clear(), gate[1].clear()
    with serving(replace(limits, max_queue=100)) as server, ThreadPoolExecutor(12) as pool:
        address = f"127.0.0.1:{server.port}"
        with grpc.insecure_channel(address, options) as one, grpc.insecure_channel(address, options) as two:
            taken = [pool.submit(ask, one, good)]
            assert gate[0].wait(20)
            taken += [pool.submit(ask, one, good) for _ in range(4)]
            while value(server, "queued", method="Correct") < 4:
                time.sleep(0.005)
            assert value(server, "in_flight") == 5
            taken += [pool.submit(ask, one, good) for _ in range(3)]  # these wait at the client
            other = pool.submit(ask, two, good)
            while value(server, "queued", method="Correct") < 5:
                time.sleep(0.005)
            assert value(server, "queued", method="Correct") == 5
            gate[1].set()
            assert [f.result()[0] for f in (*taken, other)] == [OK] * 9
            assert value(server, "in_flight") == 0


def test_a_stop_answers_what_was_taken_in(checkpoint, rows, gate):
    with ThreadPoolExecutor(4) as pool:
        with serving(ServeSettings(str(checkpoint), "127.0.0.1:0")) as server:
            channel = grpc.insecure_channel(f"127.0.0.1:{server.port}")
            good = request(server.model.fingerprint, rows)
            taken = [pool.submit(ask, channel, good)]
            assert gate[0].wait(20)  # or the first batch could have more than one of them
            taken += [pool.submit(ask, channel, good) for _ in range(2)]
            while value(server, "queued", method="Correct") < 2:
                time.sleep(0.005)
            stopping = asyncio.run_coroutine_threadsafe(server.stop(), server.loop)
            time.sleep(0.05)
            gate[1].set()
            stopping.result(20)
            server.port = 0
        assert [f.result()[0] for f in taken] == [OK] * 3
        channel.close()


def test_work_is_dropped_when_its_deadline_has_passed(checkpoint, rows, gate):
    with (
        serving(ServeSettings(str(checkpoint), "127.0.0.1:0")) as server,
        grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel,
        ThreadPoolExecutor(2) as pool,
    ):
        good = request(server.model.fingerprint, rows)
        first = pool.submit(ask, channel, good)
        assert gate[0].wait(20)
        late = pool.submit(ask, channel, good, 1.0)
        while not late.done() and value(server, "queued", method="Correct") < 1:
            time.sleep(0.005)
        assert late.result()[0] is grpc.StatusCode.DEADLINE_EXCEEDED
        time.sleep(0.2)  # the server's clock for it began a little later
        gate[1].set()
        assert first.result()[0] is OK
        assert ask(channel, good)[0] is OK
        assert value(server, "dropped_total", method="Correct") == 1
        assert value(server, "batch_size_sum", method="Correct") == 2


def test_a_new_checkpoint_is_taken_over_and_a_bad_one_is_not(trained, tmp_path, rows):
    file = tmp_path / "model.safetensors"
    save(trained[0], file)
    with (
        serving(ServeSettings(str(file), "127.0.0.1:0")) as server,
        grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel,
        ThreadPoolExecutor(1) as pool,
    ):
        old = server.model.fingerprint
        over = threading.Event()

        def reload() -> bool:
            return asyncio.run_coroutine_threadsafe(server.reload(), server.loop).result(20)

        def keep_asking(fingerprint: str) -> set:
            codes = set()
            while not over.is_set():
                codes.add(ask(channel, request(fingerprint, rows))[0])
            return codes

        asking = pool.submit(keep_asking, old)
        file.write_bytes(b"half a file")
        assert not reload()
        save(make(mini_batch_size=4), file)
        assert not reload()
        assert server.model.fingerprint == old
        assert value(server, "reloads_total", result="failed") == 2

        other = make()
        with torch.no_grad():
            other.model.gcn.bias_net.fc3.weight.mul_(2)
        save(other, file)
        assert reload()
        new = server.model.fingerprint
        assert new != old
        while value(server, "requests_total", method="Correct", code="FAILED_PRECONDITION") < 1:
            time.sleep(0.005)
        over.set()
        assert asking.result() == {OK, grpc.StatusCode.FAILED_PRECONDITION}
        code, raw = ask(channel, request(new, rows))
        assert code is OK
        bias = decode_correction(pb.CorrectReply.FromString(raw).correction, server.model.shape)[1]
        np.testing.assert_allclose(bias, expected(other, rows)[1], atol=1e-5)


def test_metrics_over_http_and_logs_without_user_data(checkpoint, rows, capsys):
    import urllib.request

    from recbole_cocorr.service.server.logs import LOGGER, set_up

    logger = logging.getLogger(LOGGER)
    kept = logger.handlers[:], logger.level, logger.propagate
    set_up("debug")
    try:
        with serving(ServeSettings(str(checkpoint), "127.0.0.1:0", metrics="127.0.0.1:0")) as server:
            with grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
                assert ask(channel, request(server.model.fingerprint, rows, 987654321))[0] is OK
                ask(channel, b"\xff987654321")
            text = urllib.request.urlopen(f"http://127.0.0.1:{server.metrics_port}/metrics").read().decode()
    finally:
        logger.handlers[:], logger.level, logger.propagate = kept
    assert 'recbole_cocorr_requests_total{code="OK",method="Correct"} 1.0' in text
    assert 'recbole_cocorr_requests_total{code="INVALID_ARGUMENT",method="Correct"} 1.0' in text
    for name in ("batch_size", "queue_seconds", "compute_seconds"):
        assert f'recbole_cocorr_{name}_count{{method="Correct"}} 1.0' in text
    logged = capsys.readouterr().err
    events = [json.loads(line)["event"] for line in logged.splitlines()]
    assert events == ["serving", "stopping", "stopped"]
    assert "987654321" not in logged + text


def test_after_a_signal_every_request_is_answered_or_told_that_the_service_stops(checkpoint, rows):
    running, port = process(checkpoint)
    try:
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            fingerprint = pb.DescribeReply.FromString(ask(channel, b"", method=DESCRIBE)[1]).fingerprint.hex()
            call = channel.unary_unary(f"/{SERVICE}/Correct")
            sent = [call.future(request(fingerprint, rows), timeout=20) for _ in range(200)]
            running.terminate()
            codes = Counter(future.code() for future in sent)
        assert set(codes) <= {OK, grpc.StatusCode.UNAVAILABLE}, codes
    finally:
        running.wait(30)
    assert running.returncode == 0


def test_the_watch_goes_on_whatever_one_file_does(trained, tmp_path, monkeypatch):
    file = save(trained[0], tmp_path / "model.safetensors")
    with serving(ServeSettings(str(file), "127.0.0.1:0", watch=0.02)) as server:
        watching = asyncio.run_coroutine_threadsafe(server.watch(), server.loop)

        def fail(path):  # what no reader has thought of
            raise RecursionError

        monkeypatch.setattr("recbole_cocorr.service.server.server.load_correction_model", fail)
        file.write_bytes(b"another")
        until = time.monotonic() + 20
        while value(server, "reloads_total", result="failed") < 1 and not watching.done() and time.monotonic() < until:
            time.sleep(0.005)
        monkeypatch.undo()
        assert not watching.done()
        other = make()
        with torch.no_grad():
            other.model.gcn.bias_net.fc3.weight.mul_(2)
        save(other, file)
        while value(server, "reloads_total", result="ok") < 1 and time.monotonic() < until:
            time.sleep(0.005)
        assert not watching.done()
        assert value(server, "reloads_total", result="ok") == 1
        watching.cancel()


@contextmanager
def watched(chosen: ServeSettings):
    with serving(replace(chosen, watch=0.02)) as server:
        watching = asyncio.run_coroutine_threadsafe(server.watch(), server.loop)
        yield server
        watching.cancel()


def test_latest_is_the_newest_checkpoint_at_each_look(trained, tmp_path):
    save(trained[0], tmp_path / "a.safetensors")
    chosen = gather({"checkpoint": str(tmp_path / "latest"), "listen": "127.0.0.1:0"})
    with watched(chosen) as server:
        first = server.model.fingerprint
        other = make()
        with torch.no_grad():
            other.model.gcn.bias_net.fc3.weight.mul_(2)
        save(other, tmp_path / "b.safetensors")
        until(lambda: server.model.fingerprint != first)


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="no SIGHUP here")
def test_a_server_that_is_loading_is_not_ended_by_sighup(monkeypatch):
    """It would be by what the system does with a SIGHUP that nobody takes."""

    async def start(self):
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
        raise UserError("enough")

    monkeypatch.setattr(Server, "start", start)
    before = signal.getsignal(signal.SIGHUP)
    try:
        with pytest.raises(UserError, match="enough"):
            asyncio.run(serve(ServeSettings(listen="127.0.0.1:0")))
    finally:
        signal.signal(signal.SIGHUP, before)


def test_what_grpc_says_by_itself_is_not_on_stderr(checkpoint):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        command = [sys.executable, "-m", "recbole_cocorr", "serve", "--checkpoint", str(checkpoint)]
        command += ["--listen", f"127.0.0.1:{taken.getsockname()[1]}"]
        environment = {name: value for name, value in os.environ.items() if name != "GRPC_VERBOSITY"}
        environment["PYTHONPATH"] = str(CHECKOUT)
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 2 and re.fullmatch(r"error: cannot listen on .*\n", done.stderr), done.stderr


def test_new_tokens_are_noticed(checkpoint, tmp_path, rows):
    tokens = tmp_path / "tokens"
    tokens.write_text("first-token-of-all\n")
    with watched(ServeSettings(str(checkpoint), "127.0.0.1:0", token_file=str(tokens))) as server:
        raw = request(server.model.fingerprint, rows)

        def code(token: str):
            with grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
                return ask(channel, raw, metadata=(("authorization", f"Bearer {token}"),))[0]

        assert code("first-token-of-all") is OK
        tokens.write_text("another-token-by-now\n")
        until(lambda: code("first-token-of-all") is grpc.StatusCode.UNAUTHENTICATED)
        assert code("another-token-by-now") is OK


def test_the_network_has_the_threads_of_the_setting_and_no_more_than_processors(checkpoint, monkeypatch):
    monkeypatch.setattr("recbole_cocorr.service.server.server.allowed_cpus", lambda: 3)
    for threads, used in ((2, 2), (200, 3)):
        with serving(ServeSettings(str(checkpoint), "127.0.0.1:0", threads=threads)) as server:
            assert server.model.network.session.get_session_options().intra_op_num_threads == used


def test_two_servers_do_not_share_a_port(server, checkpoint):
    taken = ServeSettings(str(checkpoint), f"127.0.0.1:{server.port}")
    with pytest.raises(UserError, match="cannot listen"), serving(taken):
        pass


@pytest.mark.skipif(not hasattr(socket, "SO_REUSEPORT"), reason="this system shares no port")
def test_copies_share_a_port_where_they_are_told_to(checkpoint, rows):
    first = ServeSettings(str(checkpoint), "127.0.0.1:0", http="127.0.0.1:0", share_port=1)
    with serving(first) as one:
        both = replace(first, listen=f"127.0.0.1:{one.port}", http=f"127.0.0.1:{one.http_port}")
        with serving(both) as two:
            assert (two.port, two.http_port) == (one.port, one.http_port)
            with pytest.raises(UserError, match="cannot listen"), serving(replace(both, share_port=0)):
                pass
        with grpc.insecure_channel(f"127.0.0.1:{one.port}") as channel:  # the other copy has ended
            assert ask(channel, request(one.model.fingerprint, rows))[0] is OK
        with socket.create_connection(("127.0.0.1", one.http_port), 20) as made:
            made.sendall(b"GET /v1/describe HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert made.recv(1024).startswith(b"HTTP/1.1 200")


def test_what_has_no_correction_network_is_refused(tmp_path):
    alone = save(make(use_gcn=False), tmp_path / "alone.safetensors")
    other = save(make("GRU4Rec"), tmp_path / "gru.safetensors")
    for file, words in ((alone, "without its correction network"), (other, "no CoCorrRec")):
        with pytest.raises(UserError, match=words):
            load_correction_model(file)


@pytest.mark.parametrize(
    "change, sentence",
    [
        (lambda c: c.weights["layers.0.input_norm.weight"].fill_(float("nan")), "input_norm.weight holds NaN"),
        (lambda c: c.weights["gcn.bias_net.fc1.weight"].fill_(float("inf")), "fc1.weight holds NaN or infinity"),
        (lambda c: c.weights.update({"final_norm.weight": torch.ones(16).half()}), "final_norm.weight is float16"),
        (lambda c: c.config.update(hidden_size="16"), "config.hidden_size is '16'; it must be a whole number"),
        (lambda c: c.config.update(hidden_size=16.5), "config.hidden_size is 16.5"),
        (lambda c: c.config.update(num_heads=True), "config.num_heads is True"),
        (lambda c: c.config.update(mini_batch_size=20_000), r"the configuration makes it \(800000000, 64\)"),
        (lambda c: c.config.update(mini_batch_size=None, MAX_ITEM_LIST_LENGTH=20_000), r"makes it \(800000000, 64\)"),
        (lambda c: c.weights.pop("gcn.bias_net.fc2.weight"), "lacks the weight gcn.bias_net.fc2.weight"),
        (lambda c: c.weights.update({"gcn.more": torch.ones(1)}), "has the unknown weight gcn.more"),
        (lambda c: c.config.update(MAX_ITEM_LIST_LENGTH=10**9), "MAX_ITEM_LIST_LENGTH is 1000000000"),
    ],
)
def test_checkpoints_that_a_server_does_not_start_with(checkpoint, tmp_path, change, sentence):
    read = load_checkpoint(checkpoint)
    read.weights = {name: tensor.clone() for name, tensor in read.weights.items()}
    change(read)
    save_checkpoint(tmp_path / "a.safetensors", read)
    with pytest.raises(UserError, match=rf"a\.safetensors.*{sentence}"):
        load_correction_model(tmp_path / "a.safetensors")
