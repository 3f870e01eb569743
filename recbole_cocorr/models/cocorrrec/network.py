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


class SCNLayer(nn.Module):
    """RMSNorm followed by the TTT block; the paper's block has no residual around it.

    Parameters
    ----------
    hidden_size, num_heads, mini_batch_size : int
    inner_lr, initializer_range : float
    """

    def __init__(
        self, hidden_size: int, num_heads: int, mini_batch_size: int, inner_lr: float, initializer_range: float
    ):
        super().__init__()
        self.input_norm = nn.RMSNorm(hidden_size, eps=RMS_EPS)
        self.ttt = TTTLinear(
            hidden_size, num_heads, mini_batch_size, inner_lr=inner_lr, initializer_range=initializer_range
        )


class CoCorrRec(DotProductRecommender):
    """CoCorrRec as a RecBole sequential recommender.

    The SCN reads the clicks: item embedding, RMSNorm (the hidden state X, which the device uploads),
    TTT-Linear, final RMSNorm; the user vector u is the output at the last real click (eqs. 8-11). A
    score is u . phi(e_i) (eq. 12). The GCN reads X and returns a correction of the TTT layer's dual form
    (eqs. 13-15). Without the GCN, or where no correction arrives, the SCN goes on alone: that is
    "CoCorrRec (w/o GCN)".

    Parameters
    ----------
    config : Config
        Reads ``hidden_size, num_heads, num_layers, mini_batch_size, inner_lr, use_gcn,
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
        self.layers = nn.ModuleList(
            SCNLayer(self.hidden_size, config["num_heads"], self.mini_batch_size, config["inner_lr"], width)
            for _ in range(config["num_layers"])
        )
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
        return self.layers[0].input_norm(self.dropout(embedded))

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
        fusion = self.fusion if correction is not None else None
        x = self.layers[0].ttt(hidden_states, correction=correction, fusion=fusion)
        for layer in self.layers[1:]:
            x = layer.ttt(layer.input_norm(x))
        return self.final_norm(x)

    def user_vectors(
        self, hidden_states: torch.Tensor, item_seq_len: torch.Tensor, correction: Correction | None = None
    ) -> torch.Tensor:
        """:meth:`device_outputs` at each row's last real click alone: u, [B, d].

        A row without any gets the vector of its first, padded position.
        """
        x, fusion = hidden_states, self.fusion if correction is not None else None
        for number, layer in enumerate(self.layers):
            if number:  # the correction is the first layer's, whose norm made X
                x, correction, fusion = layer.input_norm(x), None, None
            if number + 1 < len(self.layers):
                x = layer.ttt(x, correction=correction, fusion=fusion)
            else:
                x = layer.ttt.forward_last(x, item_seq_len, correction, fusion)
        return self.final_norm(x)

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
