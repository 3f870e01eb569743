"""The picture of ``delay``: Table 5 of the paper."""

from pathlib import Path

import numpy as np

from recbole_cocorr.base.errors import UserError
from recbole_cocorr.base.extras import require
from recbole_cocorr.base.files import atomic_write
from recbole_cocorr.experiments.results.delay import PAPERS_TOLERANCE, Delay


def draw(delay: Delay, path: Path) -> None:
    """The picture: NDCG@10 by the share that arrives, and what makes the time of each network at the shortest L.

    Raises
    ------
    UserError
        If matplotlib is missing, or the file's name does not end in that of a picture.
    """
    require("report")
    from matplotlib.figure import Figure

    quality, rows = delay.quality, delay.rows
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
    heights, ends = np.arange(len(networks)), np.zeros(len(networks))
    for way, colour in (("upload", "#56B4E9"), ("cloud", "#E69F00"), ("download", "#0072B2")):
        ms = np.array([r[f"{way}_ms"] for r in networks])
        times.barh(heights, ms, left=ends, color=colour, height=0.7, label=way)
        ends = ends + ms
    for at, end, r in zip(heights, ends, networks, strict=True):
        beside = max(end, PAPERS_TOLERANCE)  # not on the line
        times.annotate(f"{r['in_time']:.0%}", (beside, at), (4, 0), textcoords="offset points", va="center", fontsize=8)
    times.axvline(PAPERS_TOLERANCE, color="0.2", linestyle="--", linewidth=1, label=f"{PAPERS_TOLERANCE} ms")
    times.set_yticks(heights, [f"{r['bandwidth']:g} MB/s, {r['round_trip']:g} ms" for r in networks], fontsize=8)
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
