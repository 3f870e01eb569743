"""Mamba4Rec: a selective state space model over the clicks.

Reference: "Mamba4Rec: Towards Efficient Sequential Recommendation with Selective State Space Models",
arXiv 2403.03900.
"""

import torch
from torch import nn

from recbole_cocorr.layers.dropout import Dropout
from recbole_cocorr.layers.mamba import Mamba, MambaState
from recbole_cocorr.models.dot_product import DotProductRecommender, check_dropout, check_number, check_whole
from recbole_cocorr.models.length_groups import length_groups, rejoin

NORM_EPS = 1e-12


class MambaLayer(nn.Module):
    """A Mamba block and a position-wise feed-forward network, each with dropout and LayerNorm.

    Where layers are stacked, the block has a residual connection; a single layer's block has not (section 3.3 of the
    paper). The feed-forward network, of width 4 d with GELU, always has one.

    Parameters
    ----------
    hidden_size, d_state, d_conv, expand : int
    dropout_prob : float
    residual : bool
    """

    def __init__(self, hidden_size: int, d_state: int, d_conv: int, expand: int, dropout_prob: float, residual: bool):
        super().__init__()
        self.residual = residual
        self.mamba = Mamba(hidden_size, d_state, d_conv, expand)
        self.dropout = Dropout(dropout_prob)
        self.norm = nn.LayerNorm(hidden_size, eps=NORM_EPS)
        self.feed_forward = nn.Sequential(
            nn.Linear(hidden_size, 4 * hidden_size),
            nn.GELU(),
            Dropout(dropout_prob),
            nn.Linear(4 * hidden_size, hidden_size),
            Dropout(dropout_prob),
        )
        self.feed_forward_norm = nn.LayerNorm(hidden_size, eps=NORM_EPS)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map [B, L, d] to [B, L, d]."""
        return self._around(x, self.mamba(x))

    def _around(self, x: torch.Tensor, mixed: torch.Tensor) -> torch.Tensor:
        mixed = self.dropout(mixed)
        x = self.norm(mixed + x if self.residual else mixed)
        return self.feed_forward_norm(self.feed_forward(x) + x)

    def step(self, x_t: torch.Tensor, state: MambaState) -> tuple[torch.Tensor, MambaState]:
        """One click [B, d]; equals :meth:`forward` at its position."""
        mixed, state = self.mamba.step(x_t, state)
        return self._around(x_t, mixed), state


class Mamba4Rec(DotProductRecommender):
    """Mamba4Rec as a RecBole sequential recommender.

    Item embedding, dropout, LayerNorm, the Mamba layers; the user vector is the output at the last real click, and a
    score its dot product with the item's embedding.

    Parameters
    ----------
    config : Config
        Reads ``hidden_size, num_layers, d_state, d_conv, expand, dropout_prob, initializer_range, loss_type``;
        each is described in ``properties/model/Mamba4Rec.yaml``.
    dataset : Dataset
        Needed for the number of items only.

    Raises
    ------
    ValueError
        For a setting that does not fit.
    """

    def __init__(self, config, dataset):
        super().__init__(config, dataset)
        for key in ("hidden_size", "num_layers", "d_state", "d_conv", "expand"):
            check_whole(key, config[key])
        check_dropout(config["dropout_prob"])
        check_number("initializer_range", config["initializer_range"])
        self.hidden_size = config["hidden_size"]
        self.item_embedding = nn.Embedding(self.n_items, self.hidden_size, padding_idx=0)
        self.dropout = Dropout(config["dropout_prob"])
        self.norm = nn.LayerNorm(self.hidden_size, eps=NORM_EPS)
        self.layers = nn.ModuleList(
            MambaLayer(
                self.hidden_size,
                config["d_state"],
                config["d_conv"],
                config["expand"],
                config["dropout_prob"],
                residual=config["num_layers"] > 1,
            )
            for _ in range(config["num_layers"])
        )
        # As published: every linear layer and the embedding from one normal distribution, biases 0, also those of
        # the step sizes, which the Mamba block alone would start otherwise.
        for module in self.modules():
            if isinstance(module, (nn.Linear, nn.Embedding)):
                nn.init.normal_(module.weight, std=config["initializer_range"])
            if isinstance(module, nn.Linear) and module.bias is not None:
                nn.init.zeros_(module.bias)
        with torch.no_grad():
            self.item_embedding.weight[0].zero_()

    def user_vectors_of(self, embedded: torch.Tensor, item_seq_len: torch.Tensor) -> torch.Tensor:
        """User vectors [B, d] of the embedded clicks."""
        x = self.norm(self.dropout(embedded))
        # The scan's cost is the number of positions, so the short sequences are not padded to the longest.
        groups = None if torch.compiler.is_compiling() else length_groups(item_seq_len, x.shape[1])
        if groups is None:
            return self._last(x, item_seq_len)
        return rejoin([self._last(x[rows, :longest], item_seq_len[rows]) for rows, longest in groups], groups)

    def outputs_of(self, embedded: torch.Tensor, item_seq_len: torch.Tensor) -> torch.Tensor:
        """Outputs [B, L, d] of the embedded clicks at every position."""
        return self._read(self.norm(self.dropout(embedded)))

    def _last(self, x: torch.Tensor, item_seq_len: torch.Tensor) -> torch.Tensor:
        return self.gather_indexes(self._read(x), (item_seq_len - 1).clamp_min(0))

    def _read(self, x: torch.Tensor) -> torch.Tensor:
        for layer in self.layers:
            x = layer(x)
        return x

    def initial_state(self, batch_size: int) -> list[MambaState]:
        """The state of every layer before the first click."""
        return [layer.mamba.initial_state(batch_size) for layer in self.layers]

    def step(self, items: torch.Tensor, state: list[MambaState]) -> tuple[torch.Tensor, list[MambaState]]:
        """Read one click of each row, at a cost that does not depend on those before.

        Parameters
        ----------
        items : torch.Tensor of int64, shape [B]
        state : list of MambaState
            From :meth:`initial_state` or an earlier call.

        Returns
        -------
        tuple of torch.Tensor [B, d] (the user vectors) and list of MambaState
        """
        x = self.norm(self.dropout(self.item_embedding(items)))
        after = []
        for layer, before in zip(self.layers, state, strict=True):
            x, now = layer.step(x, before)
            after.append(now)
        return x, after
