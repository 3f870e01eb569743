"""A fitted corrector on the disk: what the cloud scores with, and how far one model's devices trust it.

``trust.json`` holds the trust, the model that it was learned for, the item tokens by the weights' numbers, the kind of
corrector (without it: item-item), the settings it was fitted with, when a device asks for scores, and the name of the
file of weights: ``item_item.safetensors``, or for a later fit into the same folder one whose name changes with its
contents.
``trust.json`` is replaced last, so that whoever reads the folder finds the old or the new corrector.
"""

import os
import re
from dataclasses import asdict
from pathlib import Path
from typing import Any

from recbole_cocorr.artifact.arrays import digest_of, little_endian
from recbole_cocorr.artifact.fingerprint import catalogue_fingerprint
from recbole_cocorr.artifact.manifest import MOST_TRUST
from recbole_cocorr.artifact.request_rule import RequestRule
from recbole_cocorr.artifact.vocabulary import encode_tokens
from recbole_cocorr.base.errors import UserError
from recbole_cocorr.base.files import make_folder, write_versioned
from recbole_cocorr.base.leftovers import locked
from recbole_cocorr.base.readers import Record, read_json, versioned
from recbole_cocorr.base.together import read_by_index, remove_old
from recbole_cocorr.correctors.base import Corrector
from recbole_cocorr.correctors.catalogue import CORRECTORS, DEFAULT, corrector_class, kind_of, weights_stem
from recbole_cocorr.correctors.settings import corrector_settings
from recbole_cocorr.correctors.trust import Trust

TRUST_FILE = "trust.json"
FORMAT, FORMAT_VERSION = "recbole_cocorr.trust", 2


def catalogue_of(items: list[str]) -> str:
    """Fingerprint of the catalogue, as an artifact of the same items has it."""
    return catalogue_fingerprint(*(digest_of(memoryview(little_endian(a))) for a in encode_tokens(items)))


def _weights_file(kind: str) -> str:
    return f"{weights_stem(kind)}.safetensors"


def _is_weights_file(name: str, kind: str) -> bool:
    return re.fullmatch(rf"{re.escape(weights_stem(kind))}(-[0-9a-f]{{8}})?\.safetensors", name) is not None


def _fingerprint(corrector: Corrector, items: list[str]) -> str:
    """The corrector's fingerprint: of its scores, and of which item has which row."""
    return digest_of(f"{corrector.digest()}\n{catalogue_of(items)}".encode())


def save_corrector(
    folder: str | os.PathLike,
    corrector: Corrector,
    trust: Trust,
    items: list[str],
    fingerprint: str,
    validation: dict[str, Any],
    settings: dict[str, Any] | None = None,
    rule: RequestRule | None = None,
) -> str:
    """Write a corrector; an earlier one in the folder works until this one is whole.

    Parameters
    ----------
    folder : str or os.PathLike
        Made if it is not there.
    corrector : Corrector
        Its class is in the catalogue.
    trust : Trust
    items : list of str
        Tokens by item id; entry 0 is padding.
    fingerprint : str
        Digest of the model whose scores the trust was learned with.
    validation : dict
        What was measured on the validation items.
    settings : dict, optional
        What the corrector was fitted with; the neighbour table of an artifact is fitted with the same.
    rule : RequestRule, optional
        When a device asks for scores.

    Returns
    -------
    str
        The corrector's own fingerprint.
    """
    kind = kind_of(corrector)
    folder = make_folder(folder, "corrector")
    digest = _fingerprint(corrector, items)
    content = {
        "corrector": digest,
        "fingerprint": fingerprint,
        "trust": asdict(trust),
        "validation": validation,
        "items": items,
    }
    if settings is not None:
        content["settings"] = settings
    if rule is not None:
        content["requests"] = rule.described()
    with locked(folder):
        if kind != DEFAULT:
            content |= {"kind": kind, "weights": _weights_file(kind)}
        if (folder / TRUST_FILE).exists():
            content["weights"] = f"{weights_stem(kind)}-{digest[:8]}.safetensors"
        weights = content.get("weights", _weights_file(kind))
        corrector.save(folder / weights)
        write_versioned(folder / TRUST_FILE, "corrector's trust", FORMAT, FORMAT_VERSION, content, indent=None)
        # The old weights may be of another kind.
        remove_old(folder, lambda name: name != weights and any(_is_weights_file(name, k) for k in CORRECTORS))
    return digest


def _read(folder: Path) -> Record:
    path = folder / TRUST_FILE
    if not path.is_file():
        raise UserError(f"{folder} holds no {TRUST_FILE}; python -m recbole_cocorr fit-corrector makes it")
    # What was measured may hold NaN, which Python writes and JSON does not have.
    raw = read_json(path, "trust file", nan=True)
    content = versioned(raw, str(path), FORMAT, "trust file", FORMAT_VERSION, "run fit-corrector again")
    trust = content.record("trust")
    for name in ("base", "per_log_click"):
        trust.number(name, -MOST_TRUST, MOST_TRUST)
    if not trust.number("scale", 0, MOST_TRUST) or set(trust) != {"base", "per_log_click", "scale"}:
        raise content.refuse("trust", "base, per_log_click and a scale above 0")
    if "requests" in content:
        RequestRule.of(content.record("requests"))
    content.text("corrector"), content.text("fingerprint"), content.array("items", str)
    kind = content.text("kind", tuple(CORRECTORS), default=DEFAULT)
    if not _is_weights_file(content.text("weights", default=_weights_file(kind)), kind):
        raise content.refuse("weights", "the name of a file of weights")
    return content


def trust_of(folder: str | os.PathLike, fingerprint: str) -> dict[str, Any]:
    """The trust in a corrector, as an artifact's manifest holds it.

    Raises
    ------
    UserError
        If there is no trust, or it was learned for another model than that of ``fingerprint``.
    """
    content = _read(Path(folder)).content
    if content["fingerprint"] != fingerprint:
        raise UserError(f"{folder} was fitted for another model; run fit-corrector with this checkpoint")
    return {**content["trust"], "corrector": content["corrector"], "items": catalogue_of(content["items"])}


def request_rule_of(folder: str | os.PathLike) -> RequestRule | None:
    """When a device asks for the corrector's scores; None for a folder of before that was learned.

    Raises
    ------
    UserError
        If there is no corrector.
    """
    content = _read(Path(folder))
    return RequestRule.of(content.record("requests")) if "requests" in content else None


def fitted_with(folder: str | os.PathLike) -> tuple[str, dict[str, Any]]:
    """The kind of a corrector, and the settings it was fitted with.

    Raises
    ------
    UserError
        If there is none.
    """
    content = _read(Path(folder))
    kind = content.text("kind", default=DEFAULT)
    if "settings" in content:
        return kind, corrector_settings(content.record("settings").content, kind)
    # A folder of before the settings were kept tells the decay alone.
    decay = getattr(load_corrector(folder)[0], "decay", None)
    return kind, corrector_settings({} if decay is None else {"decay": decay}, kind)


def load_corrector(folder: str | os.PathLike) -> tuple[Corrector, list[str], str]:
    """The corrector, the item tokens and the corrector's fingerprint: what the cloud needs.

    Raises
    ------
    UserError
        If a file is missing, damaged or does not fit the other.
    """
    folder = Path(folder)
    return read_by_index(folder / TRUST_FILE, lambda: _load(folder))


def _load(folder: Path) -> tuple[Corrector, list[str], str]:
    content = _read(folder).content
    kind = content.get("kind", DEFAULT)
    weights = content.get("weights", _weights_file(kind))
    corrector = corrector_class(kind).load(folder / weights)
    digest = _fingerprint(corrector, content["items"])
    if digest != content["corrector"] or corrector.n_items != len(content["items"]):
        raise UserError(f"{folder}: {weights} is not the one that {TRUST_FILE} was written with")
    return corrector, content["items"], digest
