"""The sections of the page, each with its pictures and tables, or with the command that is still to be run."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from recbole_cocorr.base.errors import UserError
from recbole_cocorr.evaluation.ranking import RANK_METRICS
from recbole_cocorr.experiments.comparisons import Comparisons
from recbole_cocorr.experiments.history_bins import history_bins
from recbole_cocorr.experiments.results.base import Row
from recbole_cocorr.experiments.results.corrections import Ablation, Corrections
from recbole_cocorr.experiments.results.cost import Cost
from recbole_cocorr.experiments.results.delay import Delay
from recbole_cocorr.experiments.results.device_quality import DeviceQuality
from recbole_cocorr.experiments.results.device_times import DeviceTimes
from recbole_cocorr.experiments.results.privacy import Privacy
from recbole_cocorr.experiments.results.requests import Requests
from recbole_cocorr.experiments.results.simulation import Simulation
from recbole_cocorr.experiments.runs.groups import Group, slug, sweep_groups
from recbole_cocorr.experiments.runs.run_files import RunRecord
from recbole_cocorr.models.card import Look
from recbole_cocorr.report import correction_tables, corrector_tables, cost_figures, cost_tables, figures, tables
from recbole_cocorr.report.both_ways import both_ways_tables
from recbole_cocorr.report.commands import benchmark_command, command, sweep_command
from recbole_cocorr.report.delay import arrivals_table, delay_pictures, delay_table
from recbole_cocorr.report.device_quality import device_quality_table
from recbole_cocorr.report.device_times import click_times, device_table
from recbole_cocorr.report.figures import Picture, Styles
from recbole_cocorr.report.folder import ResultsFolder
from recbole_cocorr.report.methods import methods, provenance
from recbole_cocorr.report.privacy import scores_table, uploads_table
from recbole_cocorr.report.requests import quality_by_share, requests_table
from recbole_cocorr.report.simulation import simulation_table
from recbole_cocorr.report.table_formats import Table


@dataclass
class Subsection:
    """A part of a section: its pictures, then its tables.

    Attributes
    ----------
    title : str
        Empty where the section has one subsection alone.
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
    """A section of the page; where nothing is there yet, ``missing`` says so, and ``command`` makes it.

    ``paper`` says which table or figure of the paper the section answers to; empty where none does.
    """

    anchor: str
    title: str
    missing: str = ""
    command: str = ""
    paper: str = ""
    subsections: list[Subsection] = field(default_factory=list)


Compared = Sequence[tuple[Group, Comparisons]]


def sections_of(results: ResultsFolder, compared: Compared, styles: Styles) -> list[Section]:
    """Every section, in the page's order.

    Parameters
    ----------
    results : ResultsFolder
    compared : sequence of (Group, Comparisons)
        Tested runs, and the reference against each other model.
    styles : dict of str to Look
        By label.
    """
    folder, records, groups = results.path, results.records, [group for group, _ in compared]
    benchmark, cost = benchmark_command(folder, records), command("cost", f"--out={folder / Cost.FILE}")
    return [
        quality(compared, benchmark),
        curves(groups, styles, benchmark),
        costs(results.cost, styles, cost),
        device(results.device, styles, folder),
        device_quality(results.device_quality, folder),
        against_flops(groups, results.cost.rows, styles, cost),
        sweep(results, styles["CoCorrRec"]),
        history(groups, styles, benchmark),
        ablation(results.ablation, styles, benchmark_command(folder, records, "--ablate=correction")),
        corrections(results.corrections, styles, command("correct", folder)),
        requests(results.requests, folder),
        delay(results.delay, folder),
        simulation(results.simulation, folder),
        privacy(results.privacy, folder),
        Section("methods", "Methods", subsections=[Subsection(text=methods(records, groups, compared))]),
        about(records, results.failures),
    ]


def quality(compared: Compared, how: str) -> Section:
    """Table 1 of each group, and the comparisons behind its stars."""
    section = Section("table1", "Quality", "No run was tested.", how, "Table 1")
    for group, comparisons in compared:
        section.subsections.append(
            Subsection(
                group.name,
                text=tables.verdicts(group, comparisons),
                notices=comparisons.problems,
                tables=[
                    tables.results_table(group, comparisons),
                    *both_ways_tables(group),
                    *tables.verdict_tables(group, comparisons),
                ],
                folded=[tables.significance_table(group, comparisons)] if comparisons.rows else [],
            )
        )
    return section


def curves(groups: Sequence[Group], styles: Styles, how: str) -> Section:
    """The validation metric during the training."""
    section = Section("curves", "Training", "No run with a validation.", how)
    for group in groups:
        if pictures := figures.training_curves(group, styles):
            section.subsections.append(Subsection(group.name, pictures=pictures))
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


def costs(cost: Cost, styles: Styles, how: str) -> Section:
    """Table 4 and Figure 4, and the costs of longer histories."""
    section = Section("cost", "Cost", "Not counted yet.", how, "Table 4 and Figure 4")
    rows = cost.rows
    if not rows:
        return section
    lengths = sorted({r["L"] for r in rows})
    setting = cost_tables.cost_setting(cost.settings, cost.machine)
    table = cost_tables.cost_table(rows, 10 if 10 in lengths else lengths[0], setting)
    section.subsections.append(Subsection("One inference", tables=[table]))
    short = [cost_figures.cost_over_length(rows, c, styles, lambda n: 10 <= n <= 25, log=False) for c in _SHORT]
    if pictures := [p for p in short if p]:
        section.subsections.append(Subsection("Short histories", pictures=pictures))
    if lengths[-1] > 25:
        long = [cost_figures.cost_over_length(rows, c, styles, lambda length: length >= 10, log=True) for c in _LONG]
        section.subsections.append(
            Subsection(
                f"Up to L = {lengths[-1]}",
                text=cost_tables.cheapest(rows),
                pictures=[p for p in long if p],
                folded=[cost_tables.length_table(rows, c) for c in _LONG],
            )
        )
    return section


def device(times: DeviceTimes, styles: Styles, folder: Path) -> Section:
    """Clicks and rankings on the device."""
    how = command("device-bench", f"--out={folder / times.FILE}")
    section = Section("device", "On the device", "Not timed yet.", how)
    if times.models:
        section.subsections.append(Subsection(pictures=click_times(times, styles), tables=[device_table(times)]))
    return section


def against_flops(groups: Sequence[Group], rows: Sequence[Row], styles: Styles, how: str) -> Section:
    """The quality of each group against the FLOPs of one inference."""
    missing = "Needs tested runs, and costs at the L they were trained with."
    section = Section("front", "Quality against FLOPs", missing, how)
    for group in groups:
        if picture := cost_figures.quality_against_flops(group, rows, styles):
            section.subsections.append(Subsection(group.name, pictures=[picture]))
    return section


def sweep(results: ResultsFolder, style: Look) -> Section:
    """Figure 6."""
    how = sweep_command(results.path, results.records)
    section = Section("sweep", "TTT mini-batch K", "Not swept yet.", how, "Figure 6")
    rows = results.sweep.rows
    time = figures.sweep_time(rows, style)
    sweeps = sweep_groups(results.records)
    for (dataset, protocol), runs in sweeps.items():
        name = f"{dataset}, protocol {protocol}"
        pictures = [p for p in (figures.sweep_quality(runs, style, name), time) if p]
        section.subsections.append(Subsection(name, pictures=pictures, tables=[tables.sweep_table(runs, rows, name)]))
        time = None  # it does not depend on the data: once is enough
    if time and not sweeps:
        section.subsections.append(Subsection(pictures=[time]))
    return section


def history(groups: Sequence[Group], styles: Styles, how: str) -> Section:
    """The metric by the length of the user's history."""
    section = Section("history", "Quality by length of history", "No tested run kept the ranks of its users.", how)
    for group in groups:
        metric = _main_metric(group)
        try:
            bins = history_bins(group, metric)
        except UserError as error:
            section.subsections.append(Subsection(group.name, notices=[str(error)]))
            continue
        if bins and (picture := figures.quality_by_history(group, bins, styles, metric)):
            table = tables.history_table(group, bins, metric)
            section.subsections.append(Subsection(group.name, pictures=[picture], folded=[table]))
    return section


def _main_metric(group: Group) -> str:
    run = next(iter(next(iter(group.runs.values())).values()))
    metric = figures.valid_metric(run)
    return metric if metric.partition("@")[0] in RANK_METRICS else "ndcg@10"


def ablation(result: Ablation, styles: Styles, how: str) -> Section:
    """One checkpoint under other corrections."""
    section = Section("ablation", "Is the correction personal?", "Not evaluated yet.", how)
    for dataset in sorted({r["dataset"] for r in result.rows}):
        picture = figures.correction_ablation(result.rows, dataset, styles)
        table = correction_tables.ablation_table(result, dataset)
        section.subsections.append(Subsection(dataset, pictures=[picture] if picture else [], tables=[table]))
    return section


def corrections(result: Corrections, styles: Styles, how: str) -> Section:
    """Every model with the same cloud scores."""
    section = Section("correctors", "What the cloud's item-item scores are worth", "Not evaluated yet.", how)
    notices = list(result.problems)
    if result.comparisons is None:
        notices = [f"{result.FILE} holds no significance; run `{how}` again to have it."]
    for dataset, protocol in corrector_tables.datasets_of(result):
        name, _ = corrector_tables.names_of(dataset, protocol)
        rows = [r for r in result.test_rows if r["protocol"] == protocol]
        figure = "correctors" if protocol == "paper" else f"correctors-{slug(protocol)}"
        picture = figures.correction_ablation(rows, dataset, styles, name=figure)
        folded = [
            make(result, dataset, protocol)
            for make in (corrector_tables.variants_significance_table, corrector_tables.field_significance_table)
        ]
        section.subsections.append(
            Subsection(
                name,
                text=corrector_tables.corrector_verdicts(result, dataset, protocol),
                notices=notices,
                pictures=[picture] if picture else [],
                tables=[
                    corrector_tables.correctors_table(result, dataset, protocol),
                    *corrector_tables.verdict_tables(result, dataset, protocol),
                ],
                folded=[table for table in folded if table is not None],
            )
        )
        notices = []  # once is enough
    return section


def requests(result: Requests, folder: Path) -> Section:
    """The quality by the share of rankings that ask the cloud."""
    how = command("requests", "--checkpoint=FILE", f"--out={folder / result.FILE}")
    section = Section("requests", "When to ask the cloud", "Not measured yet.", how)
    if result.rows:
        pictures = [quality_by_share(result, answer) for answer in result.answers]
        section.subsections.append(Subsection(pictures=pictures, tables=[requests_table(result)]))
    return section


def delay(result: Delay, folder: Path) -> Section:
    """A correction's way over slow networks."""
    how = command("delay", "--checkpoint=FILE", f"--out={folder / result.FILE}")
    section = Section("delay", "A correction's way", "Not measured yet.", how, "Table 5")
    if result.rows:
        tables = [delay_table(result, "delay", min(r["length"] for r in result.rows))]
        if result.quality:
            tables.append(arrivals_table(result))
        folded = [delay_table(result, "delay-every-length")]
        section.subsections.append(Subsection(pictures=delay_pictures(result), tables=tables, folded=folded))
    return section


def simulation(result: Simulation, folder: Path) -> Section:
    """Devices against a server with faults."""
    how = command("simulate", "--checkpoint=FILE", f"--out={folder / result.FILE}")
    section = Section("simulation", "When the cloud fails", "Not simulated yet.", how)
    if result.rows:
        section.subsections.append(Subsection(tables=[simulation_table(result)]))
    return section


def privacy(result: Privacy, folder: Path) -> Section:
    """What the cloud learns of the clicks."""
    how = command("privacy", "--checkpoint=FILE", f"--out={folder / result.FILE}")
    section = Section("privacy", "What the cloud learns", "Not measured yet.", how)
    uploads, scores = result.uploads, result.scores
    tables = [uploads_table(uploads, result.setting)] if uploads and uploads.rows else []
    tables += [scores_table(scores, result.setting)] if scores and scores.rows else []
    if tables:
        section.subsections.append(Subsection(tables=tables))
    return section


def device_quality(result: DeviceQuality, folder: Path) -> Section:
    """How well a device ranks, alone and with neighbour tables."""
    flags = ("--checkpoint=FILE", "--phase=both", "--neighbours", "10", "20", f"--out={folder / result.FILE}")
    section = Section("device-quality", "Quality on the device", "Not measured yet.", command("device-eval", *flags))
    if result.rows:
        section.subsections.append(Subsection(tables=[device_quality_table(result)]))
    return section


def about(records: Sequence[RunRecord], failures: dict[str, str]) -> Section:
    """Versions, machines and failures."""
    section = Section("provenance", "Versions, machine, failures")
    section.subsections.append(Subsection(tables=[provenance(records)]))
    if failures:
        section.subsections.append(Subsection("Failed runs", tables=[tables.failures_table(failures)]))
    elif records:
        section.subsections.append(Subsection(text=["No run failed."]))
    return section
