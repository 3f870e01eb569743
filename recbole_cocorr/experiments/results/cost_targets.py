"""Whether CoCorrRec is the cheapest at every length, and where it is not, who is cheaper."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from recbole_cocorr.experiments.results.base import Row
from recbole_cocorr.models.catalogue import is_our_row

# Most parameters on the device, the item table apart.
MOST_PARAMETERS = 66_000


@dataclass(frozen=True)
class Target:
    """A claim and how it stands.

    Attributes
    ----------
    claim : str
    holds : bool
    why : str
        The figures that decide: the closest, or those that refute it.
    """

    claim: str
    holds: bool
    why: str

    def __str__(self) -> str:
        return f"{'holds' if self.holds else 'does NOT hold'}: {self.claim} ({self.why})"


def _on_the_spot(row: Row) -> int:
    return row["device_flops"] - row["flops_score"] + row["flops_score_without_table"]


_CLAIMS: tuple[tuple[str, Callable[[Row], int], str], ...] = (
    ("FLOPs of one inference on the device", lambda row: row["device_flops"], "flops"),
    ("FLOPs of one new click on the device", lambda row: row["device_flops_per_click"], "flops_per_click"),
    ("FLOPs of one inference, device and cloud together", lambda row: row["flops"], "flops"),
    ("FLOPs of one new click, device and cloud together", lambda row: row["flops_per_click"], "flops_per_click"),
    ("FLOPs of one inference on the device without a table of phi(e_i)", _on_the_spot, "flops"),
)


def check_targets(rows: Sequence[Row]) -> list[Target]:
    """The targets for each form of CoCorrRec among the rows, against every other model there.

    Work in the cloud and without a table of phi is checked only where there is any.
    """
    ours = list(dict.fromkeys(row["model"] for row in rows if is_our_row(row["model"])))
    others = [row for row in rows if not is_our_row(row["model"])]
    targets: list[Target] = []
    for label in ours:
        mine = [row for row in rows if row["model"] == label]
        most = max(row["device_parameters"] for row in mine)
        claim = f"{label}: under {MOST_PARAMETERS:,} parameters on the device, the item table apart"
        targets.append(Target(claim, most < MOST_PARAMETERS, f"{most:,}"))
        if others:
            targets += _comparisons(label, mine, others)
    return targets


def _comparisons(label: str, mine: Sequence[Row], others: Sequence[Row]) -> Iterator[Target]:
    cloud = any(row["cloud_flops"] for row in mine)
    transformed = any(row["flops_score_without_table"] != row["flops_score"] for row in mine)
    for what, of_mine, of_other in _CLAIMS:
        if ("together" in what and not cloud) or ("without a table" in what and not transformed):
            continue
        pairs = [
            (of_mine(row), other[of_other], other["model"], row["L"])
            for row in mine
            for other in others
            if other["L"] == row["L"]
        ]
        if not pairs:
            continue
        lost = [pair for pair in pairs if pair[0] >= pair[1]]
        claim = f"{label}: fewer {what} than every baseline at every L"
        if lost:
            why = "; ".join(f"{name} at L = {_join(at)}" for name, at in _by_name(lost).items())
            yield Target(claim, False, f"not fewer than {why}")
        else:
            a, b, name, length = max(pairs, key=lambda pair: pair[0] / pair[1])
            yield Target(claim, True, f"closest is {name} at L = {length}, {a:,} against {b:,}")


def _by_name(pairs: Sequence[tuple[int, int, str, int]]) -> dict[str, list[int]]:
    lengths: dict[str, list[int]] = {}
    for _, _, name, length in pairs:
        lengths.setdefault(name, []).append(length)
    return lengths


def _join(lengths: Sequence[int]) -> str:
    return ", ".join(map(str, lengths))
