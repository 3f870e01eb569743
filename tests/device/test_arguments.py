"""Whatever a caller gives a session: it is taken, or one sentence says what would be right."""

import os

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from recbole_cocorr import open_session
from recbole_cocorr.base.errors import UserError
from recbole_cocorr.device import Evidence, Session
from tests.device import clicks, tokens_of


class Odd:
    """Raises wherever it is looked at."""

    def __str__(self):
        raise RuntimeError("odd")

    def __repr__(self):
        raise RuntimeError("odd")


ODD = st.one_of(
    st.sampled_from(
        [
            None,
            True,
            -1,
            0,
            10**5000,
            float("nan"),
            float("inf"),
            -0.5,
            "",
            "x",
            "a\0b",
            "\ud800",
            "x" * 5000,
            "/dev/null",
            "/proc/self/mem/x",
            b"x",
            [],
            {},
            {"x": 1},
            {1: 2},
            [[1], [2, 3]],
            np.array([1, 2]),
            np.array(["carry", "window"]),
            object(),
            Odd(),
            Odd,
            os.environ,
            ("item-1", Odd()),
            range(3),
            1j,
        ]
    ),
    st.integers(),
    st.floats(),
    st.text(max_size=5),
    st.lists(st.integers(0, 3), max_size=3),
)
LOCAL = ("state", "history", "policy", "threads")
CLOUD = ("deadline_ms", "client", "epsilon", "delta", "scores", "score_clicks", "foo")
CLIENT = ("timeout", "encoding", "token", "tls", "ca", "certificate", "key", "server_name", "token_in_the_clear")
CLIENT += ("breaker", "change", "score_encoding", "score_breaker", "corrector", "foo")
often = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def one_sentence(call) -> None:
    try:
        made = call()
    except UserError as error:
        assert str(error).strip() and len(str(error)) < 1500 and "\n" not in str(error)
    else:
        if hasattr(made, "close"):
            made.close()


@often
@given(st.dictionaries(st.sampled_from([*LOCAL, "foo"]), ODD, max_size=2))
def test_opening(written, arguments):
    if isinstance(arguments.get("threads"), int):
        arguments["threads"] = min(arguments["threads"], 2) if arguments["threads"] <= 256 else arguments["threads"]
    one_sentence(lambda: open_session(written()[1], **arguments))


@often
@given(ODD)
@example("\n")
def test_a_folder(odd):
    one_sentence(lambda: Session.open(odd))


@often
@given(st.dictionaries(st.sampled_from(CLOUD), ODD, max_size=2), st.dictionaries(st.sampled_from(CLIENT), ODD))
def test_opening_with_a_cloud(written, arguments, client):
    pytest.importorskip("grpc")
    folder = written()[1]
    one_sentence(lambda: open_session(folder, cloud="127.0.0.1:9", **arguments))
    one_sentence(lambda: open_session(folder, cloud="127.0.0.1:9", client=client))


@often
@given(ODD)
def test_an_address(written, odd):
    pytest.importorskip("grpc")
    one_sentence(lambda: open_session(written()[1], cloud=odd))


@often
@given(ODD, ODD)
def test_calls(written, odd, other):
    session = Session.open(written()[1])
    session.history(tokens_of(clicks(4)))
    before = session.user_vector
    calls = [
        lambda: session.history(odd) if not isinstance(odd, (list, tuple, dict, np.ndarray, range)) else None,
        lambda: session.rank(odd, other),
        lambda: session.rank(["item-1"], odd, other),
        lambda: session.rank(["item-1"], evidence=odd),
        lambda: session.rank(["item-1"], evidence=Evidence(odd, 1, other)),
        lambda: session.check_evidence(Evidence({"item-1": odd}, other, "x")),
        lambda: session.rank_all(odd, other),
        lambda: session.apply(odd, other),
        lambda: session.apply((odd, other), 4),
        lambda: session.apply((odd, other), 4, odd),
    ]
    for call in calls:
        one_sentence(call)
    assert session.clicks >= 4 and before.shape == session.user_vector.shape


@pytest.mark.parametrize("odd", ["a\0b", "\ud800", "", 5, b"x", None, "x" * 5000])
def test_saving_to_what_is_no_path(written, odd):
    session = Session.open(written()[1])
    with pytest.raises(UserError, match="path"):
        session.save(odd)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"state": "a\0b"}, r"state is 'a\\x00b', which cannot be used"),
        ({"threads": "x"}, "threads is 'x'; it must be a whole number from 1 to 256"),
        ({"threads": 0}, "threads is 0"),
        ({"threads": True}, "threads is True"),
        ({"policy": ["carry"]}, "it must be one of carry, window"),
        ({"history": 5}, "history is a list of tokens, not int"),
        ({"history": "item-1"}, "history is a list of tokens, not one string"),
        ({"cloud": "a\0b:1"}, "must be HOST:PORT"),
        ({"cloud": "x:1", "foo": 1}, "Session.open has no setting 'foo'"),
        ({"cloud": "x:1", "client": {"foo": 1}}, "client has no setting 'foo'"),
        ({"cloud": "x:1", "client": {"token": 5}}, "the token is empty, or holds"),
        ({"cloud": "x:1", "epsilon": "x"}, "epsilon is 'x'"),
        ({"foo": 1}, "foo has no meaning without cloud"),
    ],
)
def test_the_sentence(written, arguments, words):
    if "cloud" in arguments:
        pytest.importorskip("grpc")
    with pytest.raises(UserError, match=words):
        open_session(written()[1], **arguments)
