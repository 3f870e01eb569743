"""The one place that knows what RecBole 1.2.1 breaks on with today's torch, numpy and pandas.

Met here:

* ``torch.load`` in RecBole's trainer and quick start. Since torch 2.6 it refuses, by default, a
  checkpoint that holds more than tensors, and RecBole's holds its whole ``Config``. A call that comes
  from a RecBole module gets the old default back. Nobody else's call is touched; this package never
  reads a pickle.

* ``torch.distributed.barrier`` in RecBole's dataset download, called even where there is one process
  and no process group: a call from a RecBole module does nothing then.
* ``torch.autograd.set_detect_anomaly(True)``, which RecBole's SINE sets for the whole process when its
  module is imported, and every look-up of a sequential model imports it. It checks every
  gradient for NaN and slows training several times. This package imports those modules under
  :func:`anomaly_mode_kept`; RecBole's own entry points are left as they are.

Met by pins in ``constraints.txt`` and ``setup.cfg``, each with its reason beside it: numpy (removed
aliases), pandas (in-place fills under copy-on-write), scipy (``dok_matrix._update``), setuptools
(``pkg_resources``, which RecBole's ray needs).
"""

import functools
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


def _called_by_recbole() -> bool:
    """Whether the function that calls this one was itself called from a module of RecBole's."""
    caller = sys._getframe(2).f_globals.get("__name__", "")
    return caller.split(".", 1)[0] == "recbole"


def _patch_torch_load(torch: Any) -> None:
    original = torch.load
    if getattr(original, "_recbole_cocorr", False):
        return

    @functools.wraps(original)
    def load(*args: Any, **kwargs: Any) -> Any:
        if _called_by_recbole():
            kwargs.setdefault("weights_only", False)
        return original(*args, **kwargs)

    load._recbole_cocorr = True  # type: ignore[attr-defined]
    torch.load = load


def _patch_barrier(torch: Any) -> None:
    if not torch.distributed.is_available() or getattr(torch.distributed.barrier, "_recbole_cocorr", False):
        return
    original = torch.distributed.barrier

    @functools.wraps(original)
    def barrier(*args: Any, **kwargs: Any) -> Any:
        if _called_by_recbole() and not torch.distributed.is_initialized():
            return None
        return original(*args, **kwargs)

    barrier._recbole_cocorr = True  # type: ignore[attr-defined]
    torch.distributed.barrier = barrier


@contextmanager
def anomaly_mode_kept() -> Iterator[None]:
    """Undo what a RecBole module does to autograd's anomaly mode when it is imported inside."""
    import torch

    before = torch.is_anomaly_enabled()
    try:
        yield
    finally:
        torch.autograd.set_detect_anomaly(before)


def apply() -> None:
    """Make RecBole 1.2.1 usable under the installed torch. Calling it again changes nothing."""
    import torch

    _patch_torch_load(torch)
    _patch_barrier(torch)


def on_torch_import() -> None:
    """Entry point of torch's ``torch.backends`` group: called at the end of ``import torch``."""
    apply()
