"""The device's model frozen at a time: nothing of later times is used, and the numbers are the ranks'."""

import json

import numpy as np
import pytest
import torch

pytest.importorskip("matplotlib")

from recbole_cocorr.__main__ import main
from recbole_cocorr.base.errors import UserError
from recbole_cocorr.correctors import Trust
from recbole_cocorr.evaluation.ranking import per_row, rank_positive
from recbole_cocorr.evaluation.significance import user_metrics
from recbole_cocorr.experiments.entries import find_entries
from recbole_cocorr.experiments.freshness import daily_deltas, measure
from recbole_cocorr.experiments.freshness.later import Later, Request
from recbole_cocorr.experiments.freshness.measure import fused, rank_seed
from recbole_cocorr.experiments.freshness.snapshot import Device, Snapshot
from recbole_cocorr.experiments.freshness.statistics import SeedRanks, Slice, by_seed, statistics
from recbole_cocorr.experiments.results import freshness
from recbole_cocorr.experiments.results.freshness import TITLES, Freshness
from recbole_cocorr.report.freshness import day, picture_of, tables_of
from tests.conftest import write_inter

CORRECTOR = {"l2": 1.0, "neighbours": 20, "decay": 0.9}


def chain_rows(users: int = 80, items: int = 60, seed: int = 0) -> list[tuple]:
    """Users come one after another and walk along a chain; late ones walk where nobody has been before."""
    generator = np.random.default_rng(seed)
    rows = []
    for user in range(users):
        start = int(generator.integers(0, items - 12)) + (12 if user > 0.7 * users else 0)
        clock = 1_000_000_000 + 1000 * user
        for step in range(int(generator.integers(4, 11))):
            clock += int(generator.integers(1, 400))
            rows.append((f"u{user}", f"i{start + step}", clock))
    return rows


def request(data, **changes) -> Request:
    (entry,) = find_entries(["GRU4Rec"])
    settings = {"data_path": str(data), "use_gpu": False, "epochs": 8, "train_batch_size": 100, "learning_rate": 0.02}
    settings["load_col"] = {"inter": ["user_id", "item_id", "timestamp"]}
    fields = {"freeze": 0.7, "slices": 3, "seed": 1, "corrector": CORRECTOR, "settings": settings}
    return Request(entry, "late", **{**fields, **changes})


@pytest.fixture
def data(tmp_path):
    return write_inter(tmp_path / "data", "late", chain_rows())


def later_of(measured: Request, folder) -> Later:
    return Later(measured.config(folder), measured.freeze, measured.slices)


def test_every_later_interaction_is_ranked_once_in_its_slice(data, tmp_path):
    measured = request(data)
    later = later_of(measured, tmp_path)
    rows = [line.split("\t") for line in (data / "late" / "late.inter").read_text().splitlines()[1:]]
    times = np.array([float(r[2]) for r in rows])
    assert later.frozen_at == np.quantile(times, 0.7, method="higher")  # as in the file, not scaled
    first = {}
    for user, _, time in sorted(rows, key=lambda r: float(r[2])):
        first.setdefault(user, time)
    wanted = {(u, i, float(t)) for u, i, t in rows if float(t) >= later.frozen_at and first[u] != t}
    result = []
    for _, start, places in later.slices():
        ends = later.ends[places]
        assert (later.times[ends] >= start).all()
        result += [
            (later.user_tokens[later.users[e]], later.tokens[later.items[e]], later.times[e]) for e in ends.tolist()
        ]
    assert len(result) == len(wanted) and set(result) == wanted
    counts = [len(places) for _, _, places in later.slices()]
    assert len(counts) == 3 and max(counts) - min(counts) <= 1


def test_a_history_is_what_the_user_did_before(data, tmp_path):
    later = later_of(request(data), tmp_path)
    for _, _, places in later.slices():
        for place, history in zip(places, later.histories(places), strict=True):
            end = later.ends[place]
            mine = np.flatnonzero((later.users == later.users[end]) & (later.times < later.times[end]))
            np.testing.assert_array_equal(history, later.items[mine])


def test_candidates_are_items_the_user_never_touched(data, tmp_path):
    later = later_of(request(data), tmp_path)
    for index, _, places in later.slices():
        candidates = later.candidates(places, index)
        np.testing.assert_array_equal(candidates[:, 0], later.items[later.ends[places]])
        for place, row in zip(places, candidates, strict=True):
            touched = set(later.items[later.users == later.users[later.ends[place]]].tolist())
            others = [i for i in row[1:].tolist() if i]
            assert not touched & set(others) and len(others) == len(set(others))
        np.testing.assert_array_equal(later.candidates(places, index), candidates)


def test_a_snapshot_is_what_there_was(data, tmp_path):
    measured = request(data)
    later = later_of(measured, tmp_path)
    snapshot = Snapshot(measured, tmp_path, later.frozen_at, later.tokens)
    past = later.times < later.frozen_at
    users, items, _ = snapshot.train.dataset.interactions()
    own = snapshot.train.dataset.field2id_token
    result = sorted(zip(own["user_id"][users], later.tokens[snapshot.from_own[items]], strict=True))
    assert result == sorted(zip(later.user_tokens[later.users[past]], later.tokens[later.items[past]], strict=True))
    known = set(later.items[past].tolist())
    assert set(np.flatnonzero(snapshot.to_own).tolist()) == known
    # Neither a negative nor a row of the table is an item of later times.
    assert snapshot.train.dataset.item_num == len(known) + 1 < later.n_items
    assert snapshot.valid.candidates.max() <= len(known)
    weights = snapshot.item_item().weights
    assert set(weights.indices.tolist()) <= known and weights.nnz > 0
    assert snapshot.from_own[snapshot.to_own[sorted(known)]].tolist() == sorted(known)


def scores_of(data, folder, monkeypatch, lists: dict) -> dict[tuple, np.ndarray]:
    """Scores that ``rank_seed`` ranks by: by user, time and variant; candidates are kept in ``lists`` by token."""
    measured = request(data, retrain=True, deltas=True)
    later = later_of(measured, folder)
    number = {t: i for i, t in enumerate(later.tokens.tolist())}
    drawn, recorded = Later.candidates, []

    def names_of(self, places):
        ends = self.ends[places].tolist()
        return [(self.user_tokens[self.users[e]], self.times[e]) for e in ends]

    def candidates(self, places, index):
        names, items = names_of(self, places), drawn(self, places, index)
        for name, row in zip(names, items, strict=True):
            lists.setdefault(name, self.tokens[row].tolist())
        recorded.append((names, []))
        return np.array([[number.get(t, 0) for t in lists[name]] for name in names])

    def rank(scores, real):
        recorded[-1][1].append(scores.numpy())
        return rank_positive(scores, real)

    monkeypatch.setattr(Later, "candidates", candidates)
    monkeypatch.setattr(measure, "rank_positive", rank)
    monkeypatch.setattr(daily_deltas, "days", lambda times: 1000.0)  # these users come within one day
    rank_seed(measured, folder, lambda text: None)
    monkeypatch.undo()
    variants = ("none", "frozen", "fresh", "deltas", "popular", "retrained")
    return {
        (*name, variant): scores[row]
        for names, every in recorded
        for variant, scores in zip(variants, every, strict=True)
        for row, name in enumerate(names)
    }


def test_nothing_later_than_a_ranked_interaction_is_used_for_it(data, tmp_path, monkeypatch):
    """Other items from a time on change no score before it, whatever is learned on the way."""
    rows = chain_rows()
    times = sorted(t for *_, t in rows)
    until = float(times[int(0.95 * len(times))])
    seen = sorted({i for _, i, t in rows if t < until})
    lists: dict = {}
    scores_of(data, tmp_path / "a", monkeypatch, lists)
    # Candidates that the other data do not hold are none in either.
    lists = {name: [t if t in seen else "[PAD]" for t in row] for name, row in lists.items()}
    first = scores_of(data, tmp_path / "a", monkeypatch, lists)
    # The same users and times, so that the freeze and the slices stay; every item from then on is another one.
    generator = np.random.default_rng(5)
    changed = [(u, i if t < until else seen[int(generator.integers(len(seen)))], t) for u, i, t in rows]
    other = write_inter(tmp_path / "other", "late", changed)
    second = scores_of(other, tmp_path / "b", monkeypatch, lists)
    assert first.keys() == second.keys()
    before = [name for name in first if name[1] < until]
    assert len(before) > 6 * 50
    for name in before:
        np.testing.assert_allclose(second[name], first[name], rtol=1e-5, atol=1e-6, err_msg=str(name))
    # The variants are not one and the same, or this would show nothing.
    for a, b in (("none", "frozen"), ("frozen", "fresh"), ("none", "deltas"), ("none", "retrained")):
        assert any(not np.allclose(first[n], first[(*n[:2], b)]) for n in before if n[2] == a)


class Counting(torch.nn.Module):
    """A model whose score of an item is its number times the number of clicks that it reads."""

    ITEM_SEQ, ITEM_SEQ_LEN, ITEM_ID = "item_id_list", "item_length", "item_id"

    def __init__(self):
        super().__init__()
        self.one = torch.nn.Parameter(torch.ones(1))
        self.read = []

    def encode(self, interaction):
        self.read += interaction[self.ITEM_SEQ].tolist()
        return interaction[self.ITEM_SEQ_LEN][:, None].float()

    def item_vectors(self):
        return torch.arange(5.0)[:, None]


def test_items_without_a_vector():
    to_own = np.array([0, 3, 0, 1, 2, 4])  # item 2 came later
    model = Counting()
    device = Device(model, to_own, length=2, batch=1)
    result = device.scores(
        [np.array([1, 2, 3, 4]), np.array([2, 5])], np.array([[1, 2, 3, 5], [2, 0, 2, 4]], dtype=np.int64)
    )
    assert model.read == [[1, 2], [4, 0]]  # the last two that it knows, oldest first
    np.testing.assert_array_equal(result, [[6, 2, 2, 8], [2, 2, 2, 2]])
    trust = Trust(1.0, 0.0)

    class Cloud:
        def scores(self, known, candidates):
            return np.where(candidates == 2, 0.1, 0.0)

    lifted = fused(trust, result, Cloud(), [np.array([1])] * 2, np.array([[1, 2, 3, 5], [2, 0, 2, 4]]))
    assert lifted[0, 1] > result[0, 1] and lifted[0, 0] == result[0, 0]


def made_measure(seeds=(1, 2), retrain=True, users: int = 40) -> list[SeedRanks]:
    result = []
    for seed in seeds:
        slices = []
        for index in range(3):
            generator = np.random.default_rng([seed, index])
            names = np.sort(np.array([f"u{i % users}" for i in range(6 * users)]))
            hard = generator.integers(0, 60, len(names))
            tables = {
                name: np.stack([np.maximum(hard - lift, 0), 0 * hard, 100 + 0 * hard], axis=1)
                for name, lift in (("none", 0), ("frozen", 4), ("fresh", 6), ("retrained", 12))
                if retrain or name != "retrained"
            }
            new = np.random.default_rng(index).random(len(names)) < 0.1
            start = 889237269.0 + 86400 * 10 * index
            slices.append(Slice(index, start, start + 86400 * 9, names, new, ~new, tables))
        result.append(SeedRanks(seed, 889237269.0, 1000, Trust(1.0, 0.0), slices))
    return result


def result_of(ranks: list[SeedRanks]) -> Freshness:
    about = {"corrector": {}, "settings": {}, "versions": {}, "machine": {}}
    return Freshness("d", "M", 0.8, [r.seed for r in ranks], **about, **statistics(ranks))


def test_a_user_counts_once():
    users = np.array(["b", "a", "b", "b"])
    ranks = np.array([[0, 0, 100], [50, 0, 100], [100, 0, 100], [100, 0, 100]])
    result = user_metrics(users, ranks, ["gauc", "hit@5"])
    assert result.users.tolist() == ["a", "b"]
    assert result.values["gauc"] == pytest.approx([0.5, 1 / 3]) and result.values["hit@5"] == pytest.approx([0, 1 / 3])
    alone = np.array([[0, 0, 100], [0, 0, 0]])  # the second has no other candidate, so it has no UAUC
    rows = Slice(0, 0.0, 1.0, np.array(["a", "a"]), np.zeros(2, bool), np.zeros(2, bool), {"none": alone})
    of_user = by_seed([SeedRanks(1, 0.0, 1, Trust(1.0, 0.0), [rows])], "none", None, "all")[1]
    assert of_user.values["gauc"].tolist() == [1.0]
    measured = made_measure()
    whole = by_seed(measured, "fresh", None, "all")[1].values["ndcg@10"]
    every = {}
    for part in measured[0].slices:
        for user, value in zip(part.users, per_row(part.tables["fresh"], ["ndcg"], [10])["ndcg@10"], strict=True):
            every.setdefault(user, []).append(value)
    assert whole == pytest.approx([np.mean(every[u]) for u in sorted(every)])


@pytest.mark.parametrize("retrain", [True, False])
def test_what_is_written(tmp_path, retrain):
    result_of(made_measure(retrain=retrain)).save(tmp_path / "f.json")
    result, content = Freshness.load(tmp_path / "f.json"), json.loads((tmp_path / "f.json").read_text())
    assert content["slices"][0]["interactions"] == 240 and content["slices"][0]["users"] == 40
    picked = {(r["slice"], r["targets"], r["variant"]): r for r in content["results"]}
    variants = ["none", "frozen", "fresh", *(["retrained"] if retrain else [])]
    assert set(picked) == {(i, t, v) for i in (None, 1, 2, 3) for t in ("all", "known", "new") for v in variants}
    order = [picked[None, "all", v]["metrics"]["ndcg@10"] for v in variants]
    assert order == sorted(order)
    pairs = {(c["model"], c["baseline"]) for c in content["comparisons"]}
    assert len(pairs) == (5 if retrain else 3)
    assert len([c for c in content["comparisons"] if c["slice"] is None]) == 7 * len(pairs)
    assert {c["metric"] for c in content["comparisons"] if c["slice"] is not None} == {"ndcg@10"}
    by_slice, with_and_without, significance = tables_of(result)
    assert by_slice.header[1] == "1: 1998-03-07 to 1998-03-16" and len(by_slice.rows) == len(variants) + 4
    assert with_and_without.header[1].startswith("HR@10, all (720)")
    assert len(significance.rows) == len(content["comparisons"])
    assert f"corrected for {7 * len(pairs)} comparisons" in significance.notes[0]
    said = result.text()
    assert "item-item, goes on learning minus no correction: NDCG@10 +" in said
    assert ("of what retraining the device's model gains" in said) == retrain
    picture = picture_of(result)
    (axes,) = picture.figure.axes
    drawn = {c.get_label(): list(c.lines[0].get_ydata()) for c in axes.containers}
    assert drawn["no correction"] == [picked[i, "all", "none"]["metrics"]["ndcg@10"] for i in (1, 2, 3)]
    assert len(drawn) == len(variants) and "Bars: standard error over users" in picture.caption
    assert [t.get_text() for t in axes.get_xticklabels()] == ["03-07", "03-17", "03-27"]


def test_times_that_are_no_dates():
    assert (day(889237269.0), day(12.0), day(0.25), day(1e12)) == ("1998-03-07", "12", "0.25", "1e+12")
    measured = made_measure(seeds=(1,))
    for part in measured[0].slices:
        object.__setattr__(part, "start", float(part.index))
    axes = picture_of(result_of(measured)).figure.axes[0]
    assert [t.get_text() for t in axes.get_xticklabels()] == ["0", "1", "2"]


def test_the_command(data, tmp_path, capsys):
    out = tmp_path / "out"
    flags = ["--dataset=late", f"--data_path={data}", "--use_gpu=False", "--epochs=3", "--train_batch_size=100"]
    flags += [
        "--model=GRU4Rec",
        "--freeze=0.7",
        "--slices=2",
        "--seeds=1,2",
        "--l2=1",
        "--neighbours=20",
        "--next_click=0",
    ]
    flags += ["--retrain"]
    assert main(["freshness", *flags, f"--out={out}"]) == 0
    printed = capsys.readouterr().out
    assert "NDCG@10 of interactions after the freeze" in printed and "goes on learning minus no correction" in printed
    content = json.loads((out / "freshness.json").read_text())
    assert content["seeds"] == [1, 2] and content["corrector"]["l2"] == 1.0 and len(content["trust"]) == 2
    assert sum(s["new_items"] for s in content["slices"]) > 0
    picked = {(r["slice"], r["targets"], r["variant"]): r["metrics"] for r in content["results"]}
    # The first slice begins at the freeze: nothing is fresher there, and nothing was trained anew.
    assert picked[1, "all", "fresh"] == picked[1, "all", "frozen"]
    assert picked[1, "all", "retrained"] == picked[1, "all", "none"]
    assert picked[2, "all", "fresh"] != picked[2, "all", "frozen"]
    for name in ("freshness.md", "freshness.png", "freshness.svg"):
        assert (out / name).stat().st_size > 0
    assert len(list((out / "models").glob("*.safetensors"))) == 4


@pytest.mark.parametrize(
    "flags, said",
    [
        (["--freeze=1"], "--freeze is 1; it must be between 0 and 1"),
        (["--slices=0"], "--slices is 0"),
        (["--seeds=x"], "--seeds holds 'x'"),
        (["--model=Nothing"], "there is no model 'Nothing'"),
        (["--protocol=full"], "leave --protocol out"),
        (["--seed=3"], "leave --seed out"),
        (["--val_interval={'timestamp': '[0,1]'}"], "by which freshness cuts the data itself"),
        (["--decay=2"], "decay is 2.0"),
        (["--freeze=0.001"], "the interactions before the time 1000000"),
    ],
)
def test_bad_requests(data, tmp_path, capsys, flags, said):
    command = ["freshness", "--dataset=late", "--model=GRU4Rec", f"--data_path={data}", "--use_gpu=False"]
    assert main([*command, "--epochs=1", f"--out={tmp_path / 'out'}", *flags]) == 2
    error = capsys.readouterr().err
    assert said in error and error.startswith("error: ") and error.count("\n") == 1
    assert not (tmp_path / "out" / "freshness.json").exists()


def test_data_of_one_moment(tmp_path):
    write_inter(tmp_path / "data", "late", [(u, i, 7) for u, i, _ in chain_rows(20)])
    with pytest.raises(UserError, match="nothing to train on, or nothing later to rank"):
        later_of(request(tmp_path / "data"), tmp_path)


def test_a_model_that_reads_more_than_the_clicks():
    class Reads(Counting):
        def encode(self, interaction):
            return interaction["timestamp_list"]

    with pytest.raises(UserError, match="Reads reads 'timestamp_list' beside the clicks"):
        Device(Reads(), np.arange(5), 2, 1).scores([np.array([1])], np.array([[1, 2]]))


def test_names_of_the_variants_are_the_tables():
    daily = [freshness.DELTAS, freshness.POPULAR]
    assert list(TITLES) == [freshness.NONE, freshness.FROZEN, freshness.FRESH, *daily, freshness.RETRAINED]
