"""The server's life: started, a new checkpoint taken over, stopped without a request lost."""

import asyncio
import logging
import os
import signal
import ssl
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from recbole_cocorr.artifact.latest import LATEST
from recbole_cocorr.base.checkpoints import checkpoint_file
from recbole_cocorr.base.cpus import allowed_cpus
from recbole_cocorr.base.errors import UserError
from recbole_cocorr.correctors.folder import TRUST_FILE
from recbole_cocorr.service.server.batcher import Batcher
from recbole_cocorr.service.server.correction_model import CorrectionModel, load_correction_model
from recbole_cocorr.service.server.delta_files import Served, load_deltas
from recbole_cocorr.service.server.gate import Gate
from recbole_cocorr.service.server.http import MetricsRoute, Route, ServiceRoute
from recbole_cocorr.service.server.logs import log
from recbole_cocorr.service.server.metrics import Metrics
from recbole_cocorr.service.server.score_model import ScoreModel, load_score_model
from recbole_cocorr.service.server.security import host_of, is_loopback, read_file
from recbole_cocorr.service.server.service import Corrections
from recbole_cocorr.service.server.settings import ServeSettings
from recbole_cocorr.service.server.turns import Turns
from recbole_cocorr.service.v1 import correction_pb2
from recbole_cocorr.service.wire import MOST_CANDIDATES, MOST_CLICKS, SERVICE

# What surrounds the hidden states of a request: fingerprint, counter, tags and lengths.
_AROUND_PAYLOAD = 1024
# Seconds in which what was on its way when the server stopped still gets an answer; again if something came, so often.
_LAST_CALL, _MOST_CALLS = 0.3, 10


class Server:
    """A correction server.

    Parameters
    ----------
    settings : ServeSettings
    service : type
        What answers: :class:`~recbole_cocorr.service.server.service.Corrections`, or a subclass.

    Attributes
    ----------
    port, http_port, metrics_port : int
        Where it listens, once started; 0 where it does not.
    metrics : Metrics
    """

    def __init__(self, settings: ServeSettings, service: type[Corrections] = Corrections):
        self._service_class = service
        self.settings, self.metrics, self.port = settings, Metrics(), 0
        s = settings
        # A connection's share leaves room for others: whoever comes next waits for one batch at most.
        share = max(1, s.max_batch // 2) if s.max_per_connection else s.max_batch
        self._gate = Gate(s.tokens(), Turns(s.max_batch, share, s.max_queue), self.metrics)
        limits = (self.metrics, s.max_batch, s.max_queue)
        self._batchers = tuple(Batcher(*limits, method) for method in ("Correct", "Score"))
        self._loader = ThreadPoolExecutor(1, "loader")
        self._health = health.aio.HealthServicer()
        self._loading = asyncio.Lock()
        self._stamps: tuple[tuple[int, ...], ...] = ()
        self._routes: list[Route] = []
        self._service_route: ServiceRoute | None = None
        self.http_port = self.metrics_port = 0

    async def start(self) -> None:
        """Load the checkpoint and the corrector, and listen.

        Raises
        ------
        UserError
            If the checkpoint, the corrector, a certificate or the address is not usable.
        """
        s = self.settings
        self._stamps = _stamps(s)
        model, scorer, deltas = await asyncio.get_running_loop().run_in_executor(self._loader, _load, s)
        self._service = self._service_class(model, scorer, self._batchers)
        self._tell_metrics()
        up, down = sizes(model, scorer)
        self._server = grpc.aio.server(
            interceptors=[self._gate],
            options=[
                ("grpc.max_receive_message_length", up + _AROUND_PAYLOAD),
                ("grpc.max_send_message_length", down + _AROUND_PAYLOAD),
                ("grpc.so_reuseport", s.share_port),  # without it a second server on the port is an error
                ("grpc.http2.min_recv_ping_interval_without_data_ms", 5000),
                ("grpc.keepalive_permit_without_calls", 1),
                # More requests of a connection wait at the client; a request is not reset because another just ended.
                ("grpc.http.overload_protection", 0),
                *([("grpc.max_concurrent_streams", s.max_per_connection)] if s.max_per_connection else []),
                # Who has not even shaken hands is not waited for.
                ("grpc.server_handshake_timeout_ms", 10_000),
            ],
        )
        self._server.add_generic_rpc_handlers((self._service.handler(),))
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        # Reflection finds the descriptors in protobuf's pool, where importing them put them.
        corrections = correction_pb2.DESCRIPTOR.services_by_name["Corrections"].full_name
        reflection.enable_server_reflection((corrections, health.SERVICE_NAME, reflection.SERVICE_NAME), self._server)
        self._listen()
        for batcher in self._batchers:
            batcher.start()
        await self._start_routes(deltas)
        await self._server.start()
        await self._tell_health(health_pb2.HealthCheckResponse.SERVING)
        log(logging.INFO, "serving", listen=s.listen, port=self.port, **_log_fields(model, scorer))
        if self._gate.tokens and not s.tls_cert and not is_loopback(s.listen):
            log(logging.WARNING, "tokens travel without TLS; something before this server must add it")

    async def _start_routes(self, deltas: dict[str, Served]) -> None:
        s, tls = self.settings, None
        if s.tls_cert and (s.http or s.metrics):
            try:
                tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=s.tls_client_ca or None)
                tls.load_cert_chain(s.tls_cert, s.tls_key)
            except OSError as error:  # ssl's errors are of this kind too
                raise UserError(f"tls_cert, tls_key or tls_client_ca cannot be used: {error}") from None
            if s.tls_client_ca:
                tls.verify_mode = ssl.CERT_REQUIRED
        # A stranger's page has no token and no certificate for its own name, so there every name may lead here.
        names = None if s.tls_cert or self._gate.tokens else tuple(s.http_names.lower().replace(",", " ").split())
        if s.http:
            self._service_route = ServiceRoute(self._service, self._gate, names, s.http_origin)
            self._service_route.deltas = deltas
            self.http_port = await self._route(self._service_route, "http", tls, bool(s.share_port))
        if s.metrics:
            self.metrics_port = await self._route(MetricsRoute(self._gate, self.metrics, names), "metrics", tls)

    async def _route(self, route: Route, name: str, tls: ssl.SSLContext | None, share_port: bool = False) -> int:
        address = getattr(self.settings, name)
        try:
            port = await route.start(host_of(address), int(address.rpartition(":")[2]), tls, share_port)
        except OSError as error:
            raise UserError(f"{name} cannot listen on {address}: {error.strerror or error}") from None
        self._routes.append(route)
        return port

    def _listen(self) -> None:
        s = self.settings
        try:
            if s.tls_cert:
                pair = (read_file(s.tls_key, "tls_key"), read_file(s.tls_cert, "tls_cert"))
                roots = read_file(s.tls_client_ca, "tls_client_ca") if s.tls_client_ca else None
                credentials = grpc.ssl_server_credentials([pair], roots, require_client_auth=roots is not None)
                self.port = self._server.add_secure_port(s.listen, credentials)
            else:
                self.port = self._server.add_insecure_port(s.listen)
        except RuntimeError:  # grpcio's only word for it; also for a key that does not fit
            self.port = 0
        if not self.port:
            raise UserError(
                f"cannot listen on {s.listen}: the address is taken or not of this machine"
                + (", or the certificate and key do not fit" if s.tls_cert else "")
            )

    async def _tell_health(self, status: int) -> None:
        for name in ("", SERVICE):
            await self._health.set(name, status)

    @property
    def model(self) -> CorrectionModel | None:
        """What answers Correct."""
        return self._service.model

    @property
    def scorer(self) -> ScoreModel | None:
        """What answers Score."""
        return self._service.scorer

    def _tell_metrics(self) -> None:
        self.metrics.serve(*(None if m is None else m.fingerprint for m in (self.model, self.scorer)))

    async def reload(self) -> bool:
        """Take over the checkpoint, the corrector and the tokens as they are on the disk now.

        Requests that were taken in are answered by the model they came for. If one of the files is not usable all of
        them stay as they were.

        Returns
        -------
        bool
            Whether what is on the disk is now served.
        """
        async with self._loading:
            s = self.settings
            self._stamps = _stamps(s)
            try:
                model, scorer, deltas = await asyncio.get_running_loop().run_in_executor(self._loader, _load, s)
                if model is not None and (model.width, model.most_rows, model.shape) != (
                    self.model.width,
                    self.model.most_rows,
                    self.model.shape,
                ):
                    raise UserError("the new checkpoint is of other sizes (d, L, H or K); start the server anew for it")
                if self._gate.tokens:
                    self._gate.tokens = s.tokens() or self._gate.tokens
            except Exception as error:
                # Whatever is wrong with a file, even what no reader has thought of, what was served stays.
                self.metrics.reloads.labels("failed").inc()
                reason = str(error) if isinstance(error, UserError) else f"{type(error).__name__} while reading"
                log(logging.ERROR, "what was served stays", reason=reason)
                logging.getLogger(__name__).debug("", exc_info=True)
                return False
            self._service.model, self._service.scorer = model, scorer
            if self._service_route is not None:
                self._service_route.deltas = deltas
            self._tell_metrics()
            self.metrics.reloads.labels("ok").inc()
            log(logging.INFO, "taken over", **_log_fields(model, scorer))
            return True

    async def watch(self) -> None:
        """Reload whenever a file of the checkpoint, the corrector or the deltas is another one; until cancelled.

        Whatever goes wrong with one look or one file, the next look comes.
        """
        while True:
            await asyncio.sleep(self.settings.watch)
            try:
                stamps = _stamps(self.settings)
                if all(stamps) and stamps != self._stamps:
                    await self.reload()
            except Exception:
                self.metrics.watch_failures.inc()
                log(logging.ERROR, "a look at the files failed")
                logging.getLogger(__name__).debug("", exc_info=True)

    async def stop(self) -> None:
        """Take nothing more in, answer what was, and end."""
        log(logging.INFO, "stopping")
        # A watcher of the health that does not read would hold this up for ever.
        await asyncio.wait([asyncio.ensure_future(self._health.enter_graceful_shutdown())], timeout=1.0)
        await self._gate.stop(self.settings.grace)
        # A request that arrives now hears that the service stops, where gRPC's own word would be CANCELLED.
        await self._gate.quiet(_LAST_CALL, _MOST_CALLS)
        waiting = [self._server.stop(_LAST_CALL)]
        waiting += [route.stop(_LAST_CALL) for route in self._routes]
        await asyncio.gather(*waiting)
        for batcher in self._batchers:
            await batcher.close()
        self._loader.shutdown()
        log(logging.INFO, "stopped")


def _load(settings: ServeSettings) -> tuple[CorrectionModel | None, ScoreModel | None, dict[str, Served]]:
    threads = min(settings.threads, allowed_cpus())
    model = load_correction_model(checkpoint_file(settings.checkpoint), threads) if settings.checkpoint else None
    scorer = load_score_model(settings.corrector) if settings.corrector else None
    return model, scorer, load_deltas(settings.deltas) if settings.deltas else {}


def sizes(model: CorrectionModel | None, scorer: ScoreModel | None) -> tuple[int, int]:
    """Most bytes of a payload up and down."""
    up, down = [0], [0]
    if model is not None:
        up.append(4 * model.width * model.most_rows)
        down.append(model.shape.bytes)
    if scorer is not None:
        up.append(4 * (MOST_CLICKS + MOST_CANDIDATES))
        down.append(4 * MOST_CANDIDATES)
    return max(up), max(down)


def _log_fields(model: CorrectionModel | None, scorer: ScoreModel | None) -> dict[str, object]:
    fields: dict[str, object] = {}
    if model is not None:
        fields |= {"fingerprint": model.fingerprint, "width": model.width, "most_rows": model.most_rows}
    if scorer is not None:
        fields |= {"corrector": scorer.fingerprint, "items": scorer.items}
    return fields


def _stamps(settings: ServeSettings) -> tuple[tuple[int, ...], ...]:
    """What changes when a file does; () for one that is not there."""
    # A corrector's trust is written last, once its folder is whole.
    files = [settings.token_file] if settings.token_file else []
    files += [os.path.join(settings.corrector, TRUST_FILE)] if settings.corrector else []
    if settings.checkpoint:
        try:
            files.append(str(checkpoint_file(settings.checkpoint)))
        except UserError:  # "latest" of a folder that holds none now
            return ((),)
    if settings.deltas:
        # A copy of the folder may bring the name of the newest delta before the delta itself.
        files += [os.path.join(settings.deltas, LATEST), *sorted(map(str, Path(settings.deltas).glob("*.bin")))]
    return tuple(map(_stamp, files))


def _stamp(path: str) -> tuple[int, ...]:
    with suppress(OSError):
        status = os.stat(path)
        return status.st_mtime_ns, status.st_size, status.st_ino
    return ()


def run(main: Coroutine[Any, Any, None]) -> None:
    """Run a server's coroutine, on uvloop where it is installed."""
    try:
        import uvloop
    except ImportError:  # there is none for Windows
        asyncio.run(main)
    else:
        uvloop.run(main)


async def serve(
    settings: ServeSettings, started: Callable[[Server], None] | None = None, service: type[Corrections] = Corrections
) -> None:
    """Run a server until SIGTERM or SIGINT; SIGHUP reloads.

    Parameters
    ----------
    settings : ServeSettings
    started : callable, optional
        Called with the server once it listens.
    service : type
        What answers.

    Raises
    ------
    UserError
        If it cannot start.
    """
    if hasattr(signal, "SIGHUP"):
        signal.signal(signal.SIGHUP, signal.SIG_IGN)  # it would end a server that is still loading
    server = Server(settings, service)
    await server.start()
    loop, over = asyncio.get_running_loop(), asyncio.Event()
    tasks: set[asyncio.Task] = set()

    def reload() -> None:
        task = loop.create_task(server.reload())
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, over.set)
    if hasattr(signal, "SIGHUP"):
        loop.add_signal_handler(signal.SIGHUP, reload)
    if settings.watch:
        tasks.add(loop.create_task(server.watch()))
    if started is not None:
        started(server)
    await over.wait()
    for task in tasks:
        task.cancel()
    await server.stop()
