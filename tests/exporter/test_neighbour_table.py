"""From a checkpoint to a device with a neighbour table: the commands, and that both sides rank alike."""

import json
import shutil

import numpy as np
import pytest

from recbole_cocorr import export, open_session
from recbole_cocorr.__main__ import main
from recbole_cocorr.artifact.manifest import read_manifest
from recbole_cocorr.base.errors import UserError
from recbole_cocorr.correctors import ItemItem, Trust
from recbole_cocorr.correctors.folder import fitted_with, load_corrector, trust_of
from recbole_cocorr.correctors.neighbours import table_of
from recbole_cocorr.data.clicks import histories, training_interactions
from recbole_cocorr.device import Session, verify
from recbole_cocorr.device.artifact import Artifact
from recbole_cocorr.experiments.results.device_quality import ALONE, SERVICE, DeviceQuality
from recbole_cocorr.training.checkpoint import load_checkpoint
from recbole_cocorr.training.data_of import data_of
from tests.conftest import write_inter

pytest.importorskip("onnx")
pytest.importorskip("onnxscript")
ITEMS = 60


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A checkpoint, its corrector, and the folder of its data."""
    folder = tmp_path_factory.mktemp("chains")
    generator = np.random.default_rng(0)
    rows = []
    for user in range(120):
        start = int(generator.integers(0, ITEMS))
        rows += [(f"u{user}", f"i{(start + step) % ITEMS}", step) for step in range(int(generator.integers(4, 12)))]
    data = write_inter(folder / "data", "chains", rows)
    run = ["run", "--model=GRU4Rec", "--dataset=chains", f"--data_path={data}", "--epochs=6", "--use_gpu=False"]
    run += ["--embedding_size=16", "--hidden_size=16", "--num_layers=1", "--MAX_ITEM_LIST_LENGTH=4"]
    run += ["--train_batch_size=100", f"--checkpoint_dir={folder / 'saved'}", "--show_progress=False"]
    assert main([*run, "--save_training_state=False", "--learning_rate=0.01"]) == 0
    (checkpoint,) = (folder / "saved").glob("*.safetensors")
    assert main(["fit-corrector", "--checkpoint", str(checkpoint), "--out", str(folder / "c"), "--l2=2"]) == 0
    return checkpoint, folder / "c", data


@pytest.fixture(scope="module")
def exported(trained, tmp_path_factory):
    checkpoint, corrector, _ = trained
    out = tmp_path_factory.mktemp("table") / "artifact"
    assert main(["export", "--checkpoint", str(checkpoint), "--out", str(out), "--corrector", str(corrector)]) == 0
    return out


def test_a_corrector_brings_a_table(trained, exported):
    """Fitted with the corrector's own settings."""
    checkpoint, corrector, _ = trained
    verify(exported)
    artifact = Artifact(exported)
    kind, settings = fitted_with(corrector)
    assert kind == "item-item" and settings["l2"] == 2 and settings["neighbours"] == 100
    content = load_checkpoint(checkpoint)
    data = data_of(content.config, content.items, str(checkpoint))
    users, items = training_interactions(data.valid.dataset)
    expected = table_of(ItemItem.fit(users, items, len(content.items), **settings), 20)
    for name in ("indptr", "items", "weights", "scales"):
        assert np.array_equal(getattr(artifact.neighbours, name), getattr(expected, name)), name
    manifest = artifact.manifest
    described = manifest.neighbours
    assert {k: described[k] for k in ("count", "decay", "clicks", "form")} == {
        "count": 20, "decay": 0.9, "clicks": 219, "form": "asinh"
    }  # fmt: skip
    validation = manifest.check["neighbours"]
    assert validation["own"]["ndcg@10"] > validation["none"]["ndcg@10"]
    assert manifest.trust == trust_of(corrector, manifest.fingerprint)


def test_a_session_ranks_as_the_measurement_does(trained, exported, tmp_path, capsys):
    """device-eval against sessions that click through the test users' histories."""
    checkpoint, corrector, _ = trained
    command = ["device-eval", "--checkpoint", str(checkpoint), "--policy=window", "--phase=both"]
    command += ["--neighbours", "3", "20", "--corrector", str(corrector)]
    assert main([*command, "--out", str(tmp_path / "eval.json")]) == 0
    text = capsys.readouterr().out
    assert "window  3 neighbours" in text and "20 neighbours: " in text and "a click, onnx, carry: p25 " in text
    result = DeviceQuality.load(tmp_path / "eval.json")
    assert result.text() + "\n" == text
    assert result.table == "fp32" and result.versions["torch"] and result.machine["processor"]
    ndcg = {row["added"]: row["metrics"]["ndcg@10"] for row in result.rows if row["phase"] == "test"}
    content = load_checkpoint(checkpoint)
    test = data_of(content.config, content.items, str(checkpoint)).test
    known, gains, alone = histories(test), [], []
    for row, candidates in enumerate(test.candidates.numpy()):
        candidates = candidates[candidates > 0]
        names = [content.items[item] for item in candidates]
        session = Session.open(exported)
        session.history([content.items[item] for item in known[row].tolist()])
        own = session.artifact.targets.scores(session.user_vector, candidates)
        by_model = [names[place] for place in np.argsort(-own, kind="stable")]
        for ranking, found in ((session.rank(names).items, gains), (by_model, alone)):
            place = ranking.index(names[0])
            found.append(1 / np.log2(place + 2) if place < 10 else 0.0)
    with_it, without = ndcg["20 neighbours"], ndcg[ALONE]
    assert with_it == pytest.approx(np.mean(gains), abs=2e-3)
    assert without == pytest.approx(np.mean(alone), abs=2e-3)
    assert with_it > without
    service, _, _ = load_corrector(corrector)
    validation = json.loads((corrector / "trust.json").read_text())["trust"]
    fused = []
    for row, candidates in enumerate(test.candidates.numpy()):
        candidates = candidates[candidates > 0]
        session = Session.open(exported)
        session.history([content.items[item] for item in known[row].tolist()])
        own = session.artifact.targets.scores(session.user_vector, candidates)[None]
        cloud = service.scores([known[row]], candidates[None])
        place = int((-Trust(**validation).fuse(own, cloud, np.array([len(known[row])]))[0]).argsort().argsort()[0])
        fused.append(1 / np.log2(place + 2) if place < 10 else 0.0)
    assert ndcg[SERVICE] == pytest.approx(np.mean(fused), abs=2e-3)
    sizes = {table["count"]: table["bytes"] for table in result.tables}
    assert sizes[3] == ITEMS * 3 * 3 + 8 * (ITEMS + 1) + 4 < sizes[20]


def test_device_eval_refuses_a_corrector_without_tables_and_fits_a_size_once(trained, tmp_path, capsys):
    checkpoint, corrector, _ = trained
    command = ["device-eval", "--checkpoint", str(checkpoint), "--policy=window", "--corrector", str(corrector)]
    assert main(command) == 2
    assert "a corrector needs the numbers of neighbours to compare it with" in capsys.readouterr().err
    assert main([*command, "--table=int8", "--neighbours", "3", "3", "--out", str(tmp_path / "eval.json")]) == 0
    result = DeviceQuality.load(tmp_path / "eval.json")
    assert [table["count"] for table in result.tables] == [3] and result.table == "int8"


def test_without_a_corrector_a_number_brings_a_table_and_0_brings_none(trained, tmp_path, capsys):
    checkpoint, corrector, _ = trained
    assert export(checkpoint, tmp_path / "plain").neighbours is None
    assert export(checkpoint, tmp_path / "none", corrector=corrector, neighbours=0).neighbours is None
    manifest = export(checkpoint, tmp_path / "three", neighbours=3)
    assert manifest.neighbours["count"] == 3 and manifest.trust is None
    assert json.loads((tmp_path / "none" / "manifest.json").read_text())["format_version"] == 1
    for bad in (-1, 1025, True, 2.5):
        with pytest.raises(UserError, match="neighbours"):
            export(checkpoint, tmp_path / "bad", neighbours=bad)
    assert not (tmp_path / "bad").exists()


def test_without_the_data_there_is_no_table(trained, tmp_path, capsys):
    checkpoint, corrector, data = trained
    away = tmp_path / "away"
    shutil.move(data, away)
    try:
        command = ["export", "--checkpoint", str(checkpoint), "--out", str(tmp_path / "a")]
        assert main([*command, "--corrector", str(corrector)]) == 0
        assert "no neighbour table: it takes an item-item corrector and the data set" in capsys.readouterr().out
        assert read_manifest(tmp_path / "a").neighbours is None
        assert main([*command, "--overwrite", "--neighbours=5"]) == 2
        assert "is not where training found it" in capsys.readouterr().err
        assert main([*command, "--overwrite", "--neighbours=5", f"--data_path={away}"]) == 0
        text = capsys.readouterr().out
        assert (
            "neighbour table: 5 items for each on average, 1,392 bytes; trust" in text and "without the table" in text
        )
    finally:
        shutil.move(away, data)


def test_with_a_table_the_cloud_is_not_asked_for_scores(exported):
    """GRU4Rec takes no correction, so nothing is left to ask for."""
    with pytest.raises(UserError, match="takes no correction and asks for no scores; open it without cloud"):
        open_session(exported, cloud="127.0.0.1:9")
