"""Small models with every parameter off its start, and artifacts of them."""

import numpy as np
import torch

from recbole_cocorr.layers import Correction
from recbole_cocorr.models.cocorrrec.network import CoCorrRec
from recbole_cocorr.models.factory import build_model
from recbole_cocorr.training.config import Config
from recbole_cocorr.training.recommend import Recommender, SavedConfig, Vocabulary

ITEMS = 40
WINDOW = 7
TOKENS = ["[PAD]", *(f"item-{i}" for i in range(1, ITEMS))]


def make(name: str = "CoCorrRec", **changed) -> Recommender:
    """A model in float32, as a checkpoint gives it, with numbers of order 1."""
    settings = {"MAX_ITEM_LIST_LENGTH": WINDOW, "hidden_size": 16, "use_gpu": False, **changed}
    if name == "CoCorrRec":
        # The form with all parts that a device may have: a test of the gated block says so.
        form = {"block": "plain", "target_transform": "mlp"}
        settings = {"num_heads": 2, "mini_batch_size": 3, **form, **settings}
    if name == "GRU4Rec":
        settings = {"embedding_size": 16, "num_layers": 2, **settings}
    if name == "SASRec":
        settings = {"inner_size": 24, **settings}
    config = Config(name, "ml-100k", None, settings, overrides={})
    saved = SavedConfig({**config.final_config_dict, "device": torch.device("cpu"), "model": name})
    torch.manual_seed(0)
    vocabulary = Vocabulary(saved, TOKENS, 1)
    model = build_model(saved, vocabulary).eval()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for key, p in model.named_parameters():
            spread = 0.1 if "token_scale" in key or "A_log" in key else 0.4
            p.add_(torch.randn(p.shape, generator=generator) * spread)
        model.item_embedding.weight[0] = 0
    return Recommender(model, saved, vocabulary, {"ndcg@10": 0.25})


def sent_to(model: CoCorrRec, seed: int = 0) -> tuple[Correction, tuple[np.ndarray, np.ndarray]]:
    """A made-up correction, for torch [1, ...] and for the device."""
    ttt, generator = model.layers[0].ttt, torch.Generator().manual_seed(seed)
    heads, size, width = ttt.num_heads, ttt.mini_batch_size, ttt.head_width
    parts = [torch.randn(1, heads, size, last, generator=generator) for last in (size, width)]
    return Correction(*parts), (parts[0][0].numpy(), parts[1][0].numpy())


def clicks(count: int, seed: int = 0) -> list[int]:
    """Rows of made-up clicks."""
    return np.random.default_rng(seed).integers(1, ITEMS, count).tolist()


def tokens_of(rows: list[int]) -> list[str]:
    return [TOKENS[row] for row in rows]


def assert_close(ours, expected, tolerance: float = 1e-4) -> None:
    ours, expected = np.asarray(ours), np.asarray(expected)
    assert np.abs(ours - expected).max() <= tolerance * max(1.0, np.abs(expected).max())
