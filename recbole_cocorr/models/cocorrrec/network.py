"""CoCorrRec: a recurrent model on the device, corrected by a network in the cloud.

Reference: "Device-Cloud Collaborative Correction for On-Device Recommendation", IJCAI 2025,
arXiv 2506.12687. Equation numbers below are the paper's.
"""

import torch
from torch import nn

from recbole_cocorr.base.errors import UserError
from recbole_cocorr.layers import Correction, CorrectionFusion, GlobalCorrectionNetwork, TTTLinear
from recbole_cocorr.layers.dropout import Dropout
from recbole_cocorr.models.dot_product import DotProductRecommender, check_dropout, check_number, check_whole

RMS_EPS = 1e-6


class PlainBlock(nn.Module):
    """RMSNorm followed by TTT: the paper's block, with no residual around it.

    Parameters
    ----------
    ttt : TTTLinear
    """

    def __init__(self, ttt: TTTLinear):
        super().__init__()
        self.input_norm = nn.RMSNorm(ttt.hidden_size, eps=RMS_EPS)
        self.ttt = ttt

    def join(self, x: torch.Tensor, mixed: torch.Tensor) -> torch.Tensor:
        """The block's output of its input and of what the TTT layer made of it, both [..., d]."""
        return mixed


class GatedBlock(PlainBlock):
    """TTT and a gated feed-forward network, each behind an RMSNorm and inside a residual.

    x <- x + drop(TTT(RMSNorm(x))), then x <- x + drop(W_o (silu(W_g n) * (W_v n))) with n = RMSNorm(x). W_g and W_v
    are [2 d, d], W_o is [d, 2 d], none with a bias.

    Parameters
    ----------
    ttt : TTTLinear
    initializer_range : float
        Standard deviation of the feed-forward network's initial weights.
    dropout_prob : float
        Dropout on the outputs of TTT and of the feed-forward network, in training.
    """

    def __init__(self, ttt: TTTLinear, initializer_range: float, dropout_prob: float):
        super().__init__(ttt)
        hidden_size = ttt.hidden_size
        self.gate_norm = nn.RMSNorm(hidden_size, eps=RMS_EPS)
        self.gate_proj = nn.Linear(hidden_size, 2 * hidden_size, bias=False)
        self.value_proj = nn.Linear(hidden_size, 2 * hidden_size, bias=False)
        self.out_proj = nn.Linear(2 * hidden_size, hidden_size, bias=False)
        self.dropout = Dropout(dropout_prob)
        for linear in (self.gate_proj, self.value_proj, self.out_proj):
            nn.init.normal_(linear.weight, std=initializer_range)

    def join(self, x: torch.Tensor, mixed: torch.Tensor) -> torch.Tensor:
        x = x + self.dropout(mixed)
        n = self.gate_norm(x)
        return x + self.dropout(self.out_proj(nn.functional.silu(self.gate_proj(n)) * self.value_proj(n)))


class CoCorrRec(DotProductRecommender):
    """CoCorrRec as a RecBole sequential recommender.

    The SCN reads the clicks: item embedding, RMSNorm (the hidden state X, which the device uploads), blocks of
    TTT-Linear, final RMSNorm; the user vector u is the output at the last real click (eqs. 8-11). The paper's block is
    :class:`PlainBlock`, this project's :class:`GatedBlock`. A score is u . phi(e_i) (eq. 12). The GCN reads X and
    returns a correction of the first TTT layer's dual form (eqs. 13-15). Without the GCN, or where no correction
    arrives, the SCN goes on alone: that is "CoCorrRec (w/o GCN)".

    Parameters
    ----------
    config : Config
        Reads ``block, hidden_size, num_heads, num_layers, mini_batch_size, inner_lr, use_gcn,
        target_transform, dropout_prob, initializer_range, loss_type``; each is described in
        ``properties/model/CoCorrRec.yaml``.
    dataset : Dataset
        Needed for the number of items only.

    Raises
    ------
    ValueError
        For a setting that does not fit.
    """

    # A checkpoint trained with the GCN can be loaded without it.
    optional_weights = ("gcn.", "fusion.")
    # The device's half: torch compiles no GRU, and the correction network is one.
    compiled_part = "user_vectors"

    def __init__(self, config, dataset):
        super().__init__(config, dataset)
        self.hidden_size = config["hidden_size"]
        size = config["mini_batch_size"]
        self.mini_batch_size = self.max_seq_length if size is None else size
        self.use_gcn = config["use_gcn"]
        _check_settings(config, self.mini_batch_size)
        width = config["initializer_range"]

        self.item_embedding = nn.Embedding(self.n_items, self.hidden_size, padding_idx=0)
        self.dropout = Dropout(config["dropout_prob"])
        gated = config["block"] == "gated"
        if gated:  # X has a norm of its own; in a plain block it is what the first TTT layer reads
            self.embedding_norm = nn.RMSNorm(self.hidden_size, eps=RMS_EPS)
        self.layers = nn.ModuleList()
        for _ in range(config["num_layers"]):
            ttt = TTTLinear(
                self.hidden_size,
                config["num_heads"],
                self.mini_batch_size,
                inner_lr=config["inner_lr"],
                initializer_range=width,
            )
            self.layers.append(GatedBlock(ttt, width, config["dropout_prob"] / 2) if gated else PlainBlock(ttt))
        self.final_norm = nn.RMSNorm(self.hidden_size, eps=RMS_EPS)
        if config["target_transform"] == "mlp":
            self.target_transform = nn.Sequential(
                nn.Linear(self.hidden_size, self.hidden_size),
                nn.Tanh(),
                nn.Linear(self.hidden_size, self.hidden_size),
            )
            for layer in (self.target_transform[0], self.target_transform[2]):
                nn.init.xavier_normal_(layer.weight)
                nn.init.zeros_(layer.bias)
        with torch.no_grad():
            nn.init.normal_(self.item_embedding.weight, std=width)
            self.item_embedding.weight[0].zero_()
        # Last, so that the SCN starts from the same weights with and without it.
        if self.use_gcn:
            self.gcn = GlobalCorrectionNetwork(
                self.hidden_size, config["num_heads"], self.mini_batch_size, initializer_range=width
            )
            self.fusion = CorrectionFusion()

    # -- the two halves --------------------------------------------------------------------------

    def hidden_states(self, item_seq: torch.Tensor) -> torch.Tensor:
        """X, what the device uploads (eq. 8).

        Parameters
        ----------
        item_seq : torch.Tensor of int64, shape [B, L]
            Item ids, 0 = padding at the end.

        Returns
        -------
        torch.Tensor, shape [B, L, d]
        """
        return self._hidden_states(self.item_embedding(item_seq))

    def _hidden_states(self, embedded: torch.Tensor) -> torch.Tensor:
        return self.hidden_norm(self.dropout(embedded))

    @property
    def hidden_norm(self) -> nn.RMSNorm:
        """The norm that makes X of an item's embedding."""
        return self.embedding_norm if hasattr(self, "embedding_norm") else self.layers[0].input_norm

    def layer_input(self, number: int, x: torch.Tensor) -> torch.Tensor:
        """What the TTT layer of this number reads of its block's input [..., d]."""
        norm = self.layers[number].input_norm
        return x if norm is self.hidden_norm else norm(x)

    def correction(self, hidden_states: torch.Tensor, item_seq_len: torch.Tensor) -> Correction:
        """What the cloud sends back (eq. 13).

        Parameters
        ----------
        hidden_states : torch.Tensor, shape [B, L, d]
            X.
        item_seq_len : torch.Tensor of int64, shape [B]
        """
        return self.gcn(hidden_states, item_seq_len)

    def device_outputs(self, hidden_states: torch.Tensor, correction: Correction | None = None) -> torch.Tensor:
        """O after the final RMSNorm at every position (eqs. 9-11, 14-15).

        Parameters
        ----------
        hidden_states : torch.Tensor, shape [B, L, d]
            X.
        correction : Correction, optional
            None: the device goes on alone.

        Returns
        -------
        torch.Tensor, shape [B, L, d]
        """
        x, fusion = hidden_states, self.fusion if correction is not None else None
        for number, layer in enumerate(self.layers):
            mixed = layer.ttt(self.layer_input(number, x), correction=correction, fusion=fusion)
            x, correction, fusion = layer.join(x, mixed), None, None  # the correction is the first layer's
        return self.final_norm(x)

    def user_vectors(
        self, hidden_states: torch.Tensor, item_seq_len: torch.Tensor, correction: Correction | None = None
    ) -> torch.Tensor:
        """:meth:`device_outputs` at each row's last real click alone: u, [B, d].

        A row without any gets the vector of its first, padded position.
        """
        x, fusion = hidden_states, self.fusion if correction is not None else None
        *lower, last = self.layers
        for number, layer in enumerate(lower):
            mixed = layer.ttt(self.layer_input(number, x), correction=correction, fusion=fusion)
            x, correction, fusion = layer.join(x, mixed), None, None
        mixed = last.ttt.forward_last(self.layer_input(len(lower), x), item_seq_len, correction, fusion)
        at = (item_seq_len - 1).clamp(min=0)
        return self.final_norm(last.join(x[torch.arange(len(x), device=x.device), at], mixed))

    def user_vectors_of(self, embedded: torch.Tensor, item_seq_len: torch.Tensor) -> torch.Tensor:
        """User vectors [B, d] of the embedded clicks, with the GCN's correction where the model has one."""
        hidden_states = self._hidden_states(embedded)
        correction = self.correction(hidden_states, item_seq_len) if self.use_gcn else None
        return self.user_vectors(hidden_states, item_seq_len, correction)

    def outputs_of(self, embedded: torch.Tensor, item_seq_len: torch.Tensor) -> torch.Tensor:
        """Outputs [B, L, d] of the embedded clicks at every position; without the GCN, which reads later clicks too."""
        if self.use_gcn:
            raise UserError(
                "training_rows is sequence, and the GCN corrects every click by the whole history, the later clicks "
                "included; set use_gcn: False, or training_rows: prefix"
            )
        return self.device_outputs(self._hidden_states(embedded))


def _check_settings(config, mini_batch_size: int) -> None:
    for key in ("hidden_size", "num_heads", "num_layers"):
        check_whole(key, config[key])
    check_whole("mini_batch_size", mini_batch_size)
    if config["block"] not in (None, "plain", "gated"):  # None: a checkpoint from before the gated block
        raise ValueError(f"block is {config['block']!r}; it must be plain or gated")
    if config["hidden_size"] % (2 * config["num_heads"]):
        raise ValueError(
            f"hidden_size is {config['hidden_size']} and num_heads {config['num_heads']}; hidden_size must be a "
            "multiple of twice num_heads, because RoPE turns pairs of a head's entries"
        )
    if config["target_transform"] not in ("identity", "mlp"):
        raise ValueError(f"target_transform is {config['target_transform']!r}; it must be identity or mlp")
    if not isinstance(config["use_gcn"], bool):
        raise ValueError(f"use_gcn is {config['use_gcn']!r}; it must be True or False")
    check_dropout(config["dropout_prob"])
    for key in ("inner_lr", "initializer_range"):
        check_number(key, config[key])
