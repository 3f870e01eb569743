"""What the items of a data set are called: the columns of its ``.item`` file, in RecBole's format."""

import csv
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path

from recbole_cocorr.base.errors import UserError

# MovieLens puts an article last, in whatever language: "Godfather, The", "Postino, Il", "Enfer, L'".
_ARTICLES = (
    *("The", "A", "An"),
    *("Le", "La", "Les", "L'", "Un", "Une"),
    *("Il", "Lo", "Gli", "Uno", "Una", "El", "Los", "Las", "O", "Os", "Um", "Uma"),
    *("Der", "Die", "Das", "Den", "Ein", "Eine", "De", "Het", "Een", "Det", "En", "Ett", "Et"),
)
_ARTICLE_LAST = re.compile(rf"(?P<rest>[^()]*[^()\s]), (?P<article>{'|'.join(_ARTICLES)})(?=\s*(?:[()]|$))")


def find_items(dataset: str, data_path: str | None = None) -> Path | None:
    """The ``.item`` file of a data set.

    Parameters
    ----------
    dataset : str
    data_path : str, optional
        The folder that holds ``NAME/NAME.item``; the recbole package, if left out.

    Returns
    -------
    pathlib.Path or None
        None if no ``data_path`` is given and the recbole package has no such file.

    Raises
    ------
    UserError
        If ``data_path`` holds no such file.
    """
    name = Path(dataset).name
    if data_path is not None:
        file = Path(data_path) / name / f"{name}.item"
        if not file.is_file():
            raise UserError(f"{data_path} holds no {name}/{name}.item, the titles of this artifact's items")
        return file
    spec = find_spec("recbole")  # found, not imported: that would import torch
    if spec is None or spec.origin is None:
        return None
    file = Path(spec.origin).parent / "dataset_example" / name / f"{name}.item"
    return file if file.is_file() else None


def titles_of(items: Path | None, tokens: Sequence[str]) -> list[tuple[str, str, str]]:
    """Tokens with their titles, best known first.

    Parameters
    ----------
    items : pathlib.Path, optional
        A ``.item`` file. The ``.inter`` file beside it, if there is one, tells how well known an item is.
    tokens : sequence of str
        The items of the catalogue.

    Returns
    -------
    list of (str, str, str)
        Token, title (the first column with "title" or "name" in it; the token where there is no title), and the year
        (the first column with "year" in it; else empty). Most interactions first, then in the order of ``tokens``.

    Raises
    ------
    UserError
        If the file has no item column or cannot be read.
    """
    if items is None:
        return [(token, token, "") for token in tokens]
    rows = _columns(items, (("title", "name"), ("year",)))
    title_of = {token: (_read(title) or token, year) for token, title, year in rows}
    counts: Counter[str] = Counter()
    interactions = items.with_suffix(".inter")
    if interactions.is_file():
        counts.update(token for (token,) in _columns(interactions, ()))
    ordered = sorted(tokens, key=lambda token: -counts[token])
    return [(token, *title_of.get(token, (token, ""))) for token in ordered]


def _read(title: str) -> str:
    """A title as people write it: "The Postman (Il Postino)" for "Postman, The (Postino, Il)"."""
    return _ARTICLE_LAST.sub(_article_first, title)


def _article_first(match: re.Match[str]) -> str:
    article = match["article"]
    return f"{article}{'' if article.endswith(chr(39)) else ' '}{match['rest']}"


def _columns(file: Path, wanted: tuple[tuple[str, ...], ...]) -> Iterator[tuple[str, ...]]:
    """The item column of a file, and for each entry of ``wanted`` the first column whose name has one of its words."""
    try:
        with file.open(encoding="utf-8-sig", newline="") as lines:
            rows = csv.reader(lines, delimiter="\t", quoting=csv.QUOTE_NONE)
            names = [name.rpartition(":")[0] or name for name in next(rows, [])]
            item = _first(names, ("item_id",))
            if item is None:
                raise UserError(f"{file} has no column item_id:token; its columns are {', '.join(names)[:200]}")
            columns = [item, *(_first(names, words, item) for words in wanted)]
            for row in rows:
                if len(row) > item:
                    yield tuple("" if p is None or p >= len(row) else row[p].strip() for p in columns)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        why = getattr(error, "strerror", None) or error
        raise UserError(f"{file} is no table in RecBole's format: {why}") from None


def _first(names: list[str], words: tuple[str, ...], but: int | None = None) -> int | None:
    return next((i for i, name in enumerate(names) if i != but and any(w in name.lower() for w in words)), None)
