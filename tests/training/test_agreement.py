"""A run that goes on under other settings is refused, whatever the setting, unless it may differ."""

import json
from pathlib import Path

import pytest

from recbole_cocorr.__main__ import main
from recbole_cocorr.base.errors import UserError
from recbole_cocorr.training.agreement import LENGTH, PLACE, SPEED, check_agreement, differences
from recbole_cocorr.training.checkpoint import load_checkpoint
from recbole_cocorr.training.prepare import prepare
from tests.conftest import write_inter

MAY_DIFFER = PLACE | SPEED | LENGTH
LEAVE_ONE = {"split": {"LS": "valid_only"}, "order": "TO", "group_by": "user", "mode": "full"}


@pytest.fixture(scope="module")
def state(tmp_path_factory):
    """A training state after one epoch, and a function that makes the same configuration with changes."""
    from recbole_cocorr.training.config import Config
    from tests.conftest import random_rows

    root = tmp_path_factory.mktemp("resume")
    data = write_inter(root / "data", "small", random_rows(40, 120, 4, 12))

    def config(**changes):
        settings = {
            "data_path": str(data),
            "checkpoint_dir": str(root / "saved"),
            "use_gpu": False,
            "show_progress": False,
            "epochs": 1,
            "hidden_size": 8,
            "num_heads": 2,
            "metrics": ["NDCG", "Hit"],
        }
        return Config("CoCorrRec", "small", None, {**settings, **changes}, overrides={})

    prepared = prepare(config())
    prepared.trainer.fit(prepared.data.train, prepared.data.valid)
    return prepared.trainer.training_state_file, config


CHANGED = [
    ("valid_metric", "Hit@20"),
    ("eval_args", LEAVE_ONE),
    ("dropout_prob", 0.1),
    ("train_neg_sample_args", {"distribution": "popularity", "sample_num": 4}),
    ("train_neg_sample_args", {"distribution": "uniform", "sample_num": 2}),
    ("eval_step", 2),
    ("metric_decimal_place", 2),
    ("topk", [10, 20]),
    ("eval_mask_history", False),  # the same value: no difference
    ("use_gcn", False),
    ("target_transform", "identity"),
    ("inner_lr", 0.5),
    ("mini_batch_size", 5),
    ("clip_grad_norm", {"max_norm": 1.0}),
    ("weight_decay", 0.5),
    ("enable_amp", True),
    ("shuffle", False),
    ("user_inter_num_interval", "[5,inf)"),
    ("val_interval", {"timestamp": "[0,50]"}),
    ("encoding", "latin-1"),
    ("seed", 3),
    ("item_init", "random"),
]


@pytest.mark.parametrize(("setting", "value"), CHANGED, ids=str)
def test_a_resumed_run_has_every_setting_but_those_that_may_differ(state, setting, value):
    file, config = state
    changed = config(**{setting: value})
    earlier = load_checkpoint(file).config
    if earlier.get(setting) == changed[setting]:
        check_agreement(earlier, changed, file, MAY_DIFFER, "")
        return
    with pytest.raises(UserError) as refused:
        check_agreement(earlier, changed, file, MAY_DIFFER, "resume with the same settings")
    said = str(refused.value)
    assert f"{setting}={earlier.get(setting)!r}" in said and f"{setting}={changed[setting]!r}" in said
    assert said.startswith(f"{file} was trained with ") and said.endswith("; resume with the same settings")


def test_the_trainer_asks(state):
    file, config = state
    with pytest.raises(UserError, match=r"valid_metric='NDCG@10', this run has valid_metric='Hit@20'"):
        prepare(config(epochs=3, valid_metric="Hit@20")).trainer.resume_checkpoint(file)


@pytest.mark.parametrize(
    "changes",
    [
        {"epochs": 9},
        {"stopping_step": 50},
        {"checkpoint_dir": "elsewhere", "state": "ERROR", "show_progress": True},
        {"save_training_state": False, "eval_batch_size": 64, "torch_compile": True},
        {"loss_decimal_place": 2, "log_wandb": False, "wandb_project": "mine"},
    ],
    ids=str,
)
def test_length_place_and_speed_may_differ(state, changes):
    file, config = state
    assert differences(load_checkpoint(file).config, config(**changes), MAY_DIFFER) == []


def test_every_setting_of_a_run_must_agree_unless_it_is_listed(state):
    """Also one that a later version adds: nobody has to think of this list."""
    file, config = state
    earlier, now = load_checkpoint(file).config, config()
    for setting, value in earlier.items():
        changed = {**earlier, setting: f"not {value}"}
        found = [name for name, _, _ in differences(changed, now, MAY_DIFFER)]
        assert found == ([] if setting in MAY_DIFFER else [setting]), setting


def test_a_setting_of_a_later_version_agrees_and_one_that_is_given_does_not(state):
    file, config = state
    earlier = dict(load_checkpoint(file).config)
    del earlier["softmax_sample_num"], earlier["item_init_std"]
    assert differences(earlier, config(), MAY_DIFFER) == []
    assert differences(earlier, config(item_init_std=0.2), MAY_DIFFER) == [("item_init_std", None, 0.2)]


def test_the_same_items_in_other_rows_are_not_gone_on_with(state, tmp_path):
    file, config = state
    source = Path(config()["data_path"]) / "small.inter"
    header, first, *rest = source.read_text().splitlines()
    user, item, time = first.split("\t")
    rows = [tuple(line.split("\t")) for line in [f"{user}\t{item}\t{int(time) + 10_000}", *rest]]
    data = write_inter(tmp_path / "other", "small", rows, header)
    prepared = prepare(config(data_path=str(data), epochs=2))
    prepared.trainer.resume_checkpoint(file)
    with pytest.raises(UserError, match=r"other rows; resume with the same data|number them otherwise"):
        prepared.trainer.fit(prepared.data.train, prepared.data.valid)
    copied = write_inter(tmp_path / "moved", "small", [tuple(line.split("\t")) for line in [first, *rest]], header)
    moved = prepare(config(data_path=str(copied), epochs=2))
    moved.trainer.resume_checkpoint(file)
    moved.trainer.fit(moved.data.train, moved.data.valid)


# -- benchmark and sweep -----------------------------------------------------------------------------


def benchmark(small_data: Path, out: Path, *more: str) -> int:
    command = ["benchmark", "--models=CoCorrRec", "--datasets=small", "--learning_rates=0.01", f"--out={out}"]
    return main([*command, f"--data_path={small_data}", "--use_gpu=False", "--epochs=1", "--threads=1", *more])


def test_a_benchmark_does_not_go_on_where_a_file_of_settings_has_changed(small_data, tmp_path, capsys):
    """The id of a run knows what the command sets, not what the working directory's property files do."""
    out = tmp_path / "r"
    assert benchmark(small_data, out, "--seeds=1") == 0
    (run,) = out.glob("runs/*/run.json")
    before = run.read_bytes()
    Path("properties/model").mkdir(parents=True)
    packaged = next(Path(__file__).parents[2].glob("properties/model/CoCorrRec.yaml")).read_text()
    Path("properties/model/CoCorrRec.yaml").write_text(packaged + "\ndropout_prob: 0.15\n")
    capsys.readouterr()
    assert benchmark(small_data, out, "--seeds=1,2") == 2
    said = capsys.readouterr().err
    assert "dropout_prob=0.5, this run has dropout_prob=0.15" in said and "--out" in said
    assert [f.parent for f in out.glob("runs/*/run.json")] == [run.parent] and run.read_bytes() == before
    assert benchmark(small_data, out, "--seeds=1,2", "--dry_run") == 2, "the plan is not shown as if it held"
    Path("properties/model/CoCorrRec.yaml").unlink()
    assert benchmark(small_data, out, "--seeds=1") == 0


def test_a_run_that_lacks_the_test_items_is_not_tested_under_other_settings(small_data, tmp_path):
    from recbole_cocorr.experiments.runs import worker
    from tests.experiments.runs.test_worker import spec_of

    spec = spec_of(small_data, test=False, settings={"epochs": 1, "data_path": str(small_data), "use_gpu": False})
    worker.execute(spec, tmp_path)
    run = tmp_path / "run.json"
    content = json.loads(run.read_text())
    content["config"]["dropout_prob"] = 0.05
    run.write_text(json.dumps(content))
    with pytest.raises(UserError, match=r"dropout_prob=0.05, this run has dropout_prob=0.5"):
        worker.execute(spec_of(small_data, settings=spec.settings), tmp_path)
