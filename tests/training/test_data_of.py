"""A checkpoint's data, read again: the rows and candidates that its training was judged on, for every command."""

import json
from pathlib import Path

import numpy as np
import pytest

from recbole_cocorr.__main__ import main
from recbole_cocorr.base.errors import UserError
from recbole_cocorr.training.checkpoint import load_checkpoint
from recbole_cocorr.training.config import Config
from recbole_cocorr.training.data_of import DataNotHere, data_of
from recbole_cocorr.training.prepare import prepare
from tests.conftest import write_inter

GLOBAL = {"split": {"LS": "valid_and_test"}, "order": "TO", "group_by": "user", "mode": "uni30"}
RATIO = {"split": {"RS": [0.6, 0.2, 0.2]}, "order": "TO", "group_by": "user", "mode": "full"}

SETTINGS = {
    "plain": {},
    "candidates": {"eval_args": GLOBAL},
    "popular candidates": {"eval_args": GLOBAL | {"mode": "pop20"}},
    "split": {"eval_args": RATIO},
    "full": {"protocol": "full", "eval_mask_history": True},
    "interval": {"val_interval": {"timestamp": "[2,inf)"}},
    "length": {"MAX_ITEM_LIST_LENGTH": 4, "user_inter_num_interval": "[6,inf)", "seed": 9},
}


def ring(shift: int = 0) -> list[tuple]:
    """Data that can be learned: 60 users walk round a ring of 90 items, one step at a time."""
    generator = np.random.default_rng(0)
    rows = []
    for user in range(60):
        start = int(generator.integers(90))
        rows += [
            (f"u{user}", f"i{(start + step) % 90 + shift}", step) for step in range(int(generator.integers(5, 14)))
        ]
    return rows


def trained(folder: Path, names=("user_id", "item_id", "timestamp"), model="GRU4Rec", **changes):
    """A checkpoint after one epoch, and what was prepared for it."""
    header = f"{names[0]}:token\t{names[1]}:token\t{names[2]}:float"
    data = write_inter(folder / "data", "small", ring(), header)
    settings = {
        "data_path": str(data),
        "checkpoint_dir": str(folder / "saved"),
        "use_gpu": False,
        "show_progress": False,
        "epochs": 8,
        "train_batch_size": 100,
        "learning_rate": 0.02,
        "embedding_size": 16,
        "hidden_size": 16,
        "num_layers": 1,
        "load_col": {"inter": list(names)},
        **dict(zip(("USER_ID_FIELD", "ITEM_ID_FIELD", "TIME_FIELD"), names, strict=True)),
    }
    prepared = prepare(Config(model, "small", None, {**settings, **changes}, overrides={}))
    prepared.trainer.fit(prepared.data.train, prepared.data.valid)
    return prepared, prepared.trainer.saved_model_file


def same_rows(ours, theirs) -> None:
    for phase in ("valid", "test"):
        one, other = getattr(ours, phase), getattr(theirs, phase)
        for column, values in other.dataset.inter_feat.interaction.items():
            assert np.array_equal(one.dataset.inter_feat[column], values), (phase, column)
        assert (one.candidates is None) == (other.candidates is None)
        if other.candidates is not None:
            assert np.array_equal(one.candidates, other.candidates), phase


@pytest.mark.parametrize("kind", SETTINGS)
def test_rows_and_candidates_are_those_of_the_training(tmp_path, kind):
    prepared, file = trained(tmp_path, **SETTINGS[kind])
    read = load_checkpoint(file)
    again = data_of(read.config, read.items, file)
    same_rows(again, prepared.data)
    assert [len(b.rows) for b in again.test.batches()] == [len(b.rows) for b in prepared.data.test.batches()]


def test_bert4rec_whose_transform_writes_settings_of_its_own(tmp_path):
    more = {"transform": "mask_itemseq", "mask_ratio": 0.2, "ft_ratio": 0.5, "n_layers": 1, "n_heads": 2}
    prepared, file = trained(tmp_path, model="BERT4Rec", inner_size=16, epochs=1, **more)
    read = load_checkpoint(file)
    assert "MASK_INDEX" in read.config
    same_rows(data_of(read.config, read.items, file), prepared.data)


def test_fields_of_other_names(tmp_path):
    prepared, file = trained(tmp_path, names=("who", "what", "when"))
    read = load_checkpoint(file)
    same_rows(data_of(read.config, read.items, file), prepared.data)


def test_a_moved_data_set_is_named_and_one_that_is_gone_has_an_error_of_its_own(tmp_path):
    prepared, file = trained(tmp_path)
    read = load_checkpoint(file)
    (tmp_path / "data").rename(tmp_path / "moved")
    with pytest.raises(DataNotHere, match=r"not where training found it .*--data_path=FOLDER"):
        data_of(read.config, read.items, file)
    same_rows(data_of(read.config, read.items, file, str(tmp_path / "moved")), prepared.data)
    with pytest.raises(UserError, match=r"nowhere holds no small/small.inter, the data of"):
        data_of(read.config, read.items, file, "nowhere")


def test_a_checkpoint_that_does_not_say_where_its_data_are(tmp_path):
    prepared, file = trained(tmp_path)
    read = load_checkpoint(file)
    del read.config["data_path"]
    with pytest.raises(DataNotHere, match=r"does not say where its data are; .* --data_path"):
        data_of(read.config, read.items, file)
    same_rows(data_of(read.config, read.items, file, str(tmp_path / "data")), prepared.data)


def test_other_data_of_the_same_name_are_refused(tmp_path):
    _, file = trained(tmp_path)
    read = load_checkpoint(file)
    other = write_inter(tmp_path / "other", "small", ring(shift=1))
    with pytest.raises(UserError, match="hold other items than"):
        data_of(read.config, read.items, file, str(other))


@pytest.mark.parametrize("kind", ["candidates", "interval", "length"])
def test_the_corrector_is_fitted_on_the_checkpoints_rows(tmp_path, kind, capsys):
    """``fit-corrector`` prints the validation metrics without a correction: those of the checkpoint itself."""
    _, file = trained(tmp_path, metric_decimal_place=6, **SETTINGS[kind])
    out = tmp_path / "corrector"
    assert main(["fit-corrector", f"--checkpoint={file}", f"--out={out}"]) == 0
    wanted = load_checkpoint(file).metrics["ndcg@10"]
    kept = json.loads((out / "trust.json").read_text())
    assert any(abs(v - wanted) < 2e-6 for v in numbers_of(kept)), (wanted, kept)


def numbers_of(content) -> list[float]:
    values = content.values() if isinstance(content, dict) else content if isinstance(content, list) else ()
    own = [float(v) for v in values if isinstance(v, (int, float))]
    return own + [n for v in values if isinstance(v, (dict, list)) for n in numbers_of(v)]


def test_a_corrector_of_names_of_ones_own(tmp_path):
    _, file = trained(tmp_path, names=("who", "what", "when"))
    assert main(["fit-corrector", f"--checkpoint={file}", f"--out={tmp_path / 'c'}"]) == 0
