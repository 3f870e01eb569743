"""Deltas of an artifact, from a checkpoint and the interactions that came after it. Nothing is trained."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from recbole_cocorr.artifact.arrays import digest_of, little_endian
from recbole_cocorr.artifact.delta import MOST_BYTES, Delta, pack_delta, parse_delta
from recbole_cocorr.artifact.fingerprint import catalogue_fingerprint
from recbole_cocorr.artifact.latest import LATEST, delta_file, read_latest, write_latest
from recbole_cocorr.artifact.manifest import Manifest
from recbole_cocorr.artifact.neighbours import NeighbourTable
from recbole_cocorr.artifact.table import quantise
from recbole_cocorr.artifact.vocabulary import encode_tokens
from recbole_cocorr.base.errors import UserError
from recbole_cocorr.base.files import atomic_write, make_folder
from recbole_cocorr.base.leftovers import locked
from recbole_cocorr.base.readers import read_bytes
from recbole_cocorr.correctors.catalogue import DEFAULT
from recbole_cocorr.correctors.folder import catalogue_of, fitted_with
from recbole_cocorr.correctors.item_item import ItemItem
from recbole_cocorr.correctors.neighbours import corrector_of, settings_for, table_of
from recbole_cocorr.correctors.new_items import vectors_of_new
from recbole_cocorr.correctors.recent import RecentClicks
from recbole_cocorr.correctors.settings import corrector_settings
from recbole_cocorr.correctors.trust import Trust
from recbole_cocorr.data.clicks import training_interactions
from recbole_cocorr.data.later_file import read_later
from recbole_cocorr.data.time_cuts import check_real_times, days
from recbole_cocorr.device.artifact import Artifact
from recbole_cocorr.training.checkpoint import checkpoint_fingerprint, load_checkpoint
from recbole_cocorr.training.corrected_lists import DeviceScores
from recbole_cocorr.training.data_of import data_of
from recbole_cocorr.training.prepare import Loaders
from recbole_cocorr.training.recent_popularity import popularity_weight
from recbole_cocorr.training.recommend import Recommender, recommender_from


@dataclass(frozen=True)
class Clicks:
    """Everybody's interactions: those that the model was made of, and those that came later.

    Attributes
    ----------
    users, items : numpy.ndarray of int64, shape [N]
        Items by their rows in the extended catalogue.
    times : numpy.ndarray of float64, shape [N]
    tokens : list of str
        Items that came later, in the order of their rows.
    """

    users: np.ndarray
    items: np.ndarray
    times: np.ndarray
    tokens: list[str]


def make_delta(
    checkpoint: str | os.PathLike,
    artifact: str | os.PathLike,
    interactions: str | os.PathLike,
    out: str | os.PathLike,
    corrector: str | os.PathLike | None = None,
    popularity_days: float | None = None,
    data_path: str | None = None,
) -> Delta:
    """Write the next delta of an artifact, and ``latest.json`` that names it.

    Parameters
    ----------
    checkpoint : str or os.PathLike
        What the artifact was exported from.
    artifact : str or os.PathLike
        As it was exported, without a delta.
    interactions : str or os.PathLike
        A ``.inter`` file of all that happened since the data of the checkpoint, in their columns.
    out : str or os.PathLike
        The folder of the deltas; those of before say which rows the new items have.
    corrector : str or os.PathLike, optional
        A folder that ``fit-corrector`` wrote; the weights are fitted with its settings.
    popularity_days : float, optional
        Also add to the scores of items by their clicks of so many days, with a weight learned on the validation items.
    data_path : str, optional
        Holds NAME/NAME.inter; where training found it, if left out.

    Raises
    ------
    UserError
        If one of the inputs is not usable or does not fit the others; the folder is as it was then.
    """
    opened = Artifact(artifact)
    manifest = opened.manifest
    if manifest.delta is not None:
        raise UserError(f"{artifact} has the delta {manifest.delta['version']}; name the artifact as it was exported")
    read = load_checkpoint(checkpoint)
    recommender = recommender_from(read, str(checkpoint), "cpu")
    known = recommender.vocabulary.items
    if manifest.fingerprint != checkpoint_fingerprint(read) or manifest.catalogue() != catalogue_of(known):
        raise UserError(f"{artifact} was not exported from {checkpoint}")
    kind, settings = (DEFAULT, corrector_settings()) if corrector is None else fitted_with(corrector)
    if kind != DEFAULT:
        raise UserError(f"{corrector} is a corrector {kind!r}; a delta is made with {DEFAULT!r}")
    table = manifest.neighbours
    if table is not None:
        settings = {**settings_for(table["count"], settings), "decay": table["decay"]}
    data = data_of(recommender.config, known, str(checkpoint), data_path)
    later = read_later(interactions, recommender.config)
    out = make_folder(out, "deltas")
    with locked(out):
        before = earlier_delta(out, manifest)
        clicks = gather(data, later, [] if before is None else before.tokens())
        fitted = ItemItem.fit(clicks.users, clicks.items, len(known) + len(clicks.tokens), **settings)
        weights = recommender.model.item_embedding.weight.detach().float().numpy()[: len(known)].copy()
        weights[0] = 0
        clicks, fitted, vectors = with_vectors(clicks, fitted, weights, before)
        popular = None
        if popularity_days is not None:
            popular = popular_items(recommender, data, clicks, popularity_days, opened)
        rows = None if table is None else table_of(fitted, table["count"])
        delta = build_delta(opened, clicks.tokens, vectors, rows, popular, before)
        # The file that a killed run left may be in a cache by now, which keeps it for ever.
        while (out / delta_file(delta.version)).exists():
            delta = replace(delta, version=delta.version + 1)
        write_delta(out, delta)
    return delta


def earlier_delta(folder: Path, manifest: Manifest) -> Delta | None:
    """The latest delta in a folder; None where there is none.

    Raises
    ------
    UserError
        If it is damaged, or of another artifact.
    """
    if not (folder / LATEST).exists():
        return None
    file = folder / read_latest(folder / LATEST).file
    delta = parse_delta(read_bytes(file, "delta", MOST_BYTES), str(file))
    if (delta.base, delta.items) != manifest.base():
        raise UserError(f"{folder} holds deltas of another artifact; name another folder for those of this one")
    return delta


def gather(data: Loaders, later: tuple[list[str], list[str], np.ndarray], first: list[str]) -> Clicks:
    """All interactions in numbers; the new items are ``first`` and then the others by their first click."""
    whole = data.valid.dataset
    training_interactions(whole, "make-delta")  # refuses data in another form
    users, items, times = whole.interactions()
    item_tokens, user_tokens = (whole.field2id_token[f].tolist() for f in (whole.iid_field, whole.uid_field))
    row_of = {str(token): row for row, token in enumerate([*item_tokens, *first]) if row}
    number_of = {str(token): number for number, token in enumerate(user_tokens) if number}
    later_users = [number_of.setdefault(token, len(number_of) + 1) for token in later[0]]
    later_items = [row_of.setdefault(token, len(row_of) + 1) for token in later[1]]
    return Clicks(
        np.concatenate([users, np.array(later_users, np.int64)]),
        np.concatenate([items, np.array(later_items, np.int64)]),
        np.concatenate([times, later[2]]),
        list(row_of)[len(item_tokens) - 1 :],
    )


def with_vectors(
    clicks: Clicks, fitted: ItemItem, known: np.ndarray, before: Delta | None
) -> tuple[Clicks, ItemItem, np.ndarray]:
    """The new items that have a vector, in the rows that they get, and their vectors.

    One that nobody clicked who also clicked an earlier item has none, and is left out until somebody does; one that an
    earlier delta brought stays, with the vector that it had if there is no other.
    """
    size = len(known)
    vectors = np.zeros((fitted.n_items - size, known.shape[1]), np.float32)
    have = np.zeros(len(vectors), bool)
    if before is not None:
        rows, scales = before.arrays["item_vectors"].astype(np.float32), before.arrays.get("item_scales")
        vectors[: before.new] = rows if scales is None else rows * scales[:, None]
        have[: before.new] = True
    found, made = vectors_of_new(fitted.weights, known)
    vectors[found - size], have[found - size] = made, True
    kept = np.r_[np.arange(size), size + np.flatnonzero(have)]
    row_of = np.zeros(fitted.n_items, np.int64)
    row_of[kept] = np.arange(len(kept))
    some = row_of[clicks.items] > 0
    parts = {"users": clicks.users[some], "items": row_of[clicks.items[some]], "times": clicks.times[some]}
    tokens = [token for token, there in zip(clicks.tokens, have, strict=True) if there]
    kept_weights = ItemItem(fitted.weights[kept][:, kept], fitted.decay)
    return replace(clicks, tokens=tokens, **parts), kept_weights, vectors[have]


def popular_items(
    recommender: Recommender, data: Loaders, clicks: Clicks, window: float, artifact: Artifact
) -> np.ndarray:
    """What popularity adds to the score of each item, float32 [n]; 0 where it does not help on the validation items.

    Raises
    ------
    UserError
        If the times of the data are no real ones.
    """
    users, items, times = data.valid.dataset.interactions()
    check_real_times(users, times, "a popularity of the last days")
    window *= days(times)
    corrector, trust, told = None, None, artifact.manifest.neighbours
    if told is not None:
        corrector = corrector_of(artifact.neighbours, told["decay"])
        trust = Trust.of(told)
    learned = RecentClicks(items, times, window)
    weight = popularity_weight(DeviceScores(recommender.model), data.valid, learned, corrector, trust)
    every = np.arange(artifact.manifest.items + len(clicks.tokens))
    now = np.full(len(every), np.nextafter(clicks.times.max(), np.inf))
    return (weight * np.arcsinh(RecentClicks(clicks.items, clicks.times, window).before(every, now))).astype(np.float32)


def build_delta(
    artifact: Artifact,
    tokens: list[str],
    vectors: np.ndarray,
    table: NeighbourTable | None,
    popular: np.ndarray | None,
    before: Delta | None = None,
) -> Delta:
    """The delta that leads from an artifact to another catalogue.

    Parameters
    ----------
    artifact : Artifact
        As it was exported.
    tokens : list of str
        The new items; those of ``before`` come first.
    vectors : numpy.ndarray of float32, shape [m, d]
    table : NeighbourTable or None
        Of all items, earlier and new; None where the artifact has none.
    popular : numpy.ndarray of float32, shape [n], or None
        What is added to the score of each item.
    before : Delta, optional
        The delta before it.
    """
    manifest = artifact.manifest
    known = manifest.items
    arrays: dict[str, np.ndarray] = {}
    tables = {"item": vectors}
    if "target_vectors" in manifest.arrays:
        tables["target"] = vectors
        if "targets" in manifest.graphs and len(vectors):
            tables["target"] = artifact.graph("targets").run(None, {"items": vectors})[0]
    for name, numbers in tables.items():
        rows, scales = quantise(numbers, manifest.table)
        arrays[f"{name}_vectors"] = rows
        if scales is not None:
            arrays[f"{name}_scales"] = scales
    arrays["token_bytes"], arrays["token_offsets"] = encode_tokens(["", *tokens])
    if table is not None:
        changed = artifact.neighbours.differs(table.take(np.arange(known)))
        if before is not None:
            changed = np.union1d(changed, before.arrays["neighbour_rows"].astype(np.int64))
        arrays["neighbour_rows"] = changed.astype(np.uint32)
        arrays |= table.take(np.r_[changed, np.arange(known, len(table))]).arrays()
    if popular is not None:
        some = np.flatnonzero(popular)
        arrays |= {"popular_items": some.astype(np.uint32), "popular_weights": popular[some].astype(np.float32)}
    version, base = 1 if before is None else before.version + 1, manifest.base()[0]
    delta = Delta(version, "0" * 32, base, known, manifest.catalogue(), "0" * 32, manifest.table, arrays)
    series = digest_of(pack_delta(delta)) if before is None else before.series
    every = encode_tokens(["", *(artifact.vocabulary.token(row) for row in range(1, known)), *tokens])
    leads_to = catalogue_fingerprint(*(digest_of(memoryview(little_endian(a))) for a in every))
    return replace(delta, series=series, leads_to=leads_to)


def write_delta(folder: Path, delta: Delta) -> None:
    """Write a delta into a folder that is locked, and then ``latest.json``: a reader finds the old or the new one."""
    raw = pack_delta(delta)
    parse_delta(raw, "the delta")  # what a device would refuse is not written
    with atomic_write(folder / delta_file(delta.version), "wb", what="delta") as file:
        file.write(raw)
    write_latest(folder, delta, raw)


def described(delta: Delta, size: int) -> Mapping[str, Any]:
    """What a delta holds, in numbers."""
    changed, popular = delta.arrays.get("neighbour_rows", ()), delta.arrays.get("popular_items", ())
    return {"version": delta.version, "items": delta.new, "rows": len(changed), "popular": len(popular), "bytes": size}
