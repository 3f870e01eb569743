"""The same cloud prior for every model of a results folder."""

import json

import numpy as np
import pytest

from recbole_cocorr.__main__ import main
from recbole_cocorr.base.errors import UserError
from recbole_cocorr.data.clicks import histories, training_interactions
from recbole_cocorr.data.dataset import create_dataset
from recbole_cocorr.data.loaders import data_preparation
from recbole_cocorr.experiments import corrections as correct
from tests.conftest import write_inter


def by_user(small_data):
    rows = [line.split("\t") for line in (small_data / "small" / "small.inter").read_text().splitlines()[1:]]
    result: dict[str, list[str]] = {}
    for user, item, _ in sorted(rows, key=lambda r: (r[0], float(r[2]))):
        result.setdefault(user, []).append(item)
    return result


def test_it_learns_from_no_held_out_click(make_config, small_data):
    data = create_dataset(make_config("GRU4Rec"))
    _, valid, _ = data_preparation(make_config("GRU4Rec"), data)
    users, items = training_interactions(valid.dataset)
    tokens, names = data.field2id_token["item_id"], data.field2id_token["user_id"]
    result = sorted((names[u], tokens[i]) for u, i in zip(users, items, strict=True))
    wanted = []
    for user, clicked in by_user(small_data).items():
        held = 2 if len(clicked) > 3 else 1 if len(clicked) == 3 else 0
        wanted += [(user, item) for item in clicked[: len(clicked) - held]]
    assert result == sorted(wanted)


@pytest.mark.parametrize("stale", [0, 1, 5])
def test_a_history_is_everything_before_the_target(make_config, small_data, stale):
    data = create_dataset(make_config("GRU4Rec"))
    _, _, test = data_preparation(make_config("GRU4Rec"), data)
    tokens, names = data.field2id_token["item_id"], data.field2id_token["user_id"]
    all_of = by_user(small_data)
    for user, known in zip(test.users, histories(test, stale), strict=True):
        before = all_of[names[user]][:-1]
        assert [tokens[i] for i in known] == before[: max(0, len(before) - stale)]


@pytest.fixture
def chains(tmp_path):
    """A data set in which an item is followed by the next one: something to learn."""
    generator = np.random.default_rng(0)
    rows = []
    for user in range(150):
        start = int(generator.integers(0, 150))
        rows += [(f"u{user}", f"i{(start + step) % 150}", step) for step in range(int(generator.integers(4, 9)))]
    return write_inter(tmp_path / "data", "chains", rows)


def test_by_time_with_users_whom_training_never_saw(tmp_path, capsys):
    day, start = 86_400, 1_600_000_000
    rows = [(f"u{u}", f"i{(u + k) % 30}", start + day * k + u) for u in range(60) for k in range(8)]
    rows += [(f"new{u}", f"i{(u + k) % 30}", start + day * (8 + k) + u) for u in range(20) for k in range(4)]
    data, out = write_inter(tmp_path / "data", "days", rows), tmp_path / "r"
    command = ["benchmark", "--models=GRU4Rec", "--datasets=days", "--protocol=time", "--seeds=1", "--threads=1"]
    command += [f"--data_path={data}", f"--out={out}", "--use_gpu=False", "--epochs=2", "--learning_rates=0.01"]
    cuts = [f"--valid_from={start + 6 * day}", f"--test_from={start + 9 * day}"]
    assert main([*command, *cuts]) == 0
    assert main(["correct", str(out)]) == 0
    run = json.loads(next(out.glob("runs/*/run.json")).read_text())
    rows = {r["variant"]: r for r in json.loads((out / "correctors.json").read_text())["rows"]}
    assert any(user.startswith("new") for user in run["ranks"]["users"])
    assert rows["none"]["metrics"]["ndcg@10"] == pytest.approx(run["test"]["ndcg@10"], abs=6e-5)
    assert "failed" not in capsys.readouterr().out


def test_the_command(chains, tmp_path, capsys, monkeypatch):
    out = tmp_path / "r"
    command = ["benchmark", "--models=Pop,GRU4Rec", "--datasets=chains", "--seeds=1", "--learning_rates=0.01"]
    command += [f"--data_path={chains}", "--use_gpu=False", "--epochs=12", f"--out={out}", "--jobs=2", "--threads=1"]
    assert main([*command, "--train_batch_size=100"]) == 0
    corrected_run = correct.CorrectedRun

    def one_fails(record, *arguments):
        if record.label == "Pop":
            raise UserError("it cannot be")
        return corrected_run(record, *arguments)

    monkeypatch.setattr(correct, "CorrectedRun", one_fails)
    assert main(["correct", str(out), "--l2=1", "--neighbours=20"]) == 0
    printed = capsys.readouterr().out
    assert "another user's" in printed and "failed: Pop on chains, seed 1: it cannot be" in printed
    content = json.loads((out / "correctors.json").read_text())
    assert content["settings"] == {"l2": 1.0, "neighbours": 20, "decay": 0.9, "next_click": 1.0}
    assert [(f["label"], f["error"]) for f in content["failed"]] == [("Pop", "it cannot be")]
    rows = {r["variant"]: r for r in content["rows"]}
    assert {"own", "none", "stale 1", "stale 2", "stale 5", "another user's", "valid none", "valid own"} <= set(rows)
    run = json.loads(next(out.glob("runs/*gru4rec*/run.json")).read_text())
    # Without the cloud it is the device's list: the metrics of the run itself.
    for name, value in run["test"].items():
        assert rows["none"]["metrics"][name] == pytest.approx(value, abs=6e-5)
    for name, value in run["valid"].items():
        assert rows["valid none"]["metrics"][name] == pytest.approx(value, abs=6e-5)
    ndcg = {name: row["metrics"]["ndcg@10"] for name, row in rows.items()}
    assert ndcg["own"] > ndcg["none"] and ndcg["own"] > ndcg["stale 2"] and ndcg["own"] > ndcg["another user's"]
    result = {(c["baseline"], c["metric"]): c for c in content["comparisons"]}
    assert len(result) == 5 * 7 and {c["model"] for c in content["comparisons"]} == {"GRU4Rec"}
    for other in ("none", "stale 5", "another user's"):
        assert result[other, "ndcg@10"]["difference"] == pytest.approx(ndcg["own"] - ndcg[other], abs=2e-6)
    assert result["none", "ndcg@10"]["adjusted"] < 0.05
    assert content["problems"] == [
        "chains, protocol paper: no run of CoCorrRec is among them, so no model is compared with the baselines"
    ]
    assert f"note: {content['problems'][0]}" in printed

    def no_order(*arguments):
        raise ValueError("a score is NaN, so the candidates have no order")

    monkeypatch.setattr(correct, "ranks_under", no_order)
    before = (out / "correctors.json").read_bytes()
    assert main(["correct", str(out), "--models=GRU4Rec"]) == 2
    assert "error: a score is NaN" in capsys.readouterr().err and (out / "correctors.json").read_bytes() == before


def test_the_command_where_all_items_are_ranked(chains, tmp_path, capsys):
    out = tmp_path / "r"
    command = ["benchmark", "--models=CoCorrRec,GRU4Rec", "--datasets=chains", "--seeds=1", "--learning_rates=0.01"]
    command += [f"--data_path={chains}", "--use_gpu=False", "--epochs=6", f"--out={out}", "--jobs=2", "--threads=1"]
    # A start from the training clicks would know these chains already, and leave the scores nothing to add.
    command += ["--item_init=random", "--dropout_prob=0.2"]
    assert main([*command, "--protocol=full", "--train_batch_size=100"]) == 0
    assert main(["correct", str(out), "--l2=1", "--neighbours=20"]) == 0
    content = json.loads((out / "correctors.json").read_text())
    assert content["failed"] == [] == content["problems"]
    for label, folder in (("GRU4Rec", "gru4rec"), ("CoCorrRec", "cocorrrec")):
        rows = {r["variant"]: r for r in content["rows"] if r["label"] == label}
        run = json.loads(next(out.glob(f"runs/*{folder}*/run.json")).read_text())
        for phase, prefix in (("test", ""), ("valid", "valid ")):
            for name, value in run[phase].items():
                assert rows[prefix + "none"]["metrics"][name] == pytest.approx(value, abs=6e-5)
        assert rows["own"]["metrics"]["ndcg@10"] > rows["none"]["metrics"]["ndcg@10"]
        assert rows["own"]["protocol"] == "full"
    assert {(c["kind"], c["protocol"]) for c in content["comparisons"]} == {("variants", "full"), ("field", "full")}
    # One model for a device, under the same protocol.
    checkpoint = next(out.glob("runs/*gru4rec*/model.safetensors"))
    capsys.readouterr()
    arguments = ["fit-corrector", f"--checkpoint={checkpoint}", f"--out={tmp_path / 'c'}", f"--data_path={chains}"]
    assert main([*arguments, "--l2=1", "--neighbours=20"]) == 0
    printed = capsys.readouterr().out
    trust = next(r["trust"] for r in content["rows"] if r["label"] == "GRU4Rec")
    assert f"trust {trust['base']:.3f} {trust['per_log_click']:+.3f} ln(clicks)" in printed
    valid = {r["variant"]: r["metrics"]["ndcg@10"] for r in content["rows"] if r["label"] == "GRU4Rec"}
    assert f"validation ndcg@10: {valid['valid none']:.4f} alone, {valid['valid own']:.4f} with the cloud" in printed


@pytest.mark.parametrize(
    "flags, said",
    [(["--l2=0"], "corrector_l2 is 0.0"), (["--models=X"], "no tested run"), (["--decay=2"], "decay is 2.0")],
)
def test_bad_requests(flags, said, small_data, tmp_path, capsys):
    out = tmp_path / "r"
    command = ["benchmark", "--models=Pop", "--datasets=small", "--seeds=1", f"--data_path={small_data}"]
    assert main([*command, "--use_gpu=False", f"--out={out}", "--threads=1"]) == 0
    capsys.readouterr()
    assert main(["correct", str(out), *flags]) == 2
    assert said in capsys.readouterr().err
    assert not (out / "correctors.json").exists()
