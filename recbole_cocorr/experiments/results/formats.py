"""Numbers as tables and sentences show them."""

import math

MISSING = "–"


def decimal(value: float | None, places: int = 4, sign: bool = False) -> str:
    """A share without its leading zero: ``.2866``, ``−.0100``; with ``sign`` a plus sign too."""
    if value is None or not math.isfinite(value):
        return MISSING
    text = f"{abs(value):.{places}f}"
    negative = value < 0 and float(text) != 0
    return ("−" if negative else "+" if sign else "") + text.removeprefix("0")
