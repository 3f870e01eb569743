"""How many of stock RecBole's candidates are items that the user has touched.

    python benchmarks/stock_negatives.py --dataset=ml-100k

RecBole ranks each test item against 100 others (``uni100``) and leaves out that item alone. Each of the others that the
user touched in training, validation or test is counted.
"""

import argparse
import warnings

import numpy as np

import recbole_cocorr  # noqa: F401  so that RecBole runs with current libraries

warnings.filterwarnings("ignore")


def main() -> None:
    """Count and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", default="ml-100k")
    parser.add_argument("--data_path", help="holds NAME/NAME.inter; not needed for ml-100k")
    arguments = parser.parse_args()

    from recbole.config import Config
    from recbole.data import create_dataset, data_preparation

    told = {
        "load_col": {"inter": ["user_id", "item_id", "timestamp"]},
        "train_neg_sample_args": None,
        "loss_type": "CE",
        "MAX_ITEM_LIST_LENGTH": 10,
        "eval_args": {"split": {"LS": "valid_and_test"}, "order": "TO", "group_by": "user", "mode": "uni100"},
        "state": "error",
        "show_progress": False,
        "use_gpu": False,
        **({"data_path": arguments.data_path} if arguments.data_path else {}),
    }
    config = Config("GRU4Rec", arguments.dataset, config_dict=told)
    dataset = create_dataset(config)
    clicks = dataset.inter_feat
    touched = np.zeros((dataset.user_num, dataset.item_num), dtype=bool)
    touched[clicks["user_id"].to_numpy(), clicks["item_id"].to_numpy()] = True
    _, _, test = data_preparation(config, dataset)
    candidates = known = lists = with_one = 0
    for batch, rows, _, positive in test:
        users, items = batch["user_id"].numpy(), batch["item_id"].numpy()
        of_row = np.asarray(rows)
        negative = items != positive.numpy()[of_row]
        wrong = touched[users, items] & negative
        candidates, known = candidates + negative.sum(), known + wrong.sum()
        lists += len(positive)
        with_one += len(np.unique(of_row[wrong]))
    print(f"{arguments.dataset}: {lists} lists, {candidates / lists:.1f} candidates each beside the test item")
    print(f"touched by the user: {known / lists:.2f} a list; {with_one / lists:.1%} of the lists have at least one")


if __name__ == "__main__":
    main()
