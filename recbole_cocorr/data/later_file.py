"""Interactions that came after the training, from an atomic file of their own."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from recbole_cocorr.data.convert.check import check_inter_file


def read_later(path: str | os.PathLike, settings: Mapping[str, Any]) -> tuple[list[str], list[str], np.ndarray]:
    """Users' and items' tokens and times, in the order of time.

    Parameters
    ----------
    path : str or os.PathLike
    settings : mapping
        The checkpoint's, which names the columns.

    Raises
    ------
    UserError
        If the file lacks a column, or is no atomic file; the sentence names line and column.
    """
    names = [settings[f"{part}_FIELD"] for part in ("USER_ID", "ITEM_ID", "TIME")]
    columns = [f"{name}:{kind}" for name, kind in zip(names, ("token", "token", "float"), strict=True)]
    separator, encoding = settings.get("field_separator") or "\t", settings.get("encoding") or "utf-8"
    check_inter_file(Path(path), columns, separator, encoding)
    types = dict(zip(columns, (str, str, np.float64), strict=True))
    table = pd.read_csv(path, sep=separator, encoding=encoding, dtype=types, usecols=columns)
    table = table.dropna().sort_values(columns[2], kind="stable")
    users, items, times = (table[column].to_numpy() for column in columns)
    return users.tolist(), items.tolist(), times.astype(np.float64)
