"""RecBole's Config with this package's models and property files.

Precedence, highest first: command line > config dict > config files > dataset yaml > model yaml >
protocol yaml > overall yaml. Each of this package's yaml files lies above RecBole's file of the same
kind, and a file of the same name in the working directory takes the place of the packaged one.
"""

import ast
import difflib
from collections.abc import Iterable
from functools import cache
from logging import getLogger
from pathlib import Path
from typing import Any

import yaml
from recbole.config import Config as RecBoleConfig
from recbole.utils import InputType, ModelType

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


@cache
def _keys_of(path: Path) -> frozenset[str]:
    with path.open(encoding="utf-8") as file:
        return frozenset(yaml.safe_load(file) or {})


def known_names(kind: str) -> list[str]:
    """Names of the protocols or datasets for which there is a property file."""
    package = Path(__file__).resolve().parent
    relative = Path("dataset_configs") if kind == "dataset" else Path("properties") / kind
    return sorted({p.stem for root in (Path.cwd(), package, package.parent) for p in (root / relative).glob("*.yaml")})


def nearest(name: str, known: Iterable[str]) -> str:
    """A half sentence that names the known name closest to ``name``, or lists a few."""
    known = sorted(set(known))
    by_lower = {k.lower(): k for k in known}
    match = difflib.get_close_matches(name.lower(), by_lower, n=1, cutoff=0.5)
    if match:
        return f"did you mean {by_lower[match[0]]!r}?"
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
    return {key: parse_value(text) for key, text in overrides.items()}


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
        return {k: parse_value(v) if isinstance(v, str) else v for k, v in config_dict.items()}

    def _load_config_files(self, file_list: list[str] | None) -> dict[str, Any]:
        for file in file_list or ():
            self._read_yaml(Path(file))
        return super()._load_config_files(file_list)

    def _read_yaml(self, path: Path) -> dict[str, Any]:
        try:
            with path.open(encoding="utf-8") as file:
                content = yaml.load(file, Loader=self.yaml_loader)
        except FileNotFoundError:
            raise UserError(f"the configuration file {path} does not exist") from None
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(f"cannot read the configuration file {path}: {error}") from None
        except yaml.YAMLError as error:
            mark = getattr(error, "problem_mark", None)
            where = f", line {mark.line + 1}" if mark else ""
            raise UserError(f"{path}{where} is not valid yaml: {getattr(error, 'problem', error)}") from None
        if content is None:
            return {}
        if not isinstance(content, dict):
            raise UserError(f"{path} must hold 'key: value' lines, not a {type(content).__name__}")
        return content

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
        if not isinstance(model, str):
            return model.__name__, model, str(dataset)
        model_class = registry.find_model(model)
        if model_class is None:
            raise UserError(f"there is no model {model!r}; {nearest(model, registry.known_models())}")
        if model_class.type != ModelType.SEQUENTIAL:
            raise UserError(
                f"{model} is not a sequential model; this command runs sequential models only, "
                f"RecBole's own run_recbole runs {model}"
            )
        return model_class.__name__, model_class, str(dataset)

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
        mine = COMMAND_KEYS | UNLISTED_KEYS | set(self.internal_config_dict)
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
        if loss_type == "CE" and not pairs_only:
            if asked and final["train_neg_sample_args"] not in (None, "None"):
                raise UserError(
                    "loss_type CE ranks against all items and takes no negatives; "
                    "leave train_neg_sample_args out, or choose loss_type BCE or BPR"
                )
            final["train_neg_sample_args"] = None
        elif final.get("train_neg_sample_args") in (None, "None"):
            if asked:
                raise UserError(f"loss_type {loss_type} needs negatives; set train_neg_sample_args")
            final["train_neg_sample_args"] = dict(final["default_neg_sample_args"])

    def _set_default_parameters(self) -> None:
        final = self.final_config_dict
        negatives = final.get("train_neg_sample_args")
        if negatives is not None and not isinstance(negatives, dict):
            raise UserError(
                f"train_neg_sample_args is {negatives!r}; it must be a dict such as "
                "{'distribution': 'uniform', 'sample_num': 4}"
            )
        if negatives is not None:
            final["train_neg_sample_args"] = {"fixed": False, **negatives}
        try:
            super()._set_default_parameters()
        except (ValueError, TypeError, KeyError, NotImplementedError, RuntimeError) as error:
            raise UserError(f"the configuration does not fit together: {error}") from None
        if "MODEL_INPUT_TYPE" not in final:  # loss_type BCE, which RecBole does not know
            final["MODEL_INPUT_TYPE"] = InputType.POINTWISE

    def _check_values(self) -> None:
        final = self.final_config_dict
        for key in ("epochs", "train_batch_size", "eval_batch_size", "MAX_ITEM_LIST_LENGTH", "seed"):
            value, least = final[key], 0 if key in ("epochs", "seed") else 1
            if not isinstance(value, int) or isinstance(value, bool) or value < least:
                raise UserError(f"{key} is {value!r}; it must be a whole number of at least {least}")
        for key in ("learning_rate", "weight_decay"):
            value = final[key]
            if not isinstance(value, (int, float)) or isinstance(value, bool) or not 0 <= value < float("inf"):
                raise UserError(f"{key} is {value!r}; it must be a number of at least 0")
        negatives = final["train_neg_sample_args"]
        if negatives.get("dynamic"):
            raise UserError("train_neg_sample_args: dynamic negatives are not supported; set dynamic: False")
        if negatives["distribution"] != "none":
            number = negatives["sample_num"]
            if not isinstance(number, int) or isinstance(number, bool) or number < 1:
                raise UserError(
                    f"train_neg_sample_args: sample_num is {number!r}; it must be a whole number of at least 1"
                )
            unknown = set(negatives) - {"distribution", "sample_num", "alpha", "dynamic", "candidate_num", "fixed"}
            if unknown:
                key = sorted(unknown)[0]
                raise UserError(f"train_neg_sample_args has no entry {key!r}; {nearest(key, set(negatives) - unknown)}")
        metric, _, k = str(final["valid_metric"]).partition("@")
        names = {m.lower() for m in final["metrics"]}
        if metric.lower() not in names or (k and int(k) not in final["topk"] if k.isdigit() or not k else True):
            raise UserError(
                f"valid_metric is {final['valid_metric']!r}; it must be one of metrics {final['metrics']} "
                f"at one of topk {final['topk']}"
            )

    # -- device ----------------------------------------------------------------------------------

    def _set_eval_neg_sample_args(self, phase: str) -> None:
        try:
            super()._set_eval_neg_sample_args(phase)
        except ValueError as error:
            mode = self.final_config_dict["eval_args"]["mode"][phase]
            raise UserError(
                f"eval_args: the mode {mode!r} is none of 'full', 'uniN', 'popN' and 'labeled' ({error})"
            ) from None

    def _init_device(self) -> None:
        final = self.final_config_dict
        use_gpu = final["use_gpu"]
        if not isinstance(use_gpu, bool):
            raise UserError(f"use_gpu is {use_gpu!r}; it must be True or False")
        # RecBole's own data-parallel code knows only nccl and counts padded users twice. Ours takes its
        # place (distributed.py), so the key that switches RecBole's on stays True.
        final["single_spec"] = True
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
