"""How pictures look: one colour, marker and line per model everywhere, and what a page or a file gets of a figure.

The field's colours are Okabe and Ito's, which people with any common colour blindness tell apart; marker and line
differ too, so that a grey print still reads.
"""

import io
import itertools
import re
from collections.abc import Iterable

from recbole_cocorr.experiments.runs.groups import in_field_order
from recbole_cocorr.models.card import Look
from recbole_cocorr.models.catalogue import variants

# The page's colours by name, for a reader's light and dark scheme; figures in files have the light ones.
PALETTE = {
    "ink": ("#1f2328", "#e6edf3"),
    "faint": ("#59636e", "#9aa4af"),
    "grid": ("#d1d9e0", "#333c46"),
    "page": ("#ffffff", "#12161b"),
    "raised": ("#f6f8fa", "#1b2129"),
    "accent": ("#0a58a6", "#79b8ff"),
    "shade": ("#bcc5ce", "#59636e"),
    "warn": ("#8a4600", "#f0b060"),
}
INK, FAINT, GRID = (PALETTE[name][0] for name in ("ink", "faint", "grid"))
# In the page these three follow the reader's light or dark scheme.
PAGE_COLOURS = {PALETTE[name][0]: f"var(--{name})" for name in ("ink", "faint", "grid")}

WIDTH = 4.2  # inches: at a phone's width of 360 px nine points are still 8 px high
PANEL_HEIGHT = 2.7
LEGEND_ROW = 0.19


_OTHER_COLOURS = ("#882255", "#44AA99", "#B8860B", "#6F4FA0", "#7A5230", "#5B8C00")
_OTHER_MARKERS = ("<", ">", "h", "p", "*", "d", "8")


def styles_of(labels: Iterable[str]) -> dict[str, Look]:
    """A look per label: those of the catalogue always have theirs, others take theirs by name."""
    looks = {label: variant.look for label, (_, variant) in variants().items()}
    others = [label for label in in_field_order(labels) if label not in looks]
    # 6 colours and 7 markers: 42 pairs before one comes again
    pairs = zip(itertools.cycle(_OTHER_COLOURS), itertools.cycle(_OTHER_MARKERS), strict=False)
    return looks | {
        label: Look(colour, marker, (0, (4, 1.2)), hollow=True)
        for label, (colour, marker) in zip(others, pairs, strict=False)
    }


_SETTINGS = {
    "font.family": "DejaVu Sans",  # comes with matplotlib: the same pictures on every machine
    "font.size": 9,
    "axes.labelsize": 9.5,
    "axes.titlesize": 9.5,
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
    "legend.fontsize": 9,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": FAINT,
    "xtick.color": FAINT,
    "ytick.color": FAINT,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.7,
    "legend.frameon": False,
    "legend.handlelength": 2.6,
    "lines.solid_capstyle": "round",
    "svg.hashsalt": "recbole_cocorr",  # ids, and with them files, are the same each time
}


def settings():
    """Context in which figures are made and saved."""
    import matplotlib

    return matplotlib.rc_context(_SETTINGS)


def panel(legend_entries: int = 0, height: float = PANEL_HEIGHT, columns: int = 2):
    """A figure with one pair of axes and room for a legend below it."""
    from matplotlib.figure import Figure

    rows = -(-legend_entries // columns)
    figure = Figure(figsize=(WIDTH, height + LEGEND_ROW * rows), layout="constrained")
    return figure, figure.add_subplot()


def legend_below(figure, axes, columns: int = 2) -> None:
    """A legend under the axes, where it hides nothing; in one column if the names are too long for more."""
    handles, labels = axes.get_legend_handles_labels()
    if handles:

        def legend_of(columns: int):
            return figure.legend(handles, labels, loc="outside lower center", ncols=columns, columnspacing=1.4)

        legend = legend_of(columns)
        if columns > 1 and legend.get_window_extent().width > figure.bbox.width:
            legend.remove()
            legend = legend_of(1)
            more_rows = len(handles) - -(-len(handles) // columns)
            figure.set_figheight(figure.get_figheight() + LEGEND_ROW * more_rows)
        for line in legend.get_lines():  # those that are drawn wide under others too
            line.set(linewidth=min(line.get_linewidth(), 2.2), markersize=min(line.get_markersize(), 5.5))


def engineering(unit: str = ""):
    """Tick labels such as ``100 k`` or ``1 MB``."""
    from matplotlib.ticker import EngFormatter

    return EngFormatter(unit=unit, sep=" ")


def log_scale(axis, formatter) -> None:
    """Make an axis logarithmic, with at least two ticks whatever its range, and no crowd of them."""
    from matplotlib.ticker import LogLocator, MaxNLocator

    name = axis.axis_name
    getattr(axis.axes, f"set_{name}scale")("log")
    low, high = sorted(axis.get_view_interval())
    ratio = high / max(low, 1e-300)
    if ratio < 6:
        locator = MaxNLocator(4)
    else:
        locator = LogLocator(subs=(1.0, 2.0, 5.0) if ratio < 300 else (1.0,), numticks=20)
    axis.set_major_locator(locator)
    axis.set_major_formatter(formatter)
    axis.axes.minorticks_off()


def ring(axes, x: float, y: float, size: float = 12, colour: str = FAINT) -> None:
    """A circle around a point."""
    axes.plot(x, y, "o", markersize=size, markerfacecolor="none", markeredgecolor=colour, markeredgewidth=0.9)


def whole_numbers(axis) -> None:
    """Ticks at whole numbers alone: there is no half epoch."""
    from matplotlib.ticker import MaxNLocator

    axis.set_major_locator(MaxNLocator(8, steps=[1, 2, 5, 10], integer=True, min_n_ticks=1))
    axis.set_major_formatter("{x:.0f}")


def save(figure, form: str) -> bytes:
    """The figure as a file: ``png`` (200 dpi) or ``svg``, on white."""
    stream = io.BytesIO()
    with settings():
        metadata = {"Date": None, "Creator": None} if form == "svg" else {"Software": None}
        figure.savefig(stream, format=form, dpi=200, facecolor="white", metadata=metadata)
    return stream.getvalue()


_PROLOGUE = re.compile(r"^.*?(?=<svg)", re.DOTALL)
_METADATA = re.compile(r"<metadata>.*?</metadata>|<!--.*?-->", re.DOTALL)
_NAMESPACES = re.compile(r'\sxmlns(:\w+)?="[^"]*"')
_SIZE = re.compile(
    r'(<svg[^>]*?)\swidth="([\d.]+)pt"\sheight="[\d.]+pt"|(<svg[^>]*?)\sheight="[\d.]+pt"\swidth="([\d.]+)pt"'
)
_IDS = re.compile(r'(\bid="|href="#|url\(#)')


def inline_svg(figure, name: str) -> str:
    """The figure as an ``<svg>`` element for a page.

    It has no background, takes its ink from the page's colours, fills the width of its frame up to its own, and its ids
    start with ``name``, so that several stand in one page.
    """
    stream = io.BytesIO()
    with settings():
        figure.savefig(stream, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    text = _METADATA.sub("", _PROLOGUE.sub("", stream.getvalue().decode("utf-8")))
    text = _NAMESPACES.sub("", text)
    text = _IDS.sub(lambda match: match[1] + name + "-", text)
    for colour, variable in PAGE_COLOURS.items():
        text = text.replace(colour, variable)
    text = _SIZE.sub(lambda m: f"{m[1] or m[3]}", text, count=1)
    return text.replace("<svg", '<svg aria-hidden="true"', 1).strip()
