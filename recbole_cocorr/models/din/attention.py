"""DIN's attention on the real clicks alone."""

import torch
import torch.nn.functional as F
from recbole.model.layers import SequenceAttLayer
from torch import nn


class SequenceAttention(SequenceAttLayer):
    """RecBole's ``SequenceAttLayer``, the same weights and numbers (to rounding), in half the work or less.

    RecBole pads, computes a weight for every position and sets those of padding to 0. Here only real clicks are
    weighed. And of the first layer, W [q, k, q - k, q * k], the part that depends on the target alone is computed
    once per row: W_1 q + W_3 q; what is left for a click is (W_2 - W_3) k + W_4 (q * k).
    """

    def forward(self, queries: torch.Tensor, keys: torch.Tensor, keys_length: torch.Tensor) -> torch.Tensor:
        """Attention of targets to histories, as RecBole's.

        Parameters
        ----------
        queries : torch.Tensor, shape [B, H]
            Target items.
        keys : torch.Tensor, shape [B, T, H]
            Clicks, padding at the end.
        keys_length : torch.Tensor of int64, shape [B]

        Returns
        -------
        torch.Tensor, shape [B, 1, H]
            Sum of the clicks, weighted; or [B, 1, T], the weights, where the layer was made to return them.
        """
        layers = list(self.att_mlp_layers.mlp_layers)
        if self.softmax_stag or self.return_seq_weight or not _plain(layers, self.training):
            return super().forward(queries, keys, keys_length)
        rows, steps, width = keys.shape
        real = torch.arange(steps, device=keys.device) < keys_length[:, None]
        positions = real.flatten().nonzero().squeeze(1)
        owner = positions.div(steps, rounding_mode="floor")
        clicks = keys.reshape(rows * steps, width).index_select(0, positions)  # [N, H]
        first = layers[1]
        of_query, of_key, of_difference, of_product = first.weight.split(width, dim=1)
        target = F.linear(queries, of_query + of_difference, first.bias)
        product = queries.index_select(0, owner) * clicks
        weight = torch.cat([of_key - of_difference, of_product], dim=1)
        hidden = target.index_select(0, owner) + F.linear(torch.cat([clicks, product], dim=1), weight)
        for layer in layers[2:]:
            hidden = layer(hidden)
        weighted = self.dense(hidden) / width**0.5 * clicks
        return weighted.new_zeros(rows, width).index_add(0, owner, weighted).unsqueeze(1)


def _plain(layers: list[nn.Module], training: bool) -> bool:
    """Whether the layers treat each position by itself: a linear layer first, no normalisation, no dropout."""
    if len(layers) < 2 or not isinstance(layers[1], nn.Linear):
        return False
    normed = any(isinstance(layer, nn.modules.batchnorm._BatchNorm) for layer in layers)
    return not normed and not (training and any(isinstance(m, nn.Dropout) and m.p for m in layers))
