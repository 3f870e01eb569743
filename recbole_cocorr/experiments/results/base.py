"""The one way to save a result, to load it and to check it."""

import dataclasses
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from recbole_cocorr.base.files import atomic_write, versioned_content
from recbole_cocorr.base.readers import Record, read_json, versioned

Row = dict[str, Any]
R = TypeVar("R", bound="Result")


class Result:
    """The result of a measurement. Each kind is a dataclass whose fields are the keys of its file.

    Most have ``rows``; a kind that has none says itself whether it is empty.

    Attributes
    ----------
    FORMAT : str
        The value of ``format`` in the file.
    NAME : str
        What the file is, for the sentence of an error: "cost file".
    VERB : str
        The command that measures it.
    FILE : str
        The name of the file in a results folder; empty where it has no name of its own.
    ONCE_UNMARKED : bool
        Whether earlier versions wrote the file without ``format``. Such a file is read too.
    OF_RUNS : bool
        Whether it is about the runs of its folder, and says nothing without them.
    """

    FORMAT: ClassVar[str]
    NAME: ClassVar[str]
    VERB: ClassVar[str]
    FILE: ClassVar[str] = ""
    ONCE_UNMARKED: ClassVar[bool] = False
    OF_RUNS: ClassVar[bool] = False
    VERSION: ClassVar[int] = 1

    def content(self) -> Row:
        """The values of the file, beside ``format`` and ``format_version``."""
        return dataclasses.asdict(self)

    def json_text(self) -> str:
        """The file as such."""
        return json.dumps(versioned_content(self.FORMAT, self.VERSION, self.content()), indent=1) + "\n"

    def save(self, path: str | os.PathLike) -> None:
        """Write the file, whole or not at all; a pipe is written to directly."""
        with atomic_write(path, what=self.NAME, through=True) as file:
            file.write(self.json_text())

    @classmethod
    def load(cls: type[R], path: str | os.PathLike) -> R:
        """Read a file that :meth:`save` wrote.

        Raises
        ------
        UserError
            If it is missing, damaged, or of another kind or version.
        """
        content = read_json(path, cls.NAME, nan=True, halves=False)
        if cls.ONCE_UNMARKED and isinstance(content, dict) and "format" not in content:
            return cls.of(Record(content, str(path)))
        mend = f"run `python -m recbole_cocorr {cls.VERB}` again"
        return cls.of(versioned(content, str(path), cls.FORMAT, cls.NAME, cls.VERSION, mend))

    @classmethod
    def load_from(cls: type[R], folder: Path) -> R:
        """Read the file of a results folder; an empty result where there is no such file."""
        return cls.load(folder / cls.FILE) if (folder / cls.FILE).is_file() else cls()

    @property
    def is_empty(self) -> bool:
        """Whether nothing was measured."""
        return not self.rows

    @classmethod
    def of(cls: type[R], record: Record) -> R:
        """The result that a file holds, each value checked; raises UserError for a wrong one."""
        raise NotImplementedError

    def text(self) -> str:
        """The result as the terminal shows it."""
        raise NotImplementedError


@dataclass(kw_only=True)
class CheckpointResult(Result):
    """What was measured with one checkpoint, and where. In files of earlier versions these values are missing.

    Attributes
    ----------
    dataset, protocol, model : str
    seed : int or None
    versions, machine : dict
        Of what computed, and what it ran on.
    """

    dataset: str = ""
    protocol: str = ""
    model: str = ""
    seed: int | None = None
    versions: Row = field(default_factory=dict)
    machine: Row = field(default_factory=dict)

    @staticmethod
    def origin_of(record: Record) -> Row:
        """These values of a file."""
        names = {name: record.text(name, default="") for name in ("dataset", "protocol", "model")}
        where = {name: checked_object(record, name) for name in ("versions", "machine")}
        if where["machine"]:
            machine = record.record("machine")
            machine.text("processor")
            if not machine.absent("cores"):
                machine.whole("cores")
        return {**names, "seed": None if record.absent("seed") else record.whole("seed"), **where}

    @property
    def setting(self) -> str:
        """In words: ``CoCorrRec on amazon-beauty, protocol paper, seed 2020; AMD EPYC, 2 cores``."""
        parts = [self.model and f"{self.model} on {self.dataset}", self.protocol and f"protocol {self.protocol}"]
        parts.append("" if self.seed is None else f"seed {self.seed}")
        model = ", ".join(filter(None, parts))
        machine = self.machine.get("processor", "")
        if self.machine.get("cores"):
            machine += f", {self.machine['cores']} cores"
        return "; ".join(filter(None, (model, machine)))


_TAKE = {
    str: Record.text,
    int: Record.whole,
    float: Record.number,
    list: Record.array,
    dict: Record.numbers,
}


def checked_rows(record: Record, key: str, columns: Mapping[str, type], required: bool = False) -> list[Row]:
    """A list of objects that have these columns; further columns are left alone.

    Parameters
    ----------
    record : Record
    key : str
        The key of the list.
    columns : mapping of str to type
        ``dict`` stands for an object of numbers.
    required : bool
        Whether the list must be there; it is empty where it is missing, otherwise.

    Raises
    ------
    UserError
        Naming the row and the column.
    """
    if key not in record and not required:
        return []
    return [checked_row(row, columns) for row in record.records(key)]


def checked_row(row: Record, columns: Mapping[str, type]) -> Row:
    """One such object; raises UserError naming the column."""
    for name, kind in columns.items():
        _TAKE[kind](row, name)
    return row.content


def checked_object(record: Record, key: str) -> Row:
    """An object; empty where it is missing or null."""
    return {} if record.absent(key) else record.record(key).content
