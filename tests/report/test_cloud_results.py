"""Delay, privacy and simulation in a report."""

import json
import shutil
from pathlib import Path

import pytest

from recbole_cocorr.base.errors import UserError
from recbole_cocorr.experiments.results.corrections import Ablation, Corrections
from recbole_cocorr.experiments.results.cost import Cost
from recbole_cocorr.experiments.results.delay import Delay
from recbole_cocorr.experiments.results.device_quality import DeviceQuality
from recbole_cocorr.experiments.results.device_times import DeviceTimes
from recbole_cocorr.experiments.results.privacy import Privacy, ScorePrivacy
from recbole_cocorr.experiments.results.requests import Requests
from recbole_cocorr.experiments.results.simulation import Simulation
from recbole_cocorr.experiments.results.sweep import SweepTimes
from recbole_cocorr.report.delay import arrivals_table, delay_pictures, delay_table
from recbole_cocorr.report.folder import RESULTS, read_folder
from recbole_cocorr.report.privacy import scores_table, uploads_table
from recbole_cocorr.report.report import build, page
from recbole_cocorr.report.simulation import simulation_table
from tests.made_results import delay, privacy, simulation, whole_results

SETTING = "CoCorrRec on amazon-beauty, protocol full, seed 2021; made up, 2 cores"


def texts(table) -> list[list[str]]:
    assert all(len(row) == len(table.header) for row in table.rows)
    assert table.notes[-1] == SETTING
    return [[cell.text for cell in row] for row in table.rows]


def test_delays():
    rows = texts(delay_table(delay(), "delay", 20))
    times = ["6.00", "2.00", "6.50", "14.50", "20.00"]
    assert rows == [
        ["5 MB/s, 0 ms", "20", "5,120", "4,160", *times, "3.50", "25%"],
        ["5 MB/s, 10 ms", "20", "5,120", "4,160", *times, "13.50", "25%"],
    ]
    assert len(texts(delay_table(delay(), "all"))) == 4
    assert texts(arrivals_table(delay()))[1] == ["50%", ".3050", ".0010"]


def test_what_the_cloud_learns():
    result = privacy()
    rows = texts(uploads_table(result.uploads, result.setting))
    assert rows[0] == ["nothing is uploaded", "the most popular item", "0", "0.3%", ".3000"]
    assert rows[1][2:4] == ["2,560", "–"]
    rows = texts(scores_table(result.scores, result.setting))
    assert rows[0] == ["no request", "0.0%", "–", "0", "0", ".3214"]
    assert rows[1] == ["5", "50.0%", "100%", "408", "202", ".3214"]


def test_faults_and_the_total():
    rows = texts(simulation_table(simulation()))
    assert rows[0] == ["none", "1,782", "1,782", "0", "0", "0", "1,782", "0", "0", "100.00%", "5.95", "10.95"]
    assert rows[1][0] == "frozen" and rows[1][-3:] == ["99.80%", "–", "–"]
    assert rows[-1][0] == "all" and len(rows) == 3


@pytest.mark.parametrize(
    ("result", "words"),
    [(delay(), "A correction&#39;s way, L = 10"), (privacy(), "a secret rotation"), (simulation(), "99.80%")],
    ids=["delay", "privacy", "simulation"],
)
def test_a_report_of_one_alone(tmp_path, result, words):
    result.save(tmp_path / result.FILE)
    report = build(tmp_path)
    assert report.tables
    assert words in page(report)


def test_scores_alone(tmp_path):
    result = privacy()
    result.uploads = None
    result.save(tmp_path / result.FILE)
    assert [table.name for table in build(tmp_path).tables] == ["privacy-scores", "provenance"]


def test_pictures_of_delays():
    times, quality = delay_pictures(delay())
    (axes,) = times.figure.axes
    assert [label.get_text() for label in axes.get_yticklabels()] == ["5 MB/s, 0 ms", "5 MB/s, 10 ms"], "one L alone"
    bars = [(bar.get_x(), bar.get_width()) for part in axes.containers for bar in part]
    assert bars == [(0, 6), (0, 6), (6, 2), (6, 2), (8, 6.5), (8, 6.5)], "upload, cloud, download, one after another"
    assert [text.get_text() for text in axes.texts] == ["25%", "25%"]
    (line,) = quality.figure.axes[0].lines
    assert line.get_xydata().tolist() == [[0, 0.3], [50, 0.305], [100, 0.31]]


@pytest.mark.parametrize("result", [delay(), privacy(), simulation()], ids=["delay", "privacy", "simulation"])
def test_a_file_of_an_earlier_version(tmp_path, result):
    """It does not say of what it is; nothing is made up."""
    content = json.loads(result.json_text())
    for name in ("dataset", "protocol", "model", "seed", "versions", "machine", "deadline_ms", "slack_ms"):
        content.pop(name, None)
    (tmp_path / result.FILE).write_text(json.dumps(content))
    report = build(tmp_path)
    notes = [note for table in report.tables for note in table.notes]
    assert "" not in notes and not any("0 ms" in note for note in notes)
    assert page(report)


@pytest.mark.parametrize(
    "result", [Delay(), Privacy(scores=ScorePrivacy(0, 0, [])), Simulation([], simulation().total)]
)
def test_a_folder_with_an_empty_file_alone(tmp_path, result):
    result.save(tmp_path / result.FILE)
    with pytest.raises(UserError, match="are empty; measure again"):
        build(tmp_path)


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    return whole_results(tmp_path_factory.mktemp("whole"))


@pytest.mark.parametrize("kind", [Cost, DeviceTimes, DeviceQuality, Requests, Delay, Privacy, Simulation])
def test_a_result_without_runs(whole, tmp_path, kind):
    shutil.copy(whole / kind.FILE, tmp_path)
    folder = read_folder(tmp_path)
    loaded = [name for name in RESULTS if not getattr(folder, name).is_empty]
    assert len(loaded) == 1 and build(tmp_path).tables


@pytest.mark.parametrize("kind", [SweepTimes, Ablation, Corrections])
def test_a_result_of_runs_that_are_missing(whole, tmp_path, kind):
    shutil.copy(whole / kind.FILE, tmp_path)
    with pytest.raises(UserError, match="is no results folder: it has no plan"):
        build(tmp_path)


@pytest.mark.parametrize("name", ["kept", "p50_ms"])
def test_a_simulation_with_a_time_that_is_none(tmp_path, name):
    result = simulation()
    result.rows[1][name] = "soon"
    result.save(tmp_path / "s.json")
    with pytest.raises(UserError, match=rf"rows\[1\]\.{name} is 'soon'"):
        Simulation.load(tmp_path / "s.json")
    result.total["lists"] = "many"
    result.rows[1][name] = None
    result.save(tmp_path / "s.json")
    with pytest.raises(UserError, match=r": total\.lists is 'many'"):
        Simulation.load(tmp_path / "s.json")
    result.total["lists"] = 1
    del result.rows[1][name]
    result.save(tmp_path / "s.json")
    assert "frozen" in Simulation.load(tmp_path / "s.json").text()


def test_half_a_character_is_one_sentence(tmp_path):
    """No page can hold it."""
    result = simulation()
    result.rows[0]["fault"] = "none \ud800"
    result.save(tmp_path / result.FILE)
    with pytest.raises(UserError, match=r"simulation.json holds half a character, .ud800"):
        build(tmp_path)
