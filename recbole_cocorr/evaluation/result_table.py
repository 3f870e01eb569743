"""The result of a run as a table for the terminal."""

from collections.abc import Mapping

NAMES = {"gauc": "UAUC", "hit": "HR"}


def metric_title(name: str) -> str:
    """A metric's name as the paper writes it: ``hit@10`` is HR@10, ``gauc`` is UAUC."""
    metric, at, k = name.partition("@")
    return NAMES.get(metric, metric.upper()) + at + k


def result_table(config, valid: Mapping[str, float] | None, test: Mapping[str, float]) -> str:
    """Lines with the validation and test metrics of the best epoch."""
    places = config["metric_decimal_place"]
    titles = [metric_title(name) for name in test]
    width = max([8, *(len(t) + 1 for t in titles)])
    loss = config["loss_type"] or "own loss"
    lines = [
        f"{config['model']} on {config['dataset']}, protocol {config['protocol']}, {loss}, "
        f"L = {config['MAX_ITEM_LIST_LENGTH']}, seed {config['seed']}, best validation epoch",
        " " * 7 + "".join(t.rjust(width) for t in titles),
    ]
    for label, values in (("valid", valid), ("test", test)):
        if values:
            lines.append(label.ljust(7) + "".join(f"{values[n]:.{places}f}".rjust(width) for n in test))
    return "\n".join(lines)
