"""Which clicks somebody who holds the item table can read from an upload."""

import numpy as np
import torch
from scipy.linalg import orthogonal_procrustes

_AT_ONCE = 256


def nearest(rows: np.ndarray, table: np.ndarray, log_prior: np.ndarray | None = None, sigma: float = 0.0) -> np.ndarray:
    """The item [n] whose hidden state is nearest to each row.

    With Gaussian noise of deviation ``sigma`` and the items' log probabilities, the most probable item: no guess is
    right more often.

    Parameters
    ----------
    rows : numpy.ndarray, shape [n, d]
    table : numpy.ndarray, shape [items, d]
        Row 0 is padding.
    log_prior : numpy.ndarray, shape [items], optional
    sigma : float
    """
    offset = np.square(table).sum(axis=1) / 2
    if log_prior is not None:
        offset = offset - sigma**2 * log_prior
    offset[0] = np.inf
    items = np.empty(len(rows), np.int64)
    turned, score = np.ascontiguousarray(table.T), np.empty((_AT_ONCE, len(table)), np.float32)
    offset = offset.astype(np.float32)
    for at in range(0, len(rows), _AT_ONCE):
        block = rows[at : at + _AT_ONCE].astype(np.float32)
        out = np.matmul(block, turned, out=score[: len(block)])
        out -= offset
        items[at : at + _AT_ONCE] = out.argmax(axis=1)
    return items


def by_length(rows: np.ndarray, table: np.ndarray) -> np.ndarray:
    """The item [n] whose hidden state is of the same Euclidean length, which no rotation hides."""
    lengths = np.linalg.norm(table, axis=1)
    lengths[0] = -1e9
    order = np.argsort(lengths)
    length = np.linalg.norm(rows, axis=1)
    at = np.clip(np.searchsorted(lengths[order], length), 1, len(order) - 1)
    left = length - lengths[order[at - 1]] < lengths[order[at]] - length
    return order[at - left]


def rotated_back(rows: np.ndarray, known_rows: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Rotated rows, rotated back by the rotation that fits some pairs of a known and an uploaded hidden state best."""
    turn, _ = orthogonal_procrustes(known_rows, known)
    return (rows @ turn).astype(np.float32)


def learned_decoder(
    pooled: np.ndarray, last: np.ndarray, victims: np.ndarray, epochs: int = 30, seed: int = 0
) -> np.ndarray:
    """Hidden states that a network, taught with the attacker's own sequences, reads from pooled vectors.

    Parameters
    ----------
    pooled : numpy.ndarray, shape [n, p]
        Pooled vectors of the attacker's sequences.
    last : numpy.ndarray, shape [n, positions * d]
        Their hidden states.
    victims : numpy.ndarray, shape [m, p]

    Returns
    -------
    numpy.ndarray, shape [m, positions * d]
    """
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = torch.nn.Sequential(
            torch.nn.Linear(pooled.shape[1], 512),
            torch.nn.GELU(),
            torch.nn.Linear(512, 512),
            torch.nn.GELU(),
            torch.nn.Linear(512, last.shape[1]),
        )
    mean, spread = pooled.mean(axis=0), pooled.std(axis=0) + 1e-6
    x, y = torch.from_numpy((pooled - mean) / spread), torch.from_numpy(last)
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=3e-3, total_steps=max(2, epochs * -(-len(x) // 256))
    )
    for _ in range(epochs):
        for batch in torch.randperm(len(x), generator=generator).split(256):
            optimizer.zero_grad()
            torch.nn.functional.mse_loss(net(x[batch]), y[batch]).backward()
            optimizer.step()
            schedule.step()
    with torch.no_grad():
        return net(torch.from_numpy(((victims - mean) / spread).astype(np.float32))).numpy()
