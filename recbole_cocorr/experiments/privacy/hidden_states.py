"""What an upload tells of the clicks, and what hiding it costs in NDCG@10."""

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from recbole_cocorr.evaluation.ranking import rank_positive
from recbole_cocorr.experiments.evaluation_rows import model_and_rows, ndcg_of
from recbole_cocorr.experiments.privacy.attacks import by_length, learned_decoder, nearest, rotated_back
from recbole_cocorr.experiments.results.base import Row
from recbole_cocorr.experiments.results.privacy import UploadPrivacy
from recbole_cocorr.layers import Correction
from recbole_cocorr.models.cocorrrec.network import CoCorrRec
from recbole_cocorr.service.client.uploads import NoiseOf, coded, gaussian_sigma, rotation, sensitivity_of
from recbole_cocorr.service.wire import ENCODINGS, row_bytes

KNOWN_PAIRS = (16, 64, 256)
# Positions from the end that the learned decoder is taught to read.
_POSITIONS = 3


@dataclass
class _Users:
    """The test rows, and what their devices would upload."""

    model: CoCorrRec
    seq: list[torch.Tensor] = field(default_factory=list)
    length: list[torch.Tensor] = field(default_factory=list)
    candidates: list[torch.Tensor] = field(default_factory=list)

    @torch.no_grad()
    def ndcg(self, correction: Callable[[torch.Tensor, torch.Tensor], Correction | None]) -> float:
        """NDCG@10 with the corrections that the cloud makes of the hidden states [B, L, d] and lengths [B]."""
        ranks, items = [], self.model.item_vectors()
        for seq, length, candidates in zip(self.seq, self.length, self.candidates, strict=True):
            hidden = self.model.hidden_states(seq)
            users = self.model.user_vectors(hidden, length, correction(hidden, length))
            for rows in torch.arange(len(users)).split(256):
                scores = torch.einsum("bcd,bd->bc", items[candidates[rows]], users[rows])
                ranks.append(rank_positive(scores, candidates[rows, 1:] > 0))
        return float(ndcg_of(torch.cat(ranks).numpy()).mean())


def _of_rows(change: Callable[[np.ndarray], np.ndarray]) -> Callable[[torch.Tensor], torch.Tensor]:
    def changed(hidden: torch.Tensor) -> torch.Tensor:
        flat = change(hidden.reshape(-1, hidden.shape[-1]).numpy())
        return torch.tensor(flat).view(hidden.shape)

    return changed


@torch.no_grad()
def measure_uploads(
    checkpoint: str | Path,
    data_path: str | None,
    epsilons: Sequence[float],
    delta: float,
    clicks: int,
    seed: int,
) -> UploadPrivacy:
    """Recovery of uploaded clicks and NDCG@10 of every way to upload.

    The attacker holds the item table, the model's weights and how popular each item is among the test users' clicks.

    Parameters
    ----------
    checkpoint : str or Path
        A CoCorrRec with its correction network.
    data_path : str, optional
        The folder of its data, where they are not where training found them.
    epsilons : sequence of float
        Budgets of a click, for the noise.
    delta : float
    clicks : int
        Number of clicks that are attacked, drawn at random; the quality is that of all users.
    seed : int

    Raises
    ------
    UserError
        As :func:`~recbole_cocorr.experiments.evaluation_rows.model_and_rows`.
    """
    recommender, loader = model_and_rows(checkpoint, data_path)
    model = recommender.model
    users = _Users(model)
    for batch in loader.batches():
        users.seq.append(batch.interaction[model.ITEM_SEQ])
        users.length.append(batch.interaction[model.ITEM_SEQ_LEN])
        users.candidates.append(batch.candidates)
    items = torch.cat([seq[seq > 0] for seq in users.seq]).numpy()
    table = model.hidden_norm(model.item_embedding.weight).numpy()
    count = np.bincount(items, minlength=len(table)).astype(float)
    log_prior = np.log((count + 0.5) / (count + 0.5).sum())
    guess = float(count.max() / count.sum())
    if len(items) > clicks:
        items = np.random.default_rng(seed).choice(items, clicks, replace=False)
    sent, width, most = table[items], model.hidden_size, model.max_seq_length
    rows: list[Row] = []

    def add(way: str, attack: str, size: int, guess: np.ndarray | float | None, ndcg: float, truth=items) -> None:
        share = guess if guess is None or isinstance(guess, float) else float((guess == truth).mean())
        rows.append({"way": way, "attack": attack, "bytes": size, "recovered": share, "ndcg@10": ndcg})

    add("nothing is uploaded", "the most popular item", 0, guess, users.ndcg(lambda hidden, length: None))
    for encoding, code in ENCODINGS.items():
        through = _of_rows(lambda x, e=encoding: coded(x, e))
        ndcg = users.ndcg(lambda hidden, length, f=through: model.correction(f(hidden), length))
        add(encoding, "nearest neighbour", most * row_bytes(code, width), nearest(coded(sent, encoding), table), ndcg)

    sensitivity = sensitivity_of(model.hidden_norm.weight.numpy())
    for epsilon in epsilons:
        noise = NoiseOf(gaussian_sigma(sensitivity, epsilon, delta), seed)
        noisy = _of_rows(noise)
        ndcg = users.ndcg(lambda hidden, length, f=noisy: model.correction(f(hidden), length))
        items_read = nearest(noise(sent), table, log_prior, noise.sigma)
        way = f"noise, epsilon {epsilon:g}, delta {delta:g} a click"
        add(way, "most probable item", 4 * most * width, items_read, ndcg)
        rows[-1] |= {"epsilon": epsilon, "delta": delta, "sigma": noise.sigma, "list_epsilon": most * epsilon}

    _rotated(users, add, sent, items, table, seed)
    _pooled(users, add, table, log_prior, clicks, seed)
    return UploadPrivacy(len(items), sum(map(len, users.seq)), guess, rows)


def _rotated(users: _Users, add: Callable, sent: np.ndarray, items: np.ndarray, table: np.ndarray, seed: int) -> None:
    """A secret rotation: the cloud holds input weights that are turned with it, and not the rotation."""
    model, width = users.model, users.model.hidden_size
    turn = rotation(width, seed)
    gcn = copy.deepcopy(model.gcn)
    for net in (gcn.attention_net, gcn.bias_net):
        net.gru.weight_ih_l0.copy_(net.gru.weight_ih_l0 @ torch.from_numpy(turn))
    ndcg = users.ndcg(lambda hidden, length: gcn(hidden @ torch.from_numpy(turn), length))
    size, turned = 4 * model.max_seq_length * width, sent @ turn
    add("secret rotation", "nearest neighbour", size, nearest(turned, table), ndcg)
    add("secret rotation", "length of a row", size, by_length(turned, table), ndcg)
    order = np.random.default_rng(seed).permutation(len(sent))
    for pairs in KNOWN_PAIRS:
        known, rest = order[:pairs], order[pairs:]
        if not len(rest):
            break
        items_read = nearest(rotated_back(turned[rest], turned[known], sent[known]), table)
        add("secret rotation", f"{pairs} clicks known", size, items_read, ndcg, items[rest])


def _pooled(users: _Users, add: Callable, table: np.ndarray, log_prior: np.ndarray, clicks: int, seed: int) -> None:
    """The correction network's GRUs run on the device, which uploads their last states alone."""
    model, nets = users.model, (users.model.gcn.attention_net, users.model.gcn.bias_net)

    def pool(hidden: torch.Tensor, length: torch.Tensor) -> torch.Tensor:
        last = (length - 1).clamp_min(0).view(-1, 1, 1)
        states = [net.gru(hidden)[0] for net in nets]
        return torch.cat([s.gather(1, last.expand(-1, 1, s.shape[-1])).squeeze(1) for s in states], dim=1)

    def correct(hidden: torch.Tensor, length: torch.Tensor) -> Correction:
        states = pool(hidden, length).split(model.hidden_size, dim=1)
        sent = [net.read(state) for net, state in zip(nets, states, strict=True)]
        return Correction(sent[0].view(-1, *model.gcn.attention_shape), sent[1].view(-1, *model.gcn.bias_shape))

    ndcg, size = users.ndcg(correct), 8 * model.hidden_size
    seq, length = torch.cat(users.seq), torch.cat(users.length)
    vectors = torch.cat([pool(model.hidden_states(s), n) for s, n in zip(users.seq, users.length, strict=True)]).numpy()
    # The last clicks, newest first; padding where there are fewer.
    position = length[:, None] - 1 - torch.arange(_POSITIONS)
    last = torch.where(position >= 0, seq.gather(1, position.clamp_min(0)), torch.zeros_like(position)).numpy()
    one = torch.arange(1, len(table))
    singles = torch.cat([pool(model.hidden_states(i[:, None]), torch.ones_like(i)) for i in one.split(4096)]).numpy()
    add(
        "pooled on the device",
        "newest click: nearest pooled vector of one click",
        size,
        nearest(vectors, np.concatenate([np.zeros_like(singles[:1]), singles])),
        ndcg,
        last[:, 0],
    )
    half = np.random.default_rng(seed).permutation(len(seq))
    own, victims = half[: len(half) // 2], half[len(half) // 2 :][:clicks]
    with torch.enable_grad():
        read = learned_decoder(
            vectors[own], table[last[own]].reshape(len(own), -1), vectors[victims], seed=seed
        ).reshape(len(victims), _POSITIONS, -1)
    for at in range(_POSITIONS):
        truth = last[victims, at]
        real = truth > 0
        name = "newest click" if not at else f"click {at + 1} from the end"
        spread = float(np.square(read[real, at] - table[truth[real]]).mean() ** 0.5) if real.any() else 0.0
        items_read = nearest(read[real, at], table, log_prior, spread) if real.any() else None
        attack = f"{name}: a network taught with half the users"
        add("pooled on the device", attack, size, items_read, ndcg, truth[real])
