"""The correction network without torch is the one that was trained."""

import subprocess
import sys

import numpy as np
import pytest
import torch

from recbole_cocorr.layers import GlobalCorrectionNetwork
from recbole_cocorr.service.server.correction_network import CorrectionNetwork
from recbole_cocorr.service.wire import Shape
from tests.conftest import CHECKOUT


@pytest.mark.parametrize(("d", "heads", "mini_batch"), [(64, 4, 10), (16, 2, 3), (6, 3, 1), (1, 1, 7), (130, 5, 2)])
def test_its_numbers_are_torchs(d, heads, mini_batch):
    torch.manual_seed(d)
    network = GlobalCorrectionNetwork(d, heads, mini_batch, 0.1).eval().requires_grad_(False)
    with torch.no_grad():
        for p in network.parameters():
            p.mul_(2)  # gates that saturate too
    weights = {name: tensor.numpy() for name, tensor in network.state_dict().items()}
    ours = CorrectionNetwork(weights, d, Shape(heads, mini_batch, d // heads), "here")
    rng = np.random.default_rng(d)
    for rows, steps in ((1, 1), (1, 10), (3, 7), (8, 10), (64, 2)):
        x = rng.standard_normal((rows, steps, d)).astype(np.float32) * 3
        lengths = rng.integers(1, steps + 1, rows)
        ours_of_x = ours(x.swapaxes(0, 1), lengths.astype(np.int32))
        for got, wanted in zip(ours_of_x, network(torch.from_numpy(x), torch.from_numpy(lengths)), strict=True):
            assert got.dtype == np.float32
            np.testing.assert_allclose(got.reshape(wanted.shape), wanted.numpy(), atol=1e-5, rtol=1e-5)


def test_large_hidden_states_overflow_nothing():
    network = GlobalCorrectionNetwork(8, 2, 3).eval()
    weights = {name: tensor.detach().numpy() for name, tensor in network.state_dict().items()}
    ours = CorrectionNetwork(weights, 8, Shape(2, 3, 4), "here")
    attention, bias = ours(np.full((4, 2, 8), 1e6, np.float32), np.array([4, 1], np.int32))
    assert np.isfinite(attention).all() and np.isfinite(bias).all()


def test_the_server_needs_no_torch(checkpoint, corrector):
    code = (
        "import sys; from recbole_cocorr.__main__ import main; from recbole_cocorr.cli import serve;"
        "from recbole_cocorr.service.server.server import _load, ServeSettings;"
        "m, s, _ = _load(ServeSettings(sys.argv[1], corrector=sys.argv[2])); assert m and s;"
        "print(*sorted({'torch', 'recbole', 'pandas'} & set(sys.modules)))"
    )
    command = [sys.executable, "-c", code, str(checkpoint), str(corrector)]
    assert subprocess.run(command, cwd=CHECKOUT, check=True, capture_output=True, text=True).stdout.strip() == ""
