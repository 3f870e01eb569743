"""The correction network as a Ray Serve deployment, beside the package's own service: requests per second over HTTP.

    pip install 'ray[serve]'
    python benchmarks/ray_serve.py [--checkpoint FILE] [--in_flight 1 8 64] [--seconds 2] [--rounds 3]

Both answer the same hidden states with the same bytes, which is checked. One replica, which batches what waits; Serve's
proxy is a process of its own beside it. The sides take turns. Without a checkpoint the network has the paper's
sizes and fresh weights.
"""

import argparse
import socket
import tempfile
from pathlib import Path

import numpy as np
import ray
from http_service import correct_request, free_port, load, wait_for
from ray import serve
from side_by_side import machine
from starlette.requests import Request
from starlette.responses import Response

from recbole_cocorr.experiments.delay import checkpoint_of_length
from recbole_cocorr.experiments.simulate.processes import ServerProcess
from recbole_cocorr.service.server.correction_model import load_correction_model
from recbole_cocorr.service.wire import FLOAT32, decode_correction, decode_rows


@serve.deployment(max_ongoing_requests=256)
class Corrections:
    """One replica of the correction network."""

    def __init__(self, checkpoint: str):
        self._model = load_correction_model(checkpoint)

    @serve.batch(max_batch_size=64, batch_wait_timeout_s=0.0)
    async def _correct(self, uploads: list[np.ndarray]) -> list[bytes]:
        return self._model.correct(uploads)

    async def __call__(self, request: Request) -> Response:
        """The correction of the hidden states in the body."""
        rows = decode_rows(await request.body(), FLOAT32, self._model.width, self._model.most_rows)
        return Response(await self._correct(rows), media_type="application/octet-stream")


def answer_of(port: int, request: bytes) -> bytes:
    """The body of one answer."""
    with socket.create_connection(("127.0.0.1", port), 20) as made:
        made.sendall(request.replace(b"\r\n", b"\r\nConnection: close\r\n", 1))
        answer = b""
        while part := made.recv(65536):
            answer += part
    return answer.partition(b"\r\n\r\n")[2]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", type=Path)
    parser.add_argument("--in_flight", nargs="+", type=int, default=[1, 8, 64])
    parser.add_argument("--seconds", type=float, default=2.0, help="of each load")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    print(f"{machine()}, ray {ray.__version__}")
    with tempfile.TemporaryDirectory() as place:
        file = Path(place) / "model.safetensors"
        checkpoint_of_length(arguments.checkpoint, 10, file)
        model = load_correction_model(file)
        request = correct_request(model)
        own, other = free_port(), free_port()
        server = ServerProcess(file, None, "--http", f"127.0.0.1:{own}")
        try:
            ray.init(include_dashboard=False, num_cpus=2, log_to_driver=False, logging_level="ERROR")
            serve.start(http_options={"host": "127.0.0.1", "port": other, "access_log": False})
            serve.run(Corrections.bind(str(file)), logging_config={"enable_access_log": False, "log_level": "ERROR"})
            sides = {"own service": own, "Ray Serve": other}
            for port in sides.values():
                wait_for(port)
            first, second = (decode_correction(answer_of(port, request), model.shape) for port in sides.values())
            if not all(np.allclose(a, b, atol=1e-5) for a, b in zip(first, second, strict=True)):
                raise SystemExit("the two sides answer differently")
            print("what         in flight  requests/s   p50 ms   p99 ms")
            rates: dict[tuple[str, int], list[float]] = {}
            for port in sides.values():
                load(port, request, 8, 1.0, b"200")  # warm
            for count in arguments.in_flight:
                for name, port in list(sides.items()) * arguments.rounds:
                    rate, times = load(port, request, count, arguments.seconds, b"200")
                    rates.setdefault((name, count), []).append(rate)
                    p50, p99 = np.quantile(times, [0.5, 0.99])
                    print(f"{name:12} {count:9} {rate:11.0f} {p50:8.2f} {p99:8.2f}", flush=True)
            for count in arguments.in_flight:
                ratio = np.median(np.array(rates["own service", count]) / np.array(rates["Ray Serve", count]))
                print(f"{count} in flight: own service {ratio:.1f} times Ray Serve")
        finally:
            server.kill()
            serve.shutdown()
            ray.shutdown()


if __name__ == "__main__":
    main()
