"""Where a figure was measured."""

import subprocess

import pytest

from recbole_cocorr.experiments.runs.environment import versions
from tests.conftest import CHECKOUT


@pytest.mark.skipif(not (CHECKOUT / ".git").exists(), reason="needs a checkout")
def test_the_commit_of_a_checkout_is_named():
    head = subprocess.run(["git", "-C", CHECKOUT, "rev-parse", "HEAD"], capture_output=True, text=True, check=True)
    commit = versions()["commit"].rstrip("+")
    assert len(commit) >= 10 and head.stdout.startswith(commit)
