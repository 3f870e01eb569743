"""The one place that knows what RecBole 1.2.1 breaks on with today's Python and libraries.

RecBole's modules are read in other words: :func:`install` puts a finder before Python's own, which compiles a module of
RecBole from its source with the replacements of :data:`BRIDGES`. RecBole's files stay as they are, and so do torch,
numpy, pandas and scipy: no other module notices anything. Line numbers stay the same.

``import recbole_cocorr`` calls :func:`install`. A program that uses RecBole's own entry points imports this package
before RecBole::

    import recbole_cocorr
    from recbole.quick_start import run_recbole
"""

import os
import re
import sys
import warnings
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from types import CodeType, ModuleType
from typing import Any, NamedTuple


class Bridge(NamedTuple):
    """What stands in RecBole's source and what is read instead: regular expressions, a line each; and why."""

    name: str
    why: str
    replacements: dict[str, str]


BRIDGES = (
    Bridge(
        "ray",
        "RecBole imports ray for its own tuning with ray alone. It asks for a ray of 2023, which has known "
        "vulnerabilities and no wheel for Python 3.12.",
        {r"^from ray import tune$": "from recbole_cocorr.data.compat import ray_tune as tune"},
    ),
    Bridge(
        "numpy names",
        "numpy 2 does not have them.",
        {r"\bnp\.float_$": "np.float64", r"\bnp\.complex_$": "np.complex128", r"\bnp\.unicode_$": "np.str_"},
    ),
    Bridge(
        "torch.load",
        "Since torch 2.6 it refuses, by default, what is more than tensors; RecBole's checkpoints hold its Config. "
        "This package never reads a pickle, and RecBole cannot read its checkpoints: torch_load says what can.",
        {r"\btorch\.load\(": "__import__('recbole_cocorr.data.compat', fromlist=['torch_load']).torch_load("},
    ),
    Bridge(
        "dok_matrix._update",
        "scipy 1.12 removed it.",
        {r"\bA\._update\(data_dict\)$": "[A.__setitem__(*item) for item in data_dict.items()]"},
    ),
    Bridge(
        "fillna",
        "Under pandas 3 a column is a copy, and filling the copy fills nothing.",
        {r"^( *)(\w+\[field\])\.fillna\((.*), inplace=True\)$": r"\1\2 = \2.fillna(\3)"},
    ),
    Bridge(
        "agg(len)",
        "Under pandas 3 it is the length of the column, not that of each sequence in the column.",
        {r"\.agg\(len\)": ".map(len)"},
    ),
    Bridge(
        "read-only columns",
        "The values of a pandas 3 column cannot be written; RecBole makes tensors that share their memory.",
        {r"\bvalue = data\[k\]\.values$": "value = data[k].to_numpy(copy=True)"},
    ),
    Bridge(
        "exhaustive search",
        "hyperopt draws from a numpy Generator since 0.2.6; RecBole hands it a RandomState.",
        {r"^( *rng = )np\.random\.RandomState\(seed\)$": r"\1np.random.default_rng(seed)"},
    ),
    Bridge(
        "barrier",
        "RecBole waits for the other processes after a download, also where there are none.",
        {r"\btorch\.distributed\.barrier\(\)$": "torch.distributed.is_initialized() and torch.distributed.barrier()"},
    ),
    Bridge(
        "anomaly mode",
        "RecBole's SINE switches it on for the whole process as soon as a sequential model is looked up. It looks for "
        "NaN in every gradient, which makes all training several times slower.",
        {r"^torch\.autograd\.set_detect_anomaly\(True\)$": ""},
    ),
)


class ray_tune:
    """Stands for ``ray.tune`` in RecBole, which calls ``report`` alone."""

    @staticmethod
    def report(**metrics: Any) -> None:
        """Report to ray, if this process runs ray's tuning."""
        if "ray.tune" in sys.modules:
            sys.modules["ray.tune"].report(metrics)


def torch_load(file: Any, *arguments: Any, **keywords: Any) -> Any:
    """Stands for ``torch.load`` in RecBole, whose ``load_data_and_model`` may be handed a checkpoint of this package.

    Raises
    ------
    UserError
        If the file is one, or is called ``latest``.
    """
    import torch

    name = os.fspath(file) if isinstance(file, (str, os.PathLike)) else ""
    if name.endswith(".safetensors") or os.path.basename(name) == "latest":
        from recbole_cocorr.base.errors import UserError  # late: a program that uses RecBole alone has no need of it

        raise UserError(
            f"RecBole cannot read {name}, a checkpoint of recbole_cocorr; call recbole_cocorr.load_model({name!r}) for "
            "the model, and .data() of that for the data it was trained on"
        )
    return torch.load(file, *arguments, **{"weights_only": False, **keywords})


def rewritten(source: str, bridges: Sequence[Bridge] = BRIDGES) -> str:
    """The source of a module of RecBole with the replacements of the bridges."""
    for bridge in bridges:
        for pattern, replacement in bridge.replacements.items():
            source = re.sub(pattern, replacement, source, flags=re.MULTILINE)
    return source


class _Loader(SourceFileLoader):
    def get_code(self, fullname: str) -> CodeType | None:
        source = self.get_source(fullname)
        bridged = rewritten(source)
        if bridged == source:
            return super().get_code(fullname)
        # Neither read from nor written to the .pyc beside it: that one is for programs without the bridges.
        return self.source_to_code(bridged, self.path)


class _Finder(MetaPathFinder):
    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if not fullname.startswith("recbole."):
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is not None and type(spec.loader) is SourceFileLoader:
            spec.loader = _Loader(spec.loader.name, spec.loader.path)
        return spec


def install() -> None:
    """Let the modules of RecBole that are imported from now on be read with the bridges.

    Calling it again changes nothing. A warning names a module that was imported before and would need them.
    """
    if any(isinstance(finder, _Finder) for finder in sys.meta_path):
        return
    sys.meta_path.insert(0, _Finder())
    for name, module in sorted(sys.modules.items()):
        loader = getattr(module, "__loader__", None)
        if name.startswith("recbole.") and type(loader) is SourceFileLoader:
            source = loader.get_source(name)
            if rewritten(source) != source:
                warnings.warn(
                    f"{name} was imported before recbole_cocorr and may fail with today's libraries; "
                    "put `import recbole_cocorr` before RecBole's imports",
                    RuntimeWarning,
                    stacklevel=3,
                )
                return
