"""Pop counts each training click once."""

from collections import Counter

import torch

from recbole_cocorr.data.dataset import create_dataset
from recbole_cocorr.data.loaders import data_preparation
from recbole_cocorr.models.factory import build_model
from recbole_cocorr.training.trainer import Trainer


def test_scores_are_the_clicks_that_are_neither_test_nor_validation(make_config, small_data):
    config = make_config("Pop", epochs=1)
    data = create_dataset(config)
    train, valid, test = data_preparation(config, data)
    model = build_model(config, train.dataset)
    trainer = Trainer(config, model)
    trainer.fit(train, valid, saved=False)

    rows = [line.split("\t") for line in (small_data / "small" / "small.inter").read_text().splitlines()[1:]]
    histories: dict[str, list] = {}
    for user, item, _ in sorted(rows, key=lambda r: (r[0], float(r[2]))):
        histories.setdefault(user, []).append(item)
    wanted = Counter()
    for items in histories.values():
        held = 2 if len(items) > 3 else 1 if len(items) == 3 else 0
        wanted.update(items[: len(items) - held])
    tokens = data.field2id_token["item_id"]
    found = {tokens[i]: int(c) for i, c in enumerate(model.item_count.tolist()) if c}
    assert found == dict(wanted)

    batch = next(test.batches())
    scores = trainer._scorer.candidates(batch.interaction, batch.candidates)
    assert torch.equal(scores, model.item_count[batch.candidates])
    assert torch.equal(model.full_sort_predict(batch.interaction)[0], model.item_count)
    assert torch.equal(model.predict(batch.interaction), model.item_count[batch.interaction["item_id"]])
