"""Yaml files, as strictly as :mod:`recbole_cocorr.base.readers` reads JSON."""

import os
from typing import Any

import yaml

from recbole_cocorr.base.errors import UserError
from recbole_cocorr.base.readers import check_characters, check_depth, decode, read_bytes

# The property files of RecBole and of this package have a few kilobytes.
MOST_BYTES = 1 << 20
MOST_CONTAINERS = 100_000


def read_yaml(path: str | os.PathLike, what: str, loader: type = yaml.SafeLoader) -> dict[str, Any]:
    """Read a file of ``key: value`` lines.

    Parameters
    ----------
    path : str or os.PathLike
    what : str
        What the file is, for errors: "configuration file".
    loader : type
        A loader of PyYAML that makes no objects of its own accord.

    Returns
    -------
    dict
        Empty for an empty file.

    Raises
    ------
    UserError
        If the file cannot be read, is no yaml (with the line), holds anything but ``key: value``, holds a key that
        is no text, a huge number or half a character, or is nested too deeply.
    """
    text = decode(read_bytes(path, what, MOST_BYTES), str(path))
    try:
        content = yaml.load(text, Loader=_strict(loader))
    except (yaml.YAMLError, ValueError) as error:  # ValueError: a date such as 2025-13-01
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark else ""
        raise UserError(f"{path}{where} is not valid yaml: {getattr(error, 'problem', None) or error}") from None
    except RecursionError:
        raise UserError(f"{path} is nested too deeply") from None
    except (TypeError, AttributeError, KeyError, IndexError):  # PyYAML's own, for tags that do not fit their values
        raise UserError(f"{path} is not valid yaml: a value does not fit its tag") from None
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise UserError(f"{path} must hold 'key: value' lines, not a {type(content).__name__}")
    for key in content:
        if not isinstance(key, str):
            raise UserError(f"{path}: the key {key!r} is no name; put it in quotes if it is meant to be one")
    check_depth(content, str(path), MOST_CONTAINERS)
    check_characters(content, str(path))
    return content


def _strict(loader: type) -> type:
    """The loader, refusing numbers of any length. Of a key that stands twice the last one counts, as RecBole has it."""

    class Strict(loader):
        def construct_number(self, node: yaml.Node) -> int:
            number = self.construct_yaml_int(node)
            if number.bit_length() > 1000:
                raise yaml.constructor.ConstructorError(None, None, "a number of too many digits", node.start_mark)
            return number

    Strict.add_constructor("tag:yaml.org,2002:int", Strict.construct_number)
    return Strict
