"""``torch.compile`` for a model's encoder, where there is a compiler."""

import functools
from logging import getLogger
from typing import Any

import torch
from torch import nn


def compile_encoder(model: nn.Module) -> None:
    """Let torch compile the function that reads the sequences, in place.

    A model of this package names that function in ``compiled_part``; of others it is ``forward``. The first call
    compiles, which takes from seconds to a minute. If that fails, for want of a C++ compiler say, a warning tells so
    and the model goes on as it was.

    Parameters
    ----------
    model : torch.nn.Module
    """
    name = getattr(model, "compiled_part", "forward")
    plain = getattr(model, name)
    compiled = torch.compile(plain)

    @functools.wraps(plain)  # its signature says how the model is to be called
    def call(*args: Any, **kwargs: Any) -> Any:
        try:
            return compiled(*args, **kwargs)
        except (torch._dynamo.exc.TorchDynamoException, torch._inductor.exc.InductorError) as error:
            reason = str(error).strip().partition("\n")[0]
            getLogger().warning(f"torch_compile is left out, because compiling failed: {reason}")
            setattr(model, name, plain)
            return plain(*args, **kwargs)

    setattr(model, name, call)
