"""The report over a results folder: one page that needs nothing else, and the files of its figures and tables."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import jinja2
import numpy as np

from recbole_cocorr import __version__
from recbole_cocorr.base.errors import UserError
from recbole_cocorr.base.extras import require
from recbole_cocorr.base.together import write_files
from recbole_cocorr.evaluation.ranking import RANK_METRICS
from recbole_cocorr.evaluation.significance import check_same_users, seed_average
from recbole_cocorr.experiments.comparisons import Comparisons, compare_with_each, metric_columns, metrics_per_user
from recbole_cocorr.experiments.extra_files import CORRECTORS_FILE, COST_FILE, Extras, Row, read_extras
from recbole_cocorr.experiments.runs.curves import HistoryBin, bin_starts, by_history
from recbole_cocorr.experiments.runs.groups import Group, comparison_groups, slug, sweep_groups
from recbole_cocorr.experiments.runs.run_files import PLAN_FILE, RunRecord, read_results
from recbole_cocorr.models.card import Look
from recbole_cocorr.report import corrector_tables, cost_tables, figures, tables
from recbole_cocorr.report.both_ways import both_ways_tables
from recbole_cocorr.report.commands import benchmark_command, command, sweep_command
from recbole_cocorr.report.device_times import DEVICE_FILE, click_times, device_table, read_device
from recbole_cocorr.report.figures import Picture
from recbole_cocorr.report.methods import methods, provenance
from recbole_cocorr.report.plot_style import PALETTE, inline_svg, save, styles_of
from recbole_cocorr.report.table_formats import Table, latex, markdown

REFERENCE = "CoCorrRec"


@dataclass
class Part:
    """A part of a section: its pictures, then its tables.

    Attributes
    ----------
    title : str
        Empty where the section has one part alone.
    text : list of str
        Sentences above.
    notices : list of str
        What a reader must know before trusting the rest.
    pictures, tables : list
    folded : list of Table
        Tables behind a click.
    """

    title: str = ""
    text: list[str] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)
    pictures: list[Picture] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    folded: list[Table] = field(default_factory=list)


@dataclass
class Section:
    """A section of the page; where nothing is there yet, the command that makes it."""

    anchor: str
    title: str
    parts: list[Part] = field(default_factory=list)
    missing: str = ""
    command: str = ""


@dataclass
class Report:
    """All that the page says.

    Attributes
    ----------
    title : str
    sections : list of Section
    problems : list of str
        Sentences on comparisons that could not be made.
    """

    title: str
    sections: list[Section]
    problems: list[str]

    @property
    def pictures(self) -> list[Picture]:
        """Every picture, in the page's order."""
        return [p for section in self.sections for part in section.parts for p in part.pictures]

    @property
    def tables(self) -> list[Table]:
        """Every table, in the page's order."""
        return [t for section in self.sections for part in section.parts for t in part.tables + part.folded]


def read_folder(folder: str | Path) -> tuple[list[RunRecord], Extras]:
    """Read a results folder, or one that holds costs or times of the device alone.

    Raises
    ------
    UserError
        If there is nothing to report on, or a file cannot be read.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise UserError(f"the results folder {folder} does not exist; `{benchmark_command(folder)}` makes one")
    only_costs = not (folder / PLAN_FILE).is_file() and any((folder / f).is_file() for f in (COST_FILE, DEVICE_FILE))
    records = [] if only_costs else read_results(folder)
    extras = read_extras(folder)
    if (
        any(record.test is not None for record in records)
        or extras.cost
        or extras.sweep
        or extras.ablation
        or extras.correctors
        or (folder / DEVICE_FILE).is_file()
    ):
        return records, extras
    if not records:
        failed = f" ({len(extras.failures)} failed, see failures.json)" if extras.failures else ""
        raise UserError(
            f"{folder} has no finished run yet{failed}; start its `benchmark` again, it goes on where it stopped"
        )
    raise UserError(
        f"{folder} has {len(records)} finished {'run' if len(records) == 1 else 'runs'}, but none was tested: they "
        "served to choose a learning rate; start its `benchmark` again, it goes on where it stopped"
    )


def build(folder: str | Path, reference: str = REFERENCE) -> Report:
    """Make all tables and figures of a results folder.

    Parameters
    ----------
    folder : str or Path
    reference : str
        Label of the model that is compared with the others.

    Raises
    ------
    UserError
        If the folder cannot be read, matplotlib is missing, or no run has the reference's label though it was named.
    """
    require("report")
    folder = Path(folder)
    records, extras = read_folder(folder)
    device = read_device(folder / DEVICE_FILE)
    groups = comparison_groups(records)
    labels = {label for group in groups for label in group.runs}
    if reference != REFERENCE and reference not in labels:
        raise UserError(f"no tested run in {folder} has the label {reference!r}; there are {', '.join(sorted(labels))}")
    compared = [(group, compare_with_each(group, reference, metric_columns(group))) for group in groups]
    styles = styles_of(
        [
            *labels,
            *(r["model"] for r in extras.cost),
            *device.get("models", ()),
            *(r["label"] for r in [*extras.ablation, *extras.correctors]),
            "CoCorrRec",
        ]
    )
    benchmark, cost = benchmark_command(folder, records), command("cost", f"--out={folder / COST_FILE}")
    sections = [
        _quality(compared, benchmark),
        _curves(groups, styles, benchmark),
        _cost(extras, styles, cost),
        _device(device, styles, command("device-bench", f"--out={folder / DEVICE_FILE}")),
        _against_flops(groups, extras, styles, cost),
        _sweep(records, extras, styles["CoCorrRec"], sweep_command(folder, records)),
        _history(groups, styles, benchmark),
        _ablation(extras, styles, benchmark_command(folder, records, "--ablate=correction")),
        _correctors(extras, styles, command("correct", folder)),
        Section("methods", "Methods", [Part(text=methods(records, groups, compared))]),
        provenance_section(records, extras),
    ]
    problems = [problem for _, found in compared for problem in found.problems]
    datasets = sorted({group.dataset for group in groups})
    return Report("CoCorrRec benchmark" + (": " + ", ".join(datasets) if datasets else ""), sections, problems)


def _quality(compared: Sequence[tuple[Group, Comparisons]], how: str) -> Section:
    section = Section(
        "table1",
        "Quality (Table 1)",
        missing="No run was tested.",
        command=how,
    )
    for group, comparisons in compared:
        folded = [tables.significance_table(group, comparisons)] if comparisons.found else []
        section.parts.append(
            Part(
                group.name,
                text=tables.verdicts(group, comparisons),
                notices=comparisons.problems,
                tables=[tables.results_table(group, comparisons), *both_ways_tables(group)],
                folded=folded,
            )
        )
    return section


def _curves(groups: Sequence[Group], styles: dict[str, Look], how: str) -> Section:
    section = Section(
        "curves",
        "Training",
        missing="No run with a validation.",
        command=how,
    )
    for group in groups:
        if pictures := figures.training_curves(group, styles):
            section.parts.append(Part(group.name, pictures=pictures))
    return section


_SHORT = ("flops", "peak_bytes")
_LONG = (
    "flops",
    "device_flops",
    "peak_bytes",
    "flops_per_click",
    "device_flops_per_click",
    "state_bytes",
    "latency_us",
    "click_latency_us",
)


def _cost(extras: Extras, styles: dict[str, Look], how: str) -> Section:
    section = Section("cost", "Cost (Table 4, Figure 4)", missing="Not counted yet.", command=how)
    rows = extras.cost
    if not rows:
        return section
    lengths = sorted({r["L"] for r in rows})
    setting = cost_tables.cost_setting(extras.cost_settings, extras.cost_machine)
    table = cost_tables.cost_table(rows, 10 if 10 in lengths else lengths[0], setting)
    section.parts.append(Part("One inference (Table 4)", tables=[table]))
    short = [figures.cost_over_length(rows, c, styles, lambda length: 10 <= length <= 25, log=False) for c in _SHORT]
    if pictures := [p for p in short if p]:
        section.parts.append(Part("Short histories (Figure 4)", pictures=pictures))
    if lengths[-1] > 25:
        long = [figures.cost_over_length(rows, c, styles, lambda length: length >= 10, log=True) for c in _LONG]
        measured = [c for c in _LONG if any(r.get(c) is not None for r in rows)]
        section.parts.append(
            Part(
                f"Up to L = {lengths[-1]}",
                text=cost_tables.cheapest(rows),
                pictures=[p for p in long if p],
                folded=[cost_tables.length_table(rows, c) for c in measured],
            )
        )
    return section


def _device(device: Row, styles: dict[str, Look], how: str) -> Section:
    section = Section("device", "On the device", missing="Not timed yet.", command=how)
    if device:
        section.parts.append(Part(pictures=[click_times(device, styles)], tables=[device_table(device)]))
    return section


def _against_flops(groups: Sequence[Group], extras: Extras, styles: dict[str, Look], how: str) -> Section:
    section = Section(
        "front",
        "Quality against FLOPs",
        missing="Needs tested runs, and costs at the L they were trained with.",
        command=how,
    )
    for group in groups:
        if picture := figures.quality_against_flops(group, extras.cost, styles):
            section.parts.append(Part(group.name, pictures=[picture]))
    return section


def _sweep(records: Sequence[RunRecord], extras: Extras, style: Look, how: str) -> Section:
    section = Section("sweep", "TTT mini-batch K (Figure 6)", missing="Not swept yet.", command=how)
    time = figures.sweep_time(extras.sweep, style)
    sweeps = sweep_groups(records)
    for (dataset, protocol), sweep in sweeps.items():
        name = f"{dataset}, protocol {protocol}"
        quality = figures.sweep_quality(sweep, style, name)
        section.parts.append(
            Part(
                name,
                pictures=[p for p in (quality, time) if p],
                tables=[tables.sweep_table(sweep, extras.sweep, name)],
            )
        )
        time = None  # it does not depend on the data: once is enough
    if time and not sweeps:
        section.parts.append(Part(pictures=[time]))
    return section


def _history(groups: Sequence[Group], styles: dict[str, Look], how: str) -> Section:
    section = Section(
        "history",
        "Quality by length of history",
        missing="No tested run kept the ranks of its users.",
        command=how,
    )
    for group in groups:
        metric = _main_metric(group)
        try:
            bins = history_bins(group, metric)
        except UserError as error:
            section.parts.append(Part(group.name, notices=[str(error)]))
            continue
        if bins and (picture := figures.quality_by_history(group, bins, styles, metric)):
            table = tables.history_table(group, bins, metric)
            section.parts.append(Part(group.name, pictures=[picture], folded=[table]))
    return section


def _main_metric(group: Group) -> str:
    run = next(iter(next(iter(group.runs.values())).values()))
    metric = figures.valid_metric(run)
    return metric if metric.partition("@")[0] in RANK_METRICS else "ndcg@10"


def history_bins(group: Group, metric: str) -> dict[str, list[HistoryBin]]:
    """A metric of every model by the length of history, each user's averaged over seeds first.

    Raises
    ------
    UserError
        If the runs tested different users.
    """
    per_user = {
        (label, seed): found
        for label, by_seed in group.runs.items()
        for seed, run in by_seed.items()
        if (found := metrics_per_user(run, [metric])) is not None
    }
    if not per_user:
        return {}
    check_same_users({f"{label} (seed {seed})": found for (label, seed), found in per_user.items()})
    (label, seed), _ = next(iter(per_user.items()))
    ranks = group.runs[label][seed].ranks
    history = np.asarray(ranks.history)[np.argsort(np.asarray(ranks.users, dtype=str), kind="stable")]
    starts = bin_starts(history)
    result = {}
    for label in group.runs:
        own = [found for (name, _), found in per_user.items() if name == label]
        if own:
            result[label] = by_history(seed_average(own, metric), history, starts)
    return result


def _ablation(extras: Extras, styles: dict[str, Look], how: str) -> Section:
    section = Section(
        "ablation",
        "Is the correction personal?",
        missing="Not evaluated yet.",
        command=how,
    )
    for dataset in sorted({r["dataset"] for r in extras.ablation}):
        picture = figures.correction_ablation(extras.ablation, dataset, styles)
        section.parts.append(
            Part(dataset, pictures=[picture] if picture else [], tables=[tables.ablation_table(extras, dataset)])
        )
    return section


def _correctors(extras: Extras, styles: dict[str, Look], how: str) -> Section:
    section = Section(
        "correctors", "What the cloud's item-item scores are worth", missing="Not evaluated yet.", command=how
    )
    notices = list(extras.corrector_problems)
    if extras.corrector_comparisons is None:
        notices = [f"{CORRECTORS_FILE} holds no significance; run `{how}` again to have it."]
    for dataset, protocol in corrector_tables.datasets_of(extras.correctors):
        rows = [r for r in extras.correctors if r["protocol"] == protocol]
        picture = figures.correction_ablation(
            rows, dataset, styles, name="correctors" if protocol == "paper" else f"correctors-{slug(protocol)}"
        )
        folded = [
            make(extras, dataset, protocol)
            for make in (corrector_tables.variants_significance_table, corrector_tables.field_significance_table)
        ]
        section.parts.append(
            Part(
                dataset if protocol == "paper" else f"{dataset}, protocol {protocol}",
                text=corrector_tables.corrector_verdicts(extras, dataset, protocol),
                notices=notices,
                pictures=[picture] if picture else [],
                tables=[corrector_tables.correctors_table(extras, dataset, protocol)],
                folded=[table for table in folded if table is not None],
            )
        )
        notices = []  # once is enough
    return section


def provenance_section(records: Sequence[RunRecord], extras: Extras) -> Section:
    """Versions, machines and failures."""
    section = Section("provenance", "Versions, machine, failures", [Part(tables=[provenance(records)])])
    if extras.failures:
        section.parts.append(Part("Failed runs", tables=[tables.failures_table(extras.failures)]))
    elif records:
        section.parts.append(Part(text=["No run failed."]))
    return section


def page(report: Report) -> str:
    """The report as one HTML page that loads nothing."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("recbole_cocorr.report", "."),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["svg"] = lambda picture: inline_svg(picture.figure, picture.name)
    return (
        environment.get_template("report.html.jinja").render(report=report, version=__version__, palette=PALETTE) + "\n"
    )


def write(report: Report, out: Path) -> list[Path]:
    """Write the page, the figures as PNG and SVG and the tables as Markdown and LaTeX.

    Returns
    -------
    list of Path
        What was written, the page first.

    Raises
    ------
    OSError
        What the system reported; all files are then as they were.
    """
    files: dict[str, str | bytes] = {"report.html": page(report)}
    for table in report.tables:
        files[f"tables/{table.name}.md"] = markdown(table)
        files[f"tables/{table.name}.tex"] = latex(table)
    for picture in report.pictures:
        for form in ("png", "svg"):
            files[f"figures/{slug(picture.name)}.{form}"] = save(picture.figure, form)
    return write_files(out, "report", files)
