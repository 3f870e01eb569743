"""The export: whole or not at all, and not believed before it is checked."""

import os
import re
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from recbole_cocorr.__main__ import main
from recbole_cocorr.artifact.manifest import read_manifest
from recbole_cocorr.base.errors import UserError
from recbole_cocorr.device import Session, verify
from recbole_cocorr.device.artifact import Artifact
from recbole_cocorr.experiments.results.device_quality import DeviceQuality
from recbole_cocorr.exporter import check as checks
from recbole_cocorr.exporter import export as exports
from recbole_cocorr.training.checkpoint import (
    Checkpoint,
    checkpoint_fingerprint,
    load_checkpoint,
    plain_config,
    save_checkpoint,
)
from recbole_cocorr.training.recommend import load_model
from tests.base.stopped import killed_at_every_step
from tests.device import ITEMS, TOKENS, clicks, make, tokens_of
from tests.models.test_scoring import disturb
from tests.training.test_trainer import prepare


@pytest.fixture
def saved(tmp_path: Path):
    """A checkpoint of a made-up model."""

    def save(name: str = "GRU4Rec", **settings) -> Path:
        recommender = make(name, **settings)
        config = plain_config({**recommender.config, "dataset": "nowhere", "data_path": "nowhere/nowhere"})
        weights = recommender.model.state_dict()
        path = tmp_path / f"{name}.safetensors"
        save_checkpoint(path, Checkpoint("model", config, TOKENS, weights, 1, 0, {"ndcg@10": 0.25}))
        return path

    return save


@pytest.fixture
def once(monkeypatch):
    """Graphs of the made-up models are exported once: what is tested is what becomes of the files."""

    def to_onnx(module, arguments, inputs, *rest):
        key = type(module).__name__, tuple(inputs)
        if key not in GRAPHS:
            GRAPHS[key] = real(module, arguments, inputs, *rest).SerializeToString()
        return onnx.ModelProto.FromString(GRAPHS[key])

    real = exports.to_onnx
    monkeypatch.setattr(exports, "to_onnx", to_onnx)


GRAPHS: dict[tuple, bytes] = {}


def run(*arguments) -> int:
    return main([str(a) for a in arguments])


def names(folder: Path) -> set[str]:
    return {f.name for f in folder.iterdir()}


# -- the command -----------------------------------------------------------------------------------------


def test_a_strangers_path(make_config, tmp_path, small_data, capsys):
    """Train, export with the check on the test rows, use: the list of PyTorch."""
    config = make_config(MAX_ITEM_LIST_LENGTH=6, mini_batch_size=3, hidden_size=16, num_heads=2)
    trainer, (_, _, test) = prepare(config)
    disturb(trainer.model)
    trainer._remember_vocabulary(test.dataset)
    trainer._save_checkpoint(0, verbose=False)
    capsys.readouterr()
    out = tmp_path / "out" / "artifact"
    assert run("export", "--checkpoint", trainer.saved_model_file, "--out", out, "--table", "int8") == 0
    text = capsys.readouterr()
    assert re.search(r"largest error \d\.\de-\d\d, corrected \d\.\de-\d\d \(tolerance 1e-04\)", text.out)
    for line in ("fp32  0.", "fp16  0.", "int8  0.", "the device alone: PyTorch 0.", "corrected: PyTorch 0."):
        assert line in text.out
    verify(out)
    found = read_manifest(out).check["ndcg@10"]
    assert found["rows"] == len(test.users)
    trainer.model.eval()
    assert found["torch_corrected"] == pytest.approx(evaluated(trainer, test), abs=1e-6)
    assert abs(found["fp32"] - found["torch"]) < 1e-6
    assert abs(found["fp32_corrected"] - found["torch_corrected"]) < 1e-6
    assert found["torch"] != found["torch_corrected"]
    # The same list, with the correction network left out as on the device.
    recommender = load_model(trainer.saved_model_file, use_gcn=False)
    history = recommender.vocabulary.items[1:20]
    theirs = recommender.recommend(history, k=10)
    session = Session.open(out, policy="window")
    session.history(history)
    ours = session.rank_all(200)
    scores = dict(zip(ours.items, ours.scores, strict=True))
    assert [scores[i] for i in theirs.items] == pytest.approx(theirs.scores, abs=0.05)  # int8
    # Both ways to read a long history, against a slow and obvious reading of them.
    assert run("device-eval", "--checkpoint", trainer.saved_model_file, "--out", tmp_path / "eval.json") == 0
    lists = DeviceQuality.load(tmp_path / "eval.json").rows
    for policy in ("carry", "window"):
        every, long = (row for row in lists if row["policy"] == policy)
        assert 0 < long["targets"] < every["targets"] == len(test.users) and long["clicks"] == 7
        assert every["metrics"]["ndcg@10"] == pytest.approx(slow_ndcg(trainer.model, test, policy), 1e-5)


def evaluated(trainer, test) -> float:
    """NDCG@10, not rounded, as the trainer ranks."""
    ranks = []
    model = trainer.model
    for batch in test.batches():
        with torch.no_grad():
            users = model.encode(batch.interaction)
            scores = torch.einsum("bcd,bd->bc", model.item_vectors(batch.candidates), users)
        ranks.append(checks.rank_positive(scores, batch.candidates[:, 1:] > 0).numpy())
    return checks.ndcg(ranks)


@torch.no_grad()
def slow_ndcg(model, test, policy: str) -> float:
    ranks = []
    for batch in test.batches():
        owner, items = test.dataset.history_pairs(batch.rows)
        for row in range(len(batch.rows)):
            history = items[owner == row].tolist()
            user = checks.reference(model, history if policy == "carry" else history[-6:])
            scores = (model.item_vectors(batch.candidates[row]) @ torch.from_numpy(user))[None]
            ranks.append(checks.rank_positive(scores, batch.candidates[row : row + 1, 1:] > 0).numpy())
    return checks.ndcg(ranks)


def test_without_the_data_the_graphs_are_checked_all_the_same(once, saved, tmp_path, capsys):
    assert run("export", "--checkpoint", saved(), "--out", tmp_path / "out") == 0
    text = capsys.readouterr().out
    assert "GRU4Rec, 39 items, table fp32" in text
    assert "NDCG@10 was not measured: the data set is not here" in text
    assert read_manifest(tmp_path / "out").check["max_error"] < 1e-4
    assert run("export", "--checkpoint", saved(), "--out", tmp_path / "two", "--data_path", tmp_path) == 2
    assert "holds no nowhere/nowhere.inter, the data of " in capsys.readouterr().err
    assert not (tmp_path / "two").exists()


# -- whole or not at all ---------------------------------------------------------------------------------


def test_a_check_that_fails_leaves_nothing(once, saved, tmp_path, monkeypatch, capsys):
    path = saved()
    before = names(tmp_path)
    monkeypatch.setattr(checks, "TOLERANCE", 0.0)
    assert run("export", "--checkpoint", path, "--out", tmp_path / "out") == 2
    assert "error: the artifact does not compute what the model does: max_error is" in capsys.readouterr().err
    assert names(tmp_path) == before


def test_an_interrupt_leaves_nothing_and_the_old_artifact(once, saved, tmp_path, monkeypatch):
    path, out = saved(), tmp_path / "out"
    exports.export(path, out)
    before = {f.name: f.read_bytes() for f in out.iterdir()}
    around = names(tmp_path)

    def stop(*args):
        raise KeyboardInterrupt

    for name in ("write_catalogue", "_write_manifest", "_put"):
        with monkeypatch.context() as patch:
            patch.setattr(exports, name, stop)
            with pytest.raises(KeyboardInterrupt):
                exports.export(path, out, overwrite=True)
        assert names(tmp_path) == around
        assert {f.name: f.read_bytes() for f in out.iterdir()} == before
    replaced = os.replace

    def refuse(source, target):
        if Path(target).parent == out:
            raise OSError("no room")
        return replaced(source, target)

    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(OSError, match="no room"):
        exports.export(path, out, overwrite=True)
    assert names(tmp_path) == around
    assert {f.name: f.read_bytes() for f in out.iterdir()} == before


@pytest.fixture
def quick(once, saved, tmp_path, monkeypatch):
    """Exports of one checkpoint that write the files of folders made before: by name, of the old and the new model."""
    path = saved()
    exports.export(path, tmp_path / "old")
    with monkeypatch.context() as patch:
        # Another model: other graphs, other weights, another table.
        patch.setattr(exports, "load_checkpoint", lambda _: load_checkpoint(saved("SASRec")))
        exports.export(path, tmp_path / "new", table="int8")
    which = []

    def write(folder, *_):
        shutil.copytree(tmp_path / which[0], folder, dirs_exist_ok=True)
        return read_manifest(folder)

    monkeypatch.setattr(exports, "write_artifact", write)

    def export(name: str, out: Path, **settings) -> None:
        which[:] = [name]
        exports.export(path, out, **settings)

    return export


def model_of(folder: Path) -> str:
    """Whose whole artifact a folder holds: each file is read."""
    verify(folder)
    artifact = Artifact(folder)
    for name in artifact.manifest.graphs:
        artifact.graph(name)
    return artifact.manifest.model["name"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs processes that fork")
def test_killed_at_every_step_of_an_overwrite(quick, tmp_path):
    out = tmp_path / "place" / "out"

    def before():
        shutil.rmtree(out.parent, ignore_errors=True)
        quick("old", out)
        (out / "letter.txt").write_text("mine")

    def check():
        found.append(model_of(out))
        quick("new", out, overwrite=True)
        assert model_of(out) == "SASRec"
        files = read_manifest(out).files()
        assert names(out) == {"letter.txt", "manifest.json", *files}, "nothing of the old one stays"
        assert names(out.parent) == {"out"}, "nor of the one that was killed"

    found: list[str] = []
    assert killed_at_every_step(out.parent, before, lambda: quick("new", out, overwrite=True), check) > 10
    assert set(found) == {"GRU4Rec", "SASRec"} and found == sorted(found)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs processes that fork")
def test_killed_at_every_step_of_a_first_export(quick, tmp_path):
    out = tmp_path / "place" / "out"

    def check():
        assert not out.exists() or model_of(out) == "GRU4Rec"
        quick("old", out, overwrite=True)
        assert names(out.parent) == {"out"}

    killed_at_every_step(out.parent, lambda: shutil.rmtree(out.parent, True), lambda: quick("old", out), check)


def test_the_second_of_two_exports_is_refused_at_the_end_too(quick, tmp_path):
    """Each found the folder free when it began."""
    out = tmp_path / "place" / "out"

    def faster(*_):
        quick("new", out)
        return {}

    with pytest.raises(UserError, match="holds an artifact already; --overwrite replaces it"):
        quick("old", out, check=faster)
    assert model_of(out) == "SASRec"
    assert names(out.parent) == {"out"}


def test_a_new_model_with_the_old_ones_file_names(quick, tmp_path):
    """A graph of another content gets another name, so that the old manifest finds its own until it is replaced."""
    out = tmp_path / "place" / "out"
    quick("old", out)
    for name in ("new", "old", "new"):
        quick(name, out, overwrite=True)
        files = set(read_manifest(out).files())
        assert names(out) == {"manifest.json", *files}
        assert all(re.fullmatch(r"[a-z_]+-[0-9a-f]{8}\.(onnx|bin)", f) for f in files)


def test_what_stands_in_the_way(once, saved, tmp_path, capsys):
    path, out = saved(), tmp_path / "out"
    with pytest.raises(UserError, match="is a file; name a folder"):
        exports.export(path, path)
    out.mkdir()
    (out / "letter.txt").write_text("mine")
    for overwrite in (True, False):
        with pytest.raises(UserError, match="is a folder with other files"):
            exports.export(path, out, overwrite=overwrite)
    (out / "letter.txt").unlink()
    exports.export(path, out)
    with pytest.raises(UserError, match="holds an artifact already; --overwrite replaces it"):
        exports.export(path, out)
    exports.export(path, out, table="int8", overwrite=True)
    assert read_manifest(out).table == "int8"
    assert names(tmp_path) == {"out", path.name, "cwd"}
    with pytest.raises(UserError, match="table is 'int4'"):
        exports.export(path, tmp_path / "new", table="int4")
    with pytest.raises(UserError, match="policy is 'both'"):
        exports.export(path, tmp_path / "new", policy="both")
    with pytest.raises(UserError, match="there is no checkpoint"):
        exports.export(tmp_path / "none", tmp_path / "new")
    with pytest.raises(UserError, match="SASRec keeps no state, so its policy is window"):
        exports.export(saved("SASRec"), tmp_path / "new", policy="carry")
    assert not (tmp_path / "new").exists()


def test_the_same_model_gives_the_same_files(written, saved, tmp_path):
    """Byte for byte, so that a state outlives a second export; and no path of this machine in them."""
    _, first = written()
    exports.export(saved("CoCorrRec"), tmp_path / "second")
    files = names(tmp_path / "second")
    assert files == names(first)
    for file in files:
        raw = (tmp_path / "second" / file).read_bytes()
        if file != "manifest.json":  # it has the fingerprint of the checkpoint
            assert raw == (first / file).read_bytes(), file
        assert b"site-packages" not in raw
        assert os.getcwd().encode() not in raw
        assert b"recbole_cocorr/" not in raw


def test_the_graphs_share_their_weights(written):
    """What stands in several graphs stands in one file once."""
    _, folder = written()
    manifest = read_manifest(folder)
    large = []
    for entry in manifest.graphs.values():
        model = onnx.load(folder / entry.file, load_external_data=False)
        for tensor in model.graph.initializer:
            if tensor.data_location == onnx.TensorProto.EXTERNAL:
                place = {e.key: e.value for e in tensor.external_data}
                assert place["location"] == manifest.arrays["weights"].file
                large.append((int(place["offset"]), int(place["length"])))
            else:
                assert len(tensor.raw_data) < 1024
    ends = dict(large)
    assert len(large) > len(ends) > 1
    assert all(offset % 64 == 0 for offset in ends)
    assert (
        manifest.graph_bytes()
        == sum((folder / e.file).stat().st_size for e in manifest.graphs.values())
        + (folder / manifest.arrays["weights"].file).stat().st_size
    )


# -- the check can fail ----------------------------------------------------------------------------------


@pytest.mark.parametrize("part", ["o_proj.weight", "token_scale", "W0", "alpha", "inner_lr_bias"])
def test_the_check_sees_a_model_that_is_another(written, part):
    _, folder = written()
    other = make().model
    with torch.no_grad():
        for name, p in other.named_parameters():
            if part in name:
                p.view(-1)[0] += 0.05
    with pytest.raises(UserError, match="the artifact does not compute what the model does: max_error"):
        checks.check_graphs(other, Artifact(folder))


class Agreeable:
    """Test rows whose positive is the candidate that the model ranks first."""

    def __init__(self, model, rows):
        self._model, self._rows, self.users = model, rows, rows.users

    @torch.no_grad()
    def batches(self):
        model = self._model
        for batch in self._rows.batches():
            users = model.forward(batch.interaction[model.ITEM_SEQ], batch.interaction[model.ITEM_SEQ_LEN])
            scores = torch.einsum("bcd,bd->bc", model.item_embedding(batch.candidates), users)
            scores[batch.candidates == 0] = -1e9
            place, row = scores.argmax(1), torch.arange(len(scores))
            first = batch.candidates[row, place]
            batch.candidates[row, place] = batch.candidates[:, 0]
            batch.candidates[:, 0] = batch.interaction[model.ITEM_ID][:] = first
            yield batch


def test_the_check_sees_a_table_that_is_too_coarse(monkeypatch, make_config):
    """int8 with its signs alone: NDCG@10 falls."""
    trainer, (_, _, test) = prepare(make_config("GRU4Rec", hidden_size=16, embedding_size=16))
    disturb(trainer.model)
    trainer.model.eval()
    real = checks.quantise

    def coarse(vectors, precision):
        if precision != "int8":
            return real(vectors, precision)
        rows, scales = real(vectors, precision)
        return (np.sign(rows) * 127).astype(np.int8), scales

    from recbole_cocorr.training.recommend import Recommender, Vocabulary

    vocabulary = Vocabulary(trainer.config, test.dataset.field2id_token["item_id"].tolist(), 1)
    recommender = Recommender(trainer.model, trainer.config, vocabulary, {})
    folder = Path("artifact")
    folder.mkdir()
    exports.write_artifact(folder, recommender, "0" * 32, "int8")
    rows = Agreeable(trainer.model, test)
    found = checks.check_tables(trainer.model, Artifact(folder), rows)
    assert found["torch"] == 1 and found["change"]["mean"] == pytest.approx(found["int8"] - 1)
    monkeypatch.setattr(checks, "quantise", coarse)
    with pytest.raises(
        UserError, match=rf"int8 lowers NDCG@10 by 0\.\d+ on {found['rows']} test rows, more than 0\.001 and"
    ):
        checks.check_tables(trainer.model, Artifact(folder), rows)


@pytest.mark.parametrize(
    "changes, refused",
    [
        ([0.0] * 900 + [1.0] * 43, False),  # a gain, however large
        ([0.0] * 1000, False),
        ([0.0] * 990 + [-0.1] * 5 + [0.1] * 5, False),
        ([0.0] * 998 + [-0.631, -0.5], False),  # two rows of a thousand: 0.0011, but chance
        ([-0.0011] * 1000, True),  # every row
        ([0.0] * 980 + [-0.5] * 20, True),
        ([0.0] * 24500 + [-0.1] * 500, True),  # 0.002 on many rows
        ([-0.5], False),  # one row tells nothing
    ],
)
def test_only_a_loss_that_the_rows_can_tell_is_refused(changes, refused):
    exact = np.full(len(changes), 0.7)
    change = checks.change_of(exact, exact + changes)
    assert change["mean"] == pytest.approx(np.mean(changes))
    if not refused:
        checks.refuse_loss(change, "int8", len(changes))
        return
    with pytest.raises(UserError, match=rf"the table int8 lowers NDCG@10 by .* on {len(changes)} test rows"):
        checks.refuse_loss(change, "int8", len(changes))


# -- fingerprints ----------------------------------------------------------------------------------------


def test_a_fingerprint_is_of_the_model_and_not_of_the_catalogue(saved):
    checkpoint = load_checkpoint(saved())
    first = checkpoint_fingerprint(checkpoint)
    assert re.fullmatch("[0-9a-f]{32}", first)
    assert checkpoint_fingerprint(load_checkpoint(saved())) == first
    checkpoint.weights["item_embedding.weight"][3] += 1
    assert checkpoint_fingerprint(checkpoint) == first
    checkpoint.weights["dense.bias"][0] += 1
    second = checkpoint_fingerprint(checkpoint)
    assert second != first
    checkpoint.config["MAX_ITEM_LIST_LENGTH"] = 50
    assert checkpoint_fingerprint(checkpoint) not in (first, second)


def test_the_artifact_and_the_checkpoint_have_one_fingerprint(once, saved, tmp_path):
    path = saved()
    exports.export(path, tmp_path / "out")
    session = Session.open(tmp_path / "out")
    assert session.fingerprint == checkpoint_fingerprint(load_checkpoint(path))
    session.history(tokens_of(clicks(3)))
    assert len(session.rank_all(ITEMS).items) == ITEMS - 1
