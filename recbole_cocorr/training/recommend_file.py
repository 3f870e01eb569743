"""Recommendations for the users of a file, as a file."""

import csv
import os
from dataclasses import dataclass

from recbole_cocorr.base.files import atomic_write
from recbole_cocorr.data.convert.click_file import read_clicks
from recbole_cocorr.training.recommend import Recommender

HEADER = ("user", "item", "rank", "score", "source")


@dataclass(frozen=True)
class Written:
    """What was written.

    Attributes
    ----------
    users, rows : int
    popular : int
        Users who got what is popular, because the model knows none of their items.
    unknown : int
        Different items that the model does not know.
    """

    users: int
    rows: int
    popular: int
    unknown: int


def recommend_file(
    recommender: Recommender,
    source: str | os.PathLike,
    out: str | os.PathLike,
    k: int = 10,
    exclude_history: bool = False,
    columns: str | None = None,
    time_unit: str | None = None,
) -> Written:
    """Recommend to each user of a table of clicks, and write a table: all of it, or nothing.

    Parameters
    ----------
    recommender : Recommender
    source, columns, time_unit
        As for :func:`~recbole_cocorr.data.convert.click_file.read_clicks`.
    out : str or os.PathLike
        Gets the columns ``user``, ``item``, ``rank`` from 1, ``score`` and ``source``, separated by commas.
    k, exclude_history
        As for :meth:`Recommender.recommend_many`.

    Raises
    ------
    UserError
        If the table cannot be read, or the model knows none of its items.
    """
    clicks = read_clicks(source, columns, time_unit)
    answers = recommender.for_users(clicks.histories, k, exclude_history)
    with atomic_write(out, what="recommendations", through=True, newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(HEADER)
        for user, answer in zip(clicks.users, answers, strict=True):
            for rank, (item, score) in enumerate(zip(answer.items, answer.scores, strict=True), 1):
                writer.writerow((user, item, rank, f"{score:.6g}", answer.source))
    return Written(
        len(answers),
        sum(len(answer.items) for answer in answers),
        sum(answer.source == "popularity" for answer in answers),
        len({token for answer in answers for token in answer.unknown}),
    )
