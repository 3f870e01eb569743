"""The delay of a correction over sockets, and what it does to the ranking: Table 5 of the paper."""

import contextlib
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import torch

from recbole_cocorr.base.errors import UserError
from recbole_cocorr.experiments.ablation import GivenCorrection, ranks_given
from recbole_cocorr.experiments.evaluation_rows import model_and_rows, ndcg_of
from recbole_cocorr.experiments.results.delay import PAPERS_TOLERANCE, Delay
from recbole_cocorr.experiments.runs.environment import origin
from recbole_cocorr.experiments.timed_service import CAME, READY
from recbole_cocorr.service.server.correction_model import CorrectionModel, load_correction_model
from recbole_cocorr.service.v1 import correction_pb2 as pb
from recbole_cocorr.service.wire import CORRECT, encode_rows
from recbole_cocorr.training.checkpoint import Checkpoint, load_checkpoint, plain_config, save_checkpoint

BANDWIDTHS, ROUND_TRIPS, LENGTHS = (5.0, 15.0, 50.0, 100.0), (0.0, 10.0, 50.0), (10, 20, 50, 100, 200, 500, 1000)
_ITEMS = 100


@contextlib.contextmanager
def child(*arguments: str) -> Iterator[int]:
    """A module run as a process of its own, which prints its port; ended with the block."""
    running = subprocess.Popen([sys.executable, "-m", *arguments], stdout=subprocess.PIPE, text=True)
    try:
        line = running.stdout.readline() if running.stdout else ""
        if not line.strip().isdigit():
            raise UserError(f"{arguments[0]} did not start; its error stands above")
        yield int(line)
    finally:
        running.terminate()
        try:
            running.wait(10)
        except subprocess.TimeoutExpired:
            running.kill()


def checkpoint_of_length(source: str | Path | None, length: int, path: Path) -> None:
    """A small checkpoint whose correction network reads ``length`` clicks.

    The network's weights are those of ``source``, or as training starts with them: the times are the same. The item
    table, which the service does not read, is left small.
    """
    from recbole_cocorr.models.factory import build_model
    from recbole_cocorr.training.config import Config
    from recbole_cocorr.training.recommend import SavedConfig, Vocabulary

    read = None if source is None else load_checkpoint(source)
    if read is not None:
        load_correction_model(source)  # says what is wrong with it
        settings = {**read.config, "device": torch.device("cpu")}
    else:
        config = Config("CoCorrRec", "ml-100k", None, {"use_gpu": False}, overrides={})
        settings = {**config.final_config_dict, "device": torch.device("cpu"), "model": "CoCorrRec"}
    if settings.get("mini_batch_size") is None:
        settings["mini_batch_size"] = settings["MAX_ITEM_LIST_LENGTH"]
    saved = SavedConfig({**settings, "MAX_ITEM_LIST_LENGTH": length})
    items = ["[PAD]", *(str(i) for i in range(1, _ITEMS))]
    model = build_model(saved, Vocabulary(saved, items, 1))
    if read is not None:
        weights = {n: t for n, t in read.weights.items() if not n.startswith("item_embedding")}
        model.load_state_dict(weights, strict=False)
    save_checkpoint(path, Checkpoint("model", plain_config(saved), items, dict(model.state_dict()), 1))


def quality_by_share(
    checkpoint: str | Path, data_path: str | None, shares: Sequence[float], draws: int = 20, seed: int = 0
) -> list[dict[str, float]]:
    """NDCG@10 if a share of the users, drawn at random, get their correction and the others do not.

    Returns
    -------
    list of dict
        ``share``, ``ndcg@10`` (the mean of ``draws`` draws) and ``deviation`` (between the draws).
    """
    recommender, test = model_and_rows(checkpoint, data_path)
    with_it, without = (
        ndcg_of(ranks_given(recommender.model, test, GivenCorrection(name))[0]) for name in ("own", "none")
    )
    generator = np.random.default_rng(seed)
    rows = []
    for share in shares:
        values = [np.where(generator.random(len(without)) < share, with_it, without).mean() for _ in range(draws)]
        rows.append({"share": share, "ndcg@10": float(np.mean(values)), "deviation": float(np.std(values, ddof=1))})
    return rows


def time_requests(
    channel: grpc.Channel, model: CorrectionModel, length: int, requests: int, seed: int = 0
) -> dict[str, np.ndarray]:
    """Seconds of each of some requests, one after another: ``upload``, ``cloud``, ``download`` and ``total``."""
    rng = np.random.default_rng(seed)
    rows = rng.standard_normal((length, model.width)).astype(np.float32)
    request = pb.CorrectRequest(
        fingerprint=bytes.fromhex(model.fingerprint), clicks=length, hidden_states=encode_rows(rows)
    ).SerializeToString()
    call = channel.unary_unary(CORRECT)
    times = np.empty((requests, 4), np.int64)
    for number in range(-3, requests):  # the first few open the connection and are not counted
        began = time.monotonic_ns()
        reply, answer = call.with_call(request, timeout=60)
        over = time.monotonic_ns()
        metadata = dict(answer.trailing_metadata())
        if number >= 0:
            times[number] = began, int(metadata[CAME]), int(metadata[READY]), over
    size = len(pb.CorrectReply.FromString(reply).correction)
    if size != model.shape.bytes:
        raise UserError(f"a correction of {size} bytes, where {model.shape.bytes} were to come")
    upload, cloud, download = (np.diff(times, axis=1) / 1e9).T
    return {"upload": upload, "cloud": cloud, "download": download, "total": upload + cloud + download}


def tolerance(checkpoint: Path, length: int, repeats: int = 50) -> dict[str, float]:
    """Milliseconds from the hidden states' being ready until the correction is needed, in a session on this machine.

    Returns
    -------
    dict
        ``click``: one more click, the state being there. ``history``: L clicks read from the start.
    """
    from recbole_cocorr.device.session import Session
    from recbole_cocorr.exporter.export import export

    with tempfile.TemporaryDirectory() as folder:
        export(checkpoint, Path(folder) / "artifact")
        rng = np.random.default_rng(0)
        clicks, histories = [], []
        session = Session.open(Path(folder) / "artifact", policy="carry")
        for number in range(repeats):
            began = time.perf_counter()
            session.click(str(rng.integers(1, _ITEMS)))
            clicks.append(time.perf_counter() - began)
            fresh = Session.open(Path(folder) / "artifact", policy="carry") if number < 10 else None
            if fresh is not None:
                tokens = [str(i) for i in rng.integers(1, _ITEMS, length)]
                fresh.history(tokens)
                began = time.perf_counter()
                fresh.history(tokens)
                histories.append(time.perf_counter() - began)
    return {"click": 1000 * float(np.median(clicks)), "history": 1000 * float(np.median(histories))}


def measure(
    checkpoint: str | Path | None = None,
    data_path: str | None = None,
    bandwidths: Sequence[float] = BANDWIDTHS,
    round_trips: Sequence[float] = ROUND_TRIPS,
    lengths: Sequence[int] = LENGTHS,
    requests: int = 100,
    with_tolerance: bool = True,
) -> Delay:
    """Measure every cell of the table and, with a checkpoint, the quality by the share of corrections that arrive.

    Parameters
    ----------
    checkpoint : str or Path, optional
        Whose correction network is served; a fresh one of the paper's sizes, if left out.
    data_path : str, optional
        The folder of its data, where they are not where training found them.
    bandwidths : sequence of float
        MB/s, 10^6 bytes.
    round_trips : sequence of float
        ms.
    lengths : sequence of int
        L.
    requests : int
        Requests in each cell.
    with_tolerance : bool
        Whether the device's time is measured, which takes an export.

    Raises
    ------
    UserError
        If the checkpoint or its data are not usable, or a server does not start.
    """
    # First: where the data are missing this says so before the long part.
    quality = [] if checkpoint is None else quality_by_share(checkpoint, data_path, [n / 10 for n in range(11)])
    config = None if checkpoint is None else load_checkpoint(checkpoint).config
    result = Delay([], PAPERS_TOLERANCE, None, quality, **origin(config))
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "model.safetensors"
        checkpoint_of_length(checkpoint, max(lengths), file)
        if with_tolerance:
            result.tolerance = tolerance(file, min(lengths))
        model = load_correction_model(file)
        with child("recbole_cocorr.experiments.timed_service", str(file)) as server:
            for bandwidth in bandwidths:
                for round_trip in round_trips:
                    shaped = ("127.0.0.1", str(server), str(bandwidth * 1e6), str(round_trip / 1000))
                    with (
                        child("recbole_cocorr.experiments.simulate.proxy", *shaped) as port,
                        grpc.insecure_channel(f"127.0.0.1:{port}") as channel,
                    ):
                        for length in lengths:
                            times = time_requests(channel, model, length, requests)
                            result.rows.append(_row(model, length, bandwidth, round_trip, times))
    return result


def _row(
    model: CorrectionModel,
    length: int,
    bandwidth: float,
    round_trip: float,
    times: dict[str, np.ndarray],
) -> dict[str, Any]:
    up, down = 4 * length * model.width, model.shape.bytes
    ms = {f"{name}_ms": 1000 * float(np.median(values)) for name, values in times.items()}
    row = {"length": length, "bandwidth": bandwidth, "round_trip": round_trip, "up_bytes": up, "down_bytes": down, **ms}
    row["p99_ms"] = 1000 * float(np.quantile(times["total"], 0.99))
    row["formula_ms"] = (up + down) / bandwidth / 1000 + round_trip + ms["cloud_ms"]
    row["in_time"] = float((1000 * times["total"] <= PAPERS_TOLERANCE).mean())
    return row
