"""What the values of settings must be, each failure one sentence."""

import importlib.util
import re
import sys
from collections.abc import Callable, Iterable
from datetime import date, datetime
from logging import getLogger
from typing import Any

from recbole.evaluator.register import metric_types, metrics_dict
from recbole.utils import EvaluatorType

from recbole_cocorr.base.checks import checked_flag, checked_number, checked_whole
from recbole_cocorr.base.errors import UserError
from recbole_cocorr.base.property_files import nearest

# What values must be. Without these checks RecBole's code stumbles over them halfway through a run, or
# takes "maybe" for yes.
WHOLE_NUMBERS: dict[str, tuple[int, int | None]] = {  # least and most
    "epochs": (0, None),
    "stopping_step": (0, None),
    "train_batch_size": (1, None),
    "eval_batch_size": (1, None),
    "MAX_ITEM_LIST_LENGTH": (1, 1 << 16),  # what a checkpoint and an artifact may have
    "seed": (0, 2**32 - 1),  # numpy's limits
    "loss_decimal_place": (0, 17),
    "metric_decimal_place": (0, 17),
}
NUMBERS = ("learning_rate", "weight_decay", "softmax_sample_alpha", "item_init_std")
SWITCHES = (
    "use_gpu",
    "reproducibility",
    "show_progress",
    "log_wandb",
    "save_dataset",
    "save_dataloaders",
    "save_training_state",
    "shuffle",
    "repeatable",
    "enable_amp",
    "enable_scaler",
    "torch_compile",
    "batch_by_length",
    "eval_mask_history",
    "filter_inter_by_user_or_item",
    "shuffle_history",
    "shard_items",
)
TEXTS = (
    "data_path",
    "checkpoint_dir",
    "log_dir",
    "tensorboard_dir",
    "resume",
    "learner",
    "state",
    "valid_metric",
    "field_separator",
    "seq_separator",
    "USER_ID_FIELD",
    "ITEM_ID_FIELD",
    "TIME_FIELD",
    "LABEL_FIELD",
    "NEG_PREFIX",
    "LIST_SUFFIX",
    "ITEM_LIST_LENGTH_FIELD",
)
# These two may be left out (None).
DICTS = (
    "load_col",
    "unload_col",
    "unused_col",
    "val_interval",
    "threshold",
    "preload_weight",
    "seq_len",
    "discretization",
    "clip_grad_norm",
)
LISTS = (
    "alias_of_user_id",
    "alias_of_item_id",
    "normalize_field",
    "numerical_features",
    "benchmark_filename",
)
LOG_LEVELS = ("debug", "info", "warning", "error", "critical")
_AT_LEAST_0 = ("a number of at least 0", 0, sys.float_info.max)
SPLITS = ("valid_and_test", "valid_only", "test_only")


def _is_whole(value: Any, least: float = 1) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and least <= value


def _is_number(value: Any) -> bool:
    """Whether it is a finite number of at least 0."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value < float("inf")


def _is_interval(text: str) -> bool:
    """Whether RecBole reads it as an interval, or several with ';' between; it passes over others with a warning."""

    def one(part: str) -> bool:
        match = re.fullmatch(r"\s*[\[(]([^,]*),([^,]*)[\])]\s*", part)
        try:
            return match is not None and float(match[1]) <= float(match[2])
        except ValueError:
            return False

    return all(one(part) for part in text.split(";"))


def check_kinds(final: dict[str, Any]) -> None:
    """Check the values that can be judged one by one."""

    def check(keys: Iterable[str], fits: Callable[[Any], bool], wanted: str) -> None:
        for key in keys:
            if key in final and not fits(final[key]):
                raise UserError(f"{key} is {final[key]!r}; it must be {wanted}")

    for key in filter(final.__contains__, WHOLE_NUMBERS):
        final[key] = checked_whole(final[key], key, *WHOLE_NUMBERS[key])
    check(["eval_step"], lambda v: _is_whole(v, -float("inf")), "a whole number")  # below 1 means no validation
    check(["softmax_sample_num"], lambda v: v is None or _is_whole(v), "a whole number of at least 1, or None")
    check(
        ["weight_average"],
        lambda v: v is None or (_is_number(v) and 0 < v < 1),
        "a number above 0 and below 1, such as 0.999, or None",
    )
    for key in filter(final.__contains__, NUMBERS):
        checked_number(final[key], key, *_AT_LEAST_0)
    for key in filter(final.__contains__, SWITCHES):
        checked_flag(final[key], key)
    check(TEXTS, lambda v: isinstance(v, str) and v != "", "text")
    check(DICTS, lambda v: v is None or isinstance(v, dict), "a dict, or None")
    check(LISTS, lambda v: v is None or isinstance(v, (list, tuple)), "a list, or None")
    check(["share_of"], lambda v: v in ("interactions", "span"), "interactions or span")
    check(["targets_per_user"], lambda v: v in ("last", "every"), "last or every")
    check(["new_item_targets"], lambda v: v in ("miss", "leave_out"), "miss or leave_out")
    for key in filter(final.__contains__, ("valid_from", "test_from")):
        final[key] = checked_moment(final[key], key)
    check(["item_init"], lambda v: v in ("random", "item-item"), "random or item-item")
    check(["training_rows"], lambda v: v in ("prefix", "sequence"), "prefix or sequence")
    check(["state"], lambda v: v.lower() in LOG_LEVELS, "one of " + ", ".join(LOG_LEVELS))
    if isinstance(final["gpu_id"], tuple):
        final["gpu_id"] = ",".join(map(str, final["gpu_id"]))
    check(
        ["gpu_id"],
        lambda v: re.fullmatch(r"|-1|\d+(,\d+)*|(GPU|MIG)-\S+", str(v)),
        "the number of a GPU, or several with commas between, such as 0,1",
    )
    check(
        ["user_inter_num_interval", "item_inter_num_interval"],
        lambda v: v is None or _is_interval(str(v)),
        "an interval such as [5,inf)",
    )
    for field, interval in (final.get("val_interval") or {}).items():
        if not isinstance(interval, (list, tuple)) and not _is_interval(str(interval)):
            raise UserError(f"val_interval: {field!r} is {interval!r}; it must be an interval such as [0,5), or a list")
    for source, columns in (final.get("load_col") or {}).items():
        if columns != "*" and not isinstance(columns, (list, tuple)):
            raise UserError(f"load_col: {source!r} is {columns!r}; it must be a list of columns, or '*' for all")
    loaded = "*" if final.get("load_col") is None else final["load_col"].get("inter", ())
    unused = (final.get("unused_col") or {}).get("inter") or ()
    for name in (final["USER_ID_FIELD"], final["ITEM_ID_FIELD"]):
        if loaded != "*" and name not in loaded:
            raise UserError(f"load_col leaves out {name!r} of 'inter', which every model needs")
        if name in unused:
            raise UserError(f"unused_col drops {name!r} of 'inter', which every model needs")
    check(["rm_dup_inter"], lambda v: v in ("first", "last", None), "first or last, the interaction to keep, or None")
    check_files_and_names(final)
    clip = final.get("clip_grad_norm")
    if clip and not (set(clip) <= {"max_norm", "norm_type"} and all(map(_is_number, clip.values()))):
        raise UserError(f"clip_grad_norm is {clip!r}; it must be a dict such as {{'max_norm': 5}}")
    if final.get("log_wandb") and importlib.util.find_spec("wandb") is None:
        raise UserError("log_wandb needs the package wandb (pip install wandb)")


def checked_moment(value: Any, key: str) -> float | str:
    """Where a part of the data begins: a share, a time as in the file, or a date, which yaml reads as one."""
    if isinstance(value, (datetime, date)):
        return value.isoformat(" ") if isinstance(value, datetime) else value.isoformat()
    if isinstance(value, str) and value:
        return value
    finite = isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < float("inf")
    if not finite:
        raise UserError(
            f"{key} is {value!r}; it must be a share between 0 and 1, a date such as 1998-03-07, or a time as the file "
            "writes it"
        )
    return value


def check_files_and_names(final: dict[str, Any]) -> None:
    """Check the names of split files, and that columns that are made have names of their own."""
    files = final.get("benchmark_filename")
    if files is not None and (len(files) != 3 or not all(isinstance(name, str) for name in files)):
        raise UserError(
            f"benchmark_filename is {files!r}; it must be a list of three names, of the training, validation and test "
            "files, such as ['train', 'valid', 'test']"
        )
    if files is not None and files[0] in files[1:]:
        raise UserError(f"benchmark_filename is {files!r}; the model would be tested on what it was trained on")
    if files is not None and files[1] == files[2]:
        getLogger().warning(f"benchmark_filename is {files!r}: the best epoch is chosen on the test rows themselves")
    names = {key: final[key] for key in ("USER_ID_FIELD", "ITEM_ID_FIELD", "TIME_FIELD", "ITEM_LIST_LENGTH_FIELD")}
    names["NEG_PREFIX + ITEM_ID_FIELD"] = final["NEG_PREFIX"] + final["ITEM_ID_FIELD"]
    for key in ("ITEM_ID_FIELD", "TIME_FIELD"):
        names[f"{key} + LIST_SUFFIX"] = final[key] + final["LIST_SUFFIX"]
    first: dict[str, str] = {}
    for key, name in names.items():
        if first.setdefault(name, key) != key:
            raise UserError(f"{first[name]} and {key} are both {name!r}; they must be different columns")


def check_metrics(final: dict[str, Any]) -> None:
    """Check ``metrics``, ``topk`` and ``valid_metric`` together, and make lists of the first two."""
    metrics, topk = final["metrics"], final["topk"]
    metrics = [metrics] if isinstance(metrics, str) else metrics
    if not isinstance(metrics, (list, tuple)) or not metrics:
        raise UserError(f"metrics is {metrics!r}; it must be a list such as ['NDCG', 'Hit']")
    names = {name: metric.__name__ for name, metric in metrics_dict.items()}
    for metric in metrics:
        if str(metric).lower() not in names:
            raise UserError(f"there is no metric {metric!r}; {nearest(metric, names.values())}")
    topk = topk if isinstance(topk, (list, tuple)) else [topk]
    if not topk or not all(map(_is_whole, topk)):
        raise UserError(f"topk is {final['topk']!r}; it must be a whole number of at least 1, or a list of them")
    final["metrics"], final["topk"] = list(metrics), list(topk)
    choices = [
        m if metric_types[m.lower()] == EvaluatorType.VALUE or m.lower() == "gauc" else f"{m}@{k}"
        for m in metrics
        for k in topk
    ]
    if final["valid_metric"].lower() not in (c.lower() for c in choices):
        raise UserError(
            f"valid_metric is {final['valid_metric']!r}; metrics and topk leave {', '.join(dict.fromkeys(choices))}"
        )


def check_negatives(key: str, negatives: Any) -> None:
    """Check the dict of a setting that says how negatives are drawn."""
    if not isinstance(negatives, dict):
        raise UserError(
            f"{key} is {negatives!r}; it must be a dict such as {{'distribution': 'uniform', 'sample_num': 4}}"
        )
    entries = ("distribution", "sample_num", "alpha", "dynamic", "candidate_num", "fixed")
    for entry in negatives:
        if entry not in entries:
            raise UserError(f"{key} has no entry {entry!r}; {nearest(entry, entries)}")
    distribution, number = negatives.get("distribution", "uniform"), negatives.get("sample_num", 1)
    if distribution not in ("uniform", "popularity"):
        raise UserError(f"{key}: distribution is {distribution!r}; it must be uniform or popularity")
    checked_whole(number, f"{key}: sample_num", 1)
    checked_number(negatives.get("alpha", 1.0), f"{key}: alpha", *_AT_LEAST_0)
    checked_flag(negatives.get("fixed", False), f"{key}: fixed")


def check_eval_args(arguments: Any) -> None:
    """Check ``eval_args``: split, order, grouping and modes."""
    if not isinstance(arguments, dict):
        raise UserError(f"eval_args is {arguments!r}; it must be a dict with split, order, group_by and mode")
    entries = ("split", "order", "group_by", "mode")
    for entry in arguments:
        if entry not in entries:
            raise UserError(f"eval_args has no entry {entry!r}; {nearest(entry, entries)}")
    # RecBole would fill in a random order and a split by ratio, which nobody who left them out means here.
    for entry, example in (("split", {"LS": "valid_and_test"}), ("order", "TO")):
        if entry not in arguments:
            raise UserError(f"eval_args takes the place of the protocol's and lacks {entry!r}, for example {example!r}")
    if arguments["order"] != "TO":
        raise UserError(f"eval_args: order is {arguments['order']!r}; a sequential model needs 'TO'")
    if arguments.get("group_by") not in ("user", "none", "None", None):
        raise UserError(f"eval_args: group_by is {arguments['group_by']!r}; it must be 'user' or 'none'")
    split = arguments["split"]
    way, how = next(iter(split.items())) if isinstance(split, dict) and len(split) == 1 else (None, None)
    by_ratio = isinstance(how, list) and len(how) == 3 and all(map(_is_number, how)) and how[0] > 0
    by_name = isinstance(how, str) and how in SPLITS
    by_cut = way == "CUT" and how == SPLITS[0]
    if not (by_cut or (way == "LS" and by_name) or (way in ("RS", "TS") and by_ratio)):
        raise UserError(
            f"eval_args: split is {split!r}; it must be {{'LS': one of {', '.join(SPLITS)}}}, or 'RS' or 'TS' with "
            "three numbers, for example {'RS': [0.8, 0.1, 0.1]}, or {'CUT': 'valid_and_test'} with --protocol=time"
        )
    modes = arguments.get("mode", "full")
    modes = modes if isinstance(modes, dict) else {"valid": modes, "test": modes}
    for phase, mode in modes.items():
        if phase not in ("valid", "test"):
            raise UserError(f"eval_args: mode has no entry {phase!r}; it may have 'valid' and 'test'")
        if not re.fullmatch(r"full|(uni|pop)0*[1-9]\d*", str(mode)):
            raise UserError(f"eval_args: mode is {mode!r}; it must be full, uniN or popN, for example uni100")
        if by_cut and mode != "full":
            raise UserError(f"eval_args: mode is {mode!r}; a split by CUT ranks among all items, so it must be full")
