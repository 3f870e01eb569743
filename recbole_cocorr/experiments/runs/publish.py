"""A results folder as it is shown to others: every record, no weights, and no path of the machine that made it.

What is published can be read as any results folder: ``report`` makes the same page of both.
"""

import dataclasses
import gzip
import json
import os
from pathlib import Path, PureWindowsPath
from typing import Any

from recbole_cocorr.base.errors import UserError
from recbole_cocorr.base.files import atomic_write, make_folder, versioned_content, write_json
from recbole_cocorr.base.readers import read_json
from recbole_cocorr.experiments.runs.run_files import (
    FORMAT_VERSION,
    PACKED_RUN_FILE,
    RUN_FORMAT,
    read_results,
    runs_in,
)


def publish(results: str | os.PathLike, out: str | os.PathLike, ranks: bool = True) -> list[Path]:
    """Write what a results folder holds into a folder for others.

    Parameters
    ----------
    results : str or os.PathLike
        A folder that ``benchmark`` or ``sweep`` wrote.
    out : str or os.PathLike
        Runs that it holds already stay, or are replaced by those of the same id.
    ranks : bool
        Whether to publish where each user's test item stands. A comparison of two models needs it; it is most of
        the bytes.

    Returns
    -------
    list of pathlib.Path
        The files written: ``runs/<run id>/run.json.gz`` of every finished run, and every JSON file beside the runs.

    Raises
    ------
    UserError
        If the folder is no results folder, or a file in it cannot be read.
    """
    source, target = Path(results), Path(out)
    if not read_results(source):
        raise UserError(f"{source} has no finished run to publish")
    if target.resolve() == source.resolve():
        raise UserError(f"{source} would be published into itself; name another folder")
    files = []
    make_folder(target, "published results")
    for file in sorted(source.glob("*.json")):
        write_json(target / file.name, without_paths(read_json(file, "result", nan=True)))
        files.append(target / file.name)
    for record, folder in runs_in(source):
        run = make_folder(target / "runs" / folder.name, "published run")
        content = without_paths(dataclasses.asdict(record if ranks else dataclasses.replace(record, ranks=None)))
        text = json.dumps(versioned_content(RUN_FORMAT, FORMAT_VERSION, content))
        with atomic_write(run / PACKED_RUN_FILE, "wb", "run record") as packed:
            # Without a time, so that the same record has the same bytes.
            packed.write(gzip.compress(text.encode(), mtime=0))
        files.append(run / PACKED_RUN_FILE)
    return files


def without_paths(value: Any) -> Any:
    """A JSON value in which every absolute path is its last name: ``/home/ann/data`` becomes ``data``."""
    if isinstance(value, dict):
        return {key: without_paths(one) for key, one in value.items()}
    if isinstance(value, list):
        return [without_paths(one) for one in value]
    if isinstance(value, str) and "\n" not in value:
        for path in (Path(value), PureWindowsPath(value)):
            if path.is_absolute() and path.name:
                return path.name
    return value
