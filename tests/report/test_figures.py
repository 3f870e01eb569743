"""What the pictures show: the points they draw, the front, the styles."""

import itertools
import re
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("matplotlib")

from recbole_cocorr.experiments.history_bins import history_bins
from recbole_cocorr.experiments.results.corrections import Ablation
from recbole_cocorr.experiments.results.cost import Cost
from recbole_cocorr.experiments.results.sweep import SweepTimes
from recbole_cocorr.experiments.runs.groups import comparison_groups, sweep_groups
from recbole_cocorr.models.catalogue import variants
from recbole_cocorr.report import cost_figures, figures
from recbole_cocorr.report.correction_tables import variant_title
from recbole_cocorr.report.cost_tables import COST_COLUMNS
from recbole_cocorr.report.overlaps import together
from recbole_cocorr.report.plot_style import PAGE_COLOURS, inline_svg, save, styles_of
from tests.made_results import made_field, made_run, made_sweep, write_ablation, write_cost, write_sweep

FIELD = tuple(variants())


def lines(picture) -> dict[str, tuple[list[float], list[float]]]:
    """Drawn lines with a name in the legend."""
    (axes,) = picture.figure.axes
    return {
        line.get_label(): (list(line.get_xdata()), list(line.get_ydata()))
        for line in axes.lines
        if not line.get_label().startswith("_")
    }


def error_bars(picture) -> dict[str, list[float]]:
    (axes,) = picture.figure.axes
    return {box.get_label(): list(box.lines[0].get_ydata()) for box in axes.containers}


points = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), max_size=12)


@given(points)
def test_front_is_the_naive_one(pairs):
    def beaten(own):
        return any(c <= own[0] and q >= own[1] and (c, q) != own for c, q in pairs)

    front = cost_figures.pareto_front(pairs)
    assert sorted(front) == [i for i, own in enumerate(pairs) if not beaten(own)]
    costs = [pairs[i][0] for i in front]
    assert costs == sorted(costs)


@pytest.mark.parametrize("label", ["GRU4Rec (item-item; dropout 0.5; batches of 256)", "M"])
def test_a_legend_is_in_the_picture_whole(label):
    (group,) = comparison_groups([*made_field(users=60), made_run(label, users=60)])
    for picture in figures.training_curves(group, styles_of([*FIELD, label])):
        picture.figure.draw_without_rendering()
        (legend,) = picture.figure.legends
        box, page = legend.get_window_extent(), picture.figure.bbox.padded(1)
        assert label in [text.get_text() for text in legend.get_texts()]
        assert page.contains(box.x0, box.y0) and page.contains(box.x1, box.y1)


def test_a_model_has_one_style_whatever_else_is_there():
    few, many = styles_of(["DIN", "CoCorrRec"]), styles_of([*FIELD, "A", "B"])
    assert all(few[label] == many[label] for label in FIELD)
    assert len({(s.colour, s.marker) for s in many.values()}) == len(FIELD) + 2
    assert len({s.colour for label, s in many.items() if label in FIELD}) == len(FIELD)
    assert len(styles_of([f"m{i}" for i in range(60)])) == len(FIELD) + 60


def test_curves_are_the_runs_own():
    curve = [
        {"epoch": 0, "train_loss": 1, "train_seconds": 2.0, "valid": {"ndcg@10": 0.1}, "valid_seconds": 1.0},
        {"epoch": 1, "train_loss": 1, "train_seconds": 2.0, "valid": None, "valid_seconds": None},
        {"epoch": 2, "train_loss": 1, "train_seconds": 2.5, "valid": {"ndcg@10": 0.3}, "valid_seconds": 1.0},
    ]
    run = made_run(users=20, curve=curve, best_epoch=2)
    (group,) = comparison_groups([run])
    epochs, seconds = figures.training_curves(group, styles_of(FIELD))
    line, kept = epochs.figure.axes[0].lines[:2]
    assert (list(line.get_xdata()), list(line.get_ydata())) == ([1, 3], [0.1, 0.3])
    assert (list(kept.get_xdata()), list(kept.get_ydata())) == ([3], [0.3])
    assert list(seconds.figure.axes[0].lines[0].get_xdata()) == [3.0, 8.5]
    ticks = [float(t.get_text()) for t in epochs.figure.axes[0].get_xticklabels()]
    assert all(tick.is_integer() for tick in ticks) and {1.0, 2.0, 3.0} <= set(ticks), "there is no half epoch"
    assert figures.training_curves(comparison_groups([made_run(users=20, curve=[])])[0], styles_of(FIELD)) == []


def test_every_picture_names_its_axes_and_hides_no_data(tmp_path):
    write_cost(tmp_path)
    write_sweep(tmp_path)
    write_ablation(tmp_path)
    cost, styles = Cost.load_from(tmp_path).rows, styles_of(FIELD)
    (group,) = comparison_groups(made_field(users=120))
    (longer,) = comparison_groups(made_field(users=60, protocol="full"))
    sweep = sweep_groups(made_sweep(users=60))["amazon-beauty", "paper"]
    pictures = [
        *figures.training_curves(group, styles),
        cost_figures.cost_over_length(cost, "flops", styles, lambda n: n <= 25, log=False),
        *(
            cost_figures.cost_over_length(cost, c, styles, lambda n: True, log=True)
            for c, (_, kind) in COST_COLUMNS.items()
            if kind != "count"
        ),
        cost_figures.quality_against_flops(group, cost, styles),
        cost_figures.quality_against_flops(longer, cost, styles),
        figures.sweep_quality(sweep, styles["CoCorrRec"], "beauty"),
        figures.sweep_time(SweepTimes.load_from(tmp_path).rows, styles["CoCorrRec"]),
        figures.quality_by_history(group, history_bins(group, "ndcg@10"), styles, "ndcg@10"),
        figures.correction_ablation(Ablation.load_from(tmp_path).rows, "amazon-beauty", styles),
    ]
    assert len({p.name for p in pictures}) == len(pictures)
    for picture in pictures:
        (axes,) = picture.figure.axes
        assert axes.get_xlabel() and axes.get_ylabel() and picture.caption.endswith(".")
        assert axes.get_legend() is None  # within the axes it could cover points
        picture.figure.draw_without_rendering()  # places everything
        for shown in (axes, axes.xaxis.label, axes.yaxis.label):
            box, page = shown.get_window_extent(), picture.figure.bbox.padded(1)
            assert page.contains(box.x0, box.y0) and page.contains(box.x1, box.y1), picture.name
        below = axes.get_tightbbox().y0
        assert all(legend.get_window_extent().y1 <= below + 1 for legend in picture.figure.legends), picture.name
        for axis in (axes.xaxis, axes.yaxis):
            low, high = sorted(axis.get_view_interval())
            ticks = zip(axis.get_ticklabels(), axis.get_ticklocs(), strict=True)
            boxes = [t.get_window_extent() for t, at in ticks if t.get_text() and low <= at <= high]
            assert len(boxes) >= 2, picture.name
            assert not any(a.overlaps(b) for a, b in itertools.pairwise(boxes)), picture.name


def test_costs_are_drawn_at_their_length_and_in_their_unit(tmp_path):
    write_cost(tmp_path)
    rows, styles = Cost.load_from(tmp_path).rows, styles_of(FIELD)
    drawn = lines(cost_figures.cost_over_length(rows, "latency_us", styles, lambda n: n <= 25, log=False))
    assert list(drawn) == list(FIELD[1:])
    expected = [(r["L"], r["latency_us"] * 1e-6) for r in rows if r["model"] == "SASRec" and r["L"] <= 25]
    np.testing.assert_allclose(np.transpose(drawn["SASRec"]), expected)
    assert cost_figures.cost_over_length(rows, "flops", styles, lambda n: n == 10, log=False) is None


def test_times_are_drawn_with_their_spread_and_noisy_ones_ringed():
    rows = [{"model": "DIN", "L": n, "latency_us": 100.0, "latency_us_quartiles": [98.0, 104.0]} for n in (10, 20)]
    quiet = cost_figures.cost_over_length(rows, "latency_us", styles_of(FIELD), lambda n: True, log=False)
    rows[1]["latency_us_quartiles"] = [90.0, 140.0]
    noisy = cost_figures.cost_over_length(rows, "latency_us", styles_of(FIELD), lambda n: True, log=False)
    spans = [c.get_segments()[0][:, 1].tolist() for c in noisy.figure.axes[0].collections]
    np.testing.assert_allclose(spans, [[98e-6, 104e-6], [90e-6, 140e-6]])
    assert "middle half of the runs" in quiet.caption and "Ringed" not in quiet.caption and "Ringed" in noisy.caption
    rings = [line for line in noisy.figure.axes[0].lines if line.get_markersize() == 12]
    assert [line.get_xdata()[0] for line in rings] == [20]


def test_models_on_one_line_are_all_seen_and_named():
    same = [{"model": m, "L": n, "flops": n * 1e3} for m in ("GRU4Rec", "SASRec", "Mamba4Rec") for n in (10, 20)]
    other = [{"model": "CoCorrRec", "L": n, "flops": n * 2e3} for n in (10, 20)]
    picture = cost_figures.cost_over_length(same + other, "flops", styles_of(FIELD), lambda n: True, log=False)
    lines = {line.get_label(): line for line in picture.figure.axes[0].lines}
    widths = [lines[m].get_linewidth() for m in ("GRU4Rec", "SASRec", "Mamba4Rec")]
    sizes = [lines[m].get_markersize() for m in ("GRU4Rec", "SASRec", "Mamba4Rec")]
    assert widths == sorted(set(widths), reverse=True) and sizes == sorted(set(sizes), reverse=True)
    assert lines["CoCorrRec"].get_linewidth() == styles_of(FIELD)["CoCorrRec"].width
    assert "the widest marker below: GRU4Rec, SASRec, Mamba4Rec." in picture.caption


def test_what_lies_together_is_judged_on_the_axis_as_it_is_drawn():
    curves = {"a": [(1, 1.0), (2, 1.0)], "b": [(1, 1.02), (2, 1.02)], "c": [(1, 1000.0), (2, 1000.0)]}
    assert together(curves) == [["a", "b"]]
    assert together(curves, log_y=True) == [["a", "b"]]
    assert together({**curves, "b": [(1, 3.0), (2, 3.0)]}) == [["a", "b"]]
    assert together({**curves, "b": [(1, 3.0), (2, 3.0)]}, log_y=True) == [], "a factor of 3 is seen on a log axis"
    assert together({"a": [(1, 1.0)], "b": [(1, 1.0), (2, 1.0)]}) == [], "a line that goes on is seen"
    assert together({}) == []


def test_a_model_far_dearer_than_the_others_hides_none_of_them():
    rows = [{"model": m, "L": n, "flops": n * f} for m, f in (("DIN", 1e6), ("SASRec", 1e3)) for n in (10, 20)]
    far = cost_figures.cost_over_length(rows, "flops", styles_of(FIELD), lambda n: True, log=False)
    near = cost_figures.cost_over_length(rows[:2], "flops", styles_of(FIELD), lambda n: True, log=False)
    assert (far.figure.axes[0].get_yscale(), near.figure.axes[0].get_yscale()) == ("log", "linear")
    assert "vertical axis logarithmic" in far.caption and "logarithmic" not in near.caption
    assert near.figure.axes[0].get_ylim()[0] == 0


def test_quality_against_flops_takes_the_costs_of_the_runs_own_length(tmp_path):
    write_cost(tmp_path, ["SASRec", "CoCorrRec"])
    rows, styles = Cost.load_from(tmp_path).rows, styles_of(FIELD)
    (group,) = comparison_groups(made_field(["Pop", "SASRec", "CoCorrRec"], users=80, protocol="full"))
    drawn = lines(cost_figures.quality_against_flops(group, rows, styles))
    assert set(drawn) == {"Pareto front", "SASRec", "CoCorrRec"}
    (flops,) = (r["flops"] for r in rows if r["model"] == "SASRec" and r["L"] == 50)
    assert drawn["SASRec"][0] == [flops]
    (other,) = comparison_groups(made_field(["SASRec", "CoCorrRec"], users=20, config={"MAX_ITEM_LIST_LENGTH": 11}))
    assert cost_figures.quality_against_flops(other, rows, styles) is None


def test_sweep_is_drawn_over_k():
    sweep = sweep_groups(made_sweep(seeds=(1, 2), users=60))["amazon-beauty", "paper"]
    picture = figures.sweep_quality(sweep, styles_of(FIELD)["CoCorrRec"], "beauty")
    (drawn,) = error_bars(picture).values()
    assert drawn == pytest.approx([np.mean([run.test["ndcg@10"] for run in runs.values()]) for runs in sweep.values()])
    assert figures.sweep_quality({}, styles_of(FIELD)["CoCorrRec"], "beauty") is None
    assert figures.sweep_time([], styles_of(FIELD)["CoCorrRec"]) is None
    assert figures.sweep_time([{"K": 1, "latency_us": 3.0}], styles_of(FIELD)["CoCorrRec"]) is not None


def test_history_bins_of_every_model():
    (group,) = comparison_groups(made_field(["SASRec", "CoCorrRec"], users=300))
    bins = history_bins(group, "ndcg@10")
    assert sum(b.users for b in bins["SASRec"]) == 300
    whole = sum(b.users * b.mean for b in bins["SASRec"]) / 300
    assert whole == pytest.approx(np.mean([r.test["ndcg@10"] for r in group.runs["SASRec"].values()]), abs=1e-4)
    picture = figures.quality_by_history(group, bins, styles_of(FIELD), "ndcg@10")
    assert error_bars(picture)["SASRec"] == [b.mean for b in bins["SASRec"]]
    assert figures.quality_by_history(group, {}, styles_of(FIELD), "ndcg@10") is None


def test_history_bins_hold_a_user_of_several_rows_once():
    group, twice = (comparison_groups(made_field(["SASRec", "CoCorrRec"], users=300))[0] for _ in range(2))
    for by_seed in twice.runs.values():
        for run in by_seed.values():
            for rows in vars(run.ranks).values():
                rows += rows
    assert history_bins(twice, "ndcg@10") == history_bins(group, "ndcg@10")


@pytest.mark.parametrize("count", [1, 2, len(FIELD)])
def test_the_dots_of_a_correction_stand_in_its_row(count):
    places = {"own": 0.4, "none": 0.3, "stale 1": 0.2}
    rows = [
        {"dataset": "d", "label": model, "variant": variant, "metrics": {"ndcg@10": value}}
        for model in FIELD[:count]
        for variant, value in places.items()
    ]
    (axes,) = figures.correction_ablation(rows, "d", styles_of(FIELD)).figure.axes
    heights = dict(enumerate(t.get_text() for t in axes.get_yticklabels()))
    dots = [(x, y) for line in axes.lines for x, y in line.get_xydata() if line.get_marker() != "None"]
    assert len(dots) == 2 * len(rows)
    shown = {variant_title(variant): value for variant, value in places.items()}
    assert all(shown[heights[round(y)]] == x and abs(y - round(y)) < 0.5 for x, y in dots)
    assert len({y for _, y in dots}) == len(rows), "no two models on one line"


def test_inline_svg_stands_beside_others_and_follows_the_page(tmp_path):
    write_ablation(tmp_path)
    rows = Ablation.load_from(tmp_path).rows
    picture = figures.correction_ablation(rows, "amazon-beauty", styles_of(FIELD))
    svg = inline_svg(picture.figure, "one")
    ids = re.findall(r'\bid="([^"]+)"', svg)
    assert ids and all(i.startswith("one-") for i in ids) and len(set(ids)) == len(ids)
    used = set(re.findall(r'href="#([^"]+)"|url\(#([^)]+)\)', svg))
    assert {a or b for a, b in used} <= set(ids)
    assert "http" not in svg and "<metadata" not in svg and "<!--" not in svg
    assert not any(colour in svg for colour in PAGE_COLOURS) and "var(--ink)" in svg
    assert re.match(r"<svg [^>]*viewBox=", svg) and not re.match(r"<svg [^>]*\swidth=", svg)
    ElementTree.fromstring(svg.replace("<svg", '<svg xmlns:xlink="x"', 1))


def test_files_are_the_same_each_time(tmp_path):
    write_sweep(tmp_path)
    rows = SweepTimes.load_from(tmp_path).rows
    for form in ("svg", "png"):
        first, second = (save(figures.sweep_time(rows, styles_of(FIELD)["CoCorrRec"]).figure, form) for _ in range(2))
        assert first == second
    assert first.startswith(b"\x89PNG")
