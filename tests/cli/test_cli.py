"""The command: what runs, and what a person is told where it cannot."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors import safe_open

from recbole_cocorr import __main__, __version__
from recbole_cocorr.base.errors import UserError
from recbole_cocorr.cli import run as cli
from recbole_cocorr.training.checkpoint import load_checkpoint
from tests.conftest import CHECKOUT, random_rows, write_inter

# state=ERROR: RecBole logs the run to stderr, where the error is to stand alone.
QUIET = {"use_gpu": "False", "epochs": "1", "show_progress": "False", "state": "ERROR"}


@pytest.fixture(autouse=True)
def _no_report_of_the_machine(monkeypatch):
    """RecBole measures the load of the machine for a second after each run."""
    monkeypatch.setattr("psutil.cpu_percent", lambda interval=None: 0.0)


@pytest.fixture
def run(small_data, capsys):
    """Call the command in this process; gives its exit status, stdout and stderr."""

    def call(*arguments: str, **changed: str) -> tuple[int, str, str]:
        flags = {"model": "CoCorrRec", "dataset": "small", "data_path": str(small_data), **QUIET, **changed}
        for argument in arguments:
            flags.pop(argument.lstrip("-").split("=")[0], None)
        status = cli.main([f"--{key}={value}" for key, value in flags.items()] + list(arguments))
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return call


def refused(result: tuple[int, str, str]) -> str:
    """Check that the command ended as it should on an error that the user can mend; gives the sentence."""
    status, out, err = result
    assert status == 2
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert err.endswith("\n")
    assert "Traceback" not in err
    assert out == ""
    return err.removeprefix("error: ").strip()


# -- runs ----------------------------------------------------------------------------------------


def test_a_run_prints_the_table_and_leaves_the_checkpoint(run):
    status, out, err = run("--learning_rate=0.003", "--hidden_size=16")
    assert (status, err) == (0, "")
    assert "CoCorrRec on small, protocol paper, BCE, L = 10" in out
    assert re.search(r"UAUC +NDCG@5 +NDCG@10 +NDCG@20 +HR@5", out)
    file = Path(re.search(r"^model: (.+)$", out, re.MULTILINE)[1])
    saved = load_checkpoint(file).config
    assert (saved["learning_rate"], saved["hidden_size"], saved["epochs"]) == (0.003, 16, 1)
    with safe_open(file.with_suffix(".training.safetensors"), framework="pt") as state:
        assert state.metadata()["kind"] == "training"


def test_config_files_are_separated_by_spaces_and_lie_below_the_command_line(run):
    Path("a.yaml").write_text("epochs: 9\nhidden_size: 8\nnum_heads: 2\n")
    Path("b.yaml").write_text("hidden_size: 16\n")
    _, out, _ = run("--config_files=a.yaml b.yaml", "--epochs=1")
    saved = load_checkpoint(re.search(r"^model: (.+)$", out, re.MULTILINE)[1]).config
    assert (saved["epochs"], saved["hidden_size"], saved["num_heads"]) == (1, 16, 2)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (None, ("BCE", 0.5, True, "item-item", "gated", "identity", 0.999, False)),
        ("CoCorrRec-paper", ("BCE", 0.0, True, "random", "plain", "mlp", None, True)),
        ("CoCorrRec-ce", ("CE", 0.5, False, "item-item", "gated", "identity", 0.999, None)),
        ("CoCorrRec-full", ("CE", 0.5, False, "random", "gated", "identity", 0.999, None)),
    ],
)
def test_config_files_may_name_a_file_of_properties(run, name, expected):
    _, out, _ = run(*([f"--config_files={name}"] if name else []), "--epochs=1")
    saved = load_checkpoint(re.search(r"^model: (.+)$", out, re.MULTILINE)[1]).config
    keys = ("loss_type", "dropout_prob", "use_gcn", "item_init", "block", "target_transform", "weight_average")
    result = [saved[key] for key in keys]
    assert (*result, saved["train_neg_sample_args"].get("fixed")) == expected


def test_a_file_of_ones_own_comes_before_one_of_that_name_in_properties(run):
    Path("CoCorrRec-ce").write_text("epochs: 1\n")
    _, out, _ = run("--config_files=CoCorrRec-ce")
    saved = load_checkpoint(re.search(r"^model: (.+)$", out, re.MULTILINE)[1]).config
    assert (saved["loss_type"], saved["epochs"]) == ("BCE", 1)


def test_recboles_short_flags(small_data, capsys):
    more = [f"--{k}={v}" for k, v in QUIET.items()]
    arguments = ["-m", "SASRec", "-d", "small", f"--data_path={small_data}", "--protocol=full", *more]
    assert cli.main(arguments) == 0
    assert "SASRec on small, protocol full, CE, L = 50" in capsys.readouterr().out


def test_recboles_flags_for_several_processes_reach_the_run(monkeypatch):
    seen = {}
    monkeypatch.setattr("recbole_cocorr.training.run.run", lambda **given: seen.update(given))
    flags = ["--nproc=2", "--world_size=4", "--ip=10.0.0.1", "--port=77", "--group_offset=2", "--topk=[5]"]
    assert cli.main(["-m", "SASRec", "-d", "small", *flags]) == 0
    assert seen == {
        "model": "SASRec",
        "dataset": "small",
        "config_file_list": None,
        "nproc": 2,
        "world_size": 4,
        "ip": "10.0.0.1",
        "port": "77",
        "group_offset": 2,
        "overrides": {"topk": [5]},
    }


def test_a_run_goes_on_from_its_training_state(run):
    _, out, _ = run()
    state = Path(re.search(r"^model: (.+)$", out, re.MULTILINE)[1]).with_suffix(".training.safetensors")
    status, out, _ = run(f"--resume={state}", epochs="2")
    assert status == 0
    assert load_checkpoint(state).epoch == 1


# -- what is refused --------------------------------------------------------------------------------

EVAL = "{'split':{'LS':'valid_and_test'},'order':'TO','group_by':'user','mode':'uni100'}"

BAD_VALUES = [
    # key=value, what the sentence must hold
    ("epochs=-1", "epochs is -1; it must be a whole number of at least 0"),
    ("epochs=many", "epochs is 'many'"),
    ("epochs=1.5", "epochs is 1.5"),
    ("epochs=True", "epochs is True"),
    ("epochs=", "epochs is ''"),
    ("learning_rate=fast", "learning_rate is 'fast'"),
    ("learning_rate=-0.1", "learning_rate is -0.1; it must be a number of at least 0"),
    ("learning_rate=nan", "learning_rate is 'nan'"),
    ("learning_rate=1e999", "learning_rate is inf"),
    ("weight_decay=None", "weight_decay is None"),
    ("train_batch_size=0", "train_batch_size is 0; it must be a whole number of at least 1"),
    ("eval_batch_size=1.5e0", "eval_batch_size is 1.5"),
    ("MAX_ITEM_LIST_LENGTH=0", "MAX_ITEM_LIST_LENGTH is 0; it must be a whole number from 1 to 65536"),
    ("seed=-1", "seed is -1"),
    ("seed=4294967296", "from 0 to 4294967295"),
    ("eval_step=often", "eval_step is 'often'; it must be a whole number"),
    ("stopping_step=-1", "stopping_step is -1"),
    ("metric_decimal_place=-1", "metric_decimal_place is -1"),
    ("loss_decimal_place=x", "loss_decimal_place is 'x'"),
    ("use_gpu=maybe", "use_gpu is 'maybe'; it must be True or False"),
    ("show_progress=1", "show_progress is 1; it must be True or False"),
    ("reproducibility=no", "reproducibility is 'no'"),
    ("enable_amp=x", "enable_amp is 'x'"),
    ("repeatable=False", "repeatable"),
    ("gpu_id=first", "gpu_id is 'first'; it must be the number of a GPU"),
    ("gpu_id=[0]", "gpu_id is [0]"),
    ("gpu_id=0;1", "gpu_id is '0;1'"),
    ("state=LOUD", "state is 'LOUD'; it must be one of debug, info"),
    ("checkpoint_dir=", "checkpoint_dir is ''"),
    ("metrics=['NDGC']", "there is no metric 'NDGC'; did you mean 'NDCG'?"),
    ("metrics=[]", "metrics is []; it must be a list"),
    ("metrics=[3]", "there is no metric 3"),
    ("metrics=None", "metrics is None"),
    ("metrics=['NDCG','AUC']", "can not be used at the same time"),
    ("topk=ten", "topk is 'ten'; it must be a whole number of at least 1, or a list of them"),
    ("topk=0", "topk is 0"),
    ("topk=[]", "topk is []"),
    ("topk=['a']", "topk is ['a']"),
    ("topk=[5,None]", "topk is [5, None]"),
    ("topk=1.5", "topk is 1.5"),
    ("valid_metric=MRR@10", "valid_metric is 'MRR@10'; metrics and topk leave GAUC, NDCG@5, NDCG@10"),
    ("valid_metric=NDCG@7", "valid_metric is 'NDCG@7'"),
    ("valid_metric=NDCG", "valid_metric is 'NDCG'"),
    ("valid_metric=NDCG@", "valid_metric is 'NDCG@'"),
    ("valid_metric=GAUC@10", "valid_metric is 'GAUC@10'"),
    ("valid_metric=3", "valid_metric is '3'"),
    ("user_inter_num_interval=many", "user_inter_num_interval is 'many'; it must be an interval such as [5,inf)"),
    ("item_inter_num_interval=5", "item_inter_num_interval is 5"),
    ("user_inter_num_interval=[a,b]", "user_inter_num_interval is '[a,b]'"),
    ("user_inter_num_interval=[9,5]", "user_inter_num_interval is [9, 5]"),
    ("val_interval=x", "val_interval is 'x'; it must be a dict"),
    ("val_interval={'timestamp':'x'}", "val_interval: 'timestamp' is 'x'"),
    ("train_neg_sample_args=4", "train_neg_sample_args is 4; it must be a dict such as"),
    ("train_neg_sample_args=uniform", "train_neg_sample_args is 'uniform'"),
    ("train_neg_sample_args={'distribution':'normal'}", "distribution is 'normal'; it must be uniform or popularity"),
    ("train_neg_sample_args={'distribution':['uniform']}", "distribution is ['uniform']"),
    ("train_neg_sample_args={'sample_num':0}", "sample_num is 0; it must be a whole number of at least 1"),
    ("train_neg_sample_args={'smaple_num':4}", "has no entry 'smaple_num'; did you mean 'sample_num'?"),
    ("train_neg_sample_args={4:4}", "has no entry 4"),
    ("train_neg_sample_args={'distribution':'popularity','alpha':'x'}", "alpha is 'x'"),
    ("train_neg_sample_args={'fixed':'yes'}", "fixed is 'yes'; it must be True or False"),
    ("loss_type=hinge", "loss_type is 'hinge'; it must be one of BCE, BPR, CE"),
    ("loss_type=['BCE']", "loss_type is ['BCE']"),
    ("eval_args=full", "eval_args is 'full'; it must be a dict with split, order, group_by and mode"),
    ("eval_args=None", "eval_args is None"),
    ("eval_args={}", "lacks 'split'"),
    ("eval_args={'mode':'full','split':{'LS':'valid_and_test'}}", "lacks 'order', for example 'TO'"),
    ("eval_args={'mdoe':'full'}", "eval_args has no entry 'mdoe'; did you mean 'mode'?"),
    ("eval_args=" + EVAL.replace("uni100", "uniform"), "mode is 'uniform'; it must be full, uniN or popN"),
    ("eval_args=" + EVAL.replace("uni100", "uni"), "mode is 'uni'"),
    ("eval_args=" + EVAL.replace("uni100", "uni0"), "mode is 'uni0'"),
    ("eval_args=" + EVAL.replace("uni100", "uni-3"), "mode is 'uni-3'"),
    ("eval_args=" + EVAL.replace("uni100", "labeled"), "mode is 'labeled'"),
    ("eval_args=" + EVAL.replace("'uni100'", "7"), "mode is 7"),
    ("eval_args=" + EVAL.replace("'uni100'", "{'vlaid':'full'}"), "mode has no entry 'vlaid'"),
    ("eval_args=" + EVAL.replace("TO", "RO"), "order is 'RO'; a sequential model needs 'TO'"),
    ("eval_args=" + EVAL.replace("'user'", "['user']"), "group_by is ['user']"),
    ("eval_args=" + EVAL.replace("valid_and_test", "half"), "split is {'LS': 'half'}"),
    ("eval_args=" + EVAL.replace("'valid_and_test'", "[1]"), "split is {'LS': [1]}"),
    ("eval_args=" + EVAL.replace("{'LS':'valid_and_test'}", "{'RS':[0.8,0.2]}"), "split is {'RS': [0.8, 0.2]}"),
    ("eval_args=" + EVAL.replace("{'LS':'valid_and_test'}", "{'RS':['a',0,0]}"), "split is {'RS': ['a', 0, 0]}"),
    ("eval_args=" + EVAL.replace("{'LS':'valid_and_test'}", "{'RS':[0,0,1]}"), "split is {'RS': [0, 0, 1]}"),
    ("eval_args=" + EVAL.replace("{'LS':'valid_and_test'}", "None"), "split is None"),
    ("load_col=inter", "load_col is 'inter'; it must be a dict"),
    ("load_col={'inter':3}", "load_col: 'inter' is 3; it must be a list of columns"),
    ("load_col={'inter':['user_id']}", "load_col leaves out 'item_id'"),
    ("load_col={'item':'*'}", "load_col leaves out 'user_id'"),
    ("unused_col={'inter':['user_id']}", "unused_col drops 'user_id'"),
    ("normalize_field=timestamp", "normalize_field is 'timestamp'; it must be a list"),
    ("clip_grad_norm=5", "clip_grad_norm is 5; it must be a dict"),
    ("clip_grad_norm={'max':5}", "clip_grad_norm is {'max': 5}; it must be a dict such as {'max_norm': 5}"),
    ("transform=upside_down", "transform is 'upside_down'"),
    ("transform=mask_itemseq", "transform is 'mask_itemseq'"),
    # the model's own
    ("num_heads=3", "and num_heads 3; hidden_size must be a multiple of twice num_heads"),
    ("num_heads=0", "num_heads is 0"),
    ("hidden_size=None", "hidden_size is None"),
    ("mini_batch_size=-1", "mini_batch_size is -1"),
    ("mini_batch_size=big", "mini_batch_size is 'big'"),
    ("dropout_prob=1.5", "dropout_prob is 1.5"),
    ("inner_lr=-1", "inner_lr is -1"),
    ("use_gcn=maybe", "use_gcn is 'maybe'; it must be True or False"),
    ("target_transform=[1]", "target_transform is [1]; it must be identity or mlp"),
    # found in the data
    ("TIME_FIELD=time", "no column 'time' among user_id, item_id, timestamp"),
    ("TIME_FIELD=item_id", "ITEM_ID_FIELD and TIME_FIELD are both 'item_id'; they must be different columns"),
    ("load_col={'inter':['user_id','item_id']}", "has no column 'timestamp'"),
    ("field_separator=,", "is not name:type"),
    ("encoding=utf-9", "encoding is 'utf-9'"),
    ("user_inter_num_interval=[500,inf)", "no interaction of 'small' is left after filtering"),
    ("alias_of_item_id=['nothing']", "cannot be read with these settings (KeyError: 'nothing')"),
    ("preload_weight={'a':'b'}", "Preload id field [a] not exist"),
    ("rm_dup_inter=some", "rm_dup_inter is 'some'; it must be first or last"),
    # RecBole hands it to pandas, which drops every interaction that has a like, and keeps none of them.
    ("rm_dup_inter=False", "rm_dup_inter is False; it must be first or last"),
    ("benchmark_filename=['a','b','c']", "small/small.a.inter; put the interactions there"),
    ("benchmark_filename=['a','b']", "must be a list of three names"),
    ("benchmark_filename=['a','b','a']", "would be tested on what it was trained on"),
    ("eval_mask_history=True", "eval_mask_history needs full ranking"),
]


@pytest.mark.parametrize(("setting", "words"), BAD_VALUES, ids=lambda v: v if "=" in v else "")
def test_a_bad_value_is_one_sentence(run, setting, words):
    assert words in refused(run(f"--{setting}"))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--learnin_rate=0.1"], "no property file knows the key 'learnin_rate'; did you mean 'learning_rate'?"),
        (["--model=CoCorRec"], "there is no model 'CoCorRec'; did you mean 'CoCorrRec'?"),
        (["--model=BPR"], "BPR is not a sequential model"),
        (["--dataset=smal"], "did you mean 'small'?"),
        (["--dataset=amazon-buty"], "did you mean 'amazon-beauty'?"),
        (["--dataset=../data/small"], "dataset is '../data/small'; it must be a name"),
        (["--protocol=papr"], "there is no protocol 'papr'; did you mean 'paper'?"),
        (["--data_path=/nowhere"], "there is no folder /nowhere/small"),
        (["--config_files=none.yaml"], "there is no configuration file none.yaml"),
        (["--config_files=CoCorrRec-pap"], "there is no configuration file CoCorrRec-pap"),
        (["--nproc=0"], "nproc is 0; it must be at least 1"),
        (["--nproc=two"], "argument --nproc: invalid int value: 'two'"),
        (["--group_offset=-1"], "group_offset is -1; it must be at least 0"),
        (["--nproc=3", "--world_size=2"], "world_size is 2, but this machine's processes go up to number 3"),
        (["--nproc=2", "--epochs=x"], "epochs is 'x'"),
        (["--epochs"], "cannot read the argument '--epochs'; settings are written --key=value"),
        (["epochs=3"], "cannot read the argument 'epochs=3'"),
        (["--epochs=1", "--epochs=2"], "--epochs is given twice"),
        (["--resume=none.training.safetensors"], "there is no checkpoint none.training.safetensors"),
        (["--resume=3"], "there is no checkpoint 3"),
        (["--resume=."], ". is a folder"),
        (["--resume="], "resume is ''"),
    ],
    ids=lambda v: " ".join(v) if isinstance(v, list) else "",
)
def test_a_bad_flag_is_one_sentence(run, arguments, words):
    assert words in refused(run(*arguments))


def test_what_is_no_yaml_is_named_with_its_line(run):
    Path("bad.yaml").write_text("epochs: 1\nmetrics: [NDCG,\ntopk: 3")
    assert "bad.yaml, line 3 is not valid yaml" in refused(run("--config_files=bad.yaml"))
    Path("bad.yaml").write_text("epochs: 1\x00")  # yaml's own message has two lines
    assert "bad.yaml is not valid yaml" in refused(run("--config_files=bad.yaml"))
    Path("bad.yaml").write_text("- 1\n")
    assert "must hold 'key: value' lines, not a list" in refused(run("--config_files=bad.yaml"))


@pytest.mark.parametrize("content", [b"junk", b"PK\x03\x04junk", b""])
def test_a_broken_training_state_is_one_sentence(run, content):
    Path("broken.training.safetensors").write_bytes(content)
    assert "broken.training.safetensors is not a readable" in refused(run("--resume=broken.training.safetensors"))


def test_a_model_is_no_training_state(run):
    _, out, _ = run()
    file = re.search(r"^model: (.+)$", out, re.MULTILINE)[1]
    assert "holds a model, not a training state" in refused(run(f"--resume={file}"))


def test_a_folder_that_cannot_be_written_is_one_sentence(run):
    Path("occupied").write_text("a file\n")
    assert "Not a directory" in refused(run("--checkpoint_dir=occupied/saved"))


def test_every_folder_that_is_written_to_has_a_setting(run, tmp_path):
    """As in a working directory that may not be written to."""
    for name in ("log", "log_tensorboard", "saved"):
        Path(name).write_text("a file\n")
    settings = [f"--checkpoint_dir={tmp_path / 'a'}"]
    assert "the log cannot be written there: " in refused(run(*settings))
    settings.append(f"--log_dir={tmp_path / 'b'}")
    assert "tensorboard's events cannot be written there: " in refused(run(*settings))
    settings.append(f"--tensorboard_dir={tmp_path / 'c'}")
    status, _, _ = run(*settings)
    assert status == 0
    assert len(list((tmp_path / "a").iterdir())) == 2
    assert list((tmp_path / "b").rglob("*.log"))
    assert list((tmp_path / "c").rglob("events*"))
    before = {p.name for p in Path().iterdir()}
    assert {n for n in before if Path(n).is_dir()} <= {"cwd"}


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_standard_output_that_is_full_is_named(tmp_path):
    command = [sys.executable, "-m", "recbole_cocorr", "cost", "--models", "DIN", "--lengths", "2", "--repeats", "1"]
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            command,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(CHECKOUT)},
            check=False,
        )
    assert done.returncode == 2
    assert done.stderr == "error: the standard output could not be written: No space left on device\n"


def test_wandb_that_is_not_installed_is_named(run, monkeypatch):
    import importlib.util

    find_spec = importlib.util.find_spec
    monkeypatch.setattr("importlib.util.find_spec", lambda name, *a: None if name == "wandb" else find_spec(name, *a))
    assert "log_wandb needs the package wandb" in refused(run("--log_wandb=True"))


def test_a_user_without_enough_interactions_is_one_sentence(run, tmp_path):
    write_inter(tmp_path / "few", "small", [("u1", "i1", 1), ("u2", "i1", 2), ("u3", "i2", 2)])
    assert "leaves no training row" in refused(run(f"--data_path={tmp_path / 'few'}"))


def test_a_model_of_recbole_that_refuses_its_settings_is_one_sentence(run):
    assert "SASRec cannot be built" in refused(run("--model=SASRec", "--n_heads=3"))
    assert "CORE cannot be built" in refused(run("--model=CORE", "--loss_type=BCE"))


def test_an_error_of_ours_is_not_hidden(monkeypatch):
    """Only what the user can mend becomes a sentence."""

    def broken(**given):
        raise ZeroDivisionError

    monkeypatch.setattr("recbole_cocorr.training.run.run", broken)
    with pytest.raises(ZeroDivisionError):
        cli.main([])


def test_an_interrupted_run_ends_with_the_shells_status(monkeypatch, capsys):
    def interrupted(**given):
        raise KeyboardInterrupt

    monkeypatch.setattr("recbole_cocorr.training.run.run", interrupted)
    assert cli.main([]) == 130
    assert capsys.readouterr().err == "interrupted\n"


# -- python -m recbole_cocorr --------------------------------------------------------------------------


def test_version(capsys):
    with pytest.raises(SystemExit) as ended:
        __main__.main(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out == f"recbole_cocorr {__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--help"], "convert"),
        (["run", "--help"], "--config_files"),
        (["convert", "--help"], "--min_user_inter"),
        (["import-released", "--help"], "--items"),
    ],
    ids=" ".join,
)
def test_help(arguments, words, capsys):
    with pytest.raises(SystemExit) as ended:
        __main__.main(arguments)
    assert ended.value.code == 0
    assert words in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [["train"], [], ["--foo"], ["convert"], ["convert", "--format=nothing"]], ids=str)
def test_an_unknown_command_or_flag_has_the_exit_status_2(arguments, capsys):
    with pytest.raises(SystemExit) as ended:
        __main__.main(arguments)
    assert ended.value.code == 2
    assert "error: " in capsys.readouterr().err


def test_run_is_the_command(small_data, capsys):
    flags = [f"--{k}={v}" for k, v in QUIET.items()]
    arguments = ["run", "-m", "GRU4Rec", "-d", "small", f"--data_path={small_data}", *flags]
    assert __main__.main(arguments) == 0
    assert "GRU4Rec on small" in capsys.readouterr().out
    assert __main__.main(["run", "-m", "GRU5Rec", "-d", "small"]) == 2
    assert capsys.readouterr().err == "error: there is no model 'GRU5Rec'; did you mean 'GRU4Rec'?\n"


def test_convert_makes_what_run_reads(capsys):
    rows = random_rows(20, 30, 5, 9)
    Path("raw.dat").write_text("".join(f"{u[1:]}::{i[1:]}::5::{t}\n" for u, i, t in rows))
    convert = ["convert", "--format=movielens-dat", "--input=raw.dat", "--dataset=mine", "--out=data"]
    assert __main__.main(convert) == 0
    assert "next: python -m recbole_cocorr run --model=CoCorrRec --dataset=mine" in capsys.readouterr().out
    flags = [f"--{k}={v}" for k, v in QUIET.items()]
    assert __main__.main(["run", "--model=CoCorrRec", "--dataset=mine", "--data_path=data", *flags]) == 0
    capsys.readouterr()
    assert __main__.main([*convert, "--input=none.dat"]) == 2
    assert capsys.readouterr().err.startswith("error: ")


# -- the script, as a process of its own ----------------------------------------------------------------


def script(*arguments: str) -> subprocess.CompletedProcess:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "NO_COLOR": "1"}
    command = [sys.executable, str(CHECKOUT / "run_recbole_cocorr.py"), *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)


def test_the_script_writes_one_line_to_stderr_and_ends_with_status_2():
    done = script("--model=CoCorrRec", "--dataset=small", "--learnin_rate=1")
    sentence = "no property file knows the key 'learnin_rate'; did you mean 'learning_rate'?"
    assert (done.returncode, done.stdout, done.stderr) == (2, "", f"error: {sentence}\n")


def test_the_scripts_last_line_is_the_error_where_the_log_has_begun(small_data):
    flags = ["--dataset=small", f"--data_path={small_data}", "--use_gpu=False", "--num_heads=3"]
    done = script("--model=CoCorrRec", *flags)
    assert done.returncode == 2
    assert "The number of items: " in done.stderr  # the log
    assert done.stderr.splitlines()[-1].startswith("error: CoCorrRec cannot be built with these settings: hidden_size")
    assert "Traceback" not in done.stderr
    assert "FutureWarning" not in done.stderr


def test_user_errors_are_one_line_whatever_they_hold(capsys):
    def fail() -> int:
        raise UserError("one\n  two\nthree")

    assert cli.report_errors(fail) == 2
    assert capsys.readouterr().err == "error: one two three\n"
