"""The correctors: one line each."""

from recbole_cocorr.base.errors import UserError
from recbole_cocorr.base.property_files import nearest
from recbole_cocorr.correctors.base import Corrector
from recbole_cocorr.correctors.item_item import ItemItem

# The first is the one where no kind is named: on the command line, and in a folder's trust.json.
CORRECTORS: dict[str, type[Corrector]] = {
    "item-item": ItemItem,
}
DEFAULT = next(iter(CORRECTORS))


def corrector_class(kind: str) -> type[Corrector]:
    """The class of a kind.

    Raises
    ------
    UserError
        If the catalogue has no such kind.
    """
    if kind not in CORRECTORS:
        raise UserError(f"there is no corrector {kind!r}; {nearest(kind, CORRECTORS)}")
    return CORRECTORS[kind]


def kind_of(corrector: Corrector) -> str:
    """The kind of a fitted corrector.

    Raises
    ------
    UserError
        If its class has no line in the catalogue, so that nobody could read its file.
    """
    for kind, known in CORRECTORS.items():
        if type(corrector) is known:
            return kind
    raise UserError(f"{type(corrector).__name__} has no line in recbole_cocorr/correctors/catalogue.py")


def weights_stem(kind: str) -> str:
    """Start of the name of a kind's files of weights."""
    return kind.replace("-", "_")
