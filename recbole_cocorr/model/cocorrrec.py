"""CoCorrRec: a recurrent model on the device, corrected by a network in the cloud.

Reference: "Device-Cloud Collaborative Correction for On-Device Recommendation", IJCAI 2025,
arXiv 2506.12687. Equation numbers below are the paper's.
"""

import torch
from recbole.model.abstract_recommender import SequentialRecommender
from torch import nn

from recbole_cocorr.data.loaders import NEG_ITEMS
from recbole_cocorr.layers import Correction, CorrectionFusion, GlobalCorrectionNetwork, TTTLinear
from recbole_cocorr.layers.dropout import Dropout
from recbole_cocorr.layers.softmax_loss import catalogue_cross_entropy
from recbole_cocorr.model.objective import SAMPLED_LOSSES

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


class CoCorrRec(SequentialRecommender):
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

    # Negatives come as a column [B, N] beside the sequence, which is encoded once.
    reads_neg_items = True
    # A checkpoint trained with the GCN can be loaded without it.
    optional_weights = ("gcn.", "fusion.")

    def __init__(self, config, dataset):
        super().__init__(config, dataset)
        self.LABEL_FIELD = config["LABEL_FIELD"]
        self.hidden_size = config["hidden_size"]
        size = config["mini_batch_size"]
        self.mini_batch_size = self.max_seq_length if size is None else size
        self.loss_type = config["loss_type"]
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
        self.target_transform = nn.Identity()
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

    # -- RecBole's interface ---------------------------------------------------------------------

    def forward(self, item_seq: torch.Tensor, item_seq_len: torch.Tensor) -> torch.Tensor:
        """User vectors.

        Parameters
        ----------
        item_seq : torch.Tensor of int64, shape [B, L]
        item_seq_len : torch.Tensor of int64, shape [B]
            Real clicks per row; a row without any gets the vector of its first, padded position.

        Returns
        -------
        torch.Tensor, shape [B, d]
        """
        return self._encode(self.item_embedding(item_seq), item_seq_len)

    def _encode(self, embedded: torch.Tensor, item_seq_len: torch.Tensor) -> torch.Tensor:
        hidden_states = self._hidden_states(embedded)
        correction = self.correction(hidden_states, item_seq_len) if self.use_gcn else None
        return self.user_vectors(hidden_states, item_seq_len, correction)

    def encode(self, interaction) -> torch.Tensor:
        """User vectors [B, d] of an interaction's sequences."""
        return self.forward(interaction[self.ITEM_SEQ], interaction[self.ITEM_SEQ_LEN])

    def item_vectors(self, items: torch.Tensor | None = None) -> torch.Tensor:
        """phi(e_i) of the given items, of any shape, or of the whole catalogue."""
        embedding = self.item_embedding.weight if items is None else self.item_embedding(items)
        return self.target_transform(embedding)

    def calculate_loss(self, interaction) -> torch.Tensor:
        """Training loss (eq. 16 under BCE); the batch may be this package's or RecBole's.

        Negatives are read from ``neg_items`` [B, N], or from RecBole's ``neg_item_id`` [B] (BPR); under
        BCE without either, rows carry RecBole's label.
        """
        item_seq, item_seq_len = interaction[self.ITEM_SEQ], interaction[self.ITEM_SEQ_LEN]
        items = interaction[self.POS_ITEM_ID][:, None]
        if self.loss_type == "CE":
            users = self.forward(item_seq, item_seq_len)
            # Without padding, whose vector stays zero that way.
            return catalogue_cross_entropy(users, self.item_vectors()[1:], items[:, 0] - 1)
        if NEG_ITEMS in interaction:
            items = torch.cat([items, interaction[NEG_ITEMS]], dim=1)
        elif self.NEG_ITEM_ID in interaction:
            items = torch.cat([items, interaction[self.NEG_ITEM_ID][:, None]], dim=1)
        # One look-up for both: each has a gradient of the size of the table.
        clicks, targets = self.item_embedding(torch.cat([item_seq, items], dim=1)).split(
            [item_seq.shape[1], items.shape[1]], dim=1
        )
        users = self._encode(clicks, item_seq_len)
        scores = torch.einsum("bcd,bd->bc", self.target_transform(targets), users)
        if items.shape[1] > 1:
            return SAMPLED_LOSSES[self.loss_type](scores, items > 0)
        return nn.functional.binary_cross_entropy_with_logits(scores[:, 0], interaction[self.LABEL_FIELD])

    def predict(self, interaction) -> torch.Tensor:
        """Scores [B] of the interaction's items."""
        return (self.encode(interaction) * self.item_vectors(interaction[self.ITEM_ID])).sum(dim=-1)

    def full_sort_predict(self, interaction) -> torch.Tensor:
        """Scores [B, n_items] of every item."""
        return self.encode(interaction) @ self.item_vectors().T


def _check_settings(config, mini_batch_size: int) -> None:
    def whole(key: str, value, least: int = 1) -> None:
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            raise ValueError(f"{key} is {value!r}; it must be a whole number of at least {least}")

    for key in ("hidden_size", "num_heads", "num_layers"):
        whole(key, config[key])
    whole("mini_batch_size", mini_batch_size)
    if config["hidden_size"] % (2 * config["num_heads"]):
        raise ValueError(
            f"hidden_size is {config['hidden_size']} and num_heads {config['num_heads']}; hidden_size must be a "
            "multiple of twice num_heads, because RoPE turns pairs of a head's entries"
        )
    if config["loss_type"] not in ("BCE", "BPR", "CE"):
        raise ValueError(f"loss_type is {config['loss_type']!r}; it must be BCE, BPR or CE")
    if config["target_transform"] not in ("identity", "mlp"):
        raise ValueError(f"target_transform is {config['target_transform']!r}; it must be identity or mlp")
    if not isinstance(config["use_gcn"], bool):
        raise ValueError(f"use_gcn is {config['use_gcn']!r}; it must be True or False")
    dropout = config["dropout_prob"]
    if not isinstance(dropout, (int, float)) or not 0 <= dropout < 1:
        raise ValueError(f"dropout_prob is {dropout!r}; it must be at least 0 and below 1")
    for key in ("inner_lr", "initializer_range"):
        value = config[key]
        if not isinstance(value, (int, float)) or isinstance(value, bool) or value < 0:
            raise ValueError(f"{key} is {value!r}; it must be a number of at least 0")
