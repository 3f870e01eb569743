"""RecBole's Config with this package's models and property files.

Precedence, highest first: command line > config dict > config files > dataset yaml > model yaml >
protocol yaml > overall yaml. Each of this package's yaml files lies above RecBole's file of the same
kind, and a file of the same name in the working directory is merged over the packaged one, key by key.
"""

import ast
import os
from collections.abc import Iterable, Mapping
from logging import getLogger
from pathlib import Path
from typing import Any

import numpy as np
from recbole.config import Config as RecBoleConfig
from recbole.data.transform import construct_transform
from recbole.utils import InputType, ModelType

from recbole_cocorr.base.errors import UserError
from recbole_cocorr.base.property_files import (
    check_known,
    configuration_files,
    is_packaged,
    keys_of,
    known_names,
    nearest,
    property_files,
    recbole_properties,
)
from recbole_cocorr.base.yaml_reader import read_yaml
from recbole_cocorr.data import distributed
from recbole_cocorr.models import registry
from recbole_cocorr.training.config_checks import TEXTS, check_eval_args, check_kinds, check_metrics, check_negatives
from recbole_cocorr.training.ignored_settings import ignored_settings

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
        "eta",
    ]
)
LOSS_TYPES = ("BCE", "BPR", "CE")
# The share of a history that a transform of RecBole's changes, which it first reads in a batch.
_RATIOS = {"mask_itemseq": "mask_ratio", "crop_itemseq": "eta", "reorder_itemseq": "beta"}


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
        if isinstance(value, np.generic):
            value = value.item()
        parsed = parse_value(value) if isinstance(value, str) else value
        result[key] = value if key in TEXTS and not isinstance(parsed, str) else parsed
    return result


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
        self._file_of: dict[str, Path] = {}
        for file in file_list or ():
            for path in configuration_files(file):
                content = self._read_yaml(path)
                settings.update(content)
                self._file_of |= dict.fromkeys(content, path)
        return settings

    def _read_yaml(self, path: Path) -> dict[str, Any]:
        return read_yaml(path, "configuration file", self.yaml_loader)

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
        self._layer_of: dict[str, Path] = {}
        self._add_layers("", "overall")
        self.protocol = str(
            self.external_config_dict.get("protocol", self.internal_config_dict.get("protocol", "paper"))
        )
        if not property_files("protocol", self.protocol):
            raise UserError(
                f"there is no protocol {self.protocol!r}; {nearest(self.protocol, known_names('protocol'))}"
            )
        for kind, name in (("protocol", self.protocol), ("model", model), ("dataset", dataset)):
            self._add_layers(kind, name)
        self.internal_config_dict["protocol"] = self.protocol

    def _add_layers(self, kind: str, name: str) -> None:
        """Merge a property file, and then the working directory's, over what lies below."""
        for path in property_files(kind, name):
            content = self._read_yaml(path)
            if not is_packaged(path) and registry.is_named(self.model):  # a user's own class brings keys of its own
                check_known(path, content, self._all_known_keys())
            self.internal_config_dict.update(content)
            self._layer_of |= dict.fromkeys(content, path)

    def source_of(self, key: str) -> str:
        """Where the value of a setting was given: the highest layer that has it."""
        if key in self.cmd_config_dict:
            return "command line"
        if key in self.variable_config_dict:
            return "config_dict"
        if key in self._file_of:
            return f"--config_files: {self._file_of[key]}"
        if key in self._layer_of:
            path = self._layer_of[key]
            place = "/".join(path.parts[-3 if path.parent.parent.name == "properties" else -2 :])
            return f"packaged {place}" if is_packaged(path) else f"./{place}"
        return "RecBole's default" if key in self.internal_config_dict else "worked out"

    def _get_final_config_dict(self) -> dict[str, Any]:
        self._check_keys()
        # A search draws whole numbers as 32.0, and a file of its results says so.
        for key, value in self.external_config_dict.items():
            default = self.internal_config_dict.get(key, 0.0)
            if type(value) is float and value.is_integer() and type(default) is not float:
                self.external_config_dict[key] = int(value)
        final = super()._get_final_config_dict()
        self._settle_loss(final)
        return final

    # -- checking --------------------------------------------------------------------------------

    def _all_known_keys(self) -> frozenset[str]:
        """Every key that some packaged property file, or one of RecBole's, of any model, knows."""
        skip = {"url.yaml", "kg_url.yaml"}
        files = [file for file in recbole_properties().rglob("*.yaml") if file.name not in skip]
        names = [("", "overall"), *((kind, n) for kind in ("model", "protocol", "dataset") for n in known_names(kind))]
        files += [path for kind, name in names for path in property_files(kind, name) if is_packaged(path)]
        keys = COMMAND_KEYS | UNLISTED_KEYS | {k for names in self.parameters.values() for k in names}
        return frozenset(keys.union(*map(keys_of, files)))

    def _check_keys(self) -> None:
        mine = COMMAND_KEYS | UNLISTED_KEYS | set(self.internal_config_dict) - {"MODEL_TYPE"}
        mine |= {k for names in self.parameters.values() for k in names}
        known = self._all_known_keys()
        for key in self.external_config_dict:
            if key in mine:
                continue
            if key not in known:
                if not registry.is_named(self.model):
                    continue  # a model class of the user's own brings keys of its own
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
        by_user = "train_neg_sample_args" in self.external_config_dict
        negatives = final.get("train_neg_sample_args")
        # RecBole takes a dict without a distribution for no negatives too.
        none = (None, "None", "none")
        without = negatives in none or (isinstance(negatives, dict) and negatives.get("distribution", "") in none)
        if loss_type == "CE" and not pairs_only:
            if by_user and not without:
                raise UserError(
                    "loss_type CE ranks against all items and takes no negatives; "
                    "leave train_neg_sample_args out, or choose loss_type BCE or BPR"
                )
            final["train_neg_sample_args"] = None
        elif without:
            if by_user:
                raise UserError(f"loss_type {loss_type} needs negatives; set train_neg_sample_args")
            final["train_neg_sample_args"] = final.get("default_neg_sample_args")
            check_negatives("default_neg_sample_args", final["train_neg_sample_args"])

    def _set_default_parameters(self) -> None:
        final = self.final_config_dict
        check_kinds(final)
        check_metrics(final)
        check_eval_args(final["eval_args"])
        negatives = final.get("train_neg_sample_args")
        if negatives is not None:
            check_negatives("train_neg_sample_args", negatives)
            final["train_neg_sample_args"] = {"fixed": False, **negatives}
        try:
            super()._set_default_parameters()
        except (ValueError, TypeError, KeyError, NotImplementedError, RuntimeError) as error:
            raise UserError(f"the configuration does not fit together: {error}") from None
        self._keep_data_path(final)
        if "MODEL_INPUT_TYPE" not in final:  # loss_type BCE, which RecBole does not know
            final["MODEL_INPUT_TYPE"] = InputType.POINTWISE

    def _keep_data_path(self, final: dict[str, Any]) -> None:
        """Read ml-100k from the folder that is given; RecBole reads its own copy whatever ``data_path`` says."""
        given = self.external_config_dict.get("data_path")
        if self.dataset != "ml-100k" or given is None:
            return
        folder = Path(given) / self.dataset
        if folder.is_dir():
            final["data_path"] = str(folder)
        else:
            getLogger().warning(f"data_path: there is no folder {folder}, so RecBole's own copy of ml-100k is read")

    def _check_values(self) -> None:
        """Check what needs the finished configuration."""
        final = self.final_config_dict
        given = {**self.internal_config_dict, **self.external_config_dict}
        if not final["rank"]:
            for sentence in ignored_settings(given, final, not registry.is_named(self.model)):
                getLogger().warning(sentence)
        if final["train_neg_sample_args"].get("dynamic"):
            raise UserError("train_neg_sample_args: dynamic negatives are not supported; set dynamic: False")
        if final.get("shard_items") and final.get("clip_grad_norm"):
            raise UserError(
                "shard_items is True and clip_grad_norm set, whose norm is of the whole table; leave one out"
            )
        if final.get("training_rows") == "sequence":
            if final.get("shuffle_history"):
                raise UserError(
                    "training_rows is sequence and shuffle_history True; a sequence is one history for all its clicks, "
                    "so set training_rows: prefix"
                )
            if final.get("torch_compile"):
                raise UserError(
                    "training_rows is sequence and torch_compile True, which compiles the vector of a whole history "
                    "alone; leave one out"
                )
            if final.get("transform"):
                raise UserError(
                    f"training_rows is sequence, and transform {final['transform']} changes the histories of single "
                    "rows; set training_rows: prefix"
                )
        ratio = _RATIOS.get(final.get("transform"))
        share = final.get(ratio)
        if ratio is not None and not (type(share) in (int, float) and 0 <= share <= 1):
            raise UserError(
                f"transform is {final['transform']!r}, so {ratio} must be a number from 0 to 1; it is {share!r}"
            )
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
        process = distributed.join(final)
        final["local_rank"], final["rank"], final["world_size"] = process.local_rank, process.rank, process.world_size
        if process.rank != 0:
            final["state"], final["show_progress"], final["log_wandb"] = "error", False, False
        if process.world_size > 1:
            final["device"] = process.device
            return
        if not use_gpu:
            import torch

            final["gpu_id"] = ""
            final["device"] = torch.device("cpu")
            return
        del final["local_rank"]  # its presence would start RecBole's nccl set-up
        super()._init_device()
        final["single_spec"] = True
