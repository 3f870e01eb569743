"""Many users at once have the lists that each has alone; what is popular stands in for a history; tables in and out."""

import logging

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from recbole_cocorr.base.errors import UserError
from recbole_cocorr.correctors import ItemItem, Trust
from recbole_cocorr.correctors.folder import save_corrector
from recbole_cocorr.data.frames import histories_of
from recbole_cocorr.models.best_items import best_items
from recbole_cocorr.training.checkpoint import load_checkpoint, save_checkpoint
from recbole_cocorr.training.explain import Click, Explanation
from recbole_cocorr.training.recommend import Recommender, load_model
from tests.training.test_recommend import history_of, saved  # noqa: F401


@given(st.lists(st.lists(st.integers(-3, 3), min_size=7, max_size=7), min_size=1, max_size=6), st.integers(1, 9))
@settings(deadline=None)
def test_the_best_of_each_row_are_those_of_a_stable_sort(rows, k):
    scores = torch.tensor(rows, dtype=torch.float32)
    values, columns = best_items(scores, k)
    whole, order = scores.sort(dim=1, descending=True, stable=True)
    assert torch.equal(values, whole[:, :k])
    assert torch.equal(columns, order[:, :k])


def histories(recommender, count: int, seed: int = 0) -> list[list[str]]:
    """Histories of 0 to 12 clicks, some of items that the model does not know."""
    generator = np.random.default_rng(seed)
    tokens = [*recommender.vocabulary.items[1:], "x1", "x2", "x3"]
    return [[tokens[i] for i in generator.integers(0, len(tokens), generator.integers(0, 13))] for _ in range(count)]


@pytest.mark.parametrize("name", ["CoCorrRec", "GRU4Rec", "BERT4Rec", "HGN"])
@pytest.mark.parametrize("exclude", [False, True])
def test_many_have_the_lists_that_each_has_alone(saved, name, exclude):  # noqa: F811
    path, _, _ = saved(name)
    recommender = load_model(path)
    many = histories(recommender, 600)  # more than are encoded at once
    answers = recommender.recommend_many(many, k=7, exclude_history=exclude)
    assert len(answers) == len(many)
    for row in (*range(9), *range(9, len(many), 61)):
        alone = recommender.recommend(many[row], k=7, exclude_history=exclude)
        assert answers[row].items == alone.items
        assert answers[row].scores == pytest.approx(alone.scores, abs=1e-5)
        assert (answers[row].unknown, answers[row].source) == (alone.unknown, alone.source)
        if exclude:
            assert not set(answers[row].items) & set(many[row])
    assert {a.source for a in answers} == {"model", "popularity"}
    assert recommender.recommend_many([]) == []


def test_an_empty_history_gets_what_is_popular(saved):  # noqa: F811
    path, _, test = saved()
    recommender = Recommender.load(path)
    _, clicked = test.dataset.training_interactions()
    counts = np.bincount(clicked, minlength=len(recommender.vocabulary.items))
    order = sorted(range(1, len(counts)), key=lambda i: (-counts[i], i))
    tokens = recommender.vocabulary.items
    for history in ([], ["x1", "x2"]):
        answer = recommender.recommend(history, k=5)
        assert answer.items == [tokens[i] for i in order[:5]]
        assert answer.scores == [counts[i] for i in order[:5]]
        assert (answer.source, answer.unknown) == ("popularity", history)
    some = [tokens[i] for i in order[::-7]]
    best = sorted(some, key=lambda token: -counts[tokens.index(token)])[:3]  # equal ones as they were given
    assert recommender.recommend([], candidates=some, k=3).items == best
    assert recommender.recommend(tokens[1:2]).source == "model"


def test_a_checkpoint_from_before_popularity_was_kept(saved):  # noqa: F811
    path, _, test = saved()
    checkpoint = load_checkpoint(path)
    checkpoint.clicks = None
    save_checkpoint("old.safetensors", checkpoint)
    recommender = load_model("old.safetensors")
    assert recommender.recommend(history_of(test, 0)).source == "model"
    with pytest.raises(
        UserError, match=r"no item that the model knows, and old.safetensors does not say what is popular"
    ):
        recommender.recommend([])


@pytest.mark.parametrize("clicks", [torch.ones(3, dtype=torch.int64), torch.ones(201), -torch.ones(201).long()])
def test_clicks_that_are_none_are_refused(saved, clicks):  # noqa: F811
    path, _, _ = saved()
    checkpoint = load_checkpoint(path)
    checkpoint.clicks = clicks
    save_checkpoint("made_up.safetensors", checkpoint)
    with pytest.raises(UserError, match=r"vocabulary.clicks must be \d+ whole numbers of at least 0"):
        load_model("made_up.safetensors")


def test_one_string_is_no_history(saved):  # noqa: F811
    recommender = load_model(saved()[0])
    for wrong in ("i1", ["i1", "i2"]):
        with pytest.raises(UserError, match="each of the histories is a list of tokens, not one string"):
            recommender.recommend_many(wrong)
    with pytest.raises(UserError, match="k is 0"):
        recommender.recommend_many([["i1"]], k=0)


def test_unknown_items_of_many_are_reported_once(saved, caplog):  # noqa: F811
    recommender = load_model(saved()[0])
    known = recommender.vocabulary.items[1]
    with caplog.at_level(logging.WARNING):
        answers = recommender.recommend_many([["x1", known], [known], ["x2", "x1", "x1"]])
    assert [a.unknown for a in answers] == [["x1"], [], ["x2", "x1"]]
    assert [r.getMessage() for r in caplog.records] == ["2 unknown item tokens were left out: x1, x2"]


def test_latest_is_the_newest(saved):  # noqa: F811
    path, _, test = saved()
    assert "CoCorrRec-small-" in str(path)
    expected = load_model(path).recommend(history_of(test, 0))
    assert load_model("latest").recommend(history_of(test, 0)) == expected
    assert load_model("latest").source == str(path)


# -- tables ----------------------------------------------------------------------------------------


def test_a_table_goes_in_and_a_table_comes_out(saved):  # noqa: F811
    recommender = load_model(saved()[0])
    a, b, c = recommender.vocabulary.items[1:4]
    table = pd.DataFrame(
        {"user_id": [7, 5, 7, 9, 7], "item_id": [a, b, c, None, b], "timestamp": [30, 1, 10, None, 20], "price": 1.0}
    )
    result = recommender.recommend_many(table, k=3)
    assert list(result.columns) == ["user_id", "item_id", "rank", "score", "source"]
    assert result["user_id"].tolist() == [7] * 3 + [5] * 3 + [9] * 3
    assert result["user_id"].dtype == table["user_id"].dtype
    assert result["rank"].tolist() == [1, 2, 3] * 3
    expected = [recommender.recommend(h, k=3) for h in ([c, b, a], [b], [])]
    assert result["item_id"].tolist() == [item for e in expected for item in e.items]
    assert result["score"].tolist() == pytest.approx([s for e in expected for s in e.scores], abs=1e-5)
    assert result["source"].tolist() == ["model"] * 6 + ["popularity"] * 3
    without_times = recommender.recommend_many(table.drop(columns="timestamp"), k=3)
    assert without_times["item_id"].tolist()[:3] == recommender.recommend([a, c, b], k=3).items
    assert recommender.recommend_many(table.iloc[:0]).empty


def test_items_that_are_numbers_come_back_as_numbers(saved):  # noqa: F811
    path = saved()[0]
    checkpoint = load_checkpoint(path)
    checkpoint.items = ["[PAD]", *map(str, range(100, 99 + len(checkpoint.items)))]
    save_checkpoint("numbers.safetensors", checkpoint)
    table = pd.DataFrame({"user": ["a", "b"], "item": [101.0, np.nan]})
    result = load_model("numbers.safetensors").recommend_many(table, k=2)
    assert result["item"].dtype == "int64"
    assert result["item"].between(100, 400).all()


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ({"user": ["a"]}, "the table has no column 'item' or 'item_id'; it has user"),
        ({"user": ["a"], "user_id": ["a"], "item": ["i1"]}, "more than one column for the user: user, user_id"),
        ({"user": ["a", None], "item": ["i1", "i2"]}, "row 2 of the table: user is missing"),
        ({"user": ["a", "b"], "item": ["i1", 2.5]}, "row 2 of the table: item is 2.5, neither text nor a whole number"),
        ({"user": [True], "item": ["i1"]}, "row 1 of the table: user is True, neither text"),
        ({"user": ["a"], "item": [" "]}, "row 1 of the table: item is empty"),
        ({"user": ["a", "a"], "item": ["i1", None]}, "row 2 of the table has no item, and its user 'a' has other rows"),
        ({"user": ["a", "b"], "item": ["i1", "i2"], "time": [1, None]}, "row 2 of the table: time is missing"),
        ({"user": ["a"], "item": ["i1"], "time": ["soon"]}, "time of the table holds neither numbers nor times"),
        ({"user": ["a"], "item": ["zz9"]}, "the model knows none of these items, for example 'zz9'"),
    ],
)
def test_a_table_that_does_not_fit(saved, columns, words):  # noqa: F811
    recommender = load_model(saved()[0])
    with pytest.raises(UserError, match=words):
        recommender.recommend_many(pd.DataFrame(columns))


@pytest.mark.parametrize("times", [[2.5, 1.0, 3.0], pd.to_datetime(["2020-02-01", "2020-01-01", "2021-01-01"])])
def test_rows_of_a_table_are_put_in_the_order_of_time(times):
    table = pd.DataFrame({"user": ["a", "a", "b"], "item": ["x", "y", "z"], "timestamp": times})
    assert histories_of(table).histories == [["y", "x"], ["z"]]


def test_equal_times_keep_the_order_of_the_rows():
    table = pd.DataFrame({"user": ["a"] * 3, "item": [3, 1, 2], "timestamp": [5, 5, 5]})
    assert histories_of(table).histories == [["3", "1", "2"]]


# -- alike, and why -----------------------------------------------------------------------------------


def test_similar_items_are_those_with_the_nearest_vectors(saved):  # noqa: F811
    recommender = load_model(saved("GRU4Rec")[0])
    vectors = recommender.model.item_embedding.weight.detach().double().numpy()
    lengths = np.linalg.norm(vectors, axis=1)
    tokens = recommender.vocabulary.items
    cosine = {t: vectors[i] @ vectors[9] / lengths[i] / lengths[9] for i, t in enumerate(tokens) if i not in (0, 9)}
    answer = recommender.similar_items(tokens[9], k=5)
    assert answer.items == sorted(cosine, key=cosine.get, reverse=True)[:5]
    assert answer.scores == pytest.approx([cosine[t] for t in answer.items], abs=1e-5)
    assert answer.source == "item vectors"
    assert len(recommender.similar_items(tokens[9], k=1000).items) == len(tokens) - 2
    with pytest.raises(UserError, match="the model does not know the item 'x1'"):
        recommender.similar_items("x1")


def test_similar_items_of_a_model_without_vectors(saved):  # noqa: F811
    recommender = load_model(saved("HGN")[0])
    item = recommender.vocabulary.items[9]
    answer = recommender.similar_items(item, k=5)
    assert answer.items == recommender.recommend([item], k=5, exclude_history=True).items
    assert answer.source == "one click"


def test_a_click_speaks_by_what_the_score_is_without_it(saved):  # noqa: F811
    path, _, _ = saved()
    recommender = load_model(path)
    tokens = recommender.vocabulary.items
    history = [*tokens[20:28], "x1"]  # two more than the model reads

    def score(clicks: list[str]) -> float:
        return recommender.recommend(clicks, candidates=[tokens[5]]).scores[0]

    answer = recommender.explain(history, tokens[5])
    assert answer.score == pytest.approx(score(tokens[22:28]), abs=1e-6)
    assert [c.item for c in answer.clicks] == tokens[20:28]
    assert [c.difference for c in answer.clicks[:2]] == [None, None]
    for place, click in enumerate(answer.clicks[2:], 22):
        left = [t for t in tokens[22:28] if t != tokens[place]]
        assert click.difference == pytest.approx(score(tokens[22:28]) - score(left), abs=1e-5)
    assert answer.unknown == ["x1"]
    assert answer.cloud_score is None and all(c.weight is None for c in answer.clicks)
    alone = recommender.explain(tokens[3:4], tokens[5])
    assert alone.clicks[0].difference is None
    assert "there is one click alone" in alone.text()


def test_an_explanation_in_words():
    clicks = [Click("a", 0.5, -1.0), Click("b", None, 2.0), Click("c", 1.5, 0.25), Click("d", -3.0, 0.0)]
    lines = Explanation("x", 1.25, clicks, [], 1.25).text().splitlines()
    assert lines == [
        "x has the score 1.250",
        "  by the model, because of c (+1.500), a (+0.500)",
        "  by everybody's clicks, because of b (+2.000), c (+0.250)",
    ]
    assert "because of c (+1.500)\n" in Explanation("x", 1.25, clicks, [], 1.25).text(1)


def test_the_correctors_part_is_the_sum_of_its_weights(saved):  # noqa: F811
    recommender = load_model(saved()[0])
    tokens = recommender.vocabulary.items
    generator = np.random.default_rng(1)
    users, items = generator.integers(0, 60, 3000), generator.integers(1, len(tokens), 3000)
    corrector = ItemItem.fit(users, items, len(tokens), 1.0, 50, decay=0.5)
    save_corrector("corrector", corrector, Trust(1.0, 0.0), tokens, "f" * 32, {})
    history = [tokens[i] for i in (20, 21, 22, 20)]
    answer = recommender.explain(history, tokens[5], corrector="corrector")
    b = corrector.weights.toarray()[:, 5]
    assert [c.weight for c in answer.clicks] == pytest.approx([b[20] / 8, b[21] / 4, b[22] / 2, b[20]], abs=1e-6)
    assert answer.cloud_score == pytest.approx(b[20] / 8 + b[21] / 4 + b[22] / 2 + b[20], abs=1e-6)
    save_corrector("other", ItemItem.fit(users, users + 1, 61), Trust(1.0, 0.0), tokens[:61], "f" * 32, {})
    with pytest.raises(UserError, match=r"other was fitted on other items than .* has; run fit-corrector again"):
        recommender.explain(history, tokens[5], corrector="other")


def test_what_cannot_be_explained(saved):  # noqa: F811
    recommender = load_model(saved()[0])
    known = recommender.vocabulary.items[1]
    with pytest.raises(UserError, match="the model does not know the item 'x1'"):
        recommender.explain([known], "x1")
    with pytest.raises(UserError, match="no item that the model knows, so no click speaks"):
        recommender.explain(["x1"], known)
    with pytest.raises(UserError, match="a list of tokens, not one string"):
        recommender.explain(known, known)


def test_what_is_no_list_of_tokens_is_one_sentence(saved):  # noqa: F811
    recommender = load_model(saved()[0])
    first = recommender.vocabulary.items[1]
    assert recommender.recommend_many(iter([[first], []]), k=1) == recommender.recommend_many([[first], []], k=1)
    table = pd.DataFrame({"user": [1], "item": [first]})
    for wrong, said in ((None, "not NoneType"), (5, "not int"), (table, "not a DataFrame; recommend_many takes one")):
        with pytest.raises(UserError, match=f"history is a list of tokens, {said}"):
            recommender.recommend(wrong)
        with pytest.raises(UserError, match=f"history is a list of tokens, {said}"):
            recommender.explain(wrong, first)
    with pytest.raises(UserError, match="histories is None; it must be a list of lists of tokens, or a DataFrame"):
        recommender.recommend_many(None)
    for wrong in ([1, 2], {1: [first]}):
        with pytest.raises(UserError, match="each of the histories is a list of tokens, not int"):
            recommender.recommend_many(wrong)


def test_one_click_alone_cannot_be_compared():
    assert (
        Explanation("a", 1.0, [Click("b", None)], []).text().endswith("one click alone, and nothing to compare it with")
    )
    assert Explanation("a", 1.0, [Click("b", -1.0), Click("c", -2.0)], []).text().endswith("no click speaks for it")
