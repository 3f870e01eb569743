"""``shard_items``: two processes with half of the item vectors each train to the numbers of one."""

import numpy as np
import pytest

from recbole_cocorr.base.errors import UserError
from recbole_cocorr.data import distributed
from recbole_cocorr.models.sharding import shard_items, whole_weights
from recbole_cocorr.training.checkpoint import load_checkpoint
from recbole_cocorr.training.config import Config
from recbole_cocorr.training.prepare import prepare
from recbole_cocorr.training.run import run
from tests.conftest import random_rows, write_inter
from tests.training.test_distributed import SETTINGS, close_weights, free_port


def test_two_shards_train_to_the_weights_and_metrics_of_one_table(tmp_path):
    data = write_inter(tmp_path / "odd", "odd", random_rows(31, 150, 4, 9, seed=3))
    more = {**SETTINGS, "data_path": str(data), "protocol": "full", "shard_items": True}
    more |= {"target_transform": "mlp", "train_batch_size": 40, "weight_average": 0.9}
    alone = run("CoCorrRec", "odd", None, {**more, "checkpoint_dir": "alone"}, overrides={})
    two = run("CoCorrRec", "odd", None, {**more, "checkpoint_dir": "two"}, nproc=2, port=free_port(), overrides={})
    assert alone["best_valid_result"] == two["best_valid_result"]
    assert alone["test_result"] == two["test_result"]
    weights = load_checkpoint(alone["saved_model_file"]).weights["item_embedding.weight"]
    start = prepare(Config("CoCorrRec", "odd", None, more, overrides={})).model.state_dict()["item_embedding.weight"]
    assert np.abs(weights - start).max() > 0.01, "it has learned"
    close_weights(two["saved_model_file"], alone["saved_model_file"])


def test_alone_it_changes_nothing(make_config):
    prepared = prepare(make_config(shard_items=True))
    assert type(prepared.model.item_embedding).__name__ == "Embedding"
    assert whole_weights(prepared.model).keys() == prepared.model.state_dict().keys()


def test_what_cannot_be_sharded_is_refused(make_config, monkeypatch):
    with pytest.raises(UserError, match="shard_items is True and clip_grad_norm set"):
        make_config(shard_items=True, clip_grad_norm={"max_norm": 1})
    with pytest.raises(UserError, match="shard_items"):
        make_config(shard_items="maybe")
    others, ours = (prepare(make_config(name)).model for name in ("SASRec", "CoCorrRec"))
    monkeypatch.setattr(distributed, "active", lambda: True)
    monkeypatch.setattr(distributed, "world_size", lambda: 150)
    with pytest.raises(UserError, match="SASRec reads its item vectors in a way of its own"):
        shard_items(others)
    with pytest.raises(UserError, match=r"there are \d+ items for 150 processes"):
        shard_items(ours)
