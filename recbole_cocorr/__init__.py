"""CoCorrRec for RecBole: device-cloud collaborative correction for on-device recommendation.

What most people need::

    from recbole_cocorr import Recommender, benchmark, export, open_session, run

    result = run("CoCorrRec", "ml-100k", overrides={"epochs": 8})  # train and evaluate; or run(..., interactions=table)
    result["test_result"]["ndcg@10"]

    model = Recommender.load("latest")  # the newest in saved/, or result["saved_model_file"]
    model.recommend(["50", "172", "181"], k=5).items  # item tokens, oldest first
    model.recommend_many([["50"], ["172", "181"], []], k=5)  # many users at once, or a pandas table of clicks
    model.similar_items("50", k=5).items
    print(model.explain(["50", "172", "181"], "174").text())  # which clicks speak for an item

    export(result["saved_model_file"], "artifact")  # for a device
    session = open_session("artifact")  # there: numpy and onnxruntime; cloud="host:port" asks a service for corrections
    session.click("50")
    session.rank_all(k=5).items

    records = benchmark(["ml-100k"], models=["CoCorrRec", "SASRec"], out="results")  # `report results` shows them

Importing this package is cheap on purpose: it loads neither torch nor RecBole, because parts of it run where neither is
installed. What is not installed says which line to type when it is asked for.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from recbole_cocorr.data import compat

if TYPE_CHECKING:
    import os

    from recbole_cocorr.base.errors import UserError
    from recbole_cocorr.device.session import Session
    from recbole_cocorr.service.client.session import CorrectedSession

__version__ = "0.1.0"

__all__ = ["Recommender", "UserError", "__version__", "benchmark", "export", "load_model", "open_session", "run"]

compat.install()  # RecBole's modules, should they be imported, are read with what they need today

# Where each name stands, and the extra that it needs.
_NAMES = {
    "Recommender": ("train", "training.recommend"),
    "UserError": (None, "base.errors"),
    "benchmark": ("train", "experiments.runs.benchmark"),
    "export": ("export", "exporter.export"),
    "load_model": ("train", "training.recommend"),
    "run": ("train", "training.run"),
}


def __getattr__(name: str) -> Any:
    if name not in _NAMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    extra, module = _NAMES[name]
    if extra is not None:
        from recbole_cocorr.base.extras import require

        require(extra)
    return getattr(import_module(f".{module}", __name__), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def open_session(
    artifact: "str | os.PathLike", cloud: str | None = None, **settings: Any
) -> "Session | CorrectedSession":
    """Open a user's session on an artifact.

    Parameters
    ----------
    artifact : str or os.PathLike
        The folder that :func:`export` wrote.
    cloud : str, optional
        ``host:port`` of a correction service, which need not be there. Without it the device is alone.
    **settings
        Of :meth:`recbole_cocorr.device.Session.open`: ``state``, ``history``, ``policy``, ``threads`` and ``runtime``.
        With ``cloud`` also those of :meth:`recbole_cocorr.service.CorrectedSession.open`.

    Raises
    ------
    UserError
        If a setting or the artifact is not usable, or a package is not installed.
    """
    from recbole_cocorr.base.extras import require

    if cloud is not None:
        require("cloud-client", "numpy", "grpc", "google.protobuf")
        from recbole_cocorr.service.client.session import CorrectedSession

        return CorrectedSession.open(artifact, cloud, **settings)
    require("device", "numpy")  # ONNX Runtime is asked for by what runs on it
    from recbole_cocorr.device.session import Session

    other = sorted(settings.keys() - {"state", "history", "policy", "threads", "runtime"})
    if other:
        from recbole_cocorr.base.errors import UserError

        raise UserError(f"{other[0]} has no meaning without cloud")
    return Session.open(artifact, **settings)
