"""A corrector in its folder: a re-fit leaves the old one or the new one, whenever it is killed or finds no room."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from recbole_cocorr.base.errors import UserError
from recbole_cocorr.correctors import ItemItem, Trust
from recbole_cocorr.correctors.folder import load_corrector, save_corrector, trust_of
from tests.base.stopped import killed_at_every_step, without_room

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs processes that fork")

ITEMS = ["[PAD]", *(f"i{n}" for n in range(1, 40))]


def fitted(seed: int) -> ItemItem:
    generator = np.random.default_rng(seed)
    return ItemItem.fit(generator.integers(0, 50, 800), generator.integers(1, 40, 800), 40, 1.0, 20)


OLD, NEW = fitted(1), fitted(2)


def save(folder: Path, corrector: ItemItem, base: float = 1.0) -> str:
    return save_corrector(folder, corrector, Trust(base, 0.0), ITEMS, "f" * 32, {})


def names(folder: Path) -> list[str]:
    return sorted(f.name for f in folder.iterdir())


@pytest.mark.parametrize("new, base", [(NEW, 2.0), (OLD, 2.0)], ids=["another", "the same weights"])
def test_killed_at_every_step(tmp_path, new, base):
    folder = tmp_path / "c"
    digests = {1.0: save(tmp_path / "1", OLD), base: save(tmp_path / "2", new)}

    def before():
        shutil.rmtree(folder, ignore_errors=True)
        save(folder, OLD)

    def check():
        _, items, digest = load_corrector(folder)
        assert items == ITEMS and digest == digests[trust_of(folder, "f" * 32)["base"]]
        save(folder, new, base)
        assert len(names(folder)) == 2 and load_corrector(folder)[2] == digests[base]

    assert killed_at_every_step(tmp_path, before, lambda: save(folder, new, base), check) >= 5


def test_a_full_disk_leaves_the_old_one(tmp_path):
    folder = tmp_path / "c"
    digest = save(folder, OLD)

    def check():
        assert load_corrector(folder)[2] == digest
        assert names(folder) == ["item_item.safetensors", "trust.json"]

    without_room([0, 10, 700, 2000], lambda: None, lambda: save(folder, NEW), check)


def test_the_first_fit_has_the_plain_name_and_a_damaged_one_is_replaced(tmp_path):
    save(tmp_path, OLD)
    (tmp_path / "item_item.safetensors").write_bytes(b"half a file")
    with pytest.raises(UserError, match="not a readable"):
        load_corrector(tmp_path)
    digest = save(tmp_path, OLD)
    assert load_corrector(tmp_path)[2] == digest


@pytest.mark.parametrize("name", ['"../x.safetensors"', "3", '"item_item.bin"', "null"])
def test_only_a_name_of_weights_is_followed(tmp_path, name):
    save(tmp_path, OLD)
    text = (tmp_path / "trust.json").read_text()
    (tmp_path / "trust.json").write_text(text.replace("{", '{"weights": ' + name + ", ", 1))
    with pytest.raises(UserError, match="weights is"):
        load_corrector(tmp_path)


def test_a_file_is_no_folder(tmp_path):
    (tmp_path / "c").touch()
    with pytest.raises(UserError, match="is no folder; name one for the corrector"):
        save(tmp_path / "c", OLD)
