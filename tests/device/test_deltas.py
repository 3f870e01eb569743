"""A delta on a device: held to the artifact that an export of the extended catalogue writes."""

import hashlib
import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recbole_cocorr.artifact.delta import Delta, pack_delta, parse_delta
from recbole_cocorr.artifact.manifest import LONGEST_ROW, neighbour_type, read_manifest
from recbole_cocorr.artifact.neighbours import NeighbourTable
from recbole_cocorr.artifact.writer import write_catalogue
from recbole_cocorr.base import together
from recbole_cocorr.base.errors import UserError
from recbole_cocorr.device import Session, apply_delta, update_catalogue, verify
from recbole_cocorr.device.artifact import Artifact
from recbole_cocorr.exporter.delta import build_delta
from tests.device import ITEMS, TOKENS, clicks, tokens_of
from tests.device.test_neighbours import COUNT, made_up, with_table

WIDTH = 16


@pytest.fixture(scope="module")
def bases(written, tmp_path_factory):
    """Artifacts as they are exported, with a table and without, to be left as they are."""
    made = {}

    def base(table: str = "fp32", neighbours: bool = True) -> tuple[np.ndarray, Path]:
        if (table, neighbours) not in made:
            recommender, plain = written(table=table)
            folder = tmp_path_factory.mktemp("base") / "artifact"
            shutil.copytree(plain, folder)
            if neighbours:
                with_table(folder, made_up())
            made[table, neighbours] = recommender.model.item_embedding.weight.detach().numpy(), folder
        return made[table, neighbours]

    return base


def files_of(folder: Path) -> dict[str, bytes]:
    return {f.name: f.read_bytes() for f in folder.iterdir()}


def random_table(old: NeighbourTable, new: int, generator: np.random.Generator, share: float) -> NeighbourTable:
    """The table of a larger catalogue, in which a share of the old rows is another one."""
    size = len(old) + new
    kind = neighbour_type(size)
    indptr = np.r_[0, generator.integers(0, LONGEST_ROW * COUNT + 1, size).cumsum()].astype(np.uint32)
    items = generator.integers(0, size, indptr[-1]).astype(kind)
    weights = generator.integers(-127, 128, indptr[-1]).astype(np.int8)
    other = NeighbourTable(indptr, items, weights, generator.random(size, np.float32))
    changed = np.r_[False, generator.random(len(old) - 1) < share, np.ones(new, bool)]
    table = old.followed_by(other).take(np.arange(size) + len(old) * changed)
    table.items = table.items.astype(kind)
    return table


def made_delta(folder: Path, new: int = 3, seed: int = 0, share: float = 0.3, before: Delta | None = None) -> Delta:
    """A delta with everything in it."""
    generator = np.random.default_rng(seed)
    artifact = Artifact(folder)
    old = 0 if before is None else before.new
    tokens = [f"new-{i}" for i in range(old + new)]
    vectors = generator.normal(0, 0.4, (len(tokens), WIDTH)).astype(np.float32)
    table = None if artifact.neighbours is None else random_table(artifact.neighbours, len(tokens), generator, share)
    popular = generator.normal(0, 1, ITEMS + len(tokens)).astype(np.float32)
    popular[generator.random(len(popular)) < 0.5] = 0
    popular[0] = 0
    return build_delta(artifact, tokens, vectors, table, popular, before)


def exported(folder: Path, known: np.ndarray, delta: Delta, vectors: np.ndarray, table, work: Path) -> dict[str, str]:
    """The slow twin: checksums of the arrays that an export of the extended catalogue writes."""
    artifact = Artifact(folder)
    graph = artifact.graph("targets") if "targets" in artifact.manifest.graphs else None
    phi = None if graph is None else lambda part: graph.run(None, {"items": part})[0]
    work.mkdir()
    every = np.concatenate([known, vectors])
    arrays, probes = write_catalogue(work, [*TOKENS, *delta.tokens()], every, artifact.manifest.table, phi)
    if table is not None:
        arrays |= table.write(work)
    return {name: entry.blake2b for name, entry in arrays.items()} | {"probes": probes}


@settings(deadline=None, max_examples=12)
@given(st.data())
def test_applying_it_is_exporting_the_extended_catalogue(bases, tmp_path_factory, data):
    """After any number of deltas of a series, some of which the device missed."""
    precision = data.draw(st.sampled_from(["fp32", "fp16", "int8"]))
    known, base = bases(precision, data.draw(st.booleans()))
    tmp_path = tmp_path_factory.mktemp("twin")
    folder = Path(shutil.copytree(base, tmp_path / "artifact"))
    artifact, before, tokens = Artifact(base), None, []
    for version in range(1, data.draw(st.integers(1, 3)) + 1):
        generator = np.random.default_rng(data.draw(st.integers(0, 999)))
        tokens = [*tokens, *(f"é{version}-{i}" for i in range(data.draw(st.integers(0, 4))))]
        vectors = generator.normal(0, 0.4, (len(tokens), WIDTH)).astype(np.float32)
        table = None
        if artifact.neighbours is not None:
            table = random_table(artifact.neighbours, len(tokens), generator, data.draw(st.sampled_from([0, 0.2, 1])))
        popular = generator.normal(0, 1, ITEMS + len(tokens)).astype(np.float32) * data.draw(st.booleans())
        popular[0] = 0
        before = build_delta(artifact, tokens, vectors, table, popular, before)
        raw = pack_delta(before)
        if data.draw(st.booleans()):
            assert apply_delta(folder, raw) == version
    apply_delta(folder, raw)
    verify(folder)
    manifest = read_manifest(folder)
    expected = exported(base, known, before, vectors, table, tmp_path / "export")
    assert manifest.probes == expected.pop("probes")
    ours = {name: entry.blake2b for name, entry in manifest.arrays.items()}
    for name, digest in expected.items():
        if not name.startswith("target_"):  # phi of all items at once may differ in the last digit
            assert ours[name] == digest, name
    opened, size = Artifact(folder), ITEMS + len(tokens)
    phi = opened.targets.vectors(np.arange(1, size))
    graph = opened.graph("targets") if "targets" in manifest.graphs else None
    exact = np.concatenate([known[1:], vectors])
    exact = exact if graph is None else graph.run(None, {"items": exact})[0]
    tolerance = np.abs(exact).max() * {"fp32": 1e-6, "fp16": 1e-3, "int8": 1 / 120}[precision]
    assert np.abs(phi - exact).max() <= tolerance
    assert np.array_equal(opened.popular.at(range(size)), popular)
    assert len(list(folder.glob("*.bin"))) == len(manifest.arrays)


def test_popularity_is_added_in_every_ranking_and_new_items_are_clicked(bases, tmp_path):
    _, base = bases("int8")
    folder = Path(shutil.copytree(base, tmp_path / "artifact"))
    delta = made_delta(base)
    apply_delta(folder, pack_delta(delta))
    session = Session.open(folder)
    session.history([*tokens_of(clicks(5)), "new-1"])
    assert session.clicks == 6
    popular, session.artifact.popular = session.artifact.popular, None
    without = session.rank_all(ITEMS + 3)
    session.artifact.popular = popular
    row = session.artifact.vocabulary.row
    for ranking in (session.rank_all(ITEMS + 3), session.rank(without.items)):
        assert len(ranking.items) == ITEMS - 1 + 3
        expected = dict(zip(without.items, without.scores, strict=True))
        said = popular.at([row(token) for token in ranking.items])
        assert np.allclose(ranking.scores, [expected[t] + p for t, p in zip(ranking.items, said, strict=True)])


def test_states_go_on_through_the_deltas_of_a_series(bases, tmp_path):
    _, base = bases()
    folder = Path(shutil.copytree(base, tmp_path / "artifact"))
    session = Session.open(folder)
    session.history(tokens_of(clicks(9)))
    session.save(tmp_path / "state")
    user = session.user_vector
    first = made_delta(base)
    apply_delta(folder, pack_delta(first))
    again = Session.open(folder, state=tmp_path / "state")
    assert (again.source, again.clicks) == ("state", 9) and np.array_equal(again.user_vector, user)
    new = Session.open(folder)
    new.history(tokens_of(clicks(9)))
    assert again.rank_all(ITEMS) == new.rank_all(ITEMS), "the scores of its clicks are of the new table"
    again.click("new-2")
    again.save(tmp_path / "later")
    apply_delta(folder, pack_delta(made_delta(base, 2, 7, before=first)))
    for state, count in (("state", 9), ("later", 10)):
        assert Session.open(folder, state=tmp_path / state).clicks == count
    other = Path(shutil.copytree(base, tmp_path / "other"))
    with pytest.raises(UserError, match="is of another artifact"):
        Session.open(other, state=tmp_path / "later")
    apply_delta(other, pack_delta(made_delta(base, 5, 8)))
    with pytest.raises(UserError, match="is of another artifact"):
        Session.open(other, state=tmp_path / "later")
    log = [*tokens_of(clicks(9)), "new-2"]
    made_again = Session.open(other, state=tmp_path / "later", history=log)
    assert (made_again.source, made_again.clicks) == ("history", 10)


def test_a_log_with_an_item_of_a_delta_is_read_anew_though_its_end_is_the_same(bases, tmp_path):
    """A user with one item on repeat: the places shift by the new item, and the last clicks look alike."""
    _, base = bases(neighbours=False)
    folder = Path(shutil.copytree(base, tmp_path / "artifact"))
    log = ["new-0", *["item-5"] * 30]
    session = Session.open(folder, policy="carry")
    session.history(log)
    session.save(tmp_path / "state")
    apply_delta(folder, pack_delta(made_delta(base)))
    again = Session.open(folder, state=tmp_path / "state", history=log, policy="carry")
    fresh = Session.open(folder, policy="carry")
    fresh.history(log)
    assert (again.source, again.clicks) == ("history", 31)
    assert np.array_equal(again.user_vector, fresh.user_vector)


def test_a_row_that_changed_once_stands_in_every_later_delta(bases):
    _, base = bases()
    first = made_delta(base, share=0.5)
    artifact = Artifact(base)
    second = build_delta(
        artifact,
        first.tokens(),
        np.zeros((3, WIDTH), np.float32),
        random_table(artifact.neighbours, 3, np.random.default_rng(0), 0),
        None,
        first,
    )
    assert set(first.arrays["neighbour_rows"]) and set(first.arrays["neighbour_rows"]) <= set(
        second.arrays["neighbour_rows"]
    )
    assert (second.series, second.version) == (first.series, 2)


def test_what_does_not_fit_changes_nothing(bases, tmp_path):
    _, base = bases()
    folder = Path(shutil.copytree(base, tmp_path / "artifact"))
    first = made_delta(base)
    second = made_delta(base, 1, 3, before=first)
    apply_delta(folder, pack_delta(second))
    before = files_of(folder)
    assert apply_delta(folder, pack_delta(second)) == 2, "the same once more"
    cases = [
        (pack_delta(first), "is version 1; .* has version 2"),
        (pack_delta(made_delta(base, 5, 8)), "is of another series"),
        (pack_delta(made_delta(bases("int8")[1])), "is a delta of another artifact"),
        (b"", "is no delta"),
        (pack_delta(second)[:-1], "is damaged"),
        (tmp_path / "none", "there is no delta"),
        (folder, "is a folder"),
    ]
    for delta, message in cases:
        with pytest.raises(UserError, match=message):
            apply_delta(folder, delta)
        assert files_of(folder) == before
    update_catalogue(folder, TOKENS[1:], np.zeros((ITEMS - 1, WIDTH), np.float32))
    assert read_manifest(folder).delta is None and Session.open(folder).artifact.popular is None
    with pytest.raises(UserError, match="is a delta of another artifact"):
        apply_delta(folder, pack_delta(second))


def test_a_damaged_artifact_is_not_extended(bases, tmp_path):
    _, base = bases()
    folder = Path(shutil.copytree(base, tmp_path / "artifact"))
    file = folder / read_manifest(folder).arrays["item_vectors"].file
    file.write_bytes(bytes(file.stat().st_size))
    before = files_of(folder)
    with pytest.raises(UserError, match="is damaged: it does not match its checksum"):
        apply_delta(folder, pack_delta(made_delta(base)))
    assert files_of(folder) == before


# -- deltas that are made up -----------------------------------------------------------------------------


def changed(delta: Delta, **arrays) -> Delta:
    return replace(delta, arrays={n: a for n, a in {**delta.arrays, **arrays}.items() if a is not None})


def text(*tokens: str) -> dict[str, np.ndarray]:
    from recbole_cocorr.artifact.vocabulary import encode_tokens

    return dict(zip(("token_bytes", "token_offsets"), encode_tokens(["", *tokens]), strict=True))


def put(array: np.ndarray, place, value) -> np.ndarray:
    array = array.copy()
    array[place] = value
    return array


HOSTILE = [
    (lambda a: text("new-0", "new-1", "item-5"), "brings an item that is there already"),
    (lambda a: text("new-0", "new-1", "new-1"), "brings one twice"),
    (lambda a: text("new-0", "new-1", "others"), "does not lead to the catalogue"),
    (lambda a: text("new-0", "new-1"), "does not fit the others"),
    (lambda a: {"token_bytes": put(a["token_bytes"], 0, 255)}, "no UTF-8"),
    (lambda a: {"token_offsets": put(a["token_offsets"], 3, 2**32 - 1)}, "do not fit together"),
    (lambda a: {"token_offsets": np.zeros(1, np.uint32)}, "do not fit"),
    (lambda a: {"item_vectors": put(a["item_vectors"], (1, 2), np.nan)}, "holds NaN or infinity"),
    (lambda a: {"item_vectors": a["item_vectors"][:, :9], "target_vectors": None}, "does not fit"),
    (lambda a: {"item_vectors": a["item_vectors"].astype(np.float16)}, "does not fit"),
    (lambda a: {"item_vectors": None}, "lacks the array 'item_vectors'"),
    (lambda a: {"weights": np.zeros(3, np.uint8)}, "holds the array 'weights'"),
    (lambda a: {"neighbour_items": put(a["neighbour_items"], 0, ITEMS + 3)}, "an item that the catalogue lacks"),
    (lambda a: {"neighbour_rows": a["neighbour_rows"][::-1]}, "no ascending rows"),
    (lambda a: {"neighbour_rows": put(a["neighbour_rows"], -1, ITEMS)}, "no ascending rows"),
    (lambda a: {"neighbour_rows": put(a["neighbour_rows"], 0, 0)}, "no ascending rows"),
    (lambda a: {"neighbour_scales": put(a["neighbour_scales"], 0, np.inf)}, "holds NaN or infinity"),
    (lambda a: {n: None for n in a if n.startswith("neighbour_")}, "has a neighbour table, the other has none"),
    (lambda a: {"neighbour_items": a["neighbour_items"][:-1]}, "does not fit the others"),
    (lambda a: {"neighbour_indptr": a["neighbour_indptr"][:-1]}, "does not fit the others"),
    (lambda a: {"neighbour_indptr": put(a["neighbour_indptr"], -1, 1 << 31)}, "does not say where the rows"),
    (lambda a: {"neighbour_indptr": put(a["neighbour_indptr"], 0, 1)}, "does not say where the rows"),
    (lambda a: {"neighbour_indptr": put(a["neighbour_indptr"], 2, a["neighbour_indptr"][3] + 1)}, "does not say where"),
    (
        lambda a: {"neighbour_indptr": put(a["neighbour_indptr"], slice(1, -1), a["neighbour_indptr"][-1])},
        rf"has a row of \d+ entries; the longest may have {LONGEST_ROW * COUNT}",
    ),
    (lambda a: {"popular_weights": put(a["popular_weights"], 0, 1e30)}, "not finite, or too large"),
    (lambda a: {"popular_items": put(a["popular_items"], -1, ITEMS + 3)}, "no ascending rows"),
    (lambda a: {"popular_items": a["popular_items"][:2]}, "does not fit the others"),
]


@pytest.mark.parametrize("change, message", HOSTILE)
def test_a_delta_that_holds_what_cannot_be(bases, tmp_path, change, message):
    _, base = bases()
    folder = Path(shutil.copytree(base, tmp_path / "artifact"))
    before, delta = files_of(folder), made_delta(base)
    with pytest.raises(UserError, match=message):
        apply_delta(folder, pack_delta(changed(delta, **change(delta.arrays))))
    assert files_of(folder) == before


def sealed(body: bytes) -> bytes:
    return body + hashlib.blake2b(body, digest_size=16).digest()


def with_head(raw: bytes, change) -> bytes:
    length = int.from_bytes(raw[8:16], "little")
    head = json.loads(raw[16 : 16 + length])
    change(head)
    text = json.dumps(head).encode()
    return sealed(raw[:8] + len(text).to_bytes(8, "little") + text + raw[16 + length : -16])


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda h: h.update(format="other"), "is no delta"),
        (lambda h: h.update(format_version=1), "this version reads format 2"),
        (lambda h: h.update(version=0), "version is 0"),
        (lambda h: h.update(series="x"), "series is 'x'"),
        (lambda h: h.update(items=1 << 40), "items is"),
        (lambda h: h.update(table="fp8"), "table is 'fp8'"),
        (lambda h: h.pop("base"), "base is missing"),
        (lambda h: h["arrays"]["item_vectors"].update(shape=[1 << 20, 16]), "does not hold the whole array"),
        (lambda h: h["arrays"]["item_vectors"].update(shape=[1, 16]), "does not speak of"),
        (lambda h: h["arrays"]["item_vectors"].update(shape=[]), "one number or two"),
        (lambda h: h["arrays"]["item_vectors"].update(dtype="object"), "dtype is 'object'"),
        (lambda h: h["arrays"].popitem(), "does not speak of"),
    ],
)
def test_a_head_that_is_made_up(bases, change, message):
    with pytest.raises(UserError, match=message):
        parse_delta(with_head(pack_delta(made_delta(bases()[1])), change), "file")


@settings(deadline=None, max_examples=60)
@given(st.data())
def test_any_bytes_are_refused_with_a_sentence_or_read(bases, data):
    raw = pack_delta(made_delta(bases()[1]))
    body = bytearray(raw[:-16])
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(body) - 1) | st.integers(0, 1200))
        body[place] = data.draw(st.integers(0, 255) | st.sampled_from(b'0129"{}[],:-.e'))
    if data.draw(st.booleans()):
        del body[data.draw(st.integers(0, len(body))) :]
    try:
        parse_delta(sealed(bytes(body)), "file")
    except UserError:
        return


@pytest.mark.parametrize("call", range(0, 36, 3))
def test_a_device_that_dies_has_the_old_version_or_the_new_one(bases, tmp_path, monkeypatch, call):
    """It dies at the n-th file that is moved, removed or synchronised; the next try goes through."""
    _, base = bases()
    folder, raw = Path(shutil.copytree(base, tmp_path / "artifact")), pack_delta(made_delta(base))
    left = [call]

    class Died(BaseException):
        pass

    def dying(function):
        def then(*arguments, **named):
            left[0] -= 1
            if left[0] < 0:
                raise Died
            return function(*arguments, **named)

        return then

    with monkeypatch.context() as patch:
        for name in ("replace", "unlink", "fsync", "rename"):
            patch.setattr(os, name, dying(getattr(os, name)))
        patch.setattr(Path, "unlink", dying(Path.unlink))
        patch.setattr(together.shutil, "rmtree", dying(shutil.rmtree))
        died = True
        try:
            apply_delta(folder, raw)
            died = False
        except Died:
            pass
    verify(folder)
    version = read_manifest(folder).delta
    assert version is None or version["version"] == 1
    assert died or version is not None
    Session.open(folder).history(tokens_of(clicks(5)))
    assert apply_delta(folder, raw) == 1
    verify(folder)


def test_rows_that_change(bases):
    old = Artifact(bases()[1]).neighbours
    new = NeighbourTable(old.indptr, old.items.copy(), old.weights.copy(), old.scales.copy())
    assert old.differs(new).tolist() == []
    new.weights[old.indptr[4]] += 1
    new.scales[9] += 1
    rows = np.arange(len(old))
    rows[[11, 12]] = 1, 2
    assert old.differs(new.take(rows)).tolist() == [4, 9, 11, 12]
