"""An artifact with a neighbour table that is damaged or made up: one sentence, or rankings of numbers."""

import json
import os
import random
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recbole_cocorr.artifact.arrays import digest_of
from recbole_cocorr.artifact.manifest import LONGEST_ROW, neighbour_type, parse_manifest, read_manifest
from recbole_cocorr.base.errors import UserError
from recbole_cocorr.device import Session, update_catalogue, verify
from recbole_cocorr.device.artifact import Artifact
from tests.artifact.test_files import JSON, content_of, signed
from tests.device import ITEMS, TOKENS
from tests.device.test_neighbours import COUNT, made_up, with_table

PARTS = [f"neighbour_{part}" for part in ("indptr", "items", "weights", "scales")]


@pytest.fixture(scope="module")
def table(written, tmp_path_factory):
    """An artifact with a table, to be left as it is."""
    folder = tmp_path_factory.mktemp("neighbours") / "artifact"
    shutil.copytree(written()[1], folder)
    with_table(folder, made_up())
    return folder


@pytest.fixture
def own(table, tmp_path):
    """A copy that a test may damage."""
    return Path(shutil.copytree(table, tmp_path / "artifact"))


def put(folder: Path, name: str, change) -> None:
    """Change an array; its checksum is right."""
    content = content_of(folder)
    entry = content["arrays"][name]
    array = np.frombuffer((folder / entry["file"]).read_bytes(), entry["dtype"]).reshape(entry["shape"]).copy()
    array = change(array)
    (folder / entry["file"]).write_bytes(array.tobytes())
    entry.update(
        dtype=array.dtype.name, shape=list(array.shape), bytes=array.nbytes, blake2b=digest_of(array.tobytes())
    )
    (folder / "manifest.json").write_bytes(signed(content))


def use(folder: Path) -> None:
    session = Session.open(folder)
    session.history(TOKENS[1:9])
    session.click("item-9")
    for ranking in (session.rank_all(5), session.rank(TOKENS[1:])):
        assert np.isfinite(ranking.scores).all()
    session.save(folder / "kept")
    Session.open(folder, state=folder / "kept")


def test_a_manifest_with_a_table_comes_back(table):
    manifest = read_manifest(table)
    text = manifest.to_json()
    assert parse_manifest(text.encode(), "text") == manifest
    assert json.loads(text)["format_version"] == 4
    verify(table)


def test_an_artifact_without_a_table_is_written_as_before(written):
    content = content_of(written()[1])
    assert content["format_version"] == 1 and "neighbours" not in content


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda c: c.pop("neighbours"), "neighbours is missing; it must be there in format 4 alone"),
        (lambda c: c.update(format_version=1), "neighbours is an object of 7; it must be there in format 4"),
        (lambda c: c.update(neighbours=None), "neighbours is None|neighbours. is None|it holds None"),
        (lambda c: c["neighbours"].update(decay=1e-300), "neighbours.decay is 1e-300; it must be so large that 1e-30"),
        (lambda c: c["neighbours"].update(decay=0.5, clicks=900), "neighbours.decay is 0.5; it must be so large that"),
        (lambda c: c["neighbours"].update(count=0), "neighbours.count is 0; it must be a whole number from 1 to 1024"),
        (lambda c: c["neighbours"].update(clicks=10**6), "neighbours.clicks is 1000000; it must be a whole number"),
        (lambda c: c["neighbours"].update(decay=0), "neighbours.decay is 0; it must be above 0"),
        (
            lambda c: c["neighbours"].update(decay=1.5),
            "neighbours.decay is 1.5; it must be a finite number",
        ),
        (lambda c: c["neighbours"].update(form="tanh"), "neighbours.form is 'tanh'; it must be one of asinh"),
        (lambda c: c["neighbours"].update(base=1e9), "neighbours.base is"),
        (lambda c: c["neighbours"].update(scale=0.0), "neighbours.scale is 0.0; it must be above 0"),
        (lambda c: c["neighbours"].update(more=1), "neighbours is an object of 8; it must be count, clicks"),
        (lambda c: c["arrays"].pop("neighbour_scales"), "the array 'neighbour_scales' is missing"),
        (lambda c: c["arrays"].pop("neighbour_indptr"), "the array 'neighbour_indptr' is missing"),
        (lambda c: c["arrays"].pop("neighbour_items"), "the array 'neighbour_items' is missing"),
        (lambda c: c["arrays"]["neighbour_items"].update(dtype="uint32"), "neighbour_items.bytes is"),
        (lambda c: c["arrays"]["neighbour_weights"].update(dtype="uint8"), "'neighbour_weights' is uint8"),
    ],
)
def test_what_a_manifest_says_of_a_table(table, change, message):
    content = content_of(table)
    change(content)
    with pytest.raises(UserError, match=rf"^file: .*({message})"):
        parse_manifest(signed(content), "file")


@pytest.mark.parametrize("version", [2, 3])
def test_a_table_of_rows_of_one_length_is_refused(own, version):
    content = content_of(own)
    content["format_version"] = version
    (own / "manifest.json").write_bytes(signed(content))
    with pytest.raises(
        UserError, match=f"format {version}.*; this version reads format 1 or 4; export the model again"
    ):
        Session.open(own)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_scales_that_are_not_finite(own, value):
    put(own, "neighbour_scales", lambda a: np.where(np.arange(ITEMS) == 7, value, a).astype(np.float32))
    for call in (Session.open, verify):
        with pytest.raises(UserError, match=r"neighbour_scales-.*\.bin holds NaN or infinity"):
            call(own)


@pytest.mark.parametrize(
    "name, change",
    [
        ("neighbour_indptr", lambda a: a[:-1]),
        ("neighbour_indptr", lambda a: a[:, None]),
        ("neighbour_indptr", lambda a: a.astype(np.float32)),
        ("neighbour_items", lambda a: a[:, None]),
        ("neighbour_items", lambda a: a[:1].reshape(())),
        ("neighbour_items", lambda a: a.astype(np.uint32)),
        ("neighbour_weights", lambda a: a[:-1]),
        ("neighbour_weights", lambda a: a[:, None]),
        ("neighbour_weights", lambda a: a.astype(np.float32)),
        ("neighbour_scales", lambda a: a[:-1]),
        ("neighbour_scales", lambda a: a[:, None]),
    ],
)
def test_shapes_that_do_not_fit(own, name, change):
    put(own, name, change)
    with pytest.raises(UserError, match=f"the array '{name}' is .*, which does not fit"):
        Session.open(own)


def rows_of(folder: Path) -> np.ndarray:
    return Artifact(folder).neighbours.indptr.astype(int)


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda a: a[::-1].copy(), "does not say where the rows"),
        (lambda a: np.r_[a[:-1], a[-1] + 1].astype(np.uint32), "does not say where the rows"),
        (lambda a: np.r_[1, a[1:]].astype(np.uint32), "does not say where the rows"),
        (lambda a: np.r_[a[:5], a[6], a[5], a[7:]].astype(np.uint32), "does not say where the rows"),
        (lambda a: np.r_[a[:5], (1 << 32) - 1, a[6:]].astype(np.uint32), "does not say where the rows"),
        (lambda a: np.r_[0, np.full(ITEMS, a[-1])].astype(np.uint32), f"the longest may have {LONGEST_ROW * COUNT}"),
    ],
)
def test_rows_that_do_not_follow_each_other(own, change, message):
    put(own, "neighbour_indptr", change)
    for call in (Session.open, verify, lambda folder: update_catalogue(folder, ["a"], np.zeros((1, 16), np.float32))):
        with pytest.raises(UserError, match=rf"neighbour_indptr-.*\.bin .*{message}"):
            call(own)


@pytest.mark.parametrize("wrong", [ITEMS, 65535])
def test_an_item_that_is_none(own, wrong):
    first = rows_of(own)

    def change(items):
        items[first[4] + 2] = items[first[6] + 1] = wrong
        return items

    put(own, "neighbour_items", change)
    with pytest.raises(UserError, match=r"neighbour_items-.* names an item that the catalogue lacks"):
        verify(own)
    with pytest.raises(UserError, match="names an item that the catalogue lacks"):
        update_catalogue(own, TOKENS[1:], np.zeros((ITEMS - 1, 16), np.float32))
    session = Session.open(own)  # the table is not read before it is used
    session.history(["item-1", "item-2"])
    before = session.rank_all(ITEMS)
    for call in (lambda: session.click("item-4"), lambda: session.history(["item-1", "item-6"])):
        with pytest.raises(UserError, match=r"the neighbour table is damaged: its row [46] names an item"):
            call()
        assert session.rank_all(ITEMS) == before and session.clicks == 2


@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_made_up_tables_are_refused_or_rank(table, tmp_path_factory, data):
    """Any numbers in any of the files, and any value in the manifest, the checksums made right."""
    own = tmp_path_factory.mktemp("made-up")
    for file in table.iterdir():
        os.symlink(file, own / file.name)
    for name in data.draw(st.sets(st.sampled_from([*PARTS, ""]))):
        content = content_of(own)
        part = content["arrays"][name] if name else content["neighbours"]
        (own / "manifest.json").unlink()
        if name:
            (own / part["file"]).unlink(missing_ok=True)
            raw = data.draw(st.binary(min_size=part["bytes"], max_size=part["bytes"]))
            if name == "neighbour_indptr":  # or most tables were refused for their rows
                places = data.draw(st.lists(st.integers(0, content["arrays"][PARTS[1]]["shape"][0]), max_size=ITEMS))
                raw = np.sort(np.resize([*places, 0], ITEMS + 1)).astype(np.uint32).tobytes()
            (own / part["file"]).write_bytes(raw)
            part["blake2b"] = digest_of(raw)
        else:
            part[data.draw(st.sampled_from(sorted(part)))] = data.draw(JSON | st.floats(0, 1) | st.integers(1, 9))
        (own / "manifest.json").write_bytes(signed(content))
    try:
        use(own)
    except UserError as error:
        assert len(str(error)) < 400 and "\n" not in str(error)


@pytest.mark.parametrize("seed", range(40))
def test_damaged_files_are_refused_or_rank(table, tmp_path, seed):
    """A file of the table with bytes flipped, cut off or replaced by another one's."""
    chance = random.Random(seed)
    for file in table.iterdir():
        os.symlink(file, tmp_path / file.name)
    files = sorted(table.iterdir())
    file = chance.choice([f for f in files if f.name.startswith("neighbour")])
    raw = bytearray(file.read_bytes())
    if seed % 4 == 0:
        del raw[chance.randrange(len(raw)) :]
    elif seed % 4 == 1:
        raw = bytearray(chance.choice(files).read_bytes())
    else:
        for _ in range(chance.randint(1, 8)):
            raw[chance.randrange(len(raw))] ^= chance.randint(1, 255)
    (tmp_path / file.name).unlink()
    (tmp_path / file.name).write_bytes(raw)
    if raw != file.read_bytes():
        with pytest.raises(UserError):
            verify(tmp_path)
    try:
        use(tmp_path)
    except UserError as error:
        assert len(str(error)) < 400 and "\n" not in str(error)


@pytest.mark.parametrize("items, kind", [(2, "uint16"), (65_536, "uint16"), (65_537, "uint32"), (1 << 31, "uint32")])
def test_items_are_as_small_as_the_catalogue_allows(items, kind):
    assert neighbour_type(items) == kind
