"""Delay, privacy and simulation in a report."""

import pytest

from recbole_cocorr.base.errors import UserError
from recbole_cocorr.experiments.results.simulation import Simulation
from recbole_cocorr.report.delay import arrivals_table, delay_table
from recbole_cocorr.report.privacy import scores_table, uploads_table
from recbole_cocorr.report.report import build, page
from recbole_cocorr.report.simulation import simulation_table
from tests.made_results import delay, privacy, simulation

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
    assert rows == [["no request", "0.0%", "408", "202", ".3214"], ["5", "50.0%", "408", "202", ".3214"]]


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


@pytest.mark.parametrize("name", ["kept", "p50_ms"])
def test_a_simulation_with_a_time_that_is_none(tmp_path, name):
    result = simulation()
    result.rows[1][name] = "soon"
    result.save(tmp_path / "s.json")
    with pytest.raises(UserError, match=rf"rows\[1\]\.{name} is 'soon'"):
        Simulation.load(tmp_path / "s.json")
    del result.rows[1][name]
    result.save(tmp_path / "s.json")
    assert "frozen" in Simulation.load(tmp_path / "s.json").text()
