"""RecBole's Config with this package's models and property files.

Precedence, highest first: command line > config dict > config files > dataset yaml > model yaml >
protocol yaml > overall yaml. Each of this package's yaml files lies above RecBole's file of the same
kind, and a file of the same name in the working directory takes the place of the packaged one.
"""

import ast
import difflib
import importlib.util
import os
import re
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from logging import getLogger
from pathlib import Path
from typing import Any

import yaml
from recbole.config import Config as RecBoleConfig
from recbole.data.transform import construct_transform
from recbole.evaluator.register import metric_types, metrics_dict
from recbole.utils import EvaluatorType, InputType, ModelType

from recbole_cocorr import compat, distributed
from recbole_cocorr.errors import UserError
from recbole_cocorr.model import registry

compat.apply()

# Flags of the command and keys that RecBole's code reads though none of its property files names them.
COMMAND_KEYS = frozenset(
    [
        "model",
        "dataset",
        "config_files",
        "protocol",
        "nproc",
        "world_size",
        "ip",
        "port",
        "group_offset",
        "offset",
        "local_rank",
        "resume",
    ]
)
UNLISTED_KEYS = frozenset(
    [
        "encoding",
        "reg_weight",
        "neg_sampling",
        "training_neg_sample_num",
        "train_rec_step",
        "train_kg_step",
        "discretization",
        "numerical_features",
        "additional_feat_suffix",
        "benchmark_filename",
        "seq_len",
        "loss_type",
        "gpu_id",
    ]
)
LOSS_TYPES = ("BCE", "BPR", "CE")

# What values must be. Without these checks RecBole's code stumbles over them halfway through a run, or
# takes "maybe" for yes.
WHOLE_NUMBERS: dict[str, tuple[float, float]] = {  # least and most
    "epochs": (0, float("inf")),
    "eval_step": (-float("inf"), float("inf")),  # RecBole's: below 1 means no validation
    "stopping_step": (0, float("inf")),
    "train_batch_size": (1, float("inf")),
    "eval_batch_size": (1, float("inf")),
    "MAX_ITEM_LIST_LENGTH": (1, float("inf")),
    "seed": (0, 2**32 - 1),  # numpy's limits
    "loss_decimal_place": (0, 17),
    "metric_decimal_place": (0, 17),
}
NUMBERS = ("learning_rate", "weight_decay")
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
    "eval_mask_history",
    "filter_inter_by_user_or_item",
)
TEXTS = (
    "data_path",
    "checkpoint_dir",
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
SPLITS = ("valid_and_test", "valid_only", "test_only")


def property_file(kind: str, name: str) -> Path | None:
    """Find ``properties/<kind>/<name>.yaml``: the working directory's first, then the packaged one.

    Parameters
    ----------
    kind : {"", "model", "protocol", "dataset"}
        ``""`` for ``properties/overall.yaml``; ``"dataset"`` looks in ``dataset_configs/``.
    name : str
        The file's name without ``.yaml``.

    Returns
    -------
    pathlib.Path or None
        None if there is no such file.
    """
    if Path(name).name != name:
        return None  # a path, not a name
    relative = Path("dataset_configs") if kind == "dataset" else Path("properties") / kind
    package = Path(__file__).resolve().parent
    # In a wheel the two folders lie inside the package, in a checkout beside it.
    for root in (Path.cwd(), package, package.parent):
        candidate = root / relative / f"{name}.yaml"
        if candidate.is_file():
            return candidate
    return None


def recbole_properties() -> Path:
    """Folder of RecBole's own property files."""
    import recbole.config

    return Path(recbole.config.__file__).resolve().parent.parent / "properties"


def read_yaml(path: Path, loader: type = yaml.FullLoader) -> dict[str, Any]:
    """Read a property file.

    Raises
    ------
    UserError
        If it is missing or unreadable, is no yaml (with the line), or holds anything but ``key: value``.
    """
    try:
        with path.open(encoding="utf-8") as file:
            content = yaml.load(file, Loader=loader)
    except FileNotFoundError:
        raise UserError(f"the configuration file {path} does not exist") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read the configuration file {path}: {error}") from None
    except (yaml.YAMLError, ValueError) as error:  # ValueError: a date such as 2025-13-01
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark else ""
        raise UserError(f"{path}{where} is not valid yaml: {getattr(error, 'problem', None) or error}") from None
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise UserError(f"{path} must hold 'key: value' lines, not a {type(content).__name__}")
    for key in content:
        if not isinstance(key, str):
            raise UserError(f"{path}: the key {key!r} is no name; put it in quotes if it is meant to be one")
    return content


@cache
def _keys_of(path: Path) -> frozenset[str]:
    return frozenset(read_yaml(path))


def known_names(kind: str) -> list[str]:
    """Names of the protocols or datasets for which there is a property file."""
    package = Path(__file__).resolve().parent
    relative = Path("dataset_configs") if kind == "dataset" else Path("properties") / kind
    return sorted({p.stem for root in (Path.cwd(), package, package.parent) for p in (root / relative).glob("*.yaml")})


def closest(name: str, known: Iterable[str], cutoff: float = 0.5) -> str | None:
    """The known name that looks most like ``name``, capitals aside; None if none looks like it."""
    by_lower = {k.lower(): k for k in sorted(known)}
    match = difflib.get_close_matches(name.lower(), by_lower, n=1, cutoff=cutoff)
    return by_lower[match[0]] if match else None


def nearest(name: Any, known: Iterable[str]) -> str:
    """A half sentence that names the known name closest to ``name``, or lists a few."""
    known = sorted(set(known))
    match = closest(str(name), known)
    if match is not None:
        return f"did you mean {match!r}?"
    return "known are " + ", ".join(known[:12]) + (" ..." if len(known) > 12 else "")


def parse_value(text: str) -> Any:
    """Turn the text of a command-line value into a Python literal, as RecBole does but without ``eval``."""
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return {"true": True, "false": False}.get(text.lower(), text)


def parse_overrides(arguments: Iterable[str]) -> dict[str, Any]:
    """Read ``--key=value`` arguments.

    Raises
    ------
    UserError
        For an argument of another form, and for a key given twice with two values.
    """
    overrides: dict[str, str] = {}
    for argument in arguments:
        key, equals, text = argument[2:].partition("=")
        if not argument.startswith("--") or not equals or not key:
            raise UserError(f"cannot read the argument {argument!r}; settings are written --key=value")
        if overrides.setdefault(key, text) != text:
            raise UserError(f"--{key} is given twice, as {overrides[key]!r} and as {text!r}; keep one")
    return _parse_values(overrides)


def _parse_values(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Parse the values that are text; a folder or column named 2024 stays text."""
    result = {}
    for key, value in settings.items():
        parsed = parse_value(value) if isinstance(value, str) else value
        result[key] = value if key in TEXTS and not isinstance(parsed, str) else parsed
    return result


def _is_whole(value: Any, least: float = 1, most: float = float("inf")) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= most


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


class Config(RecBoleConfig):
    """RecBole's configuration, with this package's models, protocols and datasets.

    Parameters
    ----------
    model : str or type, optional
        Name of a model of this package or of a RecBole sequential model, or a model class.
    dataset : str, optional
        Name of the dataset.
    config_file_list : list of str, optional
        Further yaml files; a later file wins.
    config_dict : dict, optional
        Settings that beat every file.
    overrides : dict, optional
        Settings of the command line, which beat everything. Without it they are read from ``sys.argv``,
        as RecBole does.

    Raises
    ------
    UserError
        For an unknown model, dataset, protocol or key, naming the nearest known one, and for values that
        do not fit together.
    """

    def __init__(
        self,
        model: str | type | None = None,
        dataset: str | None = None,
        config_file_list: list[str] | None = None,
        config_dict: dict[str, Any] | None = None,
        overrides: dict[str, Any] | None = None,
    ):
        self._overrides = overrides
        super().__init__(model, dataset, config_file_list, dict(config_dict or {}))
        self._check_values()

    # -- reading ---------------------------------------------------------------------------------

    def _convert_config_dict(self, config_dict: dict[str, Any]) -> dict[str, Any]:
        return _parse_values(config_dict)

    def _load_config_files(self, file_list: list[str] | None) -> dict[str, Any]:
        settings: dict[str, Any] = {}
        for file in file_list or ():
            settings.update(self._read_yaml(Path(file)))
        return settings

    def _read_yaml(self, path: Path) -> dict[str, Any]:
        return read_yaml(path, self.yaml_loader)

    def _load_cmd_line(self) -> dict[str, Any]:
        if self._overrides is not None:
            return dict(self._overrides)
        # Used as a library: the arguments belong to the caller's program, so only those that are
        # settings count, and RecBole's own reader warns of the others.
        known = self._all_known_keys()
        return {k: v for k, v in super()._load_cmd_line().items() if k in known}

    def _get_model_and_dataset(self, model: Any, dataset: Any) -> tuple[str, type, str]:
        model = model if model is not None else self.external_config_dict.get("model")
        dataset = dataset if dataset is not None else self.external_config_dict.get("dataset")
        if model is None:
            raise UserError("no model is given; say, for example, --model=CoCorrRec")
        if dataset is None:
            raise UserError("no dataset is given; say, for example, --dataset=ml-100k")
        dataset = str(dataset)
        if Path(dataset).name != dataset or dataset in ("", ".."):
            raise UserError(
                f"dataset is {dataset!r}; it must be a name, and data_path the folder that holds NAME/NAME.inter"
            )
        if isinstance(model, type):
            return model.__name__, model, dataset
        model = str(model)
        model_class = registry.find_model(model)
        if model_class is None:
            raise UserError(f"there is no model {model!r}; {nearest(model, registry.known_models())}")
        if model_class.type != ModelType.SEQUENTIAL:
            raise UserError(
                f"{model} is not a sequential model; this command runs sequential models only, "
                f"RecBole's own run_recbole runs {model}"
            )
        return model_class.__name__, model_class, dataset

    def _load_internal_config_dict(self, model: str, model_class: type, dataset: str) -> None:
        super()._load_internal_config_dict(model, model_class, dataset)
        layers = [property_file("", "overall")]
        overall = self._read_yaml(layers[0]) if layers[0] else {}
        self.protocol = str(self.external_config_dict.get("protocol", overall.get("protocol", "paper")))
        protocol_file = property_file("protocol", self.protocol)
        if protocol_file is None:
            raise UserError(
                f"there is no protocol {self.protocol!r}; {nearest(self.protocol, known_names('protocol'))}"
            )
        layers += [protocol_file, property_file("model", model), property_file("dataset", dataset)]
        for path in layers:
            if path is not None:
                self.internal_config_dict.update(self._read_yaml(path))
        self.internal_config_dict["protocol"] = self.protocol

    def _get_final_config_dict(self) -> dict[str, Any]:
        self._check_keys()
        final = super()._get_final_config_dict()
        self._settle_loss(final)
        return final

    # -- checking --------------------------------------------------------------------------------

    def _all_known_keys(self) -> frozenset[str]:
        """Every key that some property file, of any model, knows."""
        roots = [recbole_properties(), *(p for p in (property_file("", "overall"),) if p)]
        files = [f for root in roots for f in (root.rglob("*.yaml") if root.is_dir() else [root])]
        for kind in ("model", "protocol", "dataset"):
            files += [f for name in known_names(kind) if (f := property_file(kind, name))]
        keys = COMMAND_KEYS | UNLISTED_KEYS | {k for names in self.parameters.values() for k in names}
        skip = {"url.yaml", "kg_url.yaml"}
        return frozenset(keys.union(*(_keys_of(f) for f in files if f.name not in skip)))

    def _check_keys(self) -> None:
        mine = COMMAND_KEYS | UNLISTED_KEYS | set(self.internal_config_dict) - {"MODEL_TYPE"}
        mine |= {k for names in self.parameters.values() for k in names}
        known = self._all_known_keys()
        for key in self.external_config_dict:
            if key in mine:
                continue
            if key not in known:
                own_model = registry.is_named(self.model)
                if not own_model:
                    continue  # a user's own model class brings keys of its own
                raise UserError(f"no property file knows the key {key!r}; {nearest(key, known)}")
            getLogger().warning(f"{key!r} is a setting of other models; {self.model} does not read it")

    def _settle_loss(self, final: dict[str, Any]) -> None:
        """Let the negatives follow the loss unless the user has set both."""
        loss_type = final.get("loss_type")
        if loss_type is None:
            return
        if loss_type not in LOSS_TYPES:
            raise UserError(f"loss_type is {loss_type!r}; it must be one of {', '.join(LOSS_TYPES)}")
        pairs_only = hasattr(self.model_class, "input_type")  # DIN: whatever the loss, it scores pairs
        asked = "train_neg_sample_args" in self.external_config_dict
        negatives = final.get("train_neg_sample_args")
        # RecBole takes a dict without a distribution for no negatives too.
        none = (None, "None", "none")
        without = negatives in none or (isinstance(negatives, dict) and negatives.get("distribution", "") in none)
        if loss_type == "CE" and not pairs_only:
            if asked and not without:
                raise UserError(
                    "loss_type CE ranks against all items and takes no negatives; "
                    "leave train_neg_sample_args out, or choose loss_type BCE or BPR"
                )
            final["train_neg_sample_args"] = None
        elif without:
            if asked:
                raise UserError(f"loss_type {loss_type} needs negatives; set train_neg_sample_args")
            final["train_neg_sample_args"] = final.get("default_neg_sample_args")
            _check_negatives("default_neg_sample_args", final["train_neg_sample_args"])

    def _set_default_parameters(self) -> None:
        final = self.final_config_dict
        self._check_kinds(final)
        self._check_metrics(final)
        _check_eval_args(final["eval_args"])
        negatives = final.get("train_neg_sample_args")
        if negatives is not None:
            _check_negatives("train_neg_sample_args", negatives)
            final["train_neg_sample_args"] = {"fixed": False, **negatives}
        try:
            super()._set_default_parameters()
        except (ValueError, TypeError, KeyError, NotImplementedError, RuntimeError) as error:
            raise UserError(f"the configuration does not fit together: {error}") from None
        if "MODEL_INPUT_TYPE" not in final:  # loss_type BCE, which RecBole does not know
            final["MODEL_INPUT_TYPE"] = InputType.POINTWISE

    def _check_kinds(self, final: dict[str, Any]) -> None:
        """Check the values that can be judged one by one."""

        def check(keys: Iterable[str], fits: Callable[[Any], bool], wanted: str) -> None:
            for key in keys:
                if key in final and not fits(final[key]):
                    raise UserError(f"{key} is {final[key]!r}; it must be {wanted}")

        for key, (least, most) in WHOLE_NUMBERS.items():
            limits = (
                "" if least < 0 else f" of at least {least}" if most == float("inf") else f" from {least} to {most}"
            )
            check([key], lambda v, a=least, b=most: _is_whole(v, a, b), "a whole number" + limits)
        check(NUMBERS, _is_number, "a number of at least 0")
        check(SWITCHES, lambda v: isinstance(v, bool), "True or False")
        check(TEXTS, lambda v: isinstance(v, str) and v != "", "text")
        check(DICTS, lambda v: v is None or isinstance(v, dict), "a dict, or None")
        check(LISTS, lambda v: v is None or isinstance(v, (list, tuple)), "a list, or None")
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
                raise UserError(
                    f"val_interval: {field!r} is {interval!r}; it must be an interval such as [0,5), or a list"
                )
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
        clip = final.get("clip_grad_norm")
        if clip and not (set(clip) <= {"max_norm", "norm_type"} and all(map(_is_number, clip.values()))):
            raise UserError(f"clip_grad_norm is {clip!r}; it must be a dict such as {{'max_norm': 5}}")
        if final.get("log_wandb") and importlib.util.find_spec("wandb") is None:
            raise UserError("log_wandb needs the package wandb (pip install wandb)")

    def _check_metrics(self, final: dict[str, Any]) -> None:
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

    def _check_values(self) -> None:
        """Check what needs the finished configuration."""
        if self.final_config_dict["train_neg_sample_args"].get("dynamic"):
            raise UserError("train_neg_sample_args: dynamic negatives are not supported; set dynamic: False")
        try:
            construct_transform(self)
        except (NotImplementedError, TypeError, ValueError) as error:
            raise UserError(f"transform is {self['transform']!r}, which does not fit: {error}") from None

    # -- device ----------------------------------------------------------------------------------

    def _init_device(self) -> None:
        final = self.final_config_dict
        use_gpu = final["use_gpu"]
        # RecBole's own data-parallel code knows only nccl and counts padded users twice. Ours takes its
        # place (distributed.py), so the key that switches RecBole's on stays True.
        final["single_spec"] = True
        several = final.get("local_rank") is not None or distributed.under_torchrun()
        if several and use_gpu and "gpu_id" in self.external_config_dict:
            os.environ["CUDA_VISIBLE_DEVICES"] = str(final["gpu_id"])
        place = distributed.join(final)
        final["local_rank"], final["rank"], final["world_size"] = place.local_rank, place.rank, place.world_size
        if place.rank != 0:
            final["state"], final["show_progress"], final["log_wandb"] = "error", False, False
        if place.world_size > 1:
            final["device"] = place.device
            return
        if not use_gpu:
            import torch

            final["gpu_id"] = ""
            final["device"] = torch.device("cpu")
            return
        del final["local_rank"]  # its presence would start RecBole's nccl set-up
        super()._init_device()
        final["single_spec"] = True


def _check_negatives(key: str, negatives: Any) -> None:
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
    if not _is_whole(number):
        raise UserError(f"{key}: sample_num is {number!r}; it must be a whole number of at least 1")
    if not _is_number(negatives.get("alpha", 1.0)):
        raise UserError(f"{key}: alpha is {negatives['alpha']!r}; it must be a number of at least 0")
    if not isinstance(negatives.get("fixed", False), bool):
        raise UserError(f"{key}: fixed is {negatives['fixed']!r}; it must be True or False")


def _check_eval_args(arguments: Any) -> None:
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
    if not ((way == "LS" and by_name) or (way in ("RS", "TS") and by_ratio)):
        raise UserError(
            f"eval_args: split is {split!r}; it must be {{'LS': one of {', '.join(SPLITS)}}}, or 'RS' or 'TS' with "
            "three numbers, for example {'RS': [0.8, 0.1, 0.1]}"
        )
    modes = arguments.get("mode", "full")
    modes = modes if isinstance(modes, dict) else {"valid": modes, "test": modes}
    for phase, mode in modes.items():
        if phase not in ("valid", "test"):
            raise UserError(f"eval_args: mode has no entry {phase!r}; it may have 'valid' and 'test'")
        if not re.fullmatch(r"full|(uni|pop)0*[1-9]\d*", str(mode)):
            raise UserError(f"eval_args: mode is {mode!r}; it must be full, uniN or popN, for example uni100")
