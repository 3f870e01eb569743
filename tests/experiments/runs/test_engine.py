"""Carrying a plan out: nothing is repeated, nothing half-written is read, one bad run stops no other."""

import json
from pathlib import Path

import pytest

from recbole_cocorr.base.errors import UserError
from recbole_cocorr.base.files import exclusive
from recbole_cocorr.experiments.entries import Entry
from recbole_cocorr.experiments.runs.engine import Engine, open_folder
from recbole_cocorr.experiments.runs.executors import Outcome
from recbole_cocorr.experiments.runs.plan import Plan, RunSpec
from recbole_cocorr.experiments.runs.run_files import RunRecord, read_results, read_run, write_run
from recbole_cocorr.experiments.runs.worker import DISK_FULL


class Made:
    """An executor whose runs end at once, or as they are told to."""

    def __init__(self, scores=None, bad=None):
        self.scores, self.bad = scores or {}, bad or {}
        self.started: list[tuple[str, int, float, bool]] = []
        self.stopped = 0
        self.at_once = 0

    def start(self, spec: RunSpec, folder: Path):
        self.started.append((spec.label, spec.seed, spec.learning_rate, spec.test))
        self.at_once += 1
        self.most = max(getattr(self, "most", 0), self.at_once)
        return spec, folder

    def ended(self, handle):
        spec, folder = handle
        self.at_once -= 1
        outcome = self.bad.get((spec.label, spec.seed))
        if outcome is not None:
            return outcome
        score = self.scores.get((spec.label, spec.learning_rate), 0.5)
        record = RunRecord(
            label=spec.label,
            model=spec.model,
            dataset=spec.dataset,
            protocol=spec.protocol,
            seed=spec.seed,
            learning_rate=spec.learning_rate,
            config={"valid_metric": "NDCG@10", "valid_metric_bigger": True},
            seconds=60.0,
            valid={"ndcg@10": score},
            test={"ndcg@10": score} if spec.test else None,
        )
        write_run(folder / "run.json", record)
        return Outcome(0)

    def stop(self, handle):
        self.stopped += 1


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    monkeypatch.setattr("recbole_cocorr.experiments.runs.engine.POLL_SECONDS", 0.0)


def plan(**changed) -> Plan:
    settings = {
        "entries": [Entry("A", "GRU4Rec"), Entry("B", "SASRec")],
        "datasets": ["d"],
        "protocol": "paper",
        "seeds": [1, 2],
        "learning_rates": [0.001, 0.01],
    }
    return Plan(**{**settings, **changed})


def engine(folder: Path, executor, jobs: int = 1, **changed) -> Engine:
    small = plan(**changed)
    open_folder(folder, small)
    return Engine(small, folder, executor, jobs, say=lambda _: None)


def test_only_the_chosen_rate_is_tested(tmp_path):
    executor = Made({("A", 0.01): 0.9, ("B", 0.001): 0.9})
    assert engine(tmp_path / "r", executor).run()
    tested = {(r.label, r.seed, r.learning_rate) for r in read_results(tmp_path / "r") if r.test is not None}
    assert tested == {("A", 1, 0.01), ("A", 2, 0.01), ("B", 1, 0.001), ("B", 2, 0.001)}
    # The other rate was trained with the first seed alone, and never read on the test items.
    assert [s for s in executor.started if s[0] == "A"] == [
        ("A", 1, 0.001, False),
        ("A", 1, 0.01, False),
        ("A", 1, 0.01, True),
        ("A", 2, 0.01, True),
    ]


def test_what_is_finished_is_not_run_again(tmp_path):
    assert engine(tmp_path / "r", Made()).run()
    again = Made()
    assert engine(tmp_path / "r", again).run()
    assert again.started == []
    more = Made()
    assert engine(tmp_path / "r", more, seeds=[1, 2, 3]).run()
    assert [s[:2] for s in more.started] == [("A", 3), ("B", 3)]


@pytest.mark.parametrize("changed", [{"seeds": [3, 2]}, {"learning_rates": [0.001, 0.01, 0.1]}], ids=str)
def test_no_seed_is_tested_with_a_second_choice(tmp_path, changed):
    assert engine(tmp_path / "r", Made({("A", 0.001): 0.9, ("B", 0.001): 0.9})).run()
    other = Made({("A", 0.01): 0.9, ("A", 0.1): 0.95})
    with pytest.raises(UserError, match=r"A on d, seed \d, was tested as .*lr0\.001.* chooses .*lr0\.0?1"):
        engine(tmp_path / "r", other, **changed).run()
    tested = [(r.label, r.seed) for r in read_results(tmp_path / "r") if r.test is not None]
    assert len(tested) == len(set(tested))


def test_a_log_gets_lines_and_no_bar(tmp_path, capsys):
    assert engine(tmp_path / "r", Made(), jobs=2).run()
    lines = capsys.readouterr().err.splitlines(keepends=True)
    assert lines[0].startswith("runs: 1/")
    assert all(line.endswith("\n") and "\r" not in line and "|" not in line for line in lines)


def test_a_bad_run_stops_no_other_and_is_tried_again(tmp_path):
    bad = Made(bad={("A", 2): Outcome(1, "it broke")})
    first = engine(tmp_path / "r", bad)
    assert not first.run()
    assert list(first.failed.values()) == ["it broke"]
    failures = json.loads((tmp_path / "r" / "failures.json").read_text())
    assert [(t["run"].split(".")[2:4], t["error"]) for t in failures] == [(["a", "seed2"], "it broke")]
    assert {(r.label, r.seed) for r in read_results(tmp_path / "r")} == {("A", 1), ("B", 1), ("B", 2)}
    good = Made()
    assert engine(tmp_path / "r", good).run()
    assert [s[:2] for s in good.started] == [("A", 2)]
    assert not (tmp_path / "r" / "failures.json").exists()


def test_a_group_whose_trials_all_fail_is_left(tmp_path):
    executor = Made(bad={("A", 1): Outcome(2, "no")})
    runs = engine(tmp_path / "r", executor)
    assert not runs.run()
    assert len(runs.failed) == 2
    assert ("A", 2) not in {s[:2] for s in executor.started}
    assert {r.label for r in read_results(tmp_path / "r")} == {"B"}


def test_a_run_that_ends_without_a_result_has_failed(tmp_path):
    runs = engine(tmp_path / "r", Made(bad={("A", 1): Outcome(0)}))
    assert not runs.run()
    assert set(runs.failed.values()) == {"it ended without a result"}


def test_a_full_disk_ends_it_all(tmp_path):
    executor = Made(bad={("A", 1): Outcome(DISK_FULL, "no space is left on the disk")})
    with pytest.raises(UserError, match="no space"):
        engine(tmp_path / "r", executor, jobs=2).run()
    assert executor.stopped == 1  # the other that was running


def test_as_many_at_once_as_asked(tmp_path):
    executor = Made()
    engine(tmp_path / "r", executor, jobs=3).run()
    assert executor.most == 3
    assert len(executor.started) == len(set(executor.started))


def test_a_half_written_run_is_not_read(tmp_path):
    runs = engine(tmp_path / "r", Made())
    spec = runs.open_runs()[0]
    folder = runs.run_folder(spec)
    folder.mkdir(parents=True)
    (folder / ".run.json.0123.tmp").write_text('{"format": "recbole_cocorr.run"')
    assert runs.record(spec) is None
    assert runs.run()


@pytest.mark.parametrize(
    "content, said",
    [
        ("{", "not valid JSON"),
        ('{"format": "other"}', "is no plan of recbole_cocorr"),
        ('{"format": "recbole_cocorr.plan", "format_version": 99}', "has plan format 99; this version reads format 1"),
        ("[]", "is no plan of recbole_cocorr"),
    ],
)
def test_a_folder_of_another_version_is_refused(tmp_path, content, said):
    (tmp_path / "plan.json").write_text(content)
    with pytest.raises(UserError, match=said):
        open_folder(tmp_path, plan())
    assert (tmp_path / "plan.json").read_text() == content


def test_a_folder_of_something_else_is_refused(tmp_path):
    (tmp_path / "thesis.tex").write_text("")
    with pytest.raises(UserError, match="no results folder"):
        open_folder(tmp_path, plan())
    with pytest.raises(UserError, match="no results folder"):
        read_results(tmp_path)


def test_a_damaged_run_is_named(tmp_path):
    engine(tmp_path / "r", Made()).run()
    file = sorted((tmp_path / "r" / "runs").glob("*/run.json"))[0]
    content = json.loads(file.read_text())
    for broken in ({**content, "format_version": 0}, {k: v for k, v in content.items() if k != "curve"}):
        file.write_text(json.dumps(broken))
        with pytest.raises(UserError, match=r"run\.json"):
            read_run(file)
        with pytest.raises(UserError, match=r"run\.json"):
            read_results(tmp_path / "r")


def test_two_benchmarks_do_not_share_a_folder(tmp_path):
    second = engine(tmp_path / "r", Made())

    class Nested(Made):
        def start(self, spec, folder):
            with pytest.raises(UserError, match="another benchmark"):
                second.run()
            return super().start(spec, folder)

    assert engine(tmp_path / "r", Nested()).run()


def test_time_left(tmp_path):
    runs = engine(tmp_path / "r", Made())
    assert runs.seconds_left([]) is None
    for spec in runs.plan.tunings()[0].trials():
        folder = runs.run_folder(spec)
        folder.mkdir(parents=True)
        runs.executor.ended((spec, folder))
        runs.record(spec)
    # Of A one run is left, and B's three, which are taken to be like A's: a minute each.
    assert runs.seconds_left([]) == pytest.approx(240.0)


def test_the_plan_is_shown(tmp_path):
    runs = engine(tmp_path / "r", Made({("A", 0.01): 0.9}))
    rates = "seed 1 with learning rate 0.001, 0.01 (0 of 2 finished)"
    assert runs.lines()[0] == f"d, paper: A: {rates}; seeds 2 with the best of them on validation"
    runs.run()
    assert runs.lines()[0].endswith("(2 of 2 finished); seeds 2 with 0.01 (1 of 1 finished)")
    assert runs.counts() == (6, 6)


def test_the_plan_is_that_of_the_benchmark_that_runs(tmp_path):
    """A second one is refused, and changes nothing."""
    first = engine(tmp_path / "r", Made(), seeds=[1])
    other = engine(tmp_path / "r", Made(), seeds=[7, 8])
    plan_of = lambda: json.loads((tmp_path / "r" / "plan.json").read_text())["seeds"]  # noqa: E731
    with exclusive(tmp_path / "r"), pytest.raises(UserError, match="another benchmark is running"):
        other.run()
    assert plan_of() == [1]
    assert first.run() and plan_of() == [1]
    assert other.run() and plan_of() == [7, 8]


def test_a_folder_that_a_killed_benchmark_had_only_begun_is_gone_on_with(tmp_path):
    folder = tmp_path / "r"
    folder.mkdir()
    for name in (".lock", ".plan.json.0123456789abcdef.tmp"):
        (folder / name).touch()
    assert engine(folder, Made()).run()
    assert sorted(f.name for f in folder.iterdir()) == [".lock", "plan.json", "runs"]
