"""The result of ``delay``, as pictures and tables: Table 5 of the paper."""

from pathlib import Path
from typing import Any

import numpy as np

from recbole_cocorr.base.extras import require
from recbole_cocorr.base.files import atomic_write
from recbole_cocorr.experiments.results.delay import PAPERS_TOLERANCE, Delay
from recbole_cocorr.experiments.results.formats import decimal
from recbole_cocorr.report.figures import Picture
from recbole_cocorr.report.plot_style import legend_below, panel, settings
from recbole_cocorr.report.table_formats import Table, row

# The parts of a round trip, in Okabe and Ito's colours.
_PARTS = {"upload": "#56B4E9", "cloud": "#E69F00", "download": "#0072B2"}


def delay_pictures(delay: Delay) -> list[Picture]:
    """What makes each network's time at the shortest L, and NDCG@10 by the share of corrections that arrive."""
    shortest = min(r["length"] for r in delay.rows)
    with settings():
        figure, axes = panel(4, height=1 + 0.22 * len([r for r in delay.rows if r["length"] == shortest]))
        _times(axes, delay)
        axes.grid(axis="y", visible=False)
        legend_below(figure, axes)
    caption = (
        f"Median time of a correction's upload, the cloud's work and the download, L = {shortest}, by bandwidth and "
        f"round trip. At the end of a bar: the share of requests that were back within {PAPERS_TOLERANCE} ms."
    )
    pictures = [Picture("delay", caption, figure)]
    if delay.quality:
        with settings():
            figure, axes = panel()
            _quality(axes, delay)
        caption = "Quality by the share of users whose correction arrives; band: deviation between draws of the users."
        pictures.append(Picture("delay-quality", caption, figure))
    return pictures


def delay_table(delay: Delay, name: str, length: int | None = None) -> Table:
    """Times of each network, of one L or of all."""
    header = ("Network", "L", "Bytes up", "Bytes down", "Upload, ms", "Cloud, ms", "Download, ms", "Total, ms")
    header += ("p99, ms", "Formula, ms", f"Within {PAPERS_TOLERANCE} ms")
    times = ("upload_ms", "cloud_ms", "download_ms", "total_ms", "p99_ms", "formula_ms")
    rows = tuple(
        row(
            f"{r['bandwidth']:g} MB/s, {r['round_trip']:g} ms",
            f"{r['length']}",
            f"{r['up_bytes']:,}",
            f"{r['down_bytes']:,}",
            *(f"{r[time]:.2f}" for time in times),
            f"{r['in_time']:.0%}",
        )
        for r in delay.rows
        if length in (None, r["length"])
    )
    notes = (
        "Network: bandwidth and round trip. Medians. Formula: bytes over bandwidth, round trip and the cloud's time.",
        delay.setting,
    )
    caption = "A correction's way" + ("" if length is None else f", L = {length}")
    return Table(name, caption, header, rows, tuple(filter(None, notes)))


def arrivals_table(delay: Delay) -> Table:
    """NDCG@10 by the share of corrections that arrive."""
    rows = tuple(row(f"{q['share']:.0%}", decimal(q["ndcg@10"]), decimal(q["deviation"])) for q in delay.quality)
    header = ("Corrections that arrive", "NDCG@10", "Deviation of a draw")
    return Table(
        "delay-quality",
        "Quality by the share of corrections that arrive",
        header,
        rows,
        tuple(filter(None, (delay.setting,))),
    )


def draw(delay: Delay, path: Path) -> None:
    """Both pictures side by side, in a ``.svg`` or ``.png`` file; raises UserError if matplotlib is missing."""
    require("report")
    from matplotlib.figure import Figure

    shortest = min(r["length"] for r in delay.rows)
    networks = [r for r in delay.rows if r["length"] == shortest]
    figure = Figure(figsize=(10, max(3.6, 1.2 + 0.26 * len(networks))))
    by_share, times = figure.subplots(1, 2, width_ratios=(2, 3))
    _quality(by_share, delay)
    _times(times, delay)
    # No caption stands under a file.
    times.set_xlabel(f"{times.get_xlabel()}; at the end of a bar: share within {PAPERS_TOLERANCE} ms")
    for axes in (by_share, times):
        axes.spines[["top", "right"]].set_visible(False)
    times.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=4, frameon=False, fontsize=8)
    figure.tight_layout()
    form = path.suffix[1:].lower()
    with atomic_write(path, "wb", what="picture") as file:
        figure.savefig(file, format=form, metadata={"Date": None} if form == "svg" else None)


def _quality(axes: Any, delay: Delay) -> None:
    share = np.array([100 * q["share"] for q in delay.quality])
    mean, spread = (np.array([q[key] for q in delay.quality]) for key in ("ndcg@10", "deviation"))
    axes.fill_between(share, mean - spread, mean + spread, alpha=0.25, linewidth=0)
    axes.plot(share, mean, marker="o", markersize=3)
    axes.set_xlabel("Corrections that arrive, %")
    axes.set_ylabel("NDCG@10")


def _times(axes: Any, delay: Delay) -> None:
    shortest = min(r["length"] for r in delay.rows)
    networks = [r for r in delay.rows if r["length"] == shortest]
    heights, ends = np.arange(len(networks)), np.zeros(len(networks))
    for part, colour in _PARTS.items():
        ms = np.array([r[f"{part}_ms"] for r in networks])
        axes.barh(heights, ms, left=ends, color=colour, height=0.7, label=part)
        ends = ends + ms
    for at, end, r in zip(heights, ends, networks, strict=True):
        beside = max(end, PAPERS_TOLERANCE)  # not on the line
        axes.annotate(f"{r['in_time']:.0%}", (beside, at), (4, 0), textcoords="offset points", va="center", fontsize=8)
    axes.axvline(PAPERS_TOLERANCE, color="0.2", linestyle="--", linewidth=1, label=f"{PAPERS_TOLERANCE} ms")
    axes.set_yticks(heights, [f"{r['bandwidth']:g} MB/s, {r['round_trip']:g} ms" for r in networks], fontsize=8)
    axes.invert_yaxis()
    axes.margins(x=0.1)
    axes.set_xlabel(f"Median ms, L = {shortest}")
