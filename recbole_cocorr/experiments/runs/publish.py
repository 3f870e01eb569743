"""A results folder as it is shown to others: every record, no weights, and no path of the machine that made it.

What is published can be read as any results folder: ``report`` makes the same page of both.
"""

import dataclasses
import gzip
import json
import os
import re
from pathlib import Path, PureWindowsPath
from typing import Any

from recbole_cocorr.base.errors import UserError
from recbole_cocorr.base.files import atomic_write, make_folder, versioned_content, write_json
from recbole_cocorr.base.readers import read_json
from recbole_cocorr.experiments.runs.run_files import (
    FORMAT_VERSION,
    PACKED_RUN_FILE,
    RUN_FORMAT,
    check_results_folder,
    runs_in,
)

# The keys under which results hold sentences, such as the error of a run that failed.
_SENTENCES = ("error", "problems")
# An absolute path in a sentence and its last name: not the slash of "and/or", of "1/2" or of a URL.
_PATH = re.compile(r"(?<![\w.:/\\])(?:[A-Za-z]:)?[/\\](?:[^\s'\",;:()/\\]+[/\\])+([^\s'\",;:()/\\]+)")


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
    check_results_folder(source)
    runs = list(runs_in(source))
    if not runs:
        raise UserError(f"{source} has no finished run to publish")
    if target.resolve() == source.resolve():
        raise UserError(f"{source} would be published into itself; name another folder")
    files = []
    make_folder(target, "published results")
    for file in sorted(source.glob("*.json")):
        write_json(target / file.name, without_paths(read_json(file, "result", nan=True)))
        files.append(target / file.name)
    for record, folder in runs:
        run = make_folder(target / "runs" / folder.name, "published run")
        # Users keep their tokens, whatever they look like.
        own = {"settings": without_paths(record.settings), "config": without_paths(record.config)}
        content = dataclasses.asdict(dataclasses.replace(record, **own, **({} if ranks else {"ranks": None})))
        text = json.dumps(versioned_content(RUN_FORMAT, FORMAT_VERSION, content))
        with atomic_write(run / PACKED_RUN_FILE, "wb", "run record") as packed:
            # Without a time, so that the same record has the same bytes.
            packed.write(gzip.compress(text.encode(), mtime=0))
        files.append(run / PACKED_RUN_FILE)
    return files


def without_paths(value: Any, sentence: bool = False) -> Any:
    """A JSON value in which every absolute path is its last name: ``/home/ann/data`` becomes ``data``.

    Parameters
    ----------
    value : Any
        Its keys "error" and "problems" hold sentences.
    sentence : bool
        Whether paths are looked for inside the texts, too.
    """
    if isinstance(value, dict):
        return {key: without_paths(one, sentence or key in _SENTENCES) for key, one in value.items()}
    if isinstance(value, list):
        return [without_paths(one, sentence) for one in value]
    if not isinstance(value, str):
        return value
    if sentence:
        return _PATH.sub(r"\1", value)
    if "\n" not in value:
        for path in (Path(value), PureWindowsPath(value)):
            if path.is_absolute() and path.name:
                return path.name
    return value
