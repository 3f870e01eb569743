"""Settings of RecBole's that change nothing here, and what to use in their place: one table."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from recbole_cocorr.base.property_files import recbole_properties
from recbole_cocorr.base.yaml_reader import read_yaml

# RecBole's models that read more than clicks.
_KNOWLEDGE = ("GRU4RecKG", "KSR")
_FEATURES = ("DIN", "DIEN", "FDSA", "GRU4RecF", "SASRecF", "S3Rec", *_KNOWLEDGE)


@dataclass(frozen=True)
class Ignored:
    """Some settings without an effect.

    Attributes
    ----------
    keys : tuple of str
        "eval_args.split" is an entry of a dict.
    why : str
        Completes "KEY=VALUE has no effect: ...".
    when : callable
        Whether it holds for the finished settings and this value; always, if left out.
    of_the_model : bool
        Whether that depends on what the model reads, which is not known of a user's own class.
    """

    keys: tuple[str, ...]
    why: str
    when: Callable[[Mapping[str, Any], Any], bool] = lambda final, value: True
    of_the_model: bool = False


def _split_files(final: Mapping[str, Any], value: Any) -> bool:
    return final.get("benchmark_filename") is not None


_PICKLES = "RecBole's pickles of data are neither written nor read here; a run prepares its data anew"
_AS_THEY_ARE = "with benchmark_filename the files are read as they are; filter them before"

IGNORED = (
    Ignored(
        ("threshold",),
        "sequential models read no labels; val_interval={'rating': '[3,inf)'} leaves out interactions by a column",
        of_the_model=True,
    ),
    Ignored(
        ("RATING_FIELD",),
        "sequential models read no ratings; val_interval filters by any column's own name",
        of_the_model=True,
    ),
    Ignored(("POSITION_FIELD",), "no model here makes a column of positions", of_the_model=True),
    Ignored(("worker",), "batches are made in the training process; data-parallel training is --nproc"),
    Ignored(("save_dataset", "dataset_save_path", "save_dataloaders", "dataloaders_save_path"), _PICKLES),
    Ignored(
        ("valid_metric_bigger",),
        "whether more is better follows from valid_metric",
        lambda final, value: value != final["valid_metric_bigger"],
    ),
    Ignored(
        ("require_pow",),
        "no sequential model has the loss that reads it; weight_decay is the penalty here",
        of_the_model=True,
    ),
    Ignored(
        ("wandb_project",),
        "nothing is sent to Weights & Biases; set log_wandb=True as well",
        lambda final, value: not final["log_wandb"],
    ),
    Ignored(
        ("train_neg_sample_args.candidate_num",), "it belongs to RecBole's dynamic negatives, which are not supported"
    ),
    Ignored(
        ("train_neg_sample_args.alpha",),
        "it is the exponent of distribution popularity, and the negatives are drawn evenly",
        lambda final, value: final["train_neg_sample_args"]["distribution"] != "popularity",
    ),
    Ignored(
        ("softmax_sample_num",),
        "it belongs to loss_type CE",
        lambda final, value: final.get("loss_type") != "CE",
    ),
    Ignored(
        (
            "alias_of_entity_id",
            "alias_of_relation_id",
            "HEAD_ENTITY_ID_FIELD",
            "TAIL_ENTITY_ID_FIELD",
            "RELATION_ID_FIELD",
            "ENTITY_ID_FIELD",
            "kg_reverse_r",
            "entity_kg_num_interval",
            "relation_kg_num_interval",
        ),
        f"only the models with a knowledge graph read it ({', '.join(_KNOWLEDGE)})",
        lambda final, value: final["model"] not in _KNOWLEDGE,
        of_the_model=True,
    ),
    Ignored(("train_rec_step", "train_kg_step"), "no sequential model is trained in alternate steps"),
    Ignored(
        ("numerical_features", "normalize_field", "normalize_all", "discretization", "preload_weight"),
        f"this model reads clicks alone; further columns are read by {', '.join(_FEATURES)}",
        lambda final, value: final["model"] not in _FEATURES,
        of_the_model=True,
    ),
    Ignored(
        ("eval_args.group_by",),
        "the splits LS and TS always go by user; RS can do without",
        lambda final, value: not _split_files(final, value) and "RS" not in final["eval_args"]["split"],
    ),
    Ignored(("eval_args.split",), "with benchmark_filename the files are the split", _split_files),
    Ignored(
        (
            "rm_dup_inter",
            "val_interval",
            "filter_inter_by_user_or_item",
            "user_inter_num_interval",
            "item_inter_num_interval",
        ),
        _AS_THEY_ARE,
        _split_files,
    ),
)

# Where this package's default is another than RecBole's, or RecBole's files do not name the key.
_DEFAULTS = {
    "eval_args": {"split": {"LS": "valid_and_test"}, "group_by": "user"},
    "train_neg_sample_args": {"alpha": 1.0, "candidate_num": 0},
}


@cache
def _defaults(dataset: str) -> dict[str, Any]:
    """What RecBole's files say, its file of the data set included: nobody has changed that."""
    folder = recbole_properties()
    files = [folder / "overall.yaml", folder / "dataset" / "sample.yaml", folder / "dataset" / f"{dataset}.yaml"]
    settings = {}
    for file in files:
        settings.update(read_yaml(file, "property file") if file.is_file() else {})
    return {**settings, **_DEFAULTS}


def _entry(settings: Mapping[str, Any], key: str) -> Any:
    """The value of a key, or of a dict's entry; None if there is none."""
    name, _, entry = key.partition(".")
    value = settings.get(name)
    return value if not entry else value.get(entry) if isinstance(value, dict) else None


def ignored_settings(given: Mapping[str, Any], final: Mapping[str, Any], own_class: bool = False) -> list[str]:
    """A sentence for each setting that was changed and has no effect.

    Parameters
    ----------
    given : mapping
        What property files, arguments and the command line say.
    final : mapping
        The finished settings.
    own_class : bool
        Whether the model is a class of the user's, which may read anything.
    """
    default = _defaults(final["dataset"])
    return [
        f"{key}={_entry(given, key)!r} has no effect: {row.why}"
        for row in IGNORED
        for key in row.keys
        if (value := _entry(given, key)) is not None
        and value != _entry(default, key)
        and row.when(final, value)
        and not (own_class and row.of_the_model)
    ]
