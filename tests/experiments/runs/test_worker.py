"""One run: the same result in one go, after a kill, and with the test items read later."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from recbole_cocorr.__main__ import main
from recbole_cocorr.base.errors import UserError
from recbole_cocorr.base.files import exclusive
from recbole_cocorr.evaluation.ranking import summarise
from recbole_cocorr.experiments.runs import worker
from recbole_cocorr.experiments.runs.executors import Processes
from recbole_cocorr.experiments.runs.plan import RunSpec
from recbole_cocorr.experiments.runs.run_files import RunRecord, read_results, read_run, write_run


def spec_of(small_data: Path, **changed) -> RunSpec:
    settings = {"epochs": 3, "data_path": str(small_data), "use_gpu": False, "hidden_size": 8}
    values = {"label": "C", "model": "CoCorrRec", "dataset": "small", "protocol": "paper", "seed": 5}
    return RunSpec(**{**values, "learning_rate": 0.01, "settings": settings, "test": True, **changed})


@pytest.fixture
def in_one_go(small_data, tmp_path):
    folder = tmp_path / "one"
    folder.mkdir()
    return worker.execute(spec_of(small_data), folder)


def same(one, other):
    assert [e["train_loss"] for e in one.curve] == [e["train_loss"] for e in other.curve]
    assert [e["valid"] for e in one.curve] == [e["valid"] for e in other.curve]
    assert [e["epoch"] for e in one.curve] == [0, 1, 2] == [e["epoch"] for e in other.curve]
    assert (one.best_epoch, one.valid, one.test, one.ranks) == (other.best_epoch, other.valid, other.test, other.ranks)


def test_a_record_says_what_was_run(in_one_go, tmp_path):
    record = read_run(tmp_path / "one" / "run.json")
    assert record == in_one_go
    assert record.valid == record.curve[record.best_epoch]["valid"]
    assert {"python", "torch", "recbole", "recbole_cocorr", "numpy"} <= set(record.versions)
    assert record.machine["threads"] >= 1 and record.parameters > 0 and record.seconds > 0
    assert record.config["hidden_size"] == 8 and record.config["learning_rate"] == 0.01
    assert sorted(p.name for p in (tmp_path / "one").iterdir()) == ["model.safetensors", "run.json"]


def test_the_metrics_follow_from_the_ranks(in_one_go, small_data):
    ranks = in_one_go.ranks
    result = summarise(ranks.table(), ["gauc", "ndcg", "hit"], [5, 10, 20], 4)
    assert dict(result) == in_one_go.test
    lines = (small_data / "small" / "small.inter").read_text().splitlines()[1:]
    count = dict(zip(*np.unique([line.split("\t")[0] for line in lines], return_counts=True), strict=True))
    assert {u: h + 1 for u, h in zip(ranks.users, ranks.history, strict=True)} == {
        u: c for u, c in count.items() if c >= 3
    }
    assert set(ranks.others) == {100}


@pytest.mark.parametrize("last_epoch", [0, 1])
def test_a_killed_run_goes_on_to_the_same_numbers(in_one_go, small_data, tmp_path, monkeypatch, last_epoch):
    folder = tmp_path / "two"
    folder.mkdir()
    record = worker.RecordingTrainer.record_epoch

    def killed(self, epoch, *figures):
        if epoch == last_epoch + 1:
            raise KeyboardInterrupt
        record(self, epoch, *figures)

    with monkeypatch.context() as patch:
        patch.setattr(worker.RecordingTrainer, "record_epoch", killed)
        with pytest.raises(KeyboardInterrupt):
            worker.execute(spec_of(small_data), folder)
    assert not (folder / "run.json").exists()
    epochs = []
    with monkeypatch.context() as patch:
        patch.setattr(
            worker.RecordingTrainer,
            "record_epoch",
            lambda self, epoch, *figures: epochs.append(epoch) or record(self, epoch, *figures),
        )
        same(worker.execute(spec_of(small_data), folder), in_one_go)
    assert epochs == list(range(last_epoch + 1, 3))


def test_the_test_items_may_be_read_later(in_one_go, small_data, tmp_path):
    folder = tmp_path / "later"
    folder.mkdir()
    first = worker.execute(spec_of(small_data, test=False), folder)
    assert first.test is None and first.ranks is None
    same(worker.execute(spec_of(small_data), folder), in_one_go)


def test_a_finished_run_is_only_read(in_one_go, small_data, tmp_path, monkeypatch):
    monkeypatch.setattr(worker, "Config", None)
    assert worker.execute(spec_of(small_data), tmp_path / "one") == in_one_go


def test_a_real_kill_and_the_command_again(small_data, tmp_path, capsys):
    """Two processes killed by the system in the middle of their epochs; the command then finishes the run."""
    spec = spec_of(small_data, label="GRU4Rec", model="GRU4Rec", settings=dict(_SETTINGS, data_path=str(small_data)))
    folder = tmp_path / "r" / "runs" / spec.id
    folder.mkdir(parents=True)
    (folder / "training.log").write_text("error: that of an earlier attempt\n")
    executor = Processes(threads=1)
    process, _ = executor.start(spec, folder)
    deadline = time.monotonic() + 120
    while not (folder / worker.STATE_FILE).exists():
        assert time.monotonic() < deadline and process.poll() is None, (folder / "training.log").read_text()
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    outcome = executor.ended((process, folder))
    assert outcome.status == -9 and "killed by signal 9" in outcome.error
    assert not (folder / "run.json").exists()
    (tmp_path / "r" / "plan.json").write_text('{"format": "recbole_cocorr.plan", "format_version": 1}')
    command = ["benchmark", "--models=GRU4Rec", "--datasets=small", "--seeds=5", "--learning_rates=0.01"]
    command += ["--out", str(tmp_path / "r"), "--threads=1", *(f"--{k}={v}" for k, v in spec.settings.items())]
    command = [c for c in command if not c.startswith(("--embedding_size", "--hidden_size"))]
    assert main(command) == 0
    assert "1 of 1 runs are finished" in capsys.readouterr().out
    (record,) = read_results(tmp_path / "r")
    assert record.test is not None and [e["epoch"] for e in record.curve] == list(range(30))
    assert "Training resumes from epoch" in (folder / "training.log").read_text()


_SETTINGS = {
    "epochs": 30,
    "stopping_step": 100,
    "use_gpu": False,
    "embedding_size": 64,
    "hidden_size": 64,
}


@pytest.mark.parametrize(
    "flags, said",
    [
        (["--models=CoCorRec"], "did you mean 'CoCorrRec'"),
        (["--seeds=x"], "--seeds holds 'x'"),
        (["--learnin_rate=1"], "'learnin_rate'"),
        (["--seed=1"], "--seed is the benchmark's own"),
        (["--jobs=0"], "--jobs is 0"),
        (["--protocol=papr"], "did you mean 'paper'"),
        (["oops"], "cannot read the argument 'oops'"),
    ],
)
def test_bad_requests_leave_nothing(flags, said, small_data, tmp_path, capsys):
    out = tmp_path / "none"
    command = ["benchmark", "--datasets=small", f"--data_path={small_data}", f"--out={out}", *flags]
    assert main(command) == 2
    printed = capsys.readouterr().err
    assert said in printed and printed.startswith("error: ") and "Traceback" not in printed
    assert not out.exists()


def test_learning_rates_on_the_command_line_beat_an_entrys_own_grid(small_data, tmp_path, capsys):
    command = ["benchmark", "--models=SASRec (CE)", "--datasets=small", f"--data_path={small_data}", "--dry_run"]
    command += [f"--out={tmp_path / 'r'}", "--seeds=1"]
    assert main([*command, "--learning_rates=0.002"]) == 0
    out = capsys.readouterr().out
    assert "learning rate 0.002 (0 of 1 finished)" in out
    assert main(command) == 0
    assert "learning rate 0.001, 0.003 (0 of 2 finished)" in capsys.readouterr().out


def test_dry_run_writes_nothing(small_data, tmp_path, capsys):
    out = tmp_path / "none"
    command = ["benchmark", "--datasets=small", f"--data_path={small_data}", f"--out={out}", "--dry_run"]
    assert main(command) == 0
    printed = capsys.readouterr().out
    assert "small, paper: CoCorrRec: seed 2020 with learning rate 0.001, 0.005 (0 of 2 finished)" in printed
    assert "31 runs, 0 of them finished" in printed
    assert not out.exists()


def test_a_failing_worker_says_why(small_data, tmp_path):
    spec = spec_of(small_data, settings={"epochs": 1, "data_path": str(small_data), "use_gpu": False, "num_heads": 5})
    folder = tmp_path / "bad"
    folder.mkdir()
    with pytest.raises(UserError, match="num_heads 5"):
        worker.execute(spec, folder)
    executor = Processes(threads=1)
    process, _ = executor.start(spec, folder)
    process.wait(timeout=120)
    outcome = executor.ended((process, folder))
    assert outcome.status == 2 and "num_heads 5" in outcome.error and "\n" not in outcome.error


def test_a_full_disk_has_a_status_of_its_own(small_data, tmp_path, monkeypatch, capsys):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(worker, "execute", full)
    content = {**spec_of(small_data).__dict__, "folder": str(tmp_path), "threads": 1}
    assert worker.main([json.dumps(content)]) == worker.DISK_FULL
    assert "no space is left on the disk" in capsys.readouterr().err


RAY_CLUSTER = """
import ray
cluster = ray.init(_node_ip_address="127.0.0.1", include_dashboard=False, num_cpus=2)
print(cluster.address_info["gcs_address"], flush=True)
input()
"""


def on_ray(out, data) -> list[str]:
    command = ["benchmark", "--models=Pop", "--datasets=small", "--seeds=1,2", "--distributed=ray", "--threads=1"]
    return [*command, f"--out={out}", f"--data_path={data}", "--use_gpu=False", "--jobs=2"]


def test_ray_runs_it_too(small_data, tmp_path):
    """In a process of its own: Ray starts many, and takes its time."""
    pytest.importorskip("ray")
    pipe, command = subprocess.PIPE, [sys.executable, "-c", RAY_CLUSTER]
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, text=True) as cluster:
        try:
            environment = {**os.environ, "RAY_ADDRESS": cluster.stdout.readline().strip()}
            command = [sys.executable, "-m", "recbole_cocorr", *on_ray(tmp_path / "r", small_data)]
            done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
        finally:
            cluster.stdin.close()
    assert done.returncode == 0, done.stdout + done.stderr
    assert [r.seed for r in read_results(tmp_path / "r")] == [1, 2]


@pytest.mark.parametrize("address", [None, "", "local"])
def test_no_ray_cluster_is_started(small_data, tmp_path, monkeypatch, capsys, address):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    if address is not None:
        monkeypatch.setenv("RAY_ADDRESS", address)
    assert main(on_ray(tmp_path / "r", small_data)) == 2
    assert "needs RAY_ADDRESS=HOST:PORT" in capsys.readouterr().err
    assert not (tmp_path / "r").exists()


def test_a_second_worker_waits_for_the_first(small_data, tmp_path):
    """What a killed benchmark left running is not started again beside itself."""
    spec = spec_of(small_data)
    folder = tmp_path / "w"
    folder.mkdir()
    executor = Processes(threads=1)
    with exclusive(folder) as alone:
        assert alone
        process, _ = executor.start(spec, folder)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(timeout=12)
        write_run(folder / "run.json", RunRecord("C", "CoCorrRec", "small", "paper", 5, 0.01, test={"ndcg@10": 0.5}))
    assert process.wait(timeout=120) == 0
    assert read_run(folder / "run.json").test == {"ndcg@10": 0.5}


def test_a_terminated_benchmark_stops_its_runs(small_data, tmp_path):
    out = tmp_path / "r"
    code = "import sys; from recbole_cocorr.__main__ import main; sys.exit(main(sys.argv[1:]))"
    command = ["benchmark", "--models=GRU4Rec", "--datasets=small", "--seeds=1", "--threads=1", f"--out={out}"]
    command += [f"--data_path={small_data}", "--use_gpu=False", "--epochs=100000", "--stopping_step=100000"]
    process = subprocess.Popen([sys.executable, "-c", code, *command], stdout=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 120
    while not list(out.glob("runs/*/model.training.safetensors")):
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 130 and "the same command goes on" in said
    for folder in (out, *out.glob("runs/*")):  # nobody holds a lock any more
        with exclusive(folder) as alone:
            assert alone
