"""Settings and item tokens, as a checkpoint keeps them: what a model is built from without its data."""

from collections.abc import Sequence

import numpy as np


class SavedConfig(dict):
    """Settings as a checkpoint keeps them; a missing one reads as None, as RecBole's do."""

    def __missing__(self, key: str) -> None:
        return None


class Vocabulary:
    """What a model asks of a dataset, from the item tokens alone.

    Parameters
    ----------
    config : SavedConfig
    items : list of str
        Tokens by item id; entry 0 is padding.
    num_users : int
        Size of the user vocabulary, padding included.
    """

    def __init__(self, config: SavedConfig, items: Sequence[str], num_users: int):
        self.uid_field, self.iid_field = config["USER_ID_FIELD"], config["ITEM_ID_FIELD"]
        self.items = list(items)
        self.item_num, self.user_num = len(self.items), num_users
        self.id_of = {token: i for i, token in enumerate(self.items) if i}
        self.field2id_token = {self.iid_field: np.array(self.items)}

    def num(self, field_name: str) -> int:
        """Number of different values of a field, padding included."""
        sizes = {self.iid_field: self.item_num, self.uid_field: self.user_num}
        if field_name not in sizes:
            raise AttributeError(f"the field {field_name!r} of the training data")
        return sizes[field_name]
