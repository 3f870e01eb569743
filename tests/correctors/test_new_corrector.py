"""A new corrector is a class and one line of the catalogue: fitted, kept in a folder, served and evaluated."""

import hashlib
import json
from typing import ClassVar

import numpy as np
import pytest
import scipy.sparse as sparse
from safetensors.numpy import load_file, save_file

from recbole_cocorr.__main__ import main
from recbole_cocorr.base.errors import UserError
from recbole_cocorr.correctors import Corrector, ItemItem, Trust
from recbole_cocorr.correctors.catalogue import CORRECTORS, DEFAULT
from recbole_cocorr.correctors.folder import load_corrector, save_corrector, trust_of
from recbole_cocorr.correctors.settings import corrector_settings
from recbole_cocorr.data.clicks import histories
from recbole_cocorr.service.server.score_model import ScoreQuery, load_score_model
from recbole_cocorr.service.wire import FLOAT32, decode_scores
from recbole_cocorr.training.checkpoint import checkpoint_fingerprint, load_checkpoint
from recbole_cocorr.training.corrected_lists import DeviceScores, Variant, ranks_under
from recbole_cocorr.training.data_of import data_of
from recbole_cocorr.training.recommend import load_model
from tests.training.test_data_of import trained

ITEMS = ["[PAD]", *(f"i{n}" for n in range(1, 13))]


class Popularity:
    """The share of all clicks that an item has, whoever asks."""

    SETTINGS: ClassVar = {"power": (int, float)}

    def __init__(self, share: np.ndarray):
        self.share = share.astype(np.float32)

    @property
    def n_items(self) -> int:
        return len(self.share)

    @classmethod
    def fit(cls, users, items, n_items, power: float = 1.0) -> "Popularity":
        count = np.bincount(items, minlength=n_items).astype(np.float64) ** power
        count[0] = 0
        return cls(count / count.sum())

    def scores(self, histories, candidates):
        return self.share[candidates]

    def all_scores(self, histories):
        return sparse.csr_matrix(np.tile(self.share, (len(histories), 1)))

    def digest(self) -> str:
        return hashlib.blake2b(b"popularity" + self.share.tobytes(), digest_size=16).hexdigest()

    def save(self, path) -> None:
        save_file({"share": self.share}, path)

    @classmethod
    def load(cls, path) -> "Popularity":
        return cls(load_file(path)["share"])


@pytest.fixture
def catalogue(monkeypatch):
    monkeypatch.setitem(CORRECTORS, "most-popular", Popularity)


def clicks(seed: int = 0):
    generator = np.random.default_rng(seed)
    return generator.integers(0, 9, 200), generator.integers(1, 13, 200), 13


def save(folder, corrector) -> str:
    return save_corrector(folder, corrector, Trust(1.0, 0.0), ITEMS, "f" * 32, {})


def names(folder) -> list[str]:
    return sorted(f.name for f in folder.iterdir())


@pytest.mark.usefixtures("catalogue")
def test_fitted_by_the_command_served_and_evaluated(tmp_path, capsys):
    _, file = trained(tmp_path)
    out = tmp_path / "corrector"
    assert main(["fit-corrector", f"--checkpoint={file}", f"--out={out}", "--kind=most-popular"]) == 0
    assert "validation ndcg@10" in capsys.readouterr().out
    assert names(out) == ["most_popular.safetensors", "trust.json"]
    corrector, items, digest = load_corrector(out)
    assert isinstance(corrector, Popularity) and corrector.n_items == len(items)
    content = load_checkpoint(file)
    trust = trust_of(out, checkpoint_fingerprint(content))
    assert trust["corrector"] == digest

    served = load_score_model(out)
    requests = [
        ScoreQuery(np.array([3, 1]), np.array([2, 5, 1]), FLOAT32),
        ScoreQuery(np.array([4]), np.array([7]), FLOAT32),
    ]
    assert (served.items, served.fingerprint) == (corrector.n_items, digest)
    for request, payload in zip(requests, served.correct(requests), strict=True):
        scores = decode_scores(payload, FLOAT32, len(request.candidates))
        np.testing.assert_array_equal(scores, corrector.share[request.candidates])

    data = data_of(content.config, content.items, str(file))
    device = DeviceScores(load_model(file).model)
    variants = {"none": Variant(None), "cloud": Variant(histories(data.test), device=False)}
    learned = Trust(trust["base"], trust["per_log_click"], trust["scale"])
    ranks = ranks_under(device, data.test, corrector, learned, variants)
    candidates = data.test.candidates.numpy()
    share = corrector.share[candidates]
    ahead = ((share[:, 1:] > share[:, :1]) & (candidates[:, 1:] > 0)).sum(axis=1)
    np.testing.assert_array_equal(ranks["cloud"][:, 0], ahead)
    assert (ranks["none"] != ranks["cloud"]).any()


@pytest.mark.usefixtures("catalogue")
def test_a_fit_of_another_kind_takes_the_place_of_the_old(tmp_path):
    folder = tmp_path / "c"
    first = save(folder, ItemItem.fit(*clicks()))
    assert "kind" not in json.loads((folder / "trust.json").read_text())
    second = save(folder, Popularity.fit(*clicks()))
    assert names(folder) == [f"most_popular-{second[:8]}.safetensors", "trust.json"]
    assert isinstance(load_corrector(folder)[0], Popularity)
    assert save(folder, ItemItem.fit(*clicks())) == first == load_corrector(folder)[2]
    assert names(folder) == [f"item_item-{first[:8]}.safetensors", "trust.json"]


def test_a_kind_that_is_not_in_the_catalogue(tmp_path, monkeypatch, capsys):
    assert main(["fit-corrector", "--checkpoint=x", f"--out={tmp_path / 'c'}", "--kind=item_item"]) == 2
    assert capsys.readouterr().err.endswith("there is no corrector 'item_item'; did you mean 'item-item'?\n")
    with pytest.raises(UserError, match="Popularity has no line"):
        save(tmp_path / "c", Popularity.fit(*clicks()))
    assert not (tmp_path / "c").exists()
    with monkeypatch.context() as patch:
        patch.setitem(CORRECTORS, "most-popular", Popularity)
        save(tmp_path / "c", Popularity.fit(*clicks()))
    with pytest.raises(UserError, match="kind is 'most-popular'; it must be one of item-item"):
        load_corrector(tmp_path / "c")


@pytest.mark.usefixtures("catalogue")
@pytest.mark.parametrize("name", ["item_item.safetensors", "../most_popular.safetensors", "most_popular.bin"])
def test_a_folder_names_weights_of_its_own_kind(tmp_path, name):
    save(tmp_path, Popularity.fit(*clicks()))
    content = json.loads((tmp_path / "trust.json").read_text())
    (tmp_path / "trust.json").write_text(json.dumps(content | {"weights": name}))
    with pytest.raises(UserError, match="the name of a file of weights"):
        load_corrector(tmp_path)


@pytest.mark.usefixtures("catalogue")
def test_settings_are_the_kinds_own():
    assert corrector_settings({}, "most-popular") == {}
    assert corrector_settings({"power": 0.5}, "most-popular") == {"power": 0.5}
    with pytest.raises(UserError, match="corrector most-popular has the key 'l2'; known are power"):
        corrector_settings({"l2": 1.0}, "most-popular")
    assert set(corrector_settings()) == set(CORRECTORS[DEFAULT].SETTINGS)


@pytest.mark.usefixtures("catalogue")
@pytest.mark.parametrize("kind", [*CORRECTORS, "most-popular"])
def test_every_corrector_keeps_the_protocol(tmp_path, kind):
    corrector = CORRECTORS[kind].fit(*clicks())
    assert isinstance(corrector, Corrector)
    known, everything = [np.array([3, 9, 4]), np.array([2])], np.tile(np.arange(13), (2, 1))
    scores = corrector.scores(known, everything)
    assert scores.dtype == np.float32 and np.isfinite(scores).all()
    np.testing.assert_array_equal(corrector.scores(known[1:], everything[1:]), scores[1:])
    spoken = corrector.all_scores(known)
    assert spoken.has_sorted_indices
    np.testing.assert_array_equal(spoken.toarray(), scores)
    corrector.save(tmp_path / "c.safetensors")
    again = type(corrector).load(tmp_path / "c.safetensors")
    assert (again.digest(), again.n_items) == (corrector.digest(), 13) and isinstance(again, Corrector)
    assert CORRECTORS[kind].fit(*clicks(1)).digest() != corrector.digest()
