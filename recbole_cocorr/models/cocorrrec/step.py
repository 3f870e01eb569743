"""CoCorrRec reads one click at a time."""

from typing import Any

import torch

from recbole_cocorr.layers import Correction
from recbole_cocorr.models.cocorrrec.network import CoCorrRec
from recbole_cocorr.models.step import state_bytes


class CoCorrStepper:
    """CoCorrRec by ``TTTLinear.step``; the cloud's two GRUs go on from their hidden states.

    The state is (device's, cloud's): the TTT layers' states, and the GRUs' hidden states (an empty list
    without the GCN).
    The correction of a click is what the whole history up to it gives, and no correction enters the state. With one
    layer the user vector is therefore that of the model reading the history at once; with more, the deeper layers
    have read each click as it was corrected when it came.
    """

    def __init__(self, model: CoCorrRec) -> None:
        self.model = model

    def initial_state(self) -> tuple[list[Any], list[torch.Tensor]]:
        device = [layer.ttt.initial_state(1) for layer in self.model.layers]
        width = self.model.hidden_size
        return device, [torch.zeros(1, 1, width) for _ in range(2)] if self.model.use_gcn else []

    def hidden_state(self, item: torch.Tensor) -> torch.Tensor:
        """X of the click [1, d], on the device; what it uploads."""
        return self.model.hidden_states(item[:, None])[:, 0]

    def cloud(self, x: torch.Tensor, state: list[torch.Tensor]) -> tuple[Correction, list[torch.Tensor]]:
        """What the cloud makes of one more X [1, d]."""
        gcn, sent, after = self.model.gcn, [], []
        for network, hidden in zip((gcn.attention_net, gcn.bias_net), state, strict=True):
            output, hidden = network.gru(x[:, None], hidden)
            sent.append(network.read(output[:, 0]))
            after.append(hidden)
        return Correction(sent[0].view(1, *gcn.attention_shape), sent[1].view(1, *gcn.bias_shape)), after

    def device(
        self, x: torch.Tensor, state: list[Any], correction: Correction | None
    ) -> tuple[torch.Tensor, list[Any]]:
        """What the device makes of X [1, d] and the correction."""
        fusion, after = self.model.fusion if correction is not None else None, []
        for number, layer in enumerate(self.model.layers):
            mixed, now = layer.ttt.step(self.model.layer_input(number, x), state[number], correction, fusion)
            x, correction, fusion = layer.join(x, mixed), None, None  # the correction is the first layer's
            after.append(now)
        return self.model.final_norm(x), after

    def step(self, item: torch.Tensor, state: Any) -> tuple[torch.Tensor, Any]:
        on_device, in_cloud = state
        x, correction = self.hidden_state(item), None
        if in_cloud:
            correction, in_cloud = self.cloud(x, in_cloud)
        user, on_device = self.device(x, on_device, correction)
        return user, (on_device, in_cloud)

    def kept_bytes(self, state: Any) -> tuple[int, int]:
        on_device, in_cloud = state
        return state_bytes(on_device), state_bytes(in_cloud)


stepper = CoCorrStepper
