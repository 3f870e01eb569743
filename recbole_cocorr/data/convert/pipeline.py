"""From a raw file to an atomic file, row by row."""

import errno
import os
import re
import tempfile
import warnings
from array import array
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path
from typing import IO

from recbole_cocorr.base.checks import checked_choice
from recbole_cocorr.base.errors import UserError
from recbole_cocorr.base.together import finish, write_together
from recbole_cocorr.data.convert.filters import DUPLICATES, drop_duplicates, k_core
from recbole_cocorr.data.convert.formats import FORMATS, Format, any_csv, looks_like
from recbole_cocorr.data.convert.rows import RowError, WrongFormat, check_token
from recbole_cocorr.data.convert.side import SIDE_FILES, SideFile, write_side_file
from recbole_cocorr.data.convert.source import ENCODINGS
from recbole_cocorr.data.convert.times import UNITS

HEADER = "user_id:token\titem_id:token\trating:float\ttimestamp:float\n"
_BUFFER = 2**20
_ASIN = re.compile(r"B0[0-9A-Z]{8}|\d{9}[\dX]")
_REVIEWER = re.compile(r"A[0-9A-Z]{9,20}")


@dataclass
class Report:
    """What a conversion did.

    Attributes
    ----------
    read : int
        Rows of the input, blank lines not counted: the sum of the next four.
    written, skipped, duplicates, filtered : int
        Rows written, left out as bad, as repeated, and by the least numbers of interactions.
    users, items : int
        Distinct ones in what was written.
    path : Path
        The ``.inter`` file.
    side : list of str
        One sentence for each further file.
    first_skipped : str
        What was wrong with the first bad row.
    notes : list of str
        What the user had better look at.
    """

    path: Path
    read: int = 0
    written: int = 0
    skipped: int = 0
    duplicates: int = 0
    filtered: int = 0
    users: int = 0
    items: int = 0
    side: list[str] = field(default_factory=list)
    first_skipped: str = ""
    notes: list[str] = field(default_factory=list)


def convert(
    source: Path | str,
    format: str,
    dataset: str,
    out: Path | str = "dataset",
    *,
    min_user_inter: int = 0,
    min_item_inter: int = 0,
    duplicates: str = "keep",
    on_error: str = "fail",
    encoding: str | None = None,
    columns: str | None = None,
    time_unit: str | None = None,
    overwrite: bool = False,
    progress: bool | None = None,
) -> Report:
    """Turn a raw public file into ``<out>/<dataset>/<dataset>.inter``.

    The text is never held. The distinct ids are (about 150 bytes each), and for the least numbers 17
    bytes an interaction. With ``duplicates`` other than "keep" it is 8 more, and about 200 bytes for each
    distinct pair. These options also need room on the disk for the rows twice.

    Parameters
    ----------
    source
        The raw file, gzipped or not.
    format
        A key of ``FORMATS``.
    dataset
        The name RecBole will know it by.
    out
        RecBole's ``data_path``; made where it is missing.
    min_user_inter, min_item_inter
        Least number of interactions of each user and item, iterated until it holds for both; 0 is off.
    duplicates
        See :func:`recbole_cocorr.data.convert.filters.drop_duplicates`, which runs before the k-core.
    on_error
        "fail": the first bad row ends the conversion. "skip": bad rows are counted and left out.
    encoding
        "utf-8" or "latin-1"; None is UTF-8, for movies.dat and users.dat UTF-8 or else Latin-1.
    columns
        For the format "csv": see :func:`recbole_cocorr.data.convert.tables.any_table`.
    time_unit
        For the format "csv": a key of ``UNITS``; None: seen from the size of the first time.
    overwrite
        Whether files of an earlier conversion may be replaced.
    progress
        Whether to show a bar; None shows it on a terminal.

    Returns
    -------
    Report
        Counts and paths. Rows stand in the order of the input.

    Raises
    ------
    UserError
        If anything is wrong that the user can mend. Nothing has been written then.
    """
    source, folder = Path(source), Path(out) / _checked_name(dataset)
    work = _Conversion(
        source,
        _checked_format(format, columns, time_unit),
        folder / f"{dataset}.inter",
        duplicates=checked_choice(duplicates, "duplicates", DUPLICATES),
        minima=(min_user_inter, min_item_inter),
        skip=checked_choice(on_error, "on_error", ("fail", "skip")) == "skip",
        encoding=None if encoding is None else checked_choice(encoding, "encoding", ENCODINGS),
        progress=progress,
    )
    try:
        finish(folder)
        work.refuse_existing(overwrite)
        work.note_others()
        with _new_folder(folder), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Python literals with odd escapes
            work.run(overwrite)
    except OSError as error:
        raise _unwritable(folder, error) from None
    return work.report


def _unwritable(folder: Path, error: OSError) -> UserError:
    remedy = "free some space" if error.errno in (errno.ENOSPC, errno.EDQUOT) else "make it writable"
    file = Path(error.filename or folder)
    path = file if file.is_relative_to(folder) else folder
    reason = os.strerror(error.errno) if error.errno else error
    return UserError(f"{path} cannot be written ({reason}); {remedy} or choose another folder with --out")


class _Conversion:
    def __init__(
        self,
        source: Path,
        format: Format,
        path: Path,
        *,
        duplicates: str,
        minima: tuple[int, int],
        skip: bool,
        encoding: str | None,
        progress: bool | None,
    ):
        self.source, self.format, self.path = source, format, path
        self.duplicates, (self.min_user, self.min_item) = duplicates, minima
        self.skip, self.encoding, self.progress = skip, encoding, progress
        self.report = Report(path)
        # Token to number, in order of appearance; numbers of each row where rows are filtered.
        self.users: dict[str, int] = {}
        self.items: dict[str, int] = {}
        self.row_user, self.row_item, self.row_time = array("I"), array("I"), array("d")

    @property
    def filters(self) -> bool:
        return self.duplicates != "keep" or self.min_user > 1 or self.min_item > 1

    def side_files(self) -> Iterator[tuple[SideFile, Path, Path]]:
        """What lies beside the source, and what it becomes."""
        for side in SIDE_FILES:
            if side.source not in self.format.side_files:
                continue
            source = self.source.with_name(side.source)
            if os.path.isfile(source):
                yield side, source, self.path.with_suffix(f".{side.suffix}")

    def refuse_existing(self, overwrite: bool) -> None:
        written = [self.path, *(target for _, _, target in self.side_files())]
        for target in written:
            if target.exists() and not overwrite:
                raise UserError(f"{target} exists already; add --overwrite to replace it, or take another --dataset")

    def note_others(self) -> None:
        written = [self.path, *(target for _, _, target in self.side_files())]
        for suffix in ("item", "user"):
            other = self.path.with_suffix(f".{suffix}")
            if other not in written and other.exists():
                self.report.notes.append(f"{other} was there before and is left as it was")

    def run(self, overwrite: bool) -> None:
        check = partial(self.refuse_existing, overwrite)
        with write_together(self.path.parent, "dataset", check) as together:
            with together.open(self.path.name, "wb", buffering=_BUFFER) as target:
                target.write((HEADER if self.format.rated else HEADER.replace("rating:float\t", "")).encode())
                if self.filters:
                    with tempfile.TemporaryFile(dir=self.path.parent, buffering=_BUFFER) as spool:
                        self.read(spool)
                        self.refuse_nothing()
                        users, items = self.copy_kept(spool, target, self.choose())
                else:
                    self.read(target)
                    self.refuse_nothing()
                    users, items = self.users.keys(), self.items.keys()
                    self.report.written = self.report.read - self.report.skipped
            self.report.users, self.report.items = len(users), len(items)
            self.note_swapped_columns()
            for side, source, path in self.side_files():
                known = items if side.suffix == "item" else users
                with together.open(path.name, "w", newline="", encoding="utf-8") as file:
                    written, skipped = write_side_file(side, source, file, known, self.encoding, self.skip)
                bad = f", {skipped:,} skipped" if skipped else ""
                self.report.side.append(f"{path} ({written:,} rows from {source.name}{bad})")

    def read(self, target: IO[bytes]) -> None:
        """Write the good rows of the source, in their order, and number their users and items."""
        report, users, items, rated = self.report, self.users, self.items, self.format.rated
        filters, timed = self.filters, self.duplicates != "keep"
        from tqdm import tqdm  # late: --help of the command needs it not

        size = os.path.getsize(self.source) if os.path.isfile(self.source) else 0
        off = None if self.progress is None else not self.progress
        with tqdm(total=size, unit="B", unit_scale=True, desc=self.source.name, disable=off) as bar:
            rows = self.format.read(self.source, self.encoding or "utf-8", bar.update, report.notes)
            while True:
                try:
                    number, row = next(rows)
                except StopIteration:
                    return
                except WrongFormat as error:
                    raise UserError(f"{error}; expected {self.format.shape}{self.hint()}") from None
                report.read += 1
                if isinstance(row, ValueError):
                    self.bad_row(number, row)
                    continue
                user, item, rating, time = row
                try:
                    if user not in users:
                        check_token("the user id", user)
                    if item not in items:
                        check_token("the item id", item)
                except RowError as error:
                    self.bad_row(number, error)
                    continue
                text = f"{user}\t{item}\t{rating}\t{time}\n" if rated else f"{user}\t{item}\t{time}\n"
                target.write(text.encode())
                user_number = users.setdefault(user, len(users))
                item_number = items.setdefault(item, len(items))
                if filters:
                    self.row_user.append(user_number)
                    self.row_item.append(item_number)
                if timed:
                    self.row_time.append(float(time))

    def hint(self) -> str:
        """Which other format the file looks like, as the end of a sentence."""
        other = looks_like(self.source, self.encoding or "utf-8", self.format.name)
        return f"; the file looks like {other}" if other else ""

    def bad_row(self, number: int, error: ValueError) -> None:
        if isinstance(error, UnicodeDecodeError):
            reason = f"byte {error.start + 1} is not {error.encoding.upper()}; save the file as UTF-8"
            reason += ", or say --encoding latin-1 if that is what it is"
        else:
            reason = f"{error}; expected {self.format.shape}"
        # A bad first row may show that the whole file is of another format; then nothing is skipped.
        hint = self.hint() if self.report.read == 1 else ""
        message = f"{self.source}, {self.format.counted} {number}: {reason}{hint}"
        if hint or not self.skip:
            raise UserError(message) from None
        self.report.skipped += 1
        self.report.first_skipped = self.report.first_skipped or message

    def refuse_nothing(self) -> None:
        if self.report.read == 0:
            raise UserError(f"{self.source} is empty; expected lines of {self.format.shape}")
        if self.report.read == self.report.skipped:
            raise UserError(
                f"{self.source} has no good row among {self.report.read:,}; the first problem: "
                f"{self.report.first_skipped}"
            )

    def choose(self) -> bytearray:
        """One byte a row: whether it stays."""
        keep = bytearray(b"\1") * len(self.row_user)
        self.report.duplicates = drop_duplicates(self.row_user, self.row_item, self.row_time, self.duplicates, keep)
        if self.min_user > 1 or self.min_item > 1:
            self.report.filtered = k_core(self.row_user, self.row_item, self.min_user, self.min_item, keep)
        self.report.written = keep.count(1)
        if not self.report.written:
            raise UserError(
                f"{self.source}: no interaction is left with --min_user_inter {self.min_user} and "
                f"--min_item_inter {self.min_item}; take smaller numbers"
            )
        return keep

    def copy_kept(
        self, spool: IO[bytes], target: IO[bytes], keep: bytearray
    ) -> tuple[Collection[str], Collection[str]]:
        """Copy the rows that stay; returns their users and items."""
        spool.seek(0)
        users, items = bytearray(len(self.users)), bytearray(len(self.items))
        for line, live, user, item in zip(spool, keep, self.row_user, self.row_item, strict=True):
            if live:
                target.write(line)
                users[user] = items[item] = 1
        return (
            {token for token, number in self.users.items() if users[number]},
            {token for token, number in self.items.items() if items[number]},
        )

    def note_swapped_columns(self) -> None:
        """Amazon's two ratings formats differ in nothing but the order of user and item."""
        if self.format.name not in ("amazon-ratings", "amazon-ratings-2018"):
            return
        users, items = list(islice(self.users, 100)), list(islice(self.items, 100))
        if all(map(_ASIN.fullmatch, users)) and all(map(_REVIEWER.fullmatch, items)):
            other = "amazon-ratings" if self.format.name.endswith("2018") else "amazon-ratings-2018"
            self.report.notes.append(
                f"the users look like Amazon's items and the items like its users; --format {other} swaps them"
            )


def _checked_name(dataset: str) -> str:
    if not re.fullmatch(r"[^\W_][\w.+-]*", dataset):
        raise UserError(
            f"the dataset name {dataset!r} will not do; take letters, digits, '-', '_', '.' and '+', "
            "and begin with a letter or digit"
        )
    return dataset


def _checked_format(name: str, columns: str | None, time_unit: str | None) -> Format:
    format = FORMATS[checked_choice(name, "format", FORMATS)]
    if time_unit is not None:
        checked_choice(time_unit, "time_unit", UNITS)
    if name == "csv":
        return any_csv(columns, time_unit)
    if columns or time_unit:
        raise UserError(f"columns and time_unit are for the format csv alone; {name} has its own")
    return format


@contextmanager
def _new_folder(folder: Path) -> Iterator[None]:
    """Make a folder; if the block fails, remove the new folders, as far as they are empty."""
    new_folders = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield
    except BaseException:
        for path in new_folders:
            with suppress(OSError):
                path.rmdir()
        raise
