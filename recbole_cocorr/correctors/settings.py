"""Settings of a corrector: of ``properties/corrector.yaml``, which belongs to the first of the catalogue."""

from typing import Any

from recbole_cocorr.base.errors import UserError
from recbole_cocorr.base.property_files import nearest, property_file, read_properties
from recbole_cocorr.correctors.catalogue import DEFAULT, corrector_class


def corrector_settings(given: dict[str, Any] | None = None, kind: str = DEFAULT) -> dict[str, Any]:
    """Settings of a corrector: those of its file, if it has one, beaten by ``given``.

    Parameters
    ----------
    given : dict, optional
    kind : str
        A name in the catalogue; the file is ``properties/corrector.yaml`` or, for a later line of the catalogue,
        ``properties/corrector/<kind>.yaml``, which may be absent.

    Raises
    ------
    UserError
        For an unknown kind or key, or a value of the wrong type.
    """
    types = corrector_class(kind).SETTINGS
    place = ("", "corrector") if kind == DEFAULT else ("corrector", kind)
    path = property_file(*place)
    source = path or f"corrector {kind}"
    settings = {**(read_properties(*place) if path or kind == DEFAULT else {}), **(given or {})}
    for key, value in settings.items():
        if key not in types:
            known = nearest(key, types) if types else "it has no settings"
            raise UserError(f"{source} has the key {key!r}; {known}")
        if not isinstance(value, types[key]) or isinstance(value, bool):
            raise UserError(f"{source}: {key} is {value!r}; it must be a number")
    missing = sorted(set(types) - set(settings))
    if path and missing:
        raise UserError(f"{source} lacks {missing[0]!r}")
    return settings
