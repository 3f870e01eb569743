"""The most memory that a call holds at once, counted allocation by allocation."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.autograd.profiler import profile


@contextmanager
def _quiet() -> Iterator[None]:
    """Nothing on the process's standard error: torch's profiler reports its start and stop there."""
    try:
        stderr = os.dup(2)
    except OSError:  # a process without one
        yield
        return
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)
        os.close(nowhere)


@torch.no_grad()
def peak_bytes(work: Callable[[], Any]) -> int:
    """Most bytes that ``work`` has allocated, and not yet freed, at one time.

    Counted from the reports of torch's CPU allocator (``profile_memory``), so the temporaries inside an operation are
    seen too, and the number is the same on every run. What lay there before (parameters, inputs, tables made once)
    is not counted, nor the workspace of a library that allocates past torch (oneDNN).

    Parameters
    ----------
    work : callable
        Called twice: the first call makes what stays for later ones, and is not counted.
    """
    work()
    profiler = profile(use_kineto=False, profile_memory=True)
    with _quiet():
        profiler.__enter__()
    try:
        result = work()  # held until the count is over
    finally:
        with _quiet():
            profiler.__exit__(None, None, None)
    del result
    held = most = 0
    for event in profiler.kineto_results.events():
        if event.name() == "[memory]":
            held += event.nbytes()
            most = max(most, held)
    return most
