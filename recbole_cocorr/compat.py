"""The one place that knows what RecBole 1.2.1 breaks on with today's torch, numpy and pandas.

Met here:

* ``torch.load`` in RecBole's trainer and quick start. Since torch 2.6 it refuses, by default, a
  checkpoint that holds more than tensors, and RecBole's holds its whole ``Config``. A call that comes
  from a RecBole module gets the old default back. Nobody else's call is touched; this package never
  reads a pickle.

Met by pins in ``constraints.txt`` and ``setup.cfg``, each with its reason beside it: numpy (removed
aliases), pandas (in-place fills under copy-on-write), scipy (``dok_matrix._update``), setuptools
(``pkg_resources``, which RecBole's ray needs).
"""

import functools
import sys
from typing import Any


def _patch_torch_load(torch: Any) -> None:
    original = torch.load
    if getattr(original, "_recbole_cocorr", False):
        return

    @functools.wraps(original)
    def load(*args: Any, **kwargs: Any) -> Any:
        caller = sys._getframe(1).f_globals.get("__name__", "")
        if caller.split(".", 1)[0] == "recbole":
            kwargs.setdefault("weights_only", False)
        return original(*args, **kwargs)

    load._recbole_cocorr = True  # type: ignore[attr-defined]
    torch.load = load


def apply() -> None:
    """Make RecBole 1.2.1 usable under the installed torch. Calling it again changes nothing."""
    import torch

    _patch_torch_load(torch)


def on_torch_import() -> None:
    """Entry point of torch's ``torch.backends`` group: called at the end of ``import torch``."""
    apply()
