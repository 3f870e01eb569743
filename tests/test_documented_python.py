"""Blocks of Python in the documents, run as they stand."""

import os
import re
import subprocess
import sys

import pytest
import torch

from tests.conftest import CHECKOUT
from tests.device import make


def block(page: str, heading: str) -> str:
    """The first block of Python under a heading."""
    text = (CHECKOUT / "docs" / page).read_text(encoding="utf-8")
    return re.search(r"^```python\n(.*?)^```", text.partition(f"\n{heading}\n")[2], flags=re.DOTALL | re.MULTILINE)[1]


@pytest.mark.parametrize("form", ["plain", "gated"])
def test_click_by_click_is_what_the_whole_history_gives(form):
    model, clicks = make(block=form, use_gcn=False), [5, 9, 17, 33, 2, 9]
    names = {"model": model, "clicks": clicks}
    exec(block("using_a_model.md", "## Click by click"), names)
    with torch.no_grad():
        whole = model.model(torch.tensor([clicks]), torch.tensor([len(clicks)]))
    torch.testing.assert_close(names["user_vector"], whole, rtol=1e-4, atol=1e-5)


def test_a_search(small_data, tmp_path):
    """In a process of its own: the order of the imports counts."""
    pytest.importorskip("hyperopt")
    (tmp_path / "mine.yaml").write_text(
        f"model: GRU4Rec\ndataset: small\ndata_path: {small_data}\nepochs: 1\nuse_gpu: False\nshow_progress: False\n"
    )
    (tmp_path / "params.txt").write_text("learning_rate choice [0.01,0.003]\nhidden_size choice [8,16]\n")
    command = [sys.executable, "-c", block("configuration.md", "## Hyper-parameter search")]
    environment = {**os.environ, "PYTHONPATH": str(CHECKOUT)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "learning_rate" in done.stdout.splitlines()[-1]
