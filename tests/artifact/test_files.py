"""Manifests, tables, vocabularies and graphs that are damaged, foreign or made up."""

import json
import os
import random
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recbole_cocorr.artifact.arrays import digest_of
from recbole_cocorr.artifact.manifest import _checksum, parse_manifest, read_manifest
from recbole_cocorr.artifact.table import ItemTable, quantise
from recbole_cocorr.artifact.vocabulary import Vocabulary, build_vocabulary
from recbole_cocorr.base.errors import UserError
from recbole_cocorr.device import Session, update_catalogue, verify
from recbole_cocorr.device.artifact import Artifact
from recbole_cocorr.device.external_data import external_files
from tests.device import ITEMS, TOKENS, clicks, tokens_of


def content_of(folder: Path) -> dict:
    return json.loads((folder / "manifest.json").read_text())


def signed(content: dict) -> bytes:
    """A manifest with a checksum that is right."""
    content = {k: v for k, v in content.items() if k != "checksum"}
    return json.dumps({**content, "checksum": _checksum(content)}).encode()


# -- manifests --------------------------------------------------------------------------------------------


def test_a_manifest_comes_back(written):
    _, folder = written()
    manifest = read_manifest(folder)
    assert parse_manifest(manifest.to_json().encode(), "text") == manifest
    assert manifest.items == ITEMS
    assert manifest.metrics == {"ndcg@10": 0.25}
    assert manifest.model["name"] == "CoCorrRec"


@given(data=st.data())
@settings(max_examples=150, deadline=None)
def test_damaged_manifests_are_refused(written, data):
    raw = (written()[1] / "manifest.json").read_bytes()
    place = data.draw(st.integers(0, len(raw) - 1))
    if data.draw(st.booleans()):
        changed = raw[:place]
    else:
        changed = raw[:place] + bytes([raw[place] ^ data.draw(st.integers(1, 255))]) + raw[place + 1 :]
    try:
        manifest = parse_manifest(changed, "file")
    except UserError as error:
        assert len(str(error)) < 400
    else:  # white space, or the same text written otherwise
        assert manifest == parse_manifest(raw, "file")


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(max_size=8)
    | st.sampled_from([0, -1, 1, 2**31, 2**63, 10**30, "int8", "../x", "/etc/passwd", "manifest.json", "window"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)


@given(data=st.data())
@settings(max_examples=250, deadline=None)
def test_made_up_manifests_are_refused_or_fit(written, tmp_path_factory, data):
    """Any value of any part replaced, the checksum made right: a clear error, or an artifact that opens and runs."""
    _, folder = written()
    content = content_of(folder)
    path, part = [], content
    while isinstance(part, (dict, list)) and part and (not path or data.draw(st.integers(0, 3))):
        key = data.draw(st.sampled_from(sorted(part) if isinstance(part, dict) else range(len(part))))
        path.append((part, key))
        part = part[key]
    holder, key = path[-1]
    if isinstance(holder, dict) and data.draw(st.integers(0, 3)) == 0:
        del holder[key]
    else:
        holder[key] = data.draw(JSON)
    target = tmp_path_factory.mktemp("made-up")
    for file in folder.iterdir():
        os.symlink(file, target / file.name)
    (target / "manifest.json").unlink()
    (target / "manifest.json").write_bytes(signed(content))
    try:
        session = Session.open(target)
        session.history(tokens_of(clicks(9)))
        session.click("item-1")
        session.rank_all(3)
        session.rank(["item-3"])
        session.save(target / "state")
    except UserError as error:
        assert len(str(error)) < 400


@given(st.binary(max_size=100) | st.text(max_size=100).map(str.encode) | JSON.map(lambda v: json.dumps(v).encode()))
@settings(max_examples=100, deadline=None)
def test_other_files_are_no_manifests(raw):
    with pytest.raises(UserError):
        parse_manifest(raw, "file")


@pytest.mark.parametrize(
    "raw, message",
    [
        (b"[" * 100_000, "is nested too deeply"),
        (b'{"format": NaN}', "is not valid JSON: NaN is no number of JSON"),
        (b"\xff\xfe", "line 1 is not UTF-8 text"),
        (b"[]", "is no manifest of a device artifact"),
        (b'{"format": "safetensors"}', "is no manifest of a device artifact"),
        (
            b'{"format": "recbole_cocorr.device", "format_version": 5, "package_version": "9.1"}',
            "has manifest of a device artifact format 5, written by recbole_cocorr 9.1; this version reads format 1",
        ),
        (b'{"format": "recbole_cocorr.device", "format_version": 1}', "is damaged"),
        (
            b'{"format": "recbole_cocorr.device", "format_version": 1, "a":' + b"[" * 900 + b"]" * 900 + b"}",
            "is nested too deeply",
        ),
    ],
)
def test_why_a_manifest_is_refused(raw, message):
    with pytest.raises(UserError, match=message):
        parse_manifest(raw, "file")


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda c: c.update(items=10**12), "items is 1000000000000; it must be a whole number"),
        (lambda c: c.update(items=ITEMS + 1), "'item_vectors' is float32 .* which does not fit"),
        (lambda c: c.update(width=True), "width is True; it must be a whole number"),
        (lambda c: c.update(window=10**9), "window is 1000000000; it must be a whole number from 1 to 65536"),
        (lambda c: c.update(table="int4"), "table is 'int4'; it must be one of fp32, fp16, int8"),
        (lambda c: c.update(table="fp16"), "'item_vectors' is float32"),
        (lambda c: c.update(policy="both"), "policy is 'both'"),
        (lambda c: c["arrays"].pop("token_index"), "the array 'token_index' is missing"),
        (lambda c: c["graphs"].pop("fold"), "the graph 'fold' is missing"),
        (lambda c: c["graphs"].pop("prefill"), "the graph 'prefill' is missing"),
        (lambda c: c["graphs"]["step"].update(file="../step.onnx"), "it must be a plain file name"),
        (lambda c: c["graphs"]["step"].update(file="manifest.json"), "two parts have one file"),
        (lambda c: c["graphs"]["step"].update(file="fold.onnx"), "two parts have one file"),
        (lambda c: c["arrays"]["state"].update(shape=[1]), "arrays.state.bytes is .*; it must be 4, as its shape"),
        (lambda c: c["arrays"]["state"].update(dtype="object"), "arrays.state.dtype is 'object'; it must be"),
        (lambda c: c["correction"].update(bias=[2, 3, 10**9]), "correction.bias holds 1000000000; it must"),
        (lambda c: c.update(correction={}), "correction is"),
        (lambda c: c.update(fingerprint="x"), "fingerprint is 'x'; it must be 32 digits"),
        (lambda c: c.update(norm_eps=None), "norm_eps is missing"),
        (lambda c: c.update(mini_batch=None), "mini_batch is missing"),
        (lambda c: c.update(probes=0), "probes is 0"),
    ],
)
def test_what_a_manifest_must_hold(written, change, message):
    content = content_of(written()[1])
    change(content)
    with pytest.raises(UserError, match=rf"^file: .*{message}"):
        parse_manifest(signed(content), "file")


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda c: c.update(mini_batch=4), "the array 'state' .* does not fit"),
        (lambda c: c.update(correction={"attention": [2, 4, 4], "bias": [2, 4, 8]}), "reads attention .*, not"),
    ],
)
def test_a_manifest_must_fit_its_graphs(own_copy, change, message):
    _, folder = own_copy()
    content = content_of(folder)
    change(content)
    (folder / "manifest.json").write_bytes(signed(content))
    with pytest.raises(UserError, match=message):
        session = Session.open(folder)
        session.history(["item-1"])
        session.apply((np.zeros((2, 4, 4)), np.zeros((2, 4, 8))), clicks=1)


# -- files -----------------------------------------------------------------------------------------------


def test_a_folder_that_is_no_artifact(tmp_path):
    for path in (tmp_path, tmp_path / "none"):
        with pytest.raises(UserError, match=r"is no device artifact: it holds no manifest\.json"):
            Session.open(path)
    (tmp_path / "manifest.json").write_bytes(b" " * (1 << 21))
    with pytest.raises(UserError, match="has more than 1048576 bytes"):
        Session.open(tmp_path)


def test_every_file_is_missed_and_every_damage_found(own_copy):
    _, folder = own_copy()
    verify(folder)
    for file in sorted(folder.glob("*.*")):
        if file.name == "manifest.json":
            continue
        raw = file.read_bytes()
        file.write_bytes(raw[:-1])
        with pytest.raises(UserError, match="bytes; its manifest says"):
            Session.open(folder).apply(None, 0)
        with pytest.raises(UserError, match="bytes; its manifest says"):
            verify(folder)
        file.unlink()
        with pytest.raises(UserError, match=f"lacks the file {file.name}"):
            Session.open(folder)
        damaged = bytearray(raw)
        damaged[len(raw) // 2] ^= 1
        file.write_bytes(damaged)
        with pytest.raises(UserError, match="is damaged: it does not match its checksum"):
            verify(folder)
        if file.suffix == ".onnx" or file.name.startswith(("state", "upload", "weights")):
            with pytest.raises(UserError, match="is damaged: it does not match its checksum"):
                artifact = Artifact(folder)
                for name in artifact.manifest.graphs:
                    artifact.graph(name)
        file.write_bytes(raw)
    verify(folder)


@pytest.mark.parametrize("table, name", [("fp32", "state"), ("fp32", "upload_norm"), ("int8", "item_scales")])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_arrays_that_are_not_finite(own_copy, table, name, value):
    """The checksums are right: somebody made it."""
    _, folder = own_copy(table=table)
    replace_array(folder, name, value)
    for call in (Session.open, verify):
        with pytest.raises(UserError, match=rf"{name}-.*\.bin holds NaN or infinity"):
            call(folder)


def replace_array(folder: Path, name: str, value: float) -> None:
    content = content_of(folder)
    entry = content["arrays"][name]
    path = folder / entry["file"]
    raw = np.frombuffer(path.read_bytes(), entry["dtype"]).copy()
    raw[len(raw) // 2] = value
    path.write_bytes(raw.tobytes())
    entry["blake2b"] = digest_of(raw.tobytes())
    (folder / "manifest.json").write_bytes(signed(content))


@pytest.mark.parametrize("table", ["fp32", "fp16"])
def test_a_table_that_is_not_finite(own_copy, table):
    """Too large to be read when a session opens; ``verify`` reads it."""
    _, folder = own_copy(table=table)
    replace_array(folder, "target_vectors", np.nan)
    with pytest.raises(UserError, match=r"target_vectors-.* holds NaN or infinity"):
        verify(folder)
    session = Session.open(folder)
    session.history(TOKENS[1:4])
    with pytest.raises(UserError, match="a score is not finite"):
        session.rank_all(3)
    with pytest.raises(UserError, match="a score is not finite"):
        session.rank(TOKENS[1:])


@pytest.mark.parametrize("seed", range(60))
def test_damaged_artifacts_are_refused_or_ranked_with_numbers(written, tmp_path, seed):
    """A file of the artifact with bytes flipped, cut off, or replaced by another file or a stretch of it."""
    chance = random.Random(seed)
    _, folder = written(table=chance.choice(["fp32", "int8"]))
    for file in folder.iterdir():
        os.symlink(file, tmp_path / file.name)
    files = sorted(folder.iterdir())
    file, other = chance.choice(files), chance.choice(files)
    raw, foreign = bytearray(file.read_bytes()), other.read_bytes()
    low = chance.randrange(len(raw))
    if seed % 4 == 0:
        for _ in range(chance.randint(1, 8)):
            raw[chance.randrange(len(raw))] ^= chance.randint(1, 255)
    elif seed % 4 == 1:
        del raw[low:]
    elif seed % 4 == 2:
        raw[low : low + 64] = foreign[:64][: len(raw) - low]
    else:
        raw = bytearray(foreign)
    (tmp_path / file.name).unlink()
    (tmp_path / file.name).write_bytes(raw)
    try:
        session = Session.open(tmp_path, policy="window")
        session.history(TOKENS[1:6])
        session.click("item-2")
        assert np.isfinite(session.rank_all(5).scores).all()
        session.save(tmp_path / "kept")
        Session.open(tmp_path, state=tmp_path / "kept")
    except UserError as error:
        assert len(str(error)) < 400 and "\n" not in str(error)


def test_a_graph_that_is_none(own_copy):
    _, folder = own_copy()
    content = content_of(folder)
    raw = b"no graph"
    (folder / "click.onnx").write_bytes(raw)
    content["graphs"]["click"].update(bytes=len(raw), blake2b=digest_of(raw))
    (folder / "manifest.json").write_bytes(signed(content))
    with pytest.raises(UserError, match=r"click\.onnx is no graph that ONNX Runtime reads"):
        Session.open(folder)
    raw = (folder / "fold.onnx").read_bytes()
    (folder / "click.onnx").write_bytes(raw)
    content["graphs"]["click"].update(bytes=len(raw), blake2b=digest_of(raw))
    (folder / "manifest.json").write_bytes(signed(content))
    with pytest.raises(UserError, match=r"the graph 'click' of .* reads \['state'\], not \['item', 'inner'"):
        Session.open(folder)


@pytest.mark.parametrize(
    "place", ["../secret", "sub/../../secret", "secret", "/etc/hostname", "weights.bin/../../secret"]
)
def test_a_graph_that_reads_another_file(own_copy, place):
    """Its checksums are right, so it is made to do harm, and ONNX Runtime before 1.24 would read the file."""
    onnx = pytest.importorskip("onnx")
    _, folder = own_copy()
    content = content_of(folder)
    (folder.parent / "secret").write_bytes(bytes(1 << 16))
    model = onnx.load(folder / "click.onnx", load_external_data=False)
    tensor = next(t for t in model.graph.initializer if t.external_data)
    next(e for e in tensor.external_data if e.key == "location").value = place
    raw = model.SerializeToString()
    (folder / "click.onnx").write_bytes(raw)
    content["graphs"]["click"].update(bytes=len(raw), blake2b=digest_of(raw))
    (folder / "manifest.json").write_bytes(signed(content))
    with pytest.raises(UserError, match=r"click\.onnx reads the file .*; a graph reads nothing but "):
        Session.open(folder)


def test_files_are_found_wherever_a_tensor_may_lie():
    onnx = pytest.importorskip("onnx")

    def tensor(place: str, swapped: bool = False):
        result = onnx.TensorProto(name=place, data_type=1, dims=[1], data_location=1)
        if swapped:  # the value before its key, as no writer does and every reader takes
            inside = bytes([0x12, len(place)]) + place.encode() + b"\x0a\x08location"
            result.MergeFromString(bytes([13 << 3 | 2, len(inside)]) + inside)
            return result
        result.external_data.add(key="location", value=place)
        result.external_data.add(key="offset", value="0")
        return result

    inner = onnx.GraphProto(initializer=[tensor("inner")])
    node = onnx.NodeProto(op_type="If")
    node.attribute.add(name="a", type=5, g=inner)
    node.attribute.add(name="b", type=10).graphs.append(onnx.GraphProto(initializer=[tensor("listed")]))
    node.attribute.add(name="c", type=4, t=tensor("attribute"))
    node.attribute.add(name="d", type=9).tensors.append(tensor("attributes"))
    sparse = onnx.SparseTensorProto(values=tensor("values"), indices=tensor("indices"))
    model = onnx.ModelProto(ir_version=9)
    model.graph.CopyFrom(onnx.GraphProto(initializer=[tensor("plain"), tensor("swapped", True)], node=[node]))
    model.graph.sparse_initializer.append(sparse)
    function = model.functions.add(name="f")
    function.node.add(op_type="Constant").attribute.add(name="e", type=4, t=tensor("function"))
    model.training_info.add().algorithm.initializer.append(tensor("training"))
    names = "inner listed attribute attributes values indices plain swapped function training"
    assert external_files(model.SerializeToString()) == set(names.split())


@given(st.binary(max_size=60))
def test_bytes_that_are_no_graph(raw):
    try:
        external_files(b"\x3a" + raw)
    except UserError as error:
        assert "\n" not in str(error)


@pytest.mark.filterwarnings("ignore:(overflow|invalid value) encountered:RuntimeWarning")
@pytest.mark.parametrize("table", ["fp32", "fp16", "int8"])
@given(data=st.data())
@settings(max_examples=25, deadline=None)
def test_damaged_tables_never_crash(written, tmp_path_factory, table, data):
    """Damage that only ``verify`` can see gives other numbers, or a clear error where they are none."""
    _, folder = written(table=table)
    target = tmp_path_factory.mktemp("damaged")
    for file in folder.iterdir():
        os.symlink(file, target / file.name)
    names = [f.name for f in folder.iterdir() if f.name.split("_")[0] in ("item", "target", "token")]
    name = data.draw(st.sampled_from(sorted(names)))
    raw = bytearray((folder / name).read_bytes())
    noise = data.draw(st.binary(min_size=1, max_size=64))
    for _ in range(data.draw(st.integers(1, 40))):
        place = data.draw(st.integers(0, len(raw) - 1))
        raw[place : place + len(noise)] = noise[: len(raw) - place]
    (target / name).unlink()
    (target / name).write_bytes(raw)
    try:
        session = Session.open(target, policy="carry")
    except UserError as error:  # the scales, which are read at once
        assert name.startswith("item_scales") and len(str(error)) < 400
        return
    for call in (
        lambda: session.history(TOKENS[1:]),
        lambda: session.click("item-2"),
        lambda: session.rank(TOKENS[1:]),
        lambda: session.rank_all(ITEMS),
        lambda: session.hidden_states(),
    ):
        try:
            call()
        except UserError as error:
            assert len(str(error)) < 400


def test_a_failed_click_leaves_the_session_as_it_was(own_copy):
    _, folder = own_copy()
    manifest = read_manifest(folder)
    file = folder / manifest.arrays["item_vectors"].file
    table = np.frombuffer(file.read_bytes(), np.float32).reshape(ITEMS, 16).copy()
    table[5] = np.nan
    file.write_bytes(table.tobytes())
    for policy in ("carry", "window"):
        session, twin = Session.open(folder, policy=policy), Session.open(folder, policy=policy)
        for count, row in enumerate([1, 2, 3, 4, 6, 7, 8, 9, 10, 11]):
            session.click(TOKENS[row])
            twin.click(TOKENS[row])
            with pytest.raises(UserError, match="is damaged: a user vector is not finite"):
                session.click("item-5")
            with pytest.raises(UserError, match="is damaged: a user vector is not finite"):
                session.history(["item-2", "item-5"])
            assert session.clicks == count + 1
            assert np.array_equal(session.user_vector, twin.user_vector)
            assert np.array_equal(session._engine.reader.state(), twin._engine.reader.state())
        assert session._engine._recent == twin._engine._recent


# -- tables ----------------------------------------------------------------------------------------------


@given(st.integers(1, 20), st.integers(1, 9), st.integers(0, 2**32 - 1), st.floats(1e-6, 1e4))
@settings(max_examples=50, deadline=None)
def test_rows_come_back_within_their_precision(rows, width, seed, spread):
    vectors = (np.random.default_rng(seed).standard_normal((rows, width)) * spread).astype(np.float32)
    vectors[0] = 0
    numbers = np.arange(rows)
    largest = np.abs(vectors).max(axis=1, keepdims=True)
    for precision, share in (("fp32", 0), ("fp16", 2**-10), ("int8", 0.5001 / 127)):
        table = ItemTable(*quantise(vectors, precision))
        assert (np.abs(table.vectors(numbers) - vectors) <= share * largest + 1e-7).all()
        assert not table.vectors(numbers)[0].any()
        user = vectors[-1] / max(1e-9, np.abs(vectors[-1]).max())
        expected = table.vectors(numbers) @ user
        scale = max(1.0, np.abs(expected).max())
        assert np.abs(table.scores(user, numbers) - expected).max() <= 1e-5 * scale
        assert np.abs(table.all_scores(user) - expected).max() <= 1e-5 * scale


def test_all_scores_in_blocks_are_those_at_once(monkeypatch):
    from recbole_cocorr.artifact import table as module

    vectors = np.random.default_rng(0).standard_normal((50, 4)).astype(np.float32)
    monkeypatch.setattr(module, "_AT_ONCE", 28)
    for precision in ("fp16", "int8"):
        table = ItemTable(*quantise(vectors, precision))
        assert np.allclose(table.all_scores(vectors[0]), table.vectors(np.arange(50)) @ vectors[0], atol=1e-5)


def test_an_int8_table_is_a_quarter_of_an_fp32_one(written):
    sizes = {}
    for table in ("fp32", "int8"):
        manifest = read_manifest(written(table=table)[1])
        sizes[table] = manifest.arrays["item_vectors"].bytes
        assert set(manifest.arrays) >= {"item_vectors", "target_vectors"}
    assert sizes["int8"] * 4 == sizes["fp32"]


# -- vocabularies ---------------------------------------------------------------------------------------


@given(st.lists(st.text(max_size=12), unique=True, max_size=60), st.lists(st.text(max_size=12), max_size=10))
@settings(max_examples=80, deadline=None)
def test_tokens_and_rows(tokens, others):
    arrays, probes = build_vocabulary(["[PAD]", *tokens])
    vocabulary = Vocabulary(**arrays, probes=probes)
    assert len(vocabulary) == 1 + len(tokens)
    for _ in range(2):  # looked up, and remembered
        assert [vocabulary.row(t) for t in tokens] == list(range(1, 1 + len(tokens)))
        assert [vocabulary.row(t) for t in others] == [tokens.index(t) + 1 if t in tokens else 0 for t in others]
    assert [vocabulary.token(row) for row in range(1, 1 + len(tokens))] == tokens


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_a_damaged_vocabulary_never_crashes_or_hangs(data):
    arrays, probes = build_vocabulary(["[PAD]", *(f"t{i}" for i in range(20))])
    arrays = {n: a.copy() for n, a in arrays.items()}
    array = arrays[data.draw(st.sampled_from(sorted(arrays)))]
    for _ in range(data.draw(st.integers(1, 30))):
        most = np.iinfo(array.dtype).max
        array[data.draw(st.integers(0, len(array) - 1))] = data.draw(st.integers(0, most))
    vocabulary = Vocabulary(**arrays, probes=probes)
    for token in ("t3", "t19", "nobody"):
        assert 0 <= vocabulary.row(token) < 21
    for row in range(1, 21):
        try:
            assert len(vocabulary.token(row)) <= len(arrays["token_bytes"])
        except UserError as error:
            assert "the item vocabulary is damaged" in str(error)


def test_a_look_up_ends_where_no_slot_is_empty():
    arrays, probes = build_vocabulary(["[PAD]", *(f"t{i}" for i in range(20))])
    vocabulary = Vocabulary(**arrays, probes=probes)

    class Full:
        read = 0

        def __getitem__(self, slot):
            self.read += 1
            assert self.read <= probes, "a look-up reads no more slots than the manifest says"
            return 1 + slot % 20

    vocabulary._index = Full()
    assert vocabulary.row("nobody") == 0
    assert vocabulary._index.read == probes


def test_a_token_that_stands_twice():
    with pytest.raises(UserError, match="the item token 'b' stands more than once"):
        build_vocabulary(["[PAD]", "a", "b", "c", "b"])


def test_what_is_remembered_is_bounded(monkeypatch):
    from recbole_cocorr.artifact import vocabulary as module

    monkeypatch.setattr(module, "_REMEMBERED", 10)
    arrays, probes = build_vocabulary(["[PAD]", "a"])
    vocabulary = Vocabulary(**arrays, probes=probes)
    for i in range(100):
        assert vocabulary.row(f"x{i}") == 0
        assert vocabulary.row("a") == 1
    assert len(vocabulary._known) <= 10


# -- another catalogue -----------------------------------------------------------------------------------


@pytest.mark.parametrize("table", ["fp32", "int8"])
def test_a_catalogue_is_replaced_without_the_graphs(own_copy, tmp_path, table):
    recommender, folder = own_copy(table=table)
    before = {f.name for f in folder.glob("*.onnx")}
    session = Session.open(folder)
    session.history(tokens_of(clicks(5)))
    session.save(tmp_path / "state")
    old = session.rank_all(ITEMS)
    weight = recommender.model.item_embedding.weight.detach().numpy()
    order = np.random.default_rng(0).permutation(np.arange(1, ITEMS))
    extra = np.full((1, 16), 0.3, np.float32)
    update_catalogue(folder, [*(TOKENS[i] for i in order), "new"], np.concatenate([weight[order], extra]))
    verify(folder)
    assert {f.name for f in folder.glob("*.onnx")} == before
    assert len(list(folder.glob("*.bin"))) == len(read_manifest(folder).arrays)
    assert session.rank_all(ITEMS) == old, "a session that is open keeps its catalogue"
    again = Session.open(folder)
    assert again.fingerprint == session.fingerprint
    again.history(tokens_of(clicks(5)))
    new = again.rank_all(ITEMS, exclude=["new"])
    assert new.items == old.items
    assert np.allclose(new.scores, old.scores, atol=1e-5)
    assert again.click("new")
    with pytest.raises(UserError, match="is of another artifact"):
        Session.open(folder, state=tmp_path / "state")


@pytest.mark.parametrize(
    "tokens, vectors, message",
    [
        (["a", "b"], np.zeros((2, 15), np.float32), r"vectors has shape \(2, 15\)"),
        (["a"], np.zeros((2, 16), np.float32), r"1 items of this model take floats of shape \(1, 16\)"),
        (["a"], np.zeros((1, 16), int), "type int64"),
        (["a"], np.full((1, 16), np.nan), "hold numbers that are not finite"),
        (["a", "a"], np.zeros((2, 16)), "the item token 'a' stands more than once"),
    ],
)
def test_a_catalogue_that_is_none_leaves_the_artifact(own_copy, tokens, vectors, message):
    _, folder = own_copy()
    before = {f.name: f.read_bytes() for f in folder.iterdir()}
    with pytest.raises(UserError, match=message):
        update_catalogue(folder, tokens, vectors)
    assert {f.name: f.read_bytes() for f in folder.iterdir()} == before
