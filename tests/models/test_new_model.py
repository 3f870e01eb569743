"""A new model costs its folder and a line of the catalogue: it is trained, compared, costed, exported and opened."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import CHECKOUT, random_rows, write_inter

FILES = {
    "__init__.py": '"""FadingRec."""\n',
    "card.py": """
from recbole_cocorr.models.card import Card, Look, Variant

CARD = Card(
    name="FadingRec",
    folder=__package__,
    variants=(Variant("FadingRec (narrow)", Look("#123456", "p", "-"), {"embedding_size": 8}),),
)
""",
    "network.py": '''
import torch
from torch import nn

from recbole_cocorr.models.dot_product import DotProductRecommender


class FadingRec(DotProductRecommender):
    """The user vector is a linear map of the clicks' sum, in which a click counts half as much as the next one."""

    def __init__(self, config, dataset):
        super().__init__(config, dataset)
        self.hidden_size = config["embedding_size"]
        self.item_embedding = nn.Embedding(self.n_items, self.hidden_size, padding_idx=0)
        self.out = nn.Linear(self.hidden_size, self.hidden_size)

    def user_vectors_of(self, embedded, item_seq_len):
        age = (item_seq_len[:, None] - 1 - torch.arange(embedded.shape[1])).clamp_min(0)
        return self.out((embedded * (0.5**age)[..., None]).sum(dim=1))
''',
    "step.py": """
import torch

from recbole_cocorr.models.step import state_bytes


class Stepper:
    def __init__(self, model):
        self.model = model

    def initial_state(self):
        return torch.zeros(1, self.model.hidden_size)

    def step(self, item, state):
        state = state / 2 + self.model.item_embedding(item)
        return self.model.out(state), state

    def kept_bytes(self, state):
        return state_bytes(state), 0


stepper = Stepper
""",
    "graphs.py": """
import torch
from torch import nn

from recbole_cocorr.models.device_graphs import recurrent


class Read(nn.Module):
    def __init__(self, model):
        super().__init__()
        self.out = model.out

    def forward(self, items, state):
        count = items.shape[0]
        weights = 0.5 ** (count - 1 - torch.arange(count))
        state = state * 0.5**count + weights @ items
        return self.out(state[None]), state


def graphs(model):
    return recurrent(Read(model), Read(model), torch.zeros(model.hidden_size), model.hidden_size)
""",
}
LABEL = "FadingRec (narrow)"
BOTH_RANKINGS = """
import json, sys
from recbole_cocorr.device import Session
from recbole_cocorr.training.recommend import load_model

session = Session.open(sys.argv[1])
session.history(["i1", "i2", "i3"])
session.click("i4")
recommended = load_model(sys.argv[2]).recommend(["i1", "i2", "i3", "i4"], 5)
print(json.dumps([session.rank_all(5).items, recommended.items]))
"""


@pytest.fixture(scope="module")
def package(tmp_path_factory) -> Path:
    """A copy of the package with one more folder in models/ and one more line in the catalogue."""
    root = tmp_path_factory.mktemp("package")
    shutil.copytree(CHECKOUT / "recbole_cocorr", root / "recbole_cocorr", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("properties", "dataset_configs", "web"):
        (root / name).symlink_to(CHECKOUT / name)
    models = root / "recbole_cocorr" / "models"
    (models / "fadingrec").mkdir()
    for name, text in FILES.items():
        (models / "fadingrec" / name).write_text(text)
    catalogue = models / "catalogue.py"
    text = catalogue.read_text()
    assert text.count('    "cocorrrec",\n') == 1
    catalogue.write_text(text.replace('    "cocorrrec",\n', '    "cocorrrec",\n    "fadingrec",\n'))
    write_inter(root / "data", "tiny", random_rows(users=40, items=30, low=6, high=9))
    return root


def call(package: Path, *arguments: str) -> str:
    environment = {**os.environ, "PYTHONPATH": str(package)}
    command = [sys.executable, *arguments]
    done = subprocess.run(command, cwd=package, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-3000:]
    return done.stdout


def verb(package: Path, *arguments: str) -> str:
    return call(package, "-m", "recbole_cocorr", *arguments)


def test_a_model_is_its_folder_and_a_line(package):
    small = ["--epochs=2", "--train_batch_size=64", "--item_init=random", "--state=ERROR", "--data_path=data"]
    benchmark = ["--datasets", "tiny", "--models", f"{LABEL},Pop", "--seeds", "1", "--learning_rates", ".01", *small]
    verb(package, "benchmark", "--out", "results", *benchmark)
    records = {json.loads(p.read_text())["label"]: p for p in package.glob("results/runs/*/run.json")}
    assert set(records) == {LABEL, "Pop"}

    cost = ["--lengths", "3", "--items", "30", "--candidates", "5", "--repeats", "2", "--out", "results/cost.json"]
    verb(package, "cost", "--models", LABEL, "SASRec", *cost)
    rows = {row["model"]: row for row in json.loads((package / "results/cost.json").read_text())["rows"]}
    assert rows[LABEL]["state_bytes"] == 8 * 4
    assert rows["SASRec"]["reads_history_again"] and not rows[LABEL]["reads_history_again"]

    verb(package, "report", "results")
    assert LABEL in (package / "results/report/report.html").read_text()

    checkpoint = str(records[LABEL].with_name("model.safetensors"))
    verb(package, "export", "--checkpoint", checkpoint, "--out", "artifact")
    on_device, here = json.loads(call(package, "-c", BOTH_RANKINGS, "artifact", checkpoint))
    assert len(here) == 5 and on_device == here
