"""The effective settings of a model and a data set, as yaml, with where each was given."""

from typing import Any

import yaml

from recbole_cocorr.training.config import Config


def effective_settings(config: Config) -> str:
    """All settings in the layers that they come from, the highest first.

    A value that the run makes of another one has what was given beside it. What yaml cannot hold is a comment.
    """
    given = {**config.internal_config_dict, **config.external_config_dict}
    final = config.final_config_dict
    by_source: dict[str, list[str]] = {}
    for key in sorted(final):
        source = config.source_of(key)
        line = f"{key}: {_text(final[key])}"
        if key in ("model", "dataset"):
            source = "what is run"
        elif source != "worked out" and given[key] != final[key]:
            line += f"  # made of {_text(given[key])}"
        by_source.setdefault(source, []).append(line if _is_plain(final[key]) else f"# {line}")
    return "\n\n".join("\n".join([f"# {source}", *by_source[source]]) for source in sorted(by_source, key=_level))


# Beginnings or parts of what Config.source_of says, the highest layer first.
_LAYERS = (
    *("what is run", "command line", "config_dict", "--config_files"),
    *("./dataset_configs/", "packaged dataset_configs/", "./properties/model/", "packaged properties/model/"),
    *("./properties/protocol/", "packaged properties/protocol/", "./properties/", "packaged properties/"),
    *("RecBole's default", "worked out"),
)


def _level(source: str) -> tuple[int, str]:
    return next(level for level, layer in enumerate(_LAYERS) if source.startswith(layer)), source


def _is_plain(value: Any) -> bool:
    if isinstance(value, dict):
        return all(map(_is_plain, [*value, *value.values()]))
    if isinstance(value, (list, tuple)):
        return all(map(_is_plain, value))
    return value is None or type(value) in (str, int, float, bool)


def _text(value: Any) -> str:
    if not _is_plain(value):
        return str(value)
    value = list(value) if isinstance(value, tuple) else value
    text = yaml.safe_dump(value, default_flow_style=True, width=float("inf"), allow_unicode=True, sort_keys=False)
    return text.removesuffix("...\n").strip()
