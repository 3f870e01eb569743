"""Where a setting comes from, which layer wins, and what is refused."""

import ast
import logging
import os
import re
from pathlib import Path

import pytest
import torch
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st
from recbole.utils import InputType

from recbole_cocorr.base.errors import UserError
from recbole_cocorr.base.property_files import known_names, nearest, property_file
from recbole_cocorr.correctors.settings import corrector_settings
from recbole_cocorr.data import distributed
from recbole_cocorr.experiments.entries import benchmark_defaults
from recbole_cocorr.models import registry
from recbole_cocorr.training import config as config_module
from recbole_cocorr.training.config import Config, parse_overrides, parse_value
from recbole_cocorr.training.effective import effective_settings
from tests.conftest import CHECKOUT

NO_NEGATIVES = "none"


def make(model="CoCorrRec", dataset="small", files=None, overrides=None, **settings):
    """A Config of which nothing comes from this process's arguments."""
    return Config(model, dataset, files, {"use_gpu": False, **settings}, overrides=overrides or {})


def put(path: str, text: str) -> str:
    """Write a file under the working directory."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text(text, encoding="utf-8")
    return path


# -- precedence ----------------------------------------------------------------------------------


def test_each_layer_beats_the_one_below():
    def packaged(relative: str) -> str:
        return (CHECKOUT / relative).read_text(encoding="utf-8")

    # RecBole's overall.yaml says 10.
    assert make()["stopping_step"] == yaml.safe_load(packaged("properties/overall.yaml"))["stopping_step"] != 10
    put("properties/overall.yaml", packaged("properties/overall.yaml") + "\nstopping_step: 11\n")
    assert make()["stopping_step"] == 11
    put("properties/protocol/paper.yaml", packaged("properties/protocol/paper.yaml") + "\nstopping_step: 12\n")
    assert make()["stopping_step"] == 12
    put("properties/model/CoCorrRec.yaml", packaged("properties/model/CoCorrRec.yaml") + "\nstopping_step: 13\n")
    assert make()["stopping_step"] == 13
    put("dataset_configs/small.yaml", "stopping_step: 14\n")
    assert make()["stopping_step"] == 14
    first, second = put("first.yaml", "stopping_step: 15\n"), put("second.yaml", "stopping_step: 16\n")
    assert make(files=[first])["stopping_step"] == 15
    assert make(files=[first, second])["stopping_step"] == 16
    assert make(files=[second, first])["stopping_step"] == 15
    assert make(files=[first, second], stopping_step=17)["stopping_step"] == 17
    everything = make(files=[first, second], overrides={"stopping_step": 18}, stopping_step=17)
    assert everything["stopping_step"] == 18


def test_our_protocol_beats_recboles_model_file_and_our_model_file_beats_the_protocol():
    # RecBole's SASRec.yaml and BERT4Rec.yaml both say CE; this package has a file for BERT4Rec only.
    assert make("SASRec")["loss_type"] == "BCE"
    assert make("BERT4Rec")["loss_type"] == "CE"


def test_a_protocols_settings_come_as_one():
    paper, full = make(), make(protocol="full")
    assert (paper["protocol"], paper["loss_type"], paper["MAX_ITEM_LIST_LENGTH"]) == ("paper", "BCE", 10)
    assert paper["eval_args"]["mode"] == {"valid": "uni100", "test": "uni100"}
    assert (full["protocol"], full["loss_type"], full["MAX_ITEM_LIST_LENGTH"]) == ("full", "CE", 50)
    assert full["eval_args"]["mode"] == {"valid": "full", "test": "full"}
    for config in (paper, full):
        assert config["eval_args"]["split"] == {"LS": "valid_and_test"}
        assert config["eval_args"]["order"] == "TO"


def test_the_protocol_can_be_chosen_in_every_layer():
    chosen = put("mine.yaml", "protocol: full\n")
    assert make(files=[chosen])["protocol"] == "full"
    assert make(files=[chosen], protocol="paper")["protocol"] == "paper"
    assert make(protocol="paper", overrides={"protocol": "full"})["protocol"] == "full"
    overall = (CHECKOUT / "properties/overall.yaml").read_text(encoding="utf-8")
    put("properties/overall.yaml", overall.replace("protocol: paper", "protocol: full"))
    assert make()["protocol"] == "full"


def test_model_and_dataset_may_come_from_a_file_or_the_dict():
    named = put("named.yaml", "model: SASRec\ndataset: small\n")
    assert (make(None, None, files=[named]).model, make(None, None, files=[named]).dataset) == ("SASRec", "small")
    assert Config(None, None, [named], {"model": "GRU4Rec", "use_gpu": False}, overrides={}).model == "GRU4Rec"
    assert make("CoCorrRec", "other", files=[named]).model == "CoCorrRec"


# -- files of the working directory ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "line", "run"),
    [
        ("properties/overall.yaml", "weight_decay: 0.5", {}),
        ("properties/protocol/paper.yaml", "MAX_ITEM_LIST_LENGTH: 7", {}),
        ("properties/model/CoCorrRec.yaml", "hidden_size: 32", {}),
        ("properties/model/SASRec.yaml", "n_heads: 4", {"model": "SASRec"}),  # only RecBole has one of that name
        ("dataset_configs/amazon-beauty.yaml", 'user_inter_num_interval: "[2,inf)"', {"dataset": "amazon-beauty"}),
        ("dataset_configs/small.yaml", "epochs: 7", {}),
    ],
)
def test_a_file_in_the_working_directory_is_merged_over_the_packaged_one(path, line, run):
    before = make(**run).final_config_dict
    put(path, line + "\n")
    after = make(**run).final_config_dict
    ((key, value),) = yaml.safe_load(line).items()
    assert after == {**before, key: value}
    assert before[key] != value


def test_a_named_configuration_file_is_merged_over_the_packaged_one_too():
    before = make(files=["CoCorrRec-ce"])
    put("properties/model/CoCorrRec-ce.yaml", "dropout_prob: 0.1\n")
    after = make(files=["CoCorrRec-ce"])
    assert (after["dropout_prob"], after["loss_type"]) == (0.1, before["loss_type"]) == (0.1, "CE")


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("properties/overall.yaml", "'epochs'"),
        ("properties/protocol/paper.yaml", "'epochs'"),
        ("properties/model/CoCorrRec.yaml", "'epochs'"),
        ("properties/model/SASRec.yaml", "'epochs'"),
        ("dataset_configs/small.yaml", "'epochs'"),
    ],
)
def test_an_unknown_key_in_a_file_of_the_working_directory(path, words):
    put(path, "epoch_s: 3\n")
    model = "SASRec" if "SASRec" in path else "CoCorrRec"
    with pytest.raises(UserError, match=rf"{path}: .* knows the key 'epoch_s'; did you mean {words}"):
        make(model)


def test_the_other_files_of_the_working_directory_are_merged_too():
    seeds = benchmark_defaults()["seeds"]
    put("properties/benchmark.yaml", "learning_rates: [0.5]\n")
    assert (benchmark_defaults()["learning_rates"], benchmark_defaults()["seeds"]) == ([0.5], seeds)
    put("properties/benchmark.yaml", "learning_rate: [0.5]\n")
    with pytest.raises(UserError, match=r"benchmark.yaml: .* 'learning_rate'; did you mean 'learning_rates'"):
        benchmark_defaults()
    l2 = corrector_settings()["l2"]
    put("properties/corrector.yaml", "decay: 0.5\n")
    assert (corrector_settings()["decay"], corrector_settings()["l2"]) == (0.5, l2)
    put("properties/corrector.yaml", "decai: 0.5\n")
    with pytest.raises(UserError, match=r"corrector.yaml: .* 'decai'; did you mean 'decay'"):
        corrector_settings()


def test_where_each_setting_comes_from():
    put("properties/model/CoCorrRec.yaml", "hidden_size: 32\n")
    put("a.yaml", "learning_rate: 0.5\nseed: 3\n")
    config = make(files=["a.yaml"], overrides={"seed": 4}, epochs=2)
    sources = {
        "seed": "command line",
        "epochs": "config_dict",
        "learning_rate": "--config_files: a.yaml",
        "hidden_size": "./properties/model/CoCorrRec.yaml",
        "inner_lr": "packaged properties/model/CoCorrRec.yaml",
        "MAX_ITEM_LIST_LENGTH": "packaged properties/protocol/paper.yaml",
        "train_batch_size": "packaged properties/overall.yaml",
        "LIST_SUFFIX": "RecBole's default",
        "device": "worked out",
    }
    assert {key: config.source_of(key) for key in sources} == sources
    sections = dict(part.split("\n", 1) for part in effective_settings(config).split("\n\n"))
    assert next(iter(sections)) == "# what is run"
    titles = list(sections)
    for key, source in sources.items():
        line = next(
            line for line in sections[f"# {source}"].splitlines() if line.removeprefix("# ").startswith(f"{key}: ")
        )
        if source != "worked out":
            assert yaml.safe_load(line) == {key: config[key]}
    below = list(dict.fromkeys(sources.values()))
    assert [t for t in titles if t.removeprefix("# ") in below] == [f"# {s}" for s in below]
    assert set(config.final_config_dict) == set(re.findall(r"^(?:# )?(\w+): ", effective_settings(config), re.M))


def test_what_a_run_makes_of_a_setting_stands_beside_it():
    text = effective_settings(make(overrides={"loss_type": "CE"}))
    assert re.search(r"^train_neg_sample_args: .*  # made of \{distribution: uniform, sample_num: 4", text, re.M)


def test_a_protocol_of_ones_own_lies_in_the_working_directory():
    text = (CHECKOUT / "properties/protocol/paper.yaml").read_text(encoding="utf-8")
    put("properties/protocol/mine.yaml", text.replace("uni100", "uni50"))
    assert known_names("protocol") == ["full", "mine", "paper", "time"]
    assert make(protocol="mine")["eval_args"]["mode"]["test"] == "uni50"


def test_property_files():
    assert property_file("protocol", "paper") == CHECKOUT / "properties/protocol/paper.yaml"
    own = Path(put("properties/protocol/paper.yaml", "epochs: 1\n")).absolute()
    assert property_file("protocol", "paper") == own


@pytest.mark.parametrize("name", ["../overall", "sub/paper", "..", ""])
def test_a_path_is_no_name_of_a_property_file(name):
    put("properties/overall.yaml", "epochs: 1\n")
    put("properties/protocol/sub/paper.yaml", "epochs: 1\n")
    assert property_file("protocol", name) is None


# -- names ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "meant"),
    [("learnin_rate", "learning_rate"), ("Use_GCN", "use_gcn"), ("max_item_list_lenght", "MAX_ITEM_LIST_LENGTH")],
)
def test_an_unknown_key_is_refused_with_the_nearest(key, meant):
    with pytest.raises(UserError, match=f"knows the key '{key}'; did you mean '{meant}'\\?"):
        make(overrides={key: 1})


@pytest.mark.parametrize("key", ["MODEL_TYPE", "device", "final_config_dict"])
def test_what_the_configuration_works_out_itself_is_no_setting(key):
    with pytest.raises(UserError, match=f"'{key}'"):
        make(overrides={key: 1})


@pytest.mark.parametrize(
    ("name", "meant"),
    [("CoCorRec", "CoCorrRec"), ("sasrec", "SASRec"), ("GRU4REC", "GRU4Rec"), ("Bert4Rec", "BERT4Rec")],
)
def test_an_unknown_model_is_refused_with_the_nearest(name, meant):
    with pytest.raises(UserError, match=f"no model '{name}'; did you mean '{meant}'\\?"):
        make(name)


@pytest.mark.parametrize("name", ["", "os", "../SASRec", "__init__", "abstract_recommender", "xgboost", "3"])
def test_what_is_no_model_is_refused(name):
    assert registry.find_model(name) is None
    with pytest.raises(UserError, match="there is no model"):
        make(name)


def test_a_model_that_is_not_sequential_is_refused():
    with pytest.raises(UserError, match="BPR is not a sequential model"):
        make("BPR")


def test_an_unknown_protocol_is_refused_with_the_nearest():
    with pytest.raises(UserError, match="no protocol 'papr'; did you mean 'paper'\\?"):
        make(protocol="papr")


@pytest.mark.parametrize("name", ["../data/small", "a/b", "small/", ".", "..", ""])
def test_a_dataset_is_a_name_and_no_path(name):
    with pytest.raises(UserError, match=r"dataset is .* must be a name"):
        make(dataset=name)


def test_model_and_dataset_are_needed():
    with pytest.raises(UserError, match="no model is given"):
        make(None)
    with pytest.raises(UserError, match="no dataset is given"):
        make("SASRec", None)


def test_a_key_of_another_model_only_warns(caplog):
    with caplog.at_level(logging.WARNING):
        config = make(n_heads=2)  # SASRec's
    assert "'n_heads' is a setting of other models; CoCorrRec does not read it" in caplog.text
    assert config["n_heads"] == 2
    caplog.clear()
    make("SASRec", n_heads=2)
    assert "n_heads" not in caplog.text


def test_a_model_class_of_ones_own_brings_its_own_keys():
    class Mine(registry.find_model("GRU4Rec")):
        pass

    config = make(Mine, my_key=3, embedding_size=8, loss_type="CE")
    assert (config["model"], config["my_key"], config.model_class) == ("Mine", 3, Mine)


def test_every_recbole_model_in_the_list_is_found_and_sequential():
    names = registry.known_models()
    assert {"CoCorrRec", "SASRec", "BERT4Rec", "GRU4Rec", "DIN"} <= set(names)
    for name in names:
        assert registry.find_model(name).__name__ == name
    assert "BPR" not in names


def test_nearest_never_fails():
    assert nearest("NDGC", ["NDCG", "Hit"]) == "did you mean 'NDCG'?"
    assert nearest(3, ["b", "a"]) == "known are a, b"
    assert nearest("zzz", [f"name{i:02}" for i in range(20)]).endswith("name11 ...")


# -- loss and negatives ----------------------------------------------------------------------------

FOUR = {"distribution": "uniform", "sample_num": 4}


@pytest.mark.parametrize(
    ("model", "settings", "loss", "negatives", "input_type"),
    [
        ("CoCorrRec", {}, "BCE", 4, InputType.POINTWISE),
        ("CoCorrRec", {"loss_type": "BPR"}, "BPR", 4, InputType.PAIRWISE),
        ("CoCorrRec", {"loss_type": "CE"}, "CE", NO_NEGATIVES, InputType.POINTWISE),
        ("CoCorrRec", {"loss_type": "CE", "train_neg_sample_args": None}, "CE", NO_NEGATIVES, InputType.POINTWISE),
        ("CoCorrRec", {"loss_type": "CE", "train_neg_sample_args": {"distribution": None}}, "CE", NO_NEGATIVES, None),
        ("CoCorrRec", {"protocol": "full"}, "CE", NO_NEGATIVES, InputType.POINTWISE),
        ("CoCorrRec", {"protocol": "full", "loss_type": "BCE"}, "BCE", 4, InputType.POINTWISE),
        ("CoCorrRec", {"train_neg_sample_args": {**FOUR, "sample_num": 9}}, "BCE", 9, InputType.POINTWISE),
        ("CoCorrRec", {"train_neg_sample_args": {"distribution": "popularity"}}, "BCE", 1, InputType.POINTWISE),
        ("SASRec", {"loss_type": "BPR"}, "BPR", 4, InputType.PAIRWISE),
        ("BERT4Rec", {}, "CE", NO_NEGATIVES, InputType.POINTWISE),
        ("DIN", {}, "BCE", 4, InputType.POINTWISE),
        # DIN scores pairs, so it needs negatives whatever the protocol's loss.
        ("DIN", {"protocol": "full"}, "CE", 4, InputType.POINTWISE),
    ],
    ids=str,
)
def test_the_negatives_follow_the_loss(model, settings, loss, negatives, input_type):
    config = make(model, **settings)
    assert config["loss_type"] == loss
    assert config["train_neg_sample_args"]["sample_num"] == negatives
    assert (config["train_neg_sample_args"]["distribution"] == NO_NEGATIVES) == (negatives == NO_NEGATIVES)
    assert config["MODEL_INPUT_TYPE"] == (input_type or InputType.POINTWISE)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"loss_type": "CE", "train_neg_sample_args": FOUR}, "takes no negatives"),
        ({"loss_type": "BPR", "train_neg_sample_args": None}, "loss_type BPR needs negatives"),
        ({"train_neg_sample_args": {"distribution": None}}, "loss_type BCE needs negatives"),
        ({"loss_type": "bce"}, "must be one of BCE, BPR, CE"),
        ({"loss_type": "BPR", "protocol": "full", "default_neg_sample_args": 4}, "default_neg_sample_args is 4"),
        ({"train_neg_sample_args": {**FOUR, "dynamic": True}}, "dynamic"),
    ],
    ids=str,
)
def test_a_loss_and_negatives_that_contradict_each_other_are_refused(settings, words):
    with pytest.raises(UserError, match=words):
        make(**settings)


def test_the_negatives_of_one_configuration_are_its_own():
    first, second = make(protocol="full", loss_type="BCE"), make(protocol="full", loss_type="BCE")
    first["train_neg_sample_args"]["sample_num"] = 99
    assert second["train_neg_sample_args"]["sample_num"] == 4
    assert first["default_neg_sample_args"]["sample_num"] == 4


# -- values ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "value", "kept"),
    [
        ("user_inter_num_interval", [5, 10], [5, 10]),
        ("user_inter_num_interval", "[5,inf);(0,2]", "[5,inf);(0,2]"),
        ("topk", 10, [10]),
        ("metrics", "NDCG", ["NDCG"]),
        ("valid_metric", "gauc", "gauc"),
        ("gpu_id", (0, 1), "0,1"),
        ("eval_step", -1, -1),
        ("clip_grad_norm", {"max_norm": 5, "norm_type": 2.0}, {"max_norm": 5, "norm_type": 2.0}),
        ("load_col", None, None),
        ("val_interval", {"timestamp": "[0,5]", "item_id": ["i1"]}, {"timestamp": "[0,5]", "item_id": ["i1"]}),
    ],
    ids=str,
)
def test_values_that_recbole_takes_are_taken(key, value, kept):
    config = Config("CoCorrRec", "small", None, {"use_gpu": key == "gpu_id"}, overrides={key: value})
    assert config[key] == kept


@pytest.mark.parametrize("split", [{"LS": "valid_only"}, {"RS": [8, 1, 1]}, {"TS": [0.8, 0.1, 0.1]}], ids=str)
@pytest.mark.parametrize("mode", ["full", "uni7", "pop7", {"valid": "uni7", "test": "full"}, {"test": "full"}], ids=str)
def test_the_splits_and_modes_of_recbole_are_taken(split, mode):
    given = {"split": split, "order": "TO", "group_by": "user", "mode": mode}
    arguments = make(eval_args=given)["eval_args"]
    assert arguments["split"] == split
    assert set(arguments["mode"]) == {"valid", "test"}


def test_a_folder_or_column_with_a_number_for_a_name_stays_text():
    config = make(data_path="2024", overrides=parse_overrides(["--checkpoint_dir=007", "--TIME_FIELD=1e3"]))
    assert config["data_path"] == os.path.join("2024", "small")
    assert (config["checkpoint_dir"], config["TIME_FIELD"]) == ("007", "1e3")


def test_use_gpu_false_is_the_cpu_and_leaves_the_environment_alone(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")
    config = make(gpu_id="7")
    assert config["device"] == torch.device("cpu")
    assert config["gpu_id"] == ""
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "3"


@pytest.mark.parametrize(("given", "visible"), [({}, "4,5"), ({"gpu_id": "6,7"}, "6,7")])
def test_one_of_several_processes_sees_the_gpus_that_were_asked_for(monkeypatch, given, visible):
    """Where the user names none, RecBole's default gpu_id 0 must not hide the others."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,5")
    monkeypatch.setattr(distributed, "join", lambda settings: distributed.Place(1, 2, 1, torch.device("cuda", 1)))
    config = Config("CoCorrRec", "small", None, {"local_rank": 1, "world_size": 2}, overrides=given)
    assert os.environ["CUDA_VISIBLE_DEVICES"] == visible
    assert (config["rank"], config["world_size"], config["device"]) == (1, 2, torch.device("cuda", 1))


def test_used_as_a_library_it_takes_its_settings_of_the_programs_arguments_only(monkeypatch):
    arguments = ["prog", "--learning_rate=0.5", "--verbose", "--my_own=1", "positional"]
    monkeypatch.setattr("sys.argv", arguments)
    config = Config("CoCorrRec", "small", config_dict={"use_gpu": False})
    assert config["learning_rate"] == 0.5
    assert "my_own" not in config


def test_strings_in_the_config_dict_are_read_as_recbole_reads_them():
    config = make(topk="[5, 10]", use_gpu="False", learning_rate="0.25")
    assert (config["topk"], config["device"].type, config["learning_rate"]) == ([5, 10], "cpu", 0.25)


# -- yaml files -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("epochs: 1\nmetrics: [NDCG,\ntopk: 3", "bad.yaml, line 3 is not valid yaml"),
        ("epochs: 1\n\tseed: 3\n", "bad.yaml, line 2 is not valid yaml"),
        ("a: 1\n---\nb: 2\n", "bad.yaml, line 2 is not valid yaml"),
        ("seed: !!int abc\n", "bad.yaml is not valid yaml"),
        ("day: 2025-13-45\n", "bad.yaml is not valid yaml: month must be in 1..12"),
        ("- 1\n- 2\n", "must hold 'key: value' lines, not a list"),
        ("epochs\n", "must hold 'key: value' lines, not a str"),
        ("1: 2\n", "the key 1 is no name"),
        ("a: !!python/object/apply:os.mkdir [pwned]\n", "line 1 is not valid yaml: could not determine a constructor"),
    ],
)
def test_a_bad_yaml_file_is_named_with_its_line(text, words):
    with pytest.raises(UserError) as caught:
        make(files=[put("bad.yaml", text)])
    assert words in str(caught.value)
    assert not Path("pwned").exists()


def test_a_file_that_is_missing_a_folder_or_not_text_is_named():
    Path("folder.yaml").mkdir()
    Path("binary.yaml").write_bytes(b"\xff\xfe\x00")
    for name, words in (("no.yaml", "there is no"), ("folder.yaml", "is a folder"), ("binary.yaml", "is not UTF-8")):
        with pytest.raises(UserError, match=words) as caught:
            make(files=[name])
        assert name in str(caught.value)


def test_an_empty_file_and_a_byte_order_mark_are_harmless():
    empty, marked = put("empty.yaml", "# nothing\n"), put("marked.yaml", "\ufeffepochs: 3\n")
    assert make(files=[empty, marked])["epochs"] == 3


def test_numbers_in_yaml_are_numbers():
    # Plain yaml 1.1 reads 1e-3 as text.
    assert make(files=[put("a.yaml", "learning_rate: 1e-3\n")])["learning_rate"] == 1e-3


def test_every_property_file_in_the_checkout_is_yaml_of_known_keys():
    files = [*(CHECKOUT / "properties").rglob("*.yaml"), *(CHECKOUT / "dataset_configs").glob("*.yaml")]
    assert len(files) > 5
    for file in files:
        assert isinstance(yaml.safe_load(file.read_text(encoding="utf-8")), dict), file


# -- the command line's values ----------------------------------------------------------------------

literals = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.tuples(inner, inner) | st.dictionaries(st.text() | st.integers(), inner),
    max_leaves=8,
)
calls = st.builds(
    "{}({!r}){}".format,
    st.sampled_from(["open", "print", "__import__", "exec", "eval", "os.mkdir", "(lambda x: x)", "[].append"]),
    st.text(max_size=8),
    st.sampled_from(["", ".mkdir('pwned')", "[0]", " or 1", " + 1"]),
)


@given(literals)
def test_a_literal_comes_back_as_it_was(value):
    back = parse_value(repr(value))
    assert back == value
    assert type(back) is type(value)


@given(st.text())
@example("9" * 5000)  # more digits than Python converts
@example("(" * 3000)
@example("\x00")
@example("'")
@example("\ud800")
def test_any_text_is_a_literal_or_itself(text):
    value = parse_value(text)
    if isinstance(value, str) and value == text:
        return
    assert value is True or value is False or value == ast.literal_eval(text)


@given(calls)
@example("__import__('os').mkdir('pwned')")
@example("[open('pwned', 'w') for _ in (1,)]")
@example("{**__import__('os').environ}")
@settings(max_examples=50)
def test_code_is_never_run(text):
    assert parse_value(text) == text
    assert not Path("pwned").exists()


@pytest.mark.parametrize(
    ("text", "value"),
    [("true", True), ("False", False), ("None", None), ("uniform", "uniform"), ("[5,inf)", "[5,inf)"), ("1e-3", 1e-3)],
)
def test_values_as_people_write_them(text, value):
    assert parse_value(text) == value


keys = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]*", fullmatch=True).filter(lambda k: k not in config_module.TEXTS)


@given(st.dictionaries(keys, st.text()))
def test_overrides_are_split_at_the_first_equals_sign(texts):
    arguments = [f"--{key}={text}" for key, text in texts.items()]
    assert parse_overrides(arguments) == {key: parse_value(text) for key, text in texts.items()}


@given(st.dictionaries(keys, literals, max_size=4))
def test_overrides_bring_literals_back(values):
    assert parse_overrides([f"--{key}={value!r}" for key, value in values.items()]) == values


@pytest.mark.parametrize("argument", ["epochs=3", "-epochs=3", "--epochs", "--=3", "--", "", "3"])
def test_an_argument_of_another_form_is_refused(argument):
    with pytest.raises(UserError, match="settings are written --key=value"):
        parse_overrides([argument])


def test_a_key_given_twice_is_refused_unless_it_says_the_same():
    assert parse_overrides(["--epochs=3", "--epochs=3"]) == {"epochs": 3}
    with pytest.raises(UserError, match="--epochs is given twice, as '3' and as '4'"):
        parse_overrides(["--epochs=3", "--epochs=4"])


@pytest.mark.parametrize(("transform", "key"), [("crop_itemseq", "eta"), ("reorder_itemseq", "beta")])
@pytest.mark.parametrize("share", [None, "much", 1.5])
def test_the_share_of_a_transform(small_data, transform, key, share):
    given = {"data_path": str(small_data), "transform": transform, key: share}
    with pytest.raises(UserError, match=f"so {key} must be a number from 0 to 1"):
        Config("GRU4Rec", "small", None, given, overrides={})
    Config("GRU4Rec", "small", None, {**given, key: 0.5}, overrides={})
