"""The global correction network (GCN) of the cloud."""

import torch
import torch.nn.functional as F
from torch import nn

from recbole_cocorr.layers.correction import Correction
from recbole_cocorr.layers.gru import Steps, is_fast, recurrence

# Width of the correction networks' hidden layers.
CORRECTION_WIDTH = 64


class CorrectionNetwork(nn.Module):
    """One of the two networks of eq. 13: a GRU that pools X, then a three-layer bias-free MLP.

    Parameters
    ----------
    hidden_size : int
        Width d of X.
    output_size : int
    initializer_range : float
        Standard deviation of the linear layers; the GRU keeps torch's initialisation.
    """

    def __init__(self, hidden_size: int, output_size: int, initializer_range: float = 0.02) -> None:
        super().__init__()
        self.gru = nn.GRU(hidden_size, hidden_size, batch_first=True)
        self.fc1 = nn.Linear(hidden_size, CORRECTION_WIDTH, bias=False)
        self.fc2 = nn.Linear(CORRECTION_WIDTH, CORRECTION_WIDTH, bias=False)
        self.fc3 = nn.Linear(CORRECTION_WIDTH, output_size, bias=False)
        for layer in (self.fc1, self.fc2, self.fc3):
            nn.init.normal_(layer.weight, std=initializer_range)

    def forward(self, x: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """Map X [B, L, d] with its real lengths [B] to [B, output_size].

        A row without a real step gives what its first, padded step gives.
        """
        steps, _ = self.gru(x)
        index = (lengths - 1).clamp_min(0).view(-1, 1, 1).expand(-1, 1, steps.shape[-1])
        return self.read(steps.gather(1, index).squeeze(1))

    def read(self, last: torch.Tensor) -> torch.Tensor:
        """Map the GRU's hidden state after the last real step [B, d] to [B, output_size]."""
        hidden = F.leaky_relu(self.fc1(last), 0.01)
        return self.fc3(F.leaky_relu(self.fc2(hidden), 0.01))


class GlobalCorrectionNetwork(nn.Module):
    """GCN: uploaded hidden states to a correction (eq. 13).

    Parameters
    ----------
    hidden_size, num_heads, mini_batch_size : int
        d, H and K.
    initializer_range : float
    """

    def __init__(self, hidden_size: int, num_heads: int, mini_batch_size: int, initializer_range: float = 0.02) -> None:
        super().__init__()
        width = hidden_size // num_heads
        self.attention_shape = (num_heads, mini_batch_size, mini_batch_size)
        self.bias_shape = (num_heads, mini_batch_size, width)
        self.attention_net = CorrectionNetwork(hidden_size, num_heads * mini_batch_size**2, initializer_range)
        self.bias_net = CorrectionNetwork(hidden_size, num_heads * mini_batch_size * width, initializer_range)

    @torch.compiler.disable  # torch compiles no GRU
    def forward(self, x: torch.Tensor, lengths: torch.Tensor) -> Correction:
        """Compute the correction of X.

        Parameters
        ----------
        x : torch.Tensor, shape [B, L, d]
            X, padding at the end.
        lengths : torch.Tensor of int64, shape [B]

        Returns
        -------
        Correction
        """
        if is_fast(self.attention_net.gru, x):  # on real steps alone, which are packed once
            steps = Steps.of(lengths, x.shape[1])
            packed = steps.pack(x)
            attention, bias = (
                net.read(recurrence(packed, steps, net.gru).index_select(0, steps.last).to(x.dtype))
                for net in (self.attention_net, self.bias_net)
            )
        else:
            attention, bias = self.attention_net(x, lengths), self.bias_net(x, lengths)
        return Correction(attention.view(-1, *self.attention_shape), bias.view(-1, *self.bias_shape))
