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
from recbole_cocorr.base.extras import require
from recbole_cocorr.base.files import atomic_write
from recbole_cocorr.experiments.timed_service import CAME, READY
from recbole_cocorr.service.server.correction_model import CorrectionModel, load_correction_model
from recbole_cocorr.service.v1 import correction_pb2 as pb
from recbole_cocorr.service.wire import CORRECT, encode_rows
from recbole_cocorr.training.checkpoint import Checkpoint, load_checkpoint, plain_config, save_checkpoint

BANDWIDTHS, ROUND_TRIPS, LENGTHS = (5.0, 15.0, 50.0, 100.0), (0.0, 10.0, 50.0), (10, 20, 50, 100, 200, 500, 1000)
# The paper's tolerance, ms.
PAPERS_TOLERANCE = 4.21
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
        kept = {n: t for n, t in read.weights.items() if not n.startswith("item_embedding")}
        model.load_state_dict(kept, strict=False)
    save_checkpoint(path, Checkpoint("model", plain_config(saved), items, dict(model.state_dict()), 1))


def measure(
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
        reply, done = call.with_call(request, timeout=60)
        over = time.monotonic_ns()
        told = dict(done.trailing_metadata())
        if number >= 0:
            times[number] = began, int(told[CAME]), int(told[READY]), over
    size = len(pb.CorrectReply.FromString(reply).correction)
    if size != model.shape.bytes:
        raise UserError(f"a correction of {size} bytes, where {model.shape.bytes} were to come")
    parts = np.diff(times, axis=1) / 1e9
    return {"upload": parts[:, 0], "cloud": parts[:, 1], "download": parts[:, 2], "total": parts.sum(axis=1)}


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


def delays(
    checkpoint: str | Path | None = None,
    bandwidths: Sequence[float] = BANDWIDTHS,
    round_trips: Sequence[float] = ROUND_TRIPS,
    lengths: Sequence[int] = LENGTHS,
    requests: int = 100,
    with_tolerance: bool = True,
) -> dict[str, Any]:
    """Measure every cell of the table.

    Parameters
    ----------
    checkpoint : str or Path, optional
        Whose correction network is served; a fresh one of the paper's sizes, if left out.
    bandwidths : sequence of float
        MB/s, 10^6 bytes.
    round_trips : sequence of float
        ms.
    lengths : sequence of int
        L.
    requests : int
        Of each cell.
    with_tolerance : bool
        Whether the device's time is measured, which takes an export.

    Returns
    -------
    dict
        ``rows``: per cell the payloads in bytes, the medians of the measured parts in ms, the formula
        bytes / bandwidth + round trip with the measured cloud time in it, and the share of requests that were back
        within the paper's 4.21 ms and within this machine's device time. ``tolerance``: see :func:`tolerance`.
    """
    found: dict[str, Any] = {"rows": [], "papers_tolerance": PAPERS_TOLERANCE, "tolerance": None}
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "model.safetensors"
        checkpoint_of_length(checkpoint, max(lengths), file)
        if with_tolerance:
            found["tolerance"] = tolerance(file, min(lengths))
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
                            times = measure(channel, model, length, requests)
                            found["rows"].append(_row(model, length, bandwidth, round_trip, times, found["tolerance"]))
    return found


def _row(
    model: CorrectionModel,
    length: int,
    bandwidth: float,
    round_trip: float,
    times: dict[str, np.ndarray],
    device: dict[str, float] | None,
) -> dict[str, Any]:
    up, down = 4 * length * model.width, model.shape.bytes
    ms = {f"{name}_ms": 1000 * float(np.median(values)) for name, values in times.items()}
    row = {"length": length, "bandwidth": bandwidth, "round_trip": round_trip, "up_bytes": up, "down_bytes": down, **ms}
    row["p99_ms"] = 1000 * float(np.quantile(times["total"], 0.99))
    row["formula_ms"] = (up + down) / bandwidth / 1000 + round_trip + ms["cloud_ms"]
    row["in_time"] = float((1000 * times["total"] <= PAPERS_TOLERANCE).mean())
    if device is not None:
        row["in_time_here"] = float((1000 * times["total"] <= device["history"]).mean())
    return row


def table_text(found: dict[str, Any]) -> str:
    """The rows as a table for people."""
    lines = ["MB/s   RTT ms     L   up B     down B   upload   cloud  download   total     p99  formula  in 4.21 ms"]
    for r in found["rows"]:
        lines.append(
            f"{r['bandwidth']:4g} {r['round_trip']:8g} {r['length']:5} {r['up_bytes']:6} {r['down_bytes']:10} "
            f"{r['upload_ms']:8.2f} {r['cloud_ms']:7.2f} {r['download_ms']:9.2f} "
            f"{r['total_ms']:7.2f} {r['p99_ms']:7.2f} {r['formula_ms']:8.2f} {r['in_time']:11.1%}"
        )
    device = found["tolerance"]
    if device:
        lines.append(
            f"the device here, from hidden state ready to correction needed: {device['click']:.3f} ms for a click, "
            f"{device['history']:.3f} ms for {min(r['length'] for r in found['rows'])} clicks from the start"
        )
    return "\n".join(lines)


def draw(quality: list[dict[str, float]], rows: list[dict[str, Any]], path: Path) -> None:
    """The picture: NDCG@10 by the share that arrives, and what makes the time of each network at the shortest L."""
    require("report")
    from matplotlib.figure import Figure

    shortest = min(r["length"] for r in rows)
    networks = [r for r in rows if r["length"] == shortest]
    figure = Figure(figsize=(10, max(3.6, 1.2 + 0.26 * len(networks))))
    by_share, times = figure.subplots(1, 2, width_ratios=(2, 3))
    share = np.array([100 * q["share"] for q in quality])
    mean, spread = (np.array([q[key] for q in quality]) for key in ("ndcg@10", "deviation"))
    by_share.fill_between(share, mean - spread, mean + spread, alpha=0.25, linewidth=0)
    by_share.plot(share, mean, marker="o", markersize=3)
    by_share.set_xlabel("corrections that arrive, %")
    by_share.set_ylabel("NDCG@10")
    # Okabe and Ito's colours, which colour-blind readers can tell apart.
    place, ends = np.arange(len(networks)), np.zeros(len(networks))
    for part, colour in (("upload", "#56B4E9"), ("cloud", "#E69F00"), ("download", "#0072B2")):
        took = np.array([r[f"{part}_ms"] for r in networks])
        times.barh(place, took, left=ends, color=colour, height=0.7, label=part)
        ends = ends + took
    for at, end, r in zip(place, ends, networks, strict=True):
        beside = max(end, PAPERS_TOLERANCE)  # not on the line
        times.annotate(f"{r['in_time']:.0%}", (beside, at), (4, 0), textcoords="offset points", va="center", fontsize=8)
    times.axvline(PAPERS_TOLERANCE, color="0.2", linestyle="--", linewidth=1, label=f"{PAPERS_TOLERANCE} ms")
    times.set_yticks(place, [f"{r['bandwidth']:g} MB/s, {r['round_trip']:g} ms" for r in networks], fontsize=8)
    times.invert_yaxis()
    times.margins(x=0.1)
    times.set_xlabel(f"median ms, L = {shortest}; at the end of a bar: share within {PAPERS_TOLERANCE} ms")
    times.set_ylabel("bandwidth, round trip")
    for axes in (by_share, times):
        axes.spines[["top", "right"]].set_visible(False)
    times.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=4, frameon=False, fontsize=8)
    figure.tight_layout()
    form = path.suffix[1:].lower() or "png"
    if form not in figure.canvas.get_supported_filetypes():
        raise UserError(f"{path} ends in {path.suffix!r}; a picture is a .svg or .png file")
    with atomic_write(path, "wb", what="picture") as file:
        figure.savefig(file, format=form, metadata={"Date": None} if form == "svg" else None)
