"""The native runtime, held to ONNX Runtime and to PyTorch; its C code, run on damaged artifacts under sanitizers."""

import copy
import os
import random
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from recbole_cocorr.artifact.arrays import digest_of, write_array
from recbole_cocorr.artifact.manifest import FileEntry, Manifest
from recbole_cocorr.artifact.writer import write_catalogue
from recbole_cocorr.base.errors import UserError
from recbole_cocorr.device import Session, update_catalogue
from recbole_cocorr.device.artifact import Artifact
from recbole_cocorr.device.native_library import LIBRARY
from recbole_cocorr.exporter.check import check_graphs, reference
from recbole_cocorr.models.cocorrrec.graphs import initial_state
from recbole_cocorr.models.cocorrrec.native_weights import native_weights
from recbole_cocorr.models.cocorrrec.network import RMS_EPS
from tests.conftest import CHECKOUT
from tests.device import ITEMS, TOKENS, assert_close, clicks, make, sent_to, tokens_of
from tests.device.fixtures import FINGERPRINT
from tests.device.test_neighbours import made_up, with_table

SOURCES = CHECKOUT / "recbole_cocorr" / "device" / "native"
C_FILES = [str(SOURCES / name) for name in ("cocorr.c", "cocorr_files.c")]
FLAGS = ["-std=gnu99", "-O3", "-fno-math-errno", "-fno-trapping-math", "-fno-signed-zeros", "-fassociative-math"]
SANITIZERS = ["-g", "-O1", "-fsanitize=address,undefined,float-cast-overflow", "-fno-sanitize-recover=all"]
COMPILER = shutil.which("cc")
TOLERANCE = 1e-5

pytestmark = pytest.mark.skipif(COMPILER is None, reason="no C compiler is here")


def compiled(target, *arguments: str):
    command = [COMPILER, "-Wall", "-Wextra", "-Werror", "-I", str(SOURCES), "-o", str(target), *arguments, "-lm"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return target


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    return compiled(tmp_path_factory.mktemp("native") / "native.so", *FLAGS, "-fPIC", "-shared", *C_FILES)


@pytest.fixture(autouse=True)
def library(request, monkeypatch):
    """The library of this checkout, whatever was built with the package."""
    monkeypatch.setenv(LIBRARY, str(request.getfixturevalue("built")))


def both(folder, **settings) -> tuple[Session, Session]:
    sessions = [Session.open(folder, runtime=runtime, **settings) for runtime in ("native", "onnx")]
    assert [s.runtime for s in sessions] == ["native", "onnx"]
    return tuple(sessions)


def assert_same(native: Session, onnx: Session) -> None:
    assert native.clicks == onnx.clicks and native.recent_rows() == onnx.recent_rows()
    assert_close(native.user_vector, onnx.user_vector, TOLERANCE)
    for mine, other in ((native.rank_all(ITEMS), onnx.rank_all(ITEMS)), (native.rank(TOKENS), onnx.rank(TOKENS))):
        assert mine.unknown == other.unknown
        assert set(mine.items) == set(other.items)
        theirs = dict(zip(other.items, other.scores, strict=True))
        assert_close(mine.scores, [theirs[item] for item in mine.items], TOLERANCE)
        assert mine.scores == sorted(mine.scores, reverse=True)


def without_graphs(folder: Path, recommender, table: str = "fp32") -> Path:
    """An artifact as the native runtime reads it; to export graphs takes much longer than the whole test."""
    model, made = recommender.model, {}
    vectors = model.item_embedding.weight.detach().numpy()
    arrays, probes = write_catalogue(folder, TOKENS, vectors, table, lambda rows: phi(model, rows))
    state = initial_state(model)
    numbers = {"native": np.frombuffer(native_weights(model), np.uint8), "state": state.numpy()}
    graphs, size, correction = ["step", "fold", "prefill"], model.layers[0].ttt.mini_batch_size, None
    if len(model.layers) == 1:
        heads, width = state.shape[0], state.shape[2]
        correction = {"attention": [heads, size, size], "bias": [heads, size, width]}
        graphs.append("correct")
        numbers["upload_norm"] = model.hidden_norm.weight.detach().numpy()
    for name, array in numbers.items():
        arrays[name] = write_array(folder, name, array)
    arrays["weights"] = write_array(folder, "weights", np.zeros(1, np.uint8))
    for name in graphs:
        (folder / f"{name}.onnx").write_bytes(b"none")
        made[name] = FileEntry(f"{name}.onnx", 4, digest_of(b"none"))
    window = model.max_seq_length
    sizes = {"items": ITEMS, "width": model.hidden_size, "window": window, "mini_batch": size}
    manifest = Manifest(
        model={"name": "CoCorrRec"},
        **sizes,
        table=table,
        policy="window",
        correction=correction,
        norm_eps=RMS_EPS,
        graphs=made,
        arrays=arrays,
        fingerprint=FINGERPRINT,
        probes=probes,
    )
    (folder / "manifest.json").write_text(manifest.to_json())
    return folder


@torch.no_grad()
def phi(model, rows: np.ndarray) -> np.ndarray:
    return model.target_transform(torch.from_numpy(rows)).numpy()


SHAPES = [
    {"mini_batch_size": 1, "MAX_ITEM_LIST_LENGTH": 4, "num_heads": 1},
    {"mini_batch_size": 2, "MAX_ITEM_LIST_LENGTH": 1, "num_heads": 4, "block": "gated"},
    {"mini_batch_size": 3, "num_layers": 2},
    {"mini_batch_size": 7, "block": "gated", "num_layers": 3},
    {"mini_batch_size": 20, "MAX_ITEM_LIST_LENGTH": 11, "hidden_size": 12, "num_heads": 2, "block": "gated"},
    {"mini_batch_size": 20, "hidden_size": 30, "num_heads": 3},
    {"mini_batch_size": 10, "hidden_size": 64, "num_heads": 4, "block": "gated"},
]


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: " ".join(map(str, shape.values())))
@pytest.mark.parametrize("policy", ["carry", "window"])
def test_every_click_is_that_of_the_full_pass_in_pytorch(tmp_path, shape, policy):
    recommender = make(**shape)
    model = recommender.model
    folder = without_graphs(tmp_path, recommender)
    session, at_once = (Session.open(folder, policy=policy, runtime="native") for _ in range(2))
    rows, window, vectors = clicks(45), model.max_seq_length, model.item_embedding.weight.detach().numpy()
    for t, row in enumerate(rows):
        assert session.click(TOKENS[row])
        read = rows[: t + 1] if policy == "carry" else rows[: t + 1][-window:]
        assert_close(session.user_vector, reference(model, read), TOLERANCE)
        if t % 4 == 3:
            at_once.history(tokens_of(rows[t - 3 : t + 1]))
            assert_close(at_once.user_vector, session.user_vector, TOLERANCE)
        if len(model.layers) == 1:
            sent, arrays = sent_to(model, t)
            session.apply(arrays, t + 1)
            assert_close(session.user_vector, reference(model, read, sent), TOLERANCE)
    scores = (phi(model, vectors) @ session.user_vector)[1:]
    ranking = session.rank_all(ITEMS)
    assert_close(ranking.scores, sorted(scores.tolist(), reverse=True), TOLERANCE)
    assert_close(ranking.scores, [scores[TOKENS.index(item) - 1] for item in ranking.items], TOLERANCE)


@pytest.mark.parametrize("shape", [{}, {"block": "gated", "num_layers": 2}], ids=["plain", "gated"])
def test_heads_of_two_numbers_are_as_exact_as_float32_is(tmp_path, shape):
    """A layer norm of two nearly equal numbers magnifies their last digit, in PyTorch as here; float64 tells."""
    recommender = make(hidden_size=8, num_heads=4, mini_batch_size=5, **shape)
    model, exact = recommender.model, copy.deepcopy(recommender.model).double()
    session = Session.open(without_graphs(tmp_path, recommender), policy="carry", runtime="native")
    rows, ours, of_torch = clicks(45), [], []
    for t, row in enumerate(rows):
        session.click(TOKENS[row])
        truth = reference(exact, rows[: t + 1])
        size = max(1.0, np.abs(truth).max())
        ours.append(np.abs(session.user_vector - truth).max() / size)
        of_torch.append(np.abs(reference(model, rows[: t + 1]) - truth).max() / size)
    assert max(of_torch) > TOLERANCE, "what float32 gives here is no measure"
    assert max(ours) <= 2 * max(of_torch)


@pytest.mark.parametrize("policy", ["carry", "window"])
def test_gated_blocks_on_both_runtimes(written, policy):
    _, folder = written(block="gated", num_layers=2)
    native, onnx = both(folder, policy=policy)
    for token in tokens_of(clicks(30)):
        native.click(token), onnx.click(token)
        assert_same(native, onnx)


MOVES = st.lists(
    st.tuples(
        st.sampled_from(["click", "history", "state", "correct", "other"]),
        st.lists(st.integers(0, ITEMS - 1), min_size=1, max_size=9),
    ),
    min_size=1,
    max_size=12,
)


@pytest.mark.parametrize("table", ["fp32", "fp16", "int8"])
@given(moves=MOVES, policy=st.sampled_from(["carry", "window"]), neighbours=st.booleans())
@settings(max_examples=15, deadline=None)
def test_a_session_in_any_pieces(written, tmp_path_factory, table, moves, policy, neighbours):
    """Clicks, histories, corrections, and states that each runtime saves and the other one reads."""
    recommender, folder = written(table=table)
    work = tmp_path_factory.mktemp("native")
    if neighbours:
        shutil.copytree(folder, work / "artifact")
        folder = work / "artifact"
        with_table(folder, made_up())
    native, onnx = both(folder, policy=policy)
    for number, (move, rows) in enumerate(moves):
        tokens = [TOKENS[row] for row in rows]  # row 0 is no item
        for session in (native, onnx):
            if move == "click":
                session.click(tokens[0])
            elif move == "history":
                assert session.history(tokens) == (["[PAD]"] if 0 in rows else [])
            elif move == "correct" and session.clicks:
                session.apply(sent_to(recommender.model, number)[1], session.clicks)
                assert session.corrected
        if move in ("state", "other"):
            for session in (native, onnx):
                session.save(work / session.runtime)
            names = ("native", "onnx") if move == "state" else ("onnx", "native")
            native, onnx = (
                Session.open(folder, state=work / name, policy=policy, runtime=runtime)
                for name, runtime in zip(names, ("native", "onnx"), strict=True)
            )
        if native.clicks:
            assert_same(native, onnx)
    assert native.clicks == onnx.clicks


def test_six_hundred_clicks_with_a_neighbour_table(own_copy):
    """More than are remembered, so that p is made anew, in steps and at once."""
    _, folder = own_copy()
    with_table(folder, made_up())
    native, onnx = both(folder, policy="carry")
    for token in tokens_of(clicks(600)):
        native.click(token), onnx.click(token)
    assert_same(native, onnx)
    native.history(tokens_of(clicks(500, 1))), onnx.history(tokens_of(clicks(500, 1)))
    native.click("item-4"), onnx.click("item-4")
    assert_same(native, onnx)


def test_equal_scores_rank_in_order_and_what_is_excluded_is_left_out(own_copy):
    _, folder = own_copy()
    session = Session.open(folder)
    assert session.runtime == "native"
    tokens, width = TOKENS[1:], session.artifact.manifest.width
    update_catalogue(folder, tokens, np.ones((len(tokens), width), np.float32))
    session = Session.open(folder, runtime="native")
    session.click("item-3")
    out = TOKENS[2:30:3]
    for k in (1, 7, ITEMS * 10):
        assert session.rank_all(k).items == TOKENS[1 : k + 1]
        assert session.rank_all(k, out).items == [token for token in TOKENS[1:] if token not in out][:k]
        assert session.rank(TOKENS[:0:-1], k).items == TOKENS[:0:-1][:k]
    assert session.rank_all(3, TOKENS[1:]).items == []


def test_a_call_that_fails_leaves_the_session_as_it_was(own_copy):
    """The neighbour table names an item that is none, and an item's vector is infinite."""
    _, folder = own_copy(table="fp32")
    with_table(folder, made_up())
    session = Session.open(folder, policy="carry")
    arrays = session.artifact.manifest.arrays
    last = int(session.artifact.neighbours.indptr[9]) - 1  # of row 8
    for name, row, value in (("item_vectors", 9, np.inf), ("neighbour_items", last, 60_000)):
        path, entry = folder / arrays[name].file, arrays[name]
        array = np.frombuffer(path.read_bytes(), entry.dtype).reshape(entry.shape).copy()
        array[row] = value
        path.write_bytes(array.tobytes())
    for policy in ("carry", "window"):
        session = Session.open(folder, policy=policy)
        for row in clicks(40):
            if row in (8, 9):
                continue
            session.click(TOKENS[row])
            before = session.rank_all(ITEMS), session.user_vector.tolist()
            for failing in ("item-8", "item-9"):
                with pytest.raises(UserError, match="table is damaged"):
                    session.click(failing)
                with pytest.raises(UserError, match="table is damaged"):
                    session.history(["item-2", "item-3", failing])
            assert (session.rank_all(ITEMS), session.user_vector.tolist()) == before
        rows = [row for row in clicks(40) if row not in (8, 9)]
        again = Session.open(folder, policy=policy)
        again.history(tokens_of(rows))
        assert_close(session.user_vector, again.user_vector, TOLERANCE)


def test_what_the_native_runtime_refuses(written, own_copy, monkeypatch, tmp_path):
    _, gru = written("GRU4Rec")
    assert Session.open(gru).runtime == "onnx"
    with pytest.raises(UserError, match="holds no weights for the native runtime, which runs CoCorrRec"):
        Session.open(gru, runtime="native")
    with pytest.raises(UserError, match="runtime is 'fast'; it must be"):
        Session.open(gru, runtime="fast")
    _, folder = own_copy()
    monkeypatch.setenv(LIBRARY, "")
    assert Session.open(folder).runtime == "onnx"
    with pytest.raises(UserError, match="the native runtime is not here"):
        Session.open(folder, runtime="native")
    (tmp_path / "text.so").write_text("no library")
    monkeypatch.setenv(LIBRARY, str(tmp_path / "text.so"))
    assert Session.open(folder).runtime == "onnx"


def test_the_exporters_check_runs_the_library_too(own_copy):
    recommender, folder = own_copy(table="int8", block="gated")
    result = check_graphs(recommender.model, Artifact(folder))
    assert 0 < result["max_error_native"] <= TOLERANCE
    artifact = Artifact(folder)
    wrong = artifact.arrays["native"].copy()
    wrong[64:].view(np.float32)[:] *= np.float32(1.01)
    artifact.arrays["native"] = wrong
    with pytest.raises(UserError, match="the artifact does not compute what the model does: max_error_native is"):
        check_graphs(recommender.model, artifact)


WITHOUT = """
import sys
sys.modules["onnxruntime"] = None
import numpy as np
from recbole_cocorr import UserError, open_session
session = open_session(sys.argv[1])
session.history(["item-1", "item-2"])
print(session.runtime, session.rank_all(3).items)
shapes = session.artifact.manifest.correction
session.apply([np.arange(np.prod(shape), dtype=np.float32).reshape(shape) for shape in shapes.values()], 2)
assert session.corrected
with open_session(sys.argv[1], cloud="127.0.0.1:9", deadline_ms=1) as in_cloud:
    in_cloud.click("item-1")
    assert in_cloud.rank_all(3).status != "corrected"
try:
    open_session(sys.argv[1], runtime="onnx").click("item-1")
except UserError as error:
    print(error)
"""


def test_onnx_runtime_is_not_needed(written):
    _, folder = written()
    environment = {**os.environ, "PYTHONPATH": str(CHECKOUT)}
    command = [sys.executable, "-c", WITHOUT, str(folder)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    session = Session.open(folder, runtime="onnx")
    session.history(["item-1", "item-2"])
    first, second = done.stdout.splitlines()
    assert first == f"native {session.rank_all(3).items}"
    assert second == "onnxruntime is not installed; type: pip install 'recbole_cocorr[device]'"


# -- C alone ---------------------------------------------------------------------------------------------------------


def test_the_example_ranks_as_a_session_does(own_copy, tmp_path):
    _, folder = own_copy(table="int8", block="gated")
    with_table(folder, made_up())
    example = compiled(
        tmp_path / "example", "-std=c99", "-pedantic", str(CHECKOUT / "examples/native_session.c"), *C_FILES
    )
    tokens = tokens_of(clicks(30))
    done = subprocess.run([example, folder, *tokens, "no such item"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    session = Session.open(folder, policy="window", runtime="onnx")
    session.history(tokens)
    expected = session.rank_all(10)
    items, scores = zip(*(line.split() for line in done.stdout.splitlines()), strict=True)
    assert list(items) == expected.items
    assert_close([float(score) for score in scores], expected.scores)
    done = subprocess.run([example, tmp_path / "none", "x"], capture_output=True, text=True, check=False)
    assert done.returncode and done.stderr == "manifest.json is missing or is no manifest of a device artifact\n"


EXCHANGE = r"""
#include <stdio.h>
#include <stdlib.h>
#include "cocorr.h"

int main(int count, char **words)
{
    cocorr_model m;
    cocorr_session *s;
    float numbers[4096];
    int status = count < 3 ? COCORR_BAD_ARGUMENT : cocorr_open(&m, words[1]);
    if (status) return status;
    const uint64_t bytes = cocorr_session_bytes(&m), sent = m.sizes.heads * m.sizes.mini_batch;
    status = cocorr_start(&s, &m, COCORR_WINDOW, calloc(1, bytes), bytes);
    const int before_a_click = status ? status : cocorr_correct(s, numbers, numbers);
    if (before_a_click != COCORR_NO_CLICK) return before_a_click;
    for (int i = 2; i < count && !status; i++) status = cocorr_click(s, (uint32_t)atoi(words[i]));
    const uint32_t n = status ? 0 : cocorr_upload(s, numbers);
    for (uint32_t i = 0; i < n * m.sizes.width; i++) printf("%.9g ", numbers[i]);
    for (uint64_t i = 0; i < sent * (m.sizes.mini_batch + m.sizes.head_width); i++) numbers[i] = (float)(i * 7 % 11);
    if (!status) status = cocorr_correct(s, numbers, numbers + sent * m.sizes.mini_batch);
    for (uint32_t i = 0; i < m.sizes.width && !status; i++) printf("%.9g ", cocorr_user(s)[i]);
    numbers[0] = 1 / (numbers[0] * 0);
    if (!status && cocorr_correct(s, numbers, numbers) != COCORR_BAD_ARGUMENT) return 98;
    return status;
}
"""


@pytest.mark.parametrize("shape", [{}, {"block": "gated"}, {"num_layers": 2}], ids=["plain", "gated", "two layers"])
def test_the_exchange_with_the_cloud_in_c_alone(tmp_path, shape):
    """What would be uploaded, and the user vector that a correction makes of it."""
    recommender = make(**shape)
    model = recommender.model
    (tmp_path / "exchange.c").write_text(EXCHANGE)
    program = compiled(tmp_path / "exchange", "-std=c99", str(tmp_path / "exchange.c"), *C_FILES)
    folder = without_graphs(tmp_path, recommender, "int8")
    for count in (1, 5, 23):
        rows = clicks(count)
        done = subprocess.run([program, folder, *map(str, rows)], capture_output=True, text=True, check=False)
        if len(model.layers) > 1:
            assert (done.returncode, done.stdout) == (16, "")  # COCORR_NO_CORRECTION
            continue
        assert done.returncode == 0, done.stderr
        session = Session.open(folder, policy="window", runtime="native")
        session.history(tokens_of(rows))
        shapes = session.artifact.manifest.correction
        sizes = [int(np.prod(shapes[name])) for name in ("attention", "bias")]
        numbers = np.arange(sum(sizes), dtype=np.float32) * 7 % 11
        parts = np.split(numbers, sizes[:1])
        session.apply([part.reshape(s) for part, s in zip(parts, shapes.values(), strict=True)], count)
        expected = [*session.hidden_states().hidden_states.ravel(), *session.user_vector]
        assert_close([float(word) for word in done.stdout.split()], expected, TOLERANCE)


@pytest.fixture(scope="module")
def fuzz(tmp_path_factory):
    program = tmp_path_factory.mktemp("fuzz") / "fuzz"
    source = str(CHECKOUT / "tests/device/native_fuzz.c")
    probe = subprocess.run(
        [COMPILER, *SANITIZERS, "-x", "c", "-", "-o", str(program)], input=b"int main(void){return 0;}", check=False
    )
    if probe.returncode or subprocess.run([program], check=False).returncode:
        pytest.skip("the compiler has no sanitizers that run here")
    return compiled(program, *SANITIZERS, "-std=gnu99", source, *C_FILES)


def fuzzed(program, *arguments) -> list[int]:
    """Sessions opened, artifacts refused and rankings given; any fault of memory ends the program."""
    done = subprocess.run([program, *map(str, arguments)], capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    return [int(word) for word in done.stdout.split()]


CASES = [("int8", {"block": "gated", "num_layers": 2}), ("fp16", {}), ("fp32", {"mini_batch_size": 10})]


@pytest.mark.parametrize("case", range(3))
def test_changed_arrays_are_refused_or_run(tmp_path, fuzz, case):
    table, shape = CASES[case]
    folder = without_graphs(tmp_path, make(**shape), table)
    if case != 1:
        with_table(folder, made_up())
    opened, refused, ranked = fuzzed(fuzz, 400, case, folder)
    assert opened > 100 and refused > 50 and ranked > 100


def test_changed_files_are_refused_or_run(own_copy, fuzz, tmp_path):
    """Bytes flipped, files cut off or taken for each other, and the manifest rewritten; checksums are not compared."""
    _, folder = own_copy(table="int8")
    with_table(folder, made_up())
    files = sorted(f for f in folder.iterdir() if f.suffix != ".onnx" and not f.name.startswith("weights"))
    folders = []
    for number in range(150):
        chance = random.Random(number)
        target = tmp_path / f"changed-{number}"
        target.mkdir()
        for file in files:
            os.symlink(file, target / file.name)
        file = chance.choice([*files, *([folder / "manifest.json"] * len(files))])
        raw = bytearray(file.read_bytes())
        for _ in range(chance.randint(1, 4)):
            low = chance.randrange(len(raw))
            kind = chance.randrange(4)
            if kind == 0:
                raw[low] = chance.choice([*b'"{}[],:\\0919-e. ', chance.randrange(256)])
            elif kind == 1:
                del raw[low : low + chance.choice([1, 3, 40, len(raw)])]
            elif kind == 2:
                raw[low : low + 20] = raw[chance.randrange(len(raw)) :][:20]
            else:
                raw[low:low] = chance.choice([b"9" * 400, b"[" * 5000, b'"', b"\0", b"-", b"1e999", b"../"])
            raw = raw or bytearray(b"{")
        (target / file.name).unlink()
        (target / file.name).write_bytes(raw)
        folders.append(target)
    opened, refused, _ = fuzzed(fuzz, 0, 0, *folders)
    assert opened + refused == len(folders) and opened > 5 and refused > 50
