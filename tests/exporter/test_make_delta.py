"""From later interactions to a device that ranks what it has never seen: make-delta, apply_delta."""

import shutil

import numpy as np
import pytest

from recbole_cocorr.__main__ import main
from recbole_cocorr.artifact.delta import parse_delta
from recbole_cocorr.artifact.latest import LATEST, read_latest
from recbole_cocorr.base.errors import UserError
from recbole_cocorr.correctors import ItemItem
from recbole_cocorr.correctors.neighbours import table_of
from recbole_cocorr.correctors.new_items import vectors_of_new
from recbole_cocorr.correctors.recent import RecentClicks
from recbole_cocorr.device import Session, apply_delta, verify
from recbole_cocorr.device.artifact import Artifact
from recbole_cocorr.exporter.delta import make_delta
from tests.exporter.test_neighbour_table import ITEMS, exported, trained

__all__ = ["exported", "trained"]


def later(folder, rows, name="new.inter"):
    lines = ["user_id:token\titem_id:token\ttimestamp:float", *("\t".join(map(str, row)) for row in rows)]
    (folder / name).write_text("\n".join(lines) + "\n")
    return folder / name


def walks(first: int, users: int, new: str, at: int) -> list[tuple]:
    """Users who walk along the chain and click a new item after ``at``."""
    rows = []
    for user in range(first, first + users):
        rows += [(f"later-{user}", f"i{(at + step) % ITEMS}", 100 + step) for step in range(-4, 1)]
        rows.append((f"later-{user}", new, 101))
    return rows


def test_days_of_deltas(trained, exported, tmp_path, capsys):
    checkpoint, corrector, _ = trained
    command = ["make-delta", "--checkpoint", str(checkpoint), "--artifact", str(exported), "--out", str(tmp_path / "d")]
    command += ["--corrector", str(corrector)]
    first = [*walks(0, 30, "new-a", 7), ("lonely", "new-lonely", 105)]
    assert main([*command, "--interactions", str(later(tmp_path, first))]) == 0
    assert "1 new items" in capsys.readouterr().out
    # The second day's item comes first in its file, and behind the first day's in the catalogue.
    second = [*walks(50, 30, "a-new-b", 40), *first]
    assert main([*command, "--interactions", str(later(tmp_path, second))]) == 0
    latest = read_latest(tmp_path / "d" / LATEST)
    one, two = (parse_delta((tmp_path / "d" / f"delta-{v}.bin").read_bytes(), "delta") for v in (1, 2))
    assert (latest.version, latest.series) == (2, one.series)
    assert one.tokens() == ["new-a"] and two.tokens() == ["new-a", "a-new-b"]
    assert set(one.arrays["neighbour_rows"]) <= set(two.arrays["neighbour_rows"])
    own = shutil.copytree(exported, tmp_path / "own")
    apply_delta(own, tmp_path / "d" / "delta-1.bin")
    apply_delta(own, tmp_path / "d" / "delta-2.bin")
    verify(own)
    for at, order in ((7, ["new-a", "a-new-b"]), (40, ["a-new-b", "new-a"])):
        session = Session.open(own)
        session.history([f"i{at + step}" for step in range(-4, 1)])
        ranking = session.rank(["new-a", "a-new-b", "new-lonely"])
        assert ranking.items == order and ranking.unknown == ["new-lonely"]
    with pytest.raises(UserError, match="name the artifact as it was exported"):
        make_delta(checkpoint, own, tmp_path / "new.inter", tmp_path / "d")


def test_the_table_is_that_of_a_fit_on_everything(trained, exported, tmp_path):
    """The slow twin: the weights of all interactions, each in the row that its items have."""
    checkpoint, corrector, data = trained
    rows = walks(0, 30, "new-a", 7)
    delta = make_delta(checkpoint, exported, later(tmp_path, rows), tmp_path / "d", corrector)
    artifact = Artifact(exported)
    number = artifact.vocabulary.row
    everything = [line.split("\t")[:2] for line in (data / "chains" / "chains.inter").read_text().splitlines()[1:]]
    everything += [list(row[:2]) for row in rows]
    size = len(artifact.items)
    users = np.unique([user for user, _ in everything], return_inverse=True)[1]
    items = np.array([number(item) or size for _, item in everything])
    fitted = ItemItem.fit(users, items, size + 1, l2=2, neighbours=100, decay=0.9, next_click=1)
    expected = table_of(fitted, 20)
    changed = delta.arrays["neighbour_rows"].astype(int)
    own = shutil.copytree(exported, tmp_path / "own")
    apply_delta(own, tmp_path / "d" / "delta-1.bin")
    applied = Artifact(own)
    # The users have other numbers here, so sums differ in float32's last digit.
    for name, apart in (("indptr", 0), ("items", 0), ("weights", 1), ("scales", 1e-7)):
        assert np.allclose(getattr(applied.neighbours, name), getattr(expected, name), rtol=1e-5, atol=apart), name
    for row in np.setdiff1d(np.arange(size), changed).tolist():
        assert artifact.neighbours.row(row)[0] == expected.row(row)[0]
    known = artifact.items.vectors(np.arange(size))
    told = fitted.weights[:, size].toarray()[:size, 0].clip(0)
    mean = told @ known
    length = told @ np.linalg.norm(known, axis=1) / told.sum()
    assert np.allclose(applied.items.vectors(np.array([size]))[0], mean / np.linalg.norm(mean) * length, atol=1e-5)


def test_what_is_wrong_leaves_the_folder_as_it_was(trained, exported, tmp_path):
    checkpoint, _, _ = trained
    good = later(tmp_path, walks(0, 5, "new-a", 7))
    make_delta(checkpoint, exported, good, tmp_path / "d")
    before = {f.name: f.read_bytes() for f in (tmp_path / "d").iterdir()}
    bad = tmp_path / "bad.inter"
    bad.write_text("user_id:token\titem_id:token\ttimestamp:float\nu\ti\tx\n")
    for interactions, message in ((bad, "line 2"), (tmp_path / "none", "there is no file")):
        with pytest.raises(UserError, match=message):
            make_delta(checkpoint, exported, interactions, tmp_path / "d")
    with pytest.raises(UserError, match="needs real timestamps"):  # the chains' times are places
        make_delta(checkpoint, exported, good, tmp_path / "d", None, 7.0)
    assert {f.name: f.read_bytes() for f in (tmp_path / "d").iterdir()} == before


def test_the_file_of_a_killed_run_stays_as_it_is(trained, exported, tmp_path):
    """It may be in a cache by now, which never asks for it again."""
    checkpoint, _, _ = trained
    folder = tmp_path / "d"
    make_delta(checkpoint, exported, later(tmp_path, walks(0, 5, "new-a", 7)), folder)
    (folder / "delta-2.bin").write_bytes(b"as it was")
    assert make_delta(checkpoint, exported, later(tmp_path, walks(0, 9, "new-a", 7)), folder).version == 3
    assert (folder / "delta-2.bin").read_bytes() == b"as it was"
    own = shutil.copytree(exported, tmp_path / "own")
    assert apply_delta(own, folder / "delta-3.bin") == 3


def test_vectors_and_counts():
    weights = np.zeros((5, 5))
    weights[1, 3], weights[2, 3], weights[4, 3], weights[1, 4] = 3, 1, 5, -1
    import scipy.sparse as sparse

    known = np.array([[0, 0], [2, 0], [0, 1]], np.float32)
    rows, vectors = vectors_of_new(sparse.csr_matrix(weights), known)
    assert rows.tolist() == [3]
    assert np.allclose(vectors, np.array([6, 1]) / np.sqrt(37) * (3 * 2 + 1) / 4)
    recent = RecentClicks(np.array([1, 2, 1, 1]), np.array([10.0, 11, 12, 30]), 5.0)
    counts = recent.before(np.array([[1, 2], [1, 2], [1, 3]]), np.array([[12.0, 12], [16, 16], [31, 31]]))
    assert counts.tolist() == [[1, 1], [1, 1], [1, 0]]
