"""One model, its checkpoint and its artifact for all tests of the cloud."""

from pathlib import Path

import grpc
import numpy as np
import pytest
import torch

pytest.importorskip("grpc_health")
pytest.importorskip("grpc_reflection")
pytest.importorskip("prometheus_client")

from recbole_cocorr.correctors import ItemItem, Trust
from recbole_cocorr.correctors.folder import save_corrector
from recbole_cocorr.data.dataset import create_dataset
from recbole_cocorr.data.loaders import data_preparation
from recbole_cocorr.exporter.export import checkpoint_fingerprint, export
from recbole_cocorr.models.factory import build_model
from recbole_cocorr.service.server.settings import ServeSettings
from recbole_cocorr.training.checkpoint import Checkpoint, load_checkpoint, plain_config, save_checkpoint
from tests.device import ITEMS, TOKENS, make
from tests.device.fixtures import written
from tests.service import save, serving

__all__ = ["written"]


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    """A CoCorrRec (L = 7, d = 16, H = 2, K = 3) and its checkpoint file."""
    recommender = make()
    return recommender, save(recommender, tmp_path_factory.mktemp("cloud") / "model.safetensors")


@pytest.fixture(scope="session")
def checkpoint(trained) -> Path:
    return trained[1]


@pytest.fixture(scope="session")
def item_item() -> ItemItem:
    """A corrector of the made-up catalogue, most of its weights not zero."""
    generator = np.random.default_rng(5)
    users, items = generator.integers(0, 200, 3000), generator.integers(1, ITEMS, 3000)
    return ItemItem.fit(users, items, ITEMS, 1.0, 20)


@pytest.fixture(scope="session")
def corrector(checkpoint, item_item) -> Path:
    """The folder of it, with a trust for the devices of ``checkpoint``."""
    fingerprint = checkpoint_fingerprint(load_checkpoint(checkpoint))
    folder = checkpoint.parent / "corrector"
    save_corrector(folder, item_item, Trust(2.0, -0.3), TOKENS, fingerprint, {})
    return folder


@pytest.fixture(scope="session")
def artifact(checkpoint) -> Path:
    pytest.importorskip("onnxscript")
    export(checkpoint, checkpoint.parent / "artifact")
    return checkpoint.parent / "artifact"


@pytest.fixture(scope="session")
def server(checkpoint):
    """A server in a thread, to be left as it is."""
    with serving(ServeSettings(str(checkpoint), "127.0.0.1:0")) as running:
        yield running


@pytest.fixture
def channel(server):
    with grpc.insecure_channel(f"127.0.0.1:{server.port}") as made:
        yield made


@pytest.fixture
def rows() -> np.ndarray:
    return np.random.default_rng(0).standard_normal((5, 16)).astype(np.float32)


@pytest.fixture
def with_data(make_config, tmp_path):
    """A CoCorrRec of the data set ``small``, its parameters off their start, as a checkpoint file; and the model."""
    config = make_config("CoCorrRec", hidden_size=16, num_heads=2, MAX_ITEM_LIST_LENGTH=6)
    train, _, test = data_preparation(config, create_dataset(config))
    torch.manual_seed(1)
    model = build_model(config, train.dataset).eval()
    with torch.no_grad():
        for p in model.parameters():
            p.add_(torch.randn_like(p) * 0.3)
        model.item_embedding.weight[0] = 0
    items = train.dataset.field2id_token[train.dataset.iid_field].tolist()
    file = tmp_path / "small.safetensors"
    saved = plain_config({**config.final_config_dict, "model": "CoCorrRec"})
    save_checkpoint(file, Checkpoint("model", saved, items, dict(model.state_dict()), train.dataset.user_num))
    return file, model, test
