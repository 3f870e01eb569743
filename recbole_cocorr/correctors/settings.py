"""``properties/corrector.yaml``."""

from typing import Any

from recbole_cocorr.base.errors import UserError
from recbole_cocorr.base.property_files import nearest, property_file
from recbole_cocorr.base.yaml_reader import read_yaml

_KINDS = {"l2": (int, float), "neighbours": (int,), "decay": (int, float)}


def corrector_settings(given: dict[str, Any] | None = None) -> dict[str, Any]:
    """Settings of the item-item corrector: those of the file, beaten by ``given``.

    Raises
    ------
    UserError
        For an unknown key, or a value of the wrong kind.
    """
    path = property_file("", "corrector")
    if path is None:
        raise UserError("there is no properties/corrector.yaml; reinstall recbole_cocorr")
    settings = {**read_yaml(path, "configuration file"), **(given or {})}
    for key, value in settings.items():
        if key not in _KINDS:
            raise UserError(f"{path} has the key {key!r}; {nearest(key, _KINDS)}")
        if not isinstance(value, _KINDS[key]) or isinstance(value, bool):
            raise UserError(f"{path}: {key} is {value!r}; it must be a number")
    missing = sorted(set(_KINDS) - set(settings))
    if missing:
        raise UserError(f"{path} lacks {missing[0]!r}")
    return settings
