"""One model, its checkpoint and its artifact for all tests of the cloud."""

from pathlib import Path

import grpc
import numpy as np
import pytest

pytest.importorskip("grpc_health")
pytest.importorskip("grpc_reflection")
pytest.importorskip("prometheus_client")

from recbole_cocorr.cloud.settings import ServeSettings
from recbole_cocorr.device.export import export
from tests.cloud import save, serving
from tests.device import make


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    """A CoCorrRec (L = 7, d = 16, H = 2, K = 3) and its checkpoint file."""
    recommender = make()
    return recommender, save(recommender, tmp_path_factory.mktemp("cloud") / "model.safetensors")


@pytest.fixture(scope="session")
def checkpoint(trained) -> Path:
    return trained[1]


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
