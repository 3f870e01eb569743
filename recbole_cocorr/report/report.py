"""The report over a results folder: one page that needs nothing else, and the files of its figures and tables."""

from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

import jinja2

from recbole_cocorr import __version__
from recbole_cocorr.base.errors import UserError
from recbole_cocorr.base.extras import require
from recbole_cocorr.base.together import write_files
from recbole_cocorr.experiments.comparisons import compare_with_each, metric_columns
from recbole_cocorr.experiments.runs.groups import Group, comparison_groups, slug
from recbole_cocorr.experiments.runs.run_files import RunRecord
from recbole_cocorr.report.device_times import forms_of
from recbole_cocorr.report.figures import Picture, valid_metric
from recbole_cocorr.report.folder import read_folder
from recbole_cocorr.report.plot_style import PALETTE, inline_svg, save, styles_of
from recbole_cocorr.report.sections import Section, sections_of
from recbole_cocorr.report.summary import Topic, summary_of
from recbole_cocorr.report.table_formats import Table, latex, markdown

USUAL_REFERENCE = "CoCorrRec"


@dataclass
class Report:
    """All that the page says.

    Attributes
    ----------
    title : str
    summary : list of Topic
        What a reader takes away who reads nothing else.
    sections : list of Section
    problems : list of str
        Sentences on comparisons that could not be made.
    """

    title: str
    summary: list[Topic]
    sections: list[Section]
    problems: list[str]

    @property
    def pictures(self) -> list[Picture]:
        """Every picture, in the page's order."""
        return [p for section in self.sections for part in section.subsections for p in part.pictures]

    @property
    def tables(self) -> list[Table]:
        """Every table, in the page's order."""
        return [t for section in self.sections for part in section.subsections for t in part.tables + part.folded]


def build(folder: str | Path, reference: str | None = None) -> Report:
    """Make all tables and figures of a results folder.

    Parameters
    ----------
    folder : str or Path
    reference : str, optional
        Label of the model that is compared with the others; CoCorrRec, or the best of its rows on validation where
        the paper's has no tested run, if left out.

    Raises
    ------
    UserError
        If the folder cannot be read, matplotlib is missing, or no run has the reference's label though it was named.
    """
    require("report")
    results = read_folder(folder)
    groups = comparison_groups(results.records)
    labels = {label for group in groups for label in group.runs}
    if reference is not None and reference not in labels:
        raise UserError(f"no tested run in {folder} has the label {reference!r}; there are {', '.join(sorted(labels))}")
    compared = [
        (group, compare_with_each(group, reference or usual_reference(group), metric_columns(group)))
        for group in groups
    ]
    labels |= {USUAL_REFERENCE, *(r["model"] for r in results.cost.rows)}
    labels |= {form.model for form in forms_of(results.device)}
    labels |= {r["label"] for r in [*results.ablation.rows, *results.corrections.test_rows]}
    datasets = sorted({group.dataset for group in groups})
    return Report(
        title="CoCorrRec benchmark" + (": " + ", ".join(datasets) if datasets else ""),
        summary=summary_of(results, compared),
        sections=sections_of(results, compared, styles_of(labels)),
        problems=[problem for _, comparisons in compared for problem in comparisons.problems],
    )


def usual_reference(group: Group) -> str:
    """CoCorrRec as in the paper; else our row that validation says most for; else the only model, if it is alone."""
    if USUAL_REFERENCE in group.runs:
        return USUAL_REFERENCE
    ours = {label: runs for label, runs in group.runs.items() if label not in group.baselines}
    if ours:
        return max(ours, key=lambda label: fmean(_validation(run) for run in ours[label].values()))
    return next(iter(group.runs)) if len(group.runs) == 1 else USUAL_REFERENCE


def _validation(run: RunRecord) -> float:
    return run.valid.get(valid_metric(run), 0.0)


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
        environment.get_template("report.html.jinja").render(
            report=report,
            missing=[section for section in report.sections if not section.subsections],
            version=__version__,
            palette=PALETTE,
        )
        + "\n"
    )


def write(report: Report, out: Path) -> list[Path]:
    """Write the page, the figures as PNG and SVG and the tables as Markdown and LaTeX.

    Returns
    -------
    list of Path
        The files, the page first.

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
