"""What a corrector is: everybody's clicks in, scores of one user's candidates out."""

import os
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Protocol, runtime_checkable

import numpy as np
import scipy.sparse as sparse


@runtime_checkable
class Corrector(Protocol):
    """Scores that the cloud gives a user's candidates, from clicks alone; no model, no torch.

    The cloud serves :meth:`scores`; the trust is learned, and rankings are evaluated, with both ways to score. A class
    becomes a corrector that ``fit-corrector --kind`` fits, and that a folder is read by, with one line in
    :mod:`recbole_cocorr.correctors.catalogue`.

    Attributes
    ----------
    SETTINGS : mapping of str to tuple of type
        Names of the settings that :meth:`fit` takes by keyword, and the types that each may have.
    """

    SETTINGS: ClassVar[Mapping[str, tuple[type, ...]]]

    @property
    def n_items(self) -> int:
        """Size of the catalogue, padding (item 0) included."""
        ...

    @classmethod
    def fit(cls, users: np.ndarray, items: np.ndarray, n_items: int, **settings: Any) -> "Corrector":
        """Learn from everybody's training clicks.

        Parameters
        ----------
        users, items : numpy.ndarray of int, shape [N]
            Who clicked what, in any order.
        n_items : int
            Size of the catalogue, padding included.
        **settings
            Some or all of ``SETTINGS``; each has a default, unless a file in ``properties/`` gives it.

        Raises
        ------
        UserError
            For settings that do not fit.
        """
        ...

    def scores(self, histories: Sequence[np.ndarray], candidates: np.ndarray) -> np.ndarray:
        """Score each row's candidates.

        Parameters
        ----------
        histories : sequence of B numpy.ndarray of int
            Item ids, oldest first, of any length, also 0.
        candidates : numpy.ndarray of int, shape [B, C]
            Item ids; 0 where a row has fewer candidates.

        Returns
        -------
        numpy.ndarray of float32, shape [B, C]
            Finite; 0 where the corrector has nothing to say, and a device's own score stays as it is. A row's scores do
            not depend on the other rows, which may be another user's requests.
        """
        ...

    def all_scores(self, histories: Sequence[np.ndarray]) -> sparse.csr_matrix:
        """Score the whole catalogue; the same numbers as :meth:`scores`.

        Parameters
        ----------
        histories : sequence of B numpy.ndarray of int
            Item ids, oldest first, of any length, also 0.

        Returns
        -------
        scipy.sparse.csr_matrix of float32, shape [B, n_items]
            With sorted indices; an entry that is absent is a score of 0.
        """
        ...

    def digest(self) -> str:
        """Fingerprint, in hexadecimal, that two correctors share only if they give the same scores."""
        ...

    def save(self, path: str | os.PathLike) -> None:
        """Write all that :meth:`load` needs as one safetensors file, whole or not at all."""
        ...

    @classmethod
    def load(cls, path: str | os.PathLike) -> "Corrector":
        """Read what :meth:`save` wrote.

        Raises
        ------
        UserError
            If the file is missing, something else, of another version or damaged.
        """
        ...
