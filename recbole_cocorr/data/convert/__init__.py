"""Raw public files to atomic files (``pipeline``, ``cli``); a check of atomic files (``check``)."""

from recbole_cocorr.data.convert.pipeline import Report, convert

__all__ = ["Report", "convert"]
