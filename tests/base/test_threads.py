"""No more threads than the process has processors, in every process that computes."""

import os
import subprocess
import sys

import pytest
import torch

from recbole_cocorr.base import threads
from recbole_cocorr.experiments.runs.engine import default_threads
from tests.conftest import CHECKOUT

affine = pytest.mark.skipif(
    not hasattr(os, "sched_setaffinity") or len(os.sched_getaffinity(0)) < 2, reason="one processor"
)


@pytest.fixture
def allowed(monkeypatch):
    """Let this process have so many processors."""
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)

    def allow(count: int) -> None:
        for module in ("base.threads", "experiments.runs.engine"):
            monkeypatch.setattr(f"recbole_cocorr.{module}.allowed_cpus", lambda: count)

    return allow


@pytest.fixture
def torch_threads():
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


@pytest.mark.parametrize(("had", "count", "then"), [(4, 1, 1), (4, 3, 3), (2, 2, 2), (1, 2, 1)])
def test_torch_has_no_more_than_are_allowed(allowed, torch_threads, had, count, then):
    torch_threads(had)
    allowed(count)
    threads.limit_threads()
    assert torch.get_num_threads() == then and "OMP_NUM_THREADS" not in os.environ


def test_what_the_user_says_counts(allowed, torch_threads, monkeypatch):
    torch_threads(4)
    allowed(1)
    monkeypatch.setenv("OMP_NUM_THREADS", "4")
    threads.limit_threads()
    assert torch.get_num_threads() == 4


@pytest.mark.parametrize(("cores", "set_to"), [(64, "1"), (1, None)])
def test_before_torch_it_is_the_environments(allowed, monkeypatch, cores, set_to):
    monkeypatch.setenv("OMP_NUM_THREADS", "is put back")
    del os.environ["OMP_NUM_THREADS"]
    monkeypatch.delitem(sys.modules, "torch")
    monkeypatch.setattr(os, "cpu_count", lambda: cores)
    allowed(1)
    threads.limit_threads()
    assert os.environ.get("OMP_NUM_THREADS") == set_to


def test_runs_share_what_is_allowed(allowed):
    allowed(6)
    assert [default_threads(jobs) for jobs in (1, 2, 4, 7)] == [6, 3, 1, 1]


@affine
@pytest.mark.parametrize("when", ["early", "late"])
def test_training_on_one_of_several_processors(when):
    """Also in a thread that the command starts, and where torch was loaded before."""
    code = """
import os, sys, threading
os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:1])
if sys.argv[1] == "late":
    import torch
    torch.set_num_threads(2)
from recbole_cocorr.cli import run as cli

def look(**_):
    import torch
    seen = [torch.get_num_threads()]
    other = threading.Thread(target=lambda: seen.append(torch.get_num_threads()))
    other.start()
    other.join()
    print(*seen)

import recbole_cocorr.training.run
recbole_cocorr.training.run.run = look
cli.main(["--model=GRU4Rec"])
"""
    environment = {k: v for k, v in os.environ.items() if k != "OMP_NUM_THREADS"} | {"PYTHONPATH": str(CHECKOUT)}
    command = [sys.executable, "-W", "ignore", "-c", code, when]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.stdout.split() == ["1", "1"], done.stderr[-2000:]
