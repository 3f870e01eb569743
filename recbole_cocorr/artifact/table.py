"""The item table: float32, float16, or int8 with a scale per row."""

import numpy as np

# Numbers of a block of rows that is multiplied at once: a few megabytes in float32.
_AT_ONCE = 1 << 19

PRECISIONS = ("fp32", "fp16", "int8")


def quantise(vectors: np.ndarray, precision: str) -> tuple[np.ndarray, np.ndarray | None]:
    """Vectors in the precision of a table.

    Parameters
    ----------
    vectors : numpy.ndarray of float32, shape [n, d]
    precision : {"fp32", "fp16", "int8"}

    Returns
    -------
    numpy.ndarray, shape [n, d], and numpy.ndarray of float32, shape [n], or None
        For int8 the scales: vector = row * scale, with scale = max |vector| / 127.
    """
    if precision == "fp32":
        return vectors.astype(np.float32), None
    if precision == "fp16":
        return vectors.astype(np.float16), None
    scale = np.abs(vectors).max(axis=1, initial=0).astype(np.float32) / np.float32(127)
    divisor = np.where(scale > 0, scale, 1).astype(np.float32)
    rows = np.rint(vectors / divisor[:, None]).clip(-127, 127).astype(np.int8)
    return rows, scale


class ItemTable:
    """Rows of a table as float32, and scores of them.

    Parameters
    ----------
    rows : numpy.ndarray, shape [n, d]
        float32, float16 or int8.
    scales : numpy.ndarray of float32, shape [n], optional
        For int8.
    """

    def __init__(self, rows: np.ndarray, scales: np.ndarray | None = None):
        self.rows, self.scales = rows, scales

    def __len__(self) -> int:
        return len(self.rows)

    def vectors(self, numbers: np.ndarray) -> np.ndarray:
        """Vectors [n, d] of the rows with these numbers, float32."""
        chosen = self.rows[numbers].astype(np.float32)
        return chosen if self.scales is None else chosen * self.scales[numbers, None]

    def put(self, number: int, vector: np.ndarray) -> None:
        """Write the vector of one row into ``vector``, float32 [d]."""
        if self.scales is None:
            vector[...] = self.rows[number]
        else:
            np.multiply(self.rows[number], self.scales[number], out=vector)

    def scores(self, user: np.ndarray, numbers: np.ndarray) -> np.ndarray:
        """Scores [n] of some rows for a user vector [d]."""
        scores = self.rows[numbers].astype(np.float32) @ user
        return scores if self.scales is None else scores * self.scales[numbers]

    def all_scores(self, user: np.ndarray) -> np.ndarray:
        """Scores [n] of every row, a block at a time: no second table in memory."""
        if self.scales is None and self.rows.dtype == np.float32:
            return self.rows @ user
        scores = np.empty(len(self.rows), np.float32)
        step = max(1, _AT_ONCE // max(1, self.rows.shape[1]))
        for start in range(0, len(self.rows), step):
            scores[start : start + step] = self.rows[start : start + step].astype(np.float32) @ user
        return scores if self.scales is None else scores * self.scales
