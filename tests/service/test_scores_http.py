"""The route for a web page: scores, beside corrections or alone."""

import http.client
import json

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from recbole_cocorr.service.server.settings import ServeSettings
from tests.service import TOKEN, serving

CLICKED, SOME = [3, 9, 4], [1, 5, 9, 39, 5]


def body(clicked=CLICKED, some=SOME) -> bytes:
    return np.array([*clicked, *some], "<i4").tobytes()


@pytest.fixture(scope="module")
def route(checkpoint, corrector):
    made = ServeSettings(
        str(checkpoint), "127.0.0.1:0", str(corrector), http="127.0.0.1:0", http_origin="http://page:1"
    )
    with serving(made) as running:
        yield running


@pytest.fixture
def connection(route):
    made = http.client.HTTPConnection("127.0.0.1", route.http_port, timeout=20)
    yield made
    made.close()


def post(connection, sent: bytes, fingerprint: str, clicks="5", clicked="3", path="/v1/score", **headers):
    named = {"X-Fingerprint": fingerprint, "X-Clicks": clicks, "X-Clicked": clicked, **headers}
    connection.request("POST", path, sent, {k: v for k, v in named.items() if v is not None})
    answer = connection.getresponse()
    return answer, answer.read()


def test_the_answer_is_the_correctors_and_corrections_go_on(route, connection, item_item, rows):
    wanted = item_item.scores([np.array(CLICKED)], np.array([SOME]))[0]
    assert np.abs(wanted).max() > 0
    for _ in range(2):  # on a connection that is kept
        answer, got = post(connection, body(), route.scorer.fingerprint)
        assert answer.status == 200
        assert np.array_equal(np.frombuffer(got, "<f4"), wanted)
        told = (answer.headers["X-Fingerprint"], answer.headers["X-Clicks"], answer.headers["X-Shape"])
        assert told == (route.scorer.fingerprint, "5", "5")
        assert answer.headers["Access-Control-Allow-Origin"] == "http://page:1"
        answer, _ = post(connection, rows.tobytes(), route.model.fingerprint, path="/v1/correct")
        assert (answer.status, answer.headers["X-Shape"]) == (200, "2,3,8")


def test_describe_and_the_browsers_question(route, connection, corrector):
    connection.request("GET", "/v1/describe")
    told = json.loads(connection.getresponse().read())
    assert (told["fingerprint"], told["corrector"]) == (route.model.fingerprint, route.scorer.fingerprint)
    assert (told["items"], told["most_clicks"], told["most_candidates"]) == (40, 128, 512)
    connection.request("OPTIONS", "/v1/score")
    answer = connection.getresponse()
    assert answer.status == 204 and "X-Clicked" in answer.headers["Access-Control-Allow-Headers"]


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"fingerprint": "ab" * 16}, 409),
        ({"fingerprint": "x"}, 400),
        ({"clicks": "0"}, 400),
        ({"clicks": None}, 400),
        ({"clicked": None}, 400),
        ({"clicked": "-1"}, 400),
        ({"clicked": "0"}, 400),
        ({"clicked": "8"}, 400),  # no candidate is left
        ({"clicked": "9" * 19}, 400),
        ({"sent": b""}, 400),
        ({"sent": body()[:-1]}, 400),
        ({"sent": body(some=[40])}, 400),
        ({"sent": body(some=[0])}, 400),
        ({"sent": body(clicked=[1, 2, -1])}, 400),
        ({"sent": body(some=[1] * 513)}, 400),
        ({"sent": body([1] * 128, [1] * 513)}, 429),
        ({"path": "/v1/scores"}, 404),
    ],
)
def test_what_does_not_fit(route, connection, change, status):
    parts = {"sent": body(), "fingerprint": route.scorer.fingerprint, **change}
    assert post(connection, **parts)[0].status == status


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=400), st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=6))
def test_any_body_never_stops_it(route, sent, clicked):
    made = http.client.HTTPConnection("127.0.0.1", route.http_port, timeout=20)
    answer, _ = post(made, sent, route.scorer.fingerprint, clicked=clicked)
    assert answer.status in (200, 400)
    assert post(made, body(), route.scorer.fingerprint)[0].status == 200
    made.close()


def test_a_corrector_alone_and_tokens(corrector, rows, monkeypatch):
    monkeypatch.setenv("RECBOLE_COCORR_TOKENS", TOKEN)
    with serving(ServeSettings("", "127.0.0.1:0", str(corrector), http="127.0.0.1:0")) as server:
        made = http.client.HTTPConnection("127.0.0.1", server.http_port, timeout=20)
        for token, status in ((TOKEN, 200), (TOKEN + "x", 401), ("", 401)):
            answer, _ = post(made, body(), server.scorer.fingerprint, Authorization=f"Bearer {token}")
            assert answer.status == status
        right = {"Authorization": f"Bearer {TOKEN}"}
        answer, said = post(made, rows.tobytes(), "ab" * 16, path="/v1/correct", **right)
        assert (answer.status, said) == (409, b"this service has no model; the device goes on alone\n")
        made.request("GET", "/v1/describe", headers=right)
        told = json.loads(made.getresponse().read())
        assert set(told) == {"corrector", "items", "most_clicks", "most_candidates"}
        made.close()
