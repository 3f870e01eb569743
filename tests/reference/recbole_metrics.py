"""RecBole's own collector and evaluator on given scores, with the positive in column 0."""

import numpy as np
import torch
from recbole.evaluator import Collector, Evaluator


def recbole_result(scores: torch.Tensor, metrics: list[str], topk: list[int]) -> dict[str, float]:
    """Metrics as RecBole computes them from a score matrix [rows, 1 + N]."""
    for name in ("bool", "float", "int"):  # RecBole's Config restores these aliases of old numpy
        if name not in np.__dict__:
            setattr(np, name, getattr(np, name + "_"))
    config = {
        "metrics": metrics,
        "topk": topk,
        "device": torch.device("cpu"),
        "metric_decimal_place": 4,
        "eval_args": {"mode": {"valid": "uni100", "test": "uni100"}},
    }
    # Column 0 is padding in RecBole; the positive goes to column 1.
    matrix = torch.cat([torch.full((len(scores), 1), -torch.inf), scores], dim=1)
    collector = Collector(config)
    rows = torch.arange(len(scores))
    collector.eval_batch_collect(matrix, None, rows, torch.ones_like(rows))
    return dict(Evaluator(config).evaluate(collector.get_data_struct()))
