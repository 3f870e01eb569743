"""Every kind of result is saved, loaded and refused in the same way."""

import json

import pytest

from recbole_cocorr.base.errors import UserError
from recbole_cocorr.experiments.results.corrections import Ablation, Corrections
from recbole_cocorr.experiments.results.cost import Cost
from recbole_cocorr.experiments.results.delay import Delay
from recbole_cocorr.experiments.results.device_times import DeviceTimes
from recbole_cocorr.experiments.results.freshness import Freshness
from recbole_cocorr.experiments.results.privacy import Privacy, ScorePrivacy, UploadPrivacy
from recbole_cocorr.experiments.results.simulation import STATUSES, Simulation
from recbole_cocorr.experiments.results.sweep import SweepTimes
from tests.made_results import privacy, simulation

RUN = {"dataset": "d", "label": "M", "seed": 1}
COUNTS = dict.fromkeys(("lists", *STATUSES, "with_scores", "wrong", "lost"), 0)
RESULTS = [
    SweepTimes(rows=[{"K": 1, "latency_us": 2.0, "batch_latency_us": 3.0}]),
    Ablation([{**RUN, "variant": "own", "metrics": {"ndcg@10": 0.5}}], [{**RUN, "attention": 0.5, "bias": 0.5}]),
    Corrections(rows=[{**RUN, "protocol": "full", "variant": "own", "metrics": {"ndcg@10": 0.5}}], comparisons=[]),
    Delay([], quality=[{"share": 0.5, "ndcg@10": 0.5, "deviation": 0.1}]),
    Privacy(UploadPrivacy(1, 2, 0.5, []), ScorePrivacy(1, 2, [])),
    Privacy(scores=ScorePrivacy(1, 2, [])),
    Simulation([{"fault": "none", **COUNTS}], {"fault": "all", **COUNTS}, {}, 20.0, 1.0),
    simulation(),
    privacy(),
    Freshness("d", "M", 0.8, [1], {}, {}, {}, {}, 5.0, 3, [], [], [], []),
]
KINDS = [Cost, SweepTimes, Ablation, Corrections, DeviceTimes, Delay, Privacy, Simulation, Freshness]


@pytest.mark.parametrize("result", RESULTS, ids=lambda result: type(result).__name__)
def test_it_comes_back(tmp_path, result):
    result.save(tmp_path / "r.json")
    assert type(result).load(tmp_path / "r.json") == result
    assert list(json.loads((tmp_path / "r.json").read_text()))[:2] == ["format", "format_version"]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_another_kind_and_another_version_are_refused(tmp_path, kind):
    file = tmp_path / "r.json"
    for content, reason in (
        ({"format": "other", "format_version": 1}, f"is no {kind.NAME} of recbole_cocorr"),
        ({"format": kind.FORMAT, "format_version": 2}, f"run `python -m recbole_cocorr {kind.VERB}` again"),
        ([1], f"is no {kind.NAME} of recbole_cocorr"),
    ):
        file.write_text(json.dumps(content))
        with pytest.raises(UserError, match=reason):
            kind.load(file)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_only_files_that_once_had_no_format_are_read_without_it(tmp_path, kind):
    (tmp_path / "r.json").write_text("{}")
    unmarked = kind in (Delay, Privacy, Simulation)
    with pytest.raises(UserError, match="is missing" if unmarked else f"is no {kind.NAME} of recbole_cocorr"):
        kind.load(tmp_path / "r.json")


def test_a_missing_file_of_a_folder_is_an_empty_result(tmp_path):
    assert Corrections.load_from(tmp_path) == Corrections()
    with pytest.raises(UserError, match="there is no corrector file"):
        Corrections.load(tmp_path / "correctors.json")


@pytest.mark.parametrize("wrong", [[1.0], [3.0, 2.0], [-1.0, 2.0], ["1", 2.0], 5])
def test_quartiles_that_are_none_are_refused(tmp_path, wrong):
    row = {"K": 1, "latency_us": 2.0, "latency_us_quartiles": [1.5, 2.5]}
    SweepTimes(rows=[row]).save(tmp_path / "r.json")
    assert SweepTimes.load(tmp_path / "r.json").rows == [row]
    SweepTimes(rows=[row | {"latency_us_quartiles": wrong}]).save(tmp_path / "r.json")
    with pytest.raises(UserError, match=r"rows\[0\].latency_us_quartiles is .*; it must be"):
        SweepTimes.load(tmp_path / "r.json")
