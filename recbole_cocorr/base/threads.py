"""Threads of this process: no more than it has processors."""

import os
import sys

from recbole_cocorr.base.cpus import allowed_cpus


def limit_threads() -> None:
    """Compute with no more threads than this process has processors, unless OMP_NUM_THREADS says how many.

    How many processors it has is said by its affinity and its cgroup's quota. The libraries that compute know the
    affinity, if it was set before they were loaded, and never the quota. Where torch is not loaded yet, OMP_NUM_THREADS
    is set: that holds in all threads of this process and in its children. Otherwise torch's own number is lowered.
    Where all processors are allowed, nothing changes.
    """
    if "OMP_NUM_THREADS" in os.environ:
        return
    allowed, torch = allowed_cpus(), sys.modules.get("torch")
    if torch is not None:
        if torch.get_num_threads() > allowed:
            torch.set_num_threads(allowed)
    elif allowed < (os.cpu_count() or 1):
        os.environ["OMP_NUM_THREADS"] = str(allowed)
