"""Make a model from a configuration and a dataset."""

from typing import Any

from torch import nn

from recbole_cocorr.base.errors import UserError
from recbole_cocorr.models import registry

# What a model's constructor raises for settings that it cannot have.
_REFUSALS = (UserError, ValueError, TypeError, AssertionError, RuntimeError, MemoryError, ArithmeticError, IndexError)


class _Settings:
    """A configuration in which one setting reads differently."""

    def __init__(self, config: Any, **changed: Any):
        self._config, self._changed = config, changed

    def __getitem__(self, key: str) -> Any:
        return self._changed[key] if key in self._changed else self._config[key]

    def __contains__(self, key: str) -> bool:
        return key in self._changed or key in self._config

    def __getattr__(self, name: str) -> Any:
        return getattr(self._config, name)


def build_model(config: Any, dataset: Any) -> nn.Module:
    """Build the model that ``config["model"]`` names, on the configured device.

    RecBole's models know the losses BPR and CE; under BCE they are built as for BPR, which changes
    nothing but the loss object that they keep, and :class:`~recbole_cocorr.models.objective.Objective` computes
    the loss.

    Raises
    ------
    UserError
        If the model refuses its settings.
    """
    name = config["model"]
    model_class = getattr(config, "model_class", None) or registry.find_model(name)
    settings = config
    if config["loss_type"] == "BCE" and not registry.is_own(name):
        settings = _Settings(config, loss_type="BPR")
    try:
        return model_class(settings, dataset).to(config["device"])
    except KeyError as error:
        raise UserError(f"{name} cannot be built with these settings: it asks for {error}") from error
    except _REFUSALS as error:
        reason = str(error).partition("\n")[0]  # torch adds a stack
        raise UserError(f"{name} cannot be built with these settings: {reason}") from error
    except SystemExit:  # the softmax-cpr models print their reason and quit
        raise UserError(f"{name} cannot be built with these settings: it quit, for the reason above") from None
