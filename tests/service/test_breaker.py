"""The circuit breaker, by a clock of its own."""

import pytest

from recbole_cocorr.service.client.breaker import Breaker


@pytest.fixture
def clock():
    return [0.0]


@pytest.fixture
def breaker(clock):
    return Breaker(failures=2, first=1.0, longest=5.0, clock=lambda: clock[0], draw=lambda: 0.5)


def test_it_opens_after_failures_in_a_row(breaker):
    breaker.failed("x")
    breaker.succeeded()
    breaker.failed("x")
    assert breaker.passes() and not breaker.reason
    breaker.failed("why")
    assert not breaker.passes() and breaker.reason == "why"


def test_one_probe_at_a_time_and_longer_waits(breaker, clock):
    breaker.failed("x", at_once=True)
    waits = []
    for _ in range(5):
        began = clock[0]
        while not breaker.passes():
            clock[0] += 0.125
        waits.append(clock[0] - began)
        assert not breaker.passes(), "a second probe"
        breaker.failed("x")
    assert waits == [0.75, 1.5, 3.0, 3.75, 3.75]  # three quarters of 1, 2, 4, 5, 5
    clock[0] += 5
    assert breaker.passes()
    breaker.succeeded()
    assert breaker.passes() and breaker.passes()


def test_a_probe_that_is_taken_back_frees_the_way(breaker, clock):
    breaker.failed("x", at_once=True)
    clock[0] = 1
    assert breaker.passes()
    breaker.gave_up()
    assert breaker.passes()


def test_stragglers_do_not_lengthen_the_wait(breaker, clock):
    for _ in range(2):
        breaker.failed("x")
    for _ in range(50):
        breaker.failed("x")
    clock[0] = 0.76
    assert breaker.passes()


def test_waits_differ():
    clock = [0.0]
    breakers = [Breaker(first=1.0, clock=lambda: clock[0]) for _ in range(40)]
    for breaker in breakers:
        breaker.failed("x", at_once=True)
    passing = []
    for clock[0] in (0.49, 0.75, 1.0):
        passing.append(sum(breaker.passes() for breaker in breakers))
        for breaker in breakers:
            breaker.gave_up()
    assert passing[0] == 0 < passing[1] < passing[2] == 40
