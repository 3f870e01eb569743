"""Data-parallel training and evaluation: who am I, and how do the processes speak to each other.

One global batch is split over the processes row by row; each row's share of the loss is weighted by
the global batch, so the summed gradient is that of one process, however the batch is split. At
evaluation the rows are split without padding and the per-user ranks are gathered, so no user counts
twice and the metrics are those of one process.
"""

import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

import torch
import torch.distributed as dist

from recbole_cocorr.base.errors import UserError

# Name of the interface that this machine alone reaches.
_LOOPBACK = next((name for _, name in socket.if_nameindex() if name in ("lo", "lo0")), None)

# What is gathered from all processes: its types, and its most sizes beside the number of rows.
_TYPES = (torch.float32, torch.float64, torch.int64, torch.int32, torch.uint8, torch.bool)
_MOST_SIZES = 3


@dataclass(frozen=True)
class Place:
    """Where this process stands among the others.

    Attributes
    ----------
    rank, world_size : int
        Number of this process and how many there are, over all machines.
    local_rank : int
        Number of this process on its own machine.
    device : torch.device
        What it computes on.
    """

    rank: int = 0
    world_size: int = 1
    local_rank: int = 0
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))


def under_torchrun() -> bool:
    """Whether torchrun (or another launcher that sets its variables) started this process."""
    return all(name in os.environ for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT"))


def join(settings: Mapping[str, Any]) -> Place:
    """Join the process group that the settings or torchrun's environment describe.

    Parameters
    ----------
    settings : mapping
        ``local_rank``, ``world_size``, ``offset``, ``ip``, ``port`` and ``use_gpu``, as RecBole's flags
        name them. Without ``local_rank``, and not under torchrun, there is one process.

    Returns
    -------
    Place

    Raises
    ------
    UserError
        If more processes than GPUs are asked for, or if the processes cannot reach each other.
    """
    if under_torchrun():
        rank, world_size, local_rank = (int(os.environ[name]) for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"))
        init_method = "env://"
    elif settings.get("local_rank") is not None and int(settings.get("world_size") or 1) > 1:
        local_rank, world_size = int(settings["local_rank"]), int(settings["world_size"])
        rank = local_rank + int(settings.get("offset") or 0)
        init_method = f"tcp://{settings.get('ip') or 'localhost'}:{settings.get('port') or 5678}"
    else:
        return Place()
    if world_size == 1:
        return Place()
    cuda = bool(settings.get("use_gpu")) and torch.cuda.is_available()
    if cuda and local_rank >= torch.cuda.device_count():
        raise UserError(
            f"{local_rank + 1} processes are asked for on this machine, which has {torch.cuda.device_count()} "
            "GPUs; give --nproc at most that many, or --use_gpu=False"
        )
    device = torch.device("cuda", local_rank) if cuda else torch.device("cpu")
    if cuda:
        torch.cuda.set_device(device)
    if not dist.is_initialized():
        try:
            dist.init_process_group(
                backend="nccl" if cuda else "gloo",
                **_meeting_point(init_method, rank, world_size),
                rank=rank,
                world_size=world_size,
                timeout=timedelta(minutes=30),
            )
        except (OSError, RuntimeError, ValueError) as error:
            raise UserError(f"process {rank} of {world_size} could not join at {init_method}: {error}") from None
    return Place(rank, world_size, local_rank, device)


def _meeting_point(init_method: str, rank: int, world_size: int) -> dict[str, Any]:
    """Where the processes find each other, as ``init_process_group`` wants it.

    Nobody is asked who he is there. torch listens on every interface; where all processes are on this machine, only
    the loopback is used instead, for the traffic between them too.
    """
    address = urlsplit(init_method)
    if address.hostname not in ("localhost", "127.0.0.1"):
        return {"init_method": init_method}
    if _LOOPBACK is not None:
        for name in ("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME"):
            os.environ.setdefault(name, _LOOPBACK)
    here, first, listening = ("127.0.0.1", address.port), rank == 0, None
    if first:
        listening = socket.create_server(here).detach()  # the store closes it
    store = dist.TCPStore(*here, world_size, first, timedelta(minutes=30), master_listen_fd=listening)
    return {"store": store}


def active() -> bool:
    """Whether this process is one of several."""
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


def rank() -> int:
    """Number of this process, 0 where there is only one."""
    return dist.get_rank() if active() else 0


def world_size() -> int:
    """How many processes there are."""
    return dist.get_world_size() if active() else 1


def sum_gradients(parameters: list[torch.nn.Parameter]) -> None:
    """Add up the gradients of all processes in place, as one flat message.

    A parameter without a gradient in this process counts as zero, since another process may have one;
    without one in any process it stays without, and the optimizer passes it over.
    """
    if not active():
        return
    gradients = [p.grad if p.grad is not None else torch.zeros_like(p) for p in parameters]
    present = gradients[0].new_tensor([float(p.grad is not None) for p in parameters])
    flat = torch._utils._flatten_dense_tensors([*gradients, present])
    dist.all_reduce(flat)
    *summed, present = torch._utils._unflatten_dense_tensors(flat, [*gradients, present])
    for index, parameter in enumerate(parameters):
        if parameter.grad is not None:
            parameter.grad.copy_(summed[index])
        elif present[index] > 0:
            parameter.grad = summed[index].clone()


def sum_scalar(value: float, device: torch.device) -> float:
    """Sum a number over all processes."""
    if not active():
        return value
    tensor = torch.tensor([value], dtype=torch.float64, device=device)
    dist.all_reduce(tensor)
    return tensor.item()


def gather_rows(rows: torch.Tensor) -> torch.Tensor:
    """Put the rows of all processes one after another, in every process, process 0's first.

    The processes may hold different numbers of rows, also 0.
    """
    if not active():
        return rows
    # As numbers, not as objects: those would be unpickled from the network.
    cuda = dist.get_backend() == "nccl"
    device = torch.device("cuda", torch.cuda.current_device()) if cuda else torch.device("cpu")
    kind, sizes = _TYPES.index(rows.dtype), [*rows.shape[1:], *[0] * (_MOST_SIZES - rows.dim() + 1)]
    form_here = torch.tensor([len(rows), kind, rows.dim() - 1, *sizes], device=device)
    forms = [torch.empty_like(form_here) for _ in range(dist.get_world_size())]
    dist.all_gather(forms, form_here)
    counts = [int(form[0]) for form in forms]
    # A process without rows may know neither their shape nor their type.
    form = next((form for form in forms if form[0]), form_here).tolist()
    padded = torch.zeros((max(counts), *form[3 : 3 + form[2]]), dtype=_TYPES[form[1]], device=device)
    if len(rows):
        padded[: len(rows)] = rows.to(device)
    blocks = [torch.empty_like(padded) for _ in counts]
    dist.all_gather(blocks, padded)
    return torch.cat([block[:count] for block, count in zip(blocks, counts, strict=True)]).cpu()


def leave() -> None:
    """Leave the process group, if there is one."""
    if dist.is_available() and dist.is_initialized():
        dist.destroy_process_group()
