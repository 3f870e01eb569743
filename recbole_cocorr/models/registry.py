"""Which class a model's name stands for: this package's models first, then RecBole's."""

import importlib
import importlib.util
from functools import cache
from pathlib import Path

from recbole_cocorr.models.catalogue import cards

# Not exlib_recommender: to look into it imports xgboost and lightgbm, which few have.
_RECBOLE_FOLDERS = (
    "sequential_recommender",
    "general_recommender",
    "context_aware_recommender",
    "knowledge_aware_recommender",
)


def find_model(name: str) -> type | None:
    """Return the class of a model by its name, or None if neither package has it."""
    if is_own(name):
        return cards()[name].network()
    for folder in _RECBOLE_FOLDERS:
        module_name = f"recbole.model.{folder}.{name.lower()}"
        if name.isidentifier() and importlib.util.find_spec(module_name):
            model_class = getattr(importlib.import_module(module_name), name, None)
            return model_class if isinstance(model_class, type) else None
    return None


def is_own(name: str) -> bool:
    """Whether the model's class is one of this package's."""
    return name in cards() and cards()[name].can("network")


def is_named(name: str) -> bool:
    """Whether the name stands for a model of this package or of RecBole (not a user's own class)."""
    return name in known_models()


@cache
def known_models() -> tuple[str, ...]:
    """Names of all models that can be run: this package's and RecBole's sequential ones."""
    import recbole.config

    properties = Path(recbole.config.__file__).resolve().parent.parent / "properties" / "model"
    sequential = [
        path.stem
        for path in properties.glob("*.yaml")
        if importlib.util.find_spec(f"recbole.model.sequential_recommender.{path.stem.lower()}")
    ]
    return tuple(sorted({*filter(is_own, cards()), *sequential}))
