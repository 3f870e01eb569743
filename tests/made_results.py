"""Results folders with made-up runs, for tests of what reads them."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from recbole_cocorr.evaluation.ranking import summarise
from recbole_cocorr.experiments.correction_comparisons import CorrectedRanks, compare_corrected
from recbole_cocorr.experiments.results.cost import NUMBERS
from recbole_cocorr.experiments.results.delay import Delay
from recbole_cocorr.experiments.results.device_quality import ALONE, SERVICE, DeviceQuality
from recbole_cocorr.experiments.results.privacy import Privacy, ScorePrivacy, UploadPrivacy
from recbole_cocorr.experiments.results.simulation import Simulation
from recbole_cocorr.experiments.runs.groups import slug
from recbole_cocorr.experiments.runs.run_files import (
    FORMAT_VERSION,
    PLAN_FILE,
    PLAN_FORMAT,
    RUN_FILE,
    Ranks,
    RunRecord,
    write_run,
)
from recbole_cocorr.models.catalogue import variants

FIELD = tuple(variants())

# How far each model's test item climbs on average: 0 is guessing.
STRENGTH = {
    "Pop": 0.4,
    "DIN": 1.2,
    "GRU4Rec": 1.35,
    "SASRec": 1.3,
    "BERT4Rec": 1.1,
    "Mamba4Rec": 1.4,
    "CoCorrRec (w/o GCN)": 1.5,
    "CoCorrRec": 1.6,
}
METRICS = {"paper": ["gauc", "ndcg", "hit"], "full": ["ndcg", "hit", "mrr", "gauc"]}
LENGTHS = (10, 15, 20, 25, 50, 100, 200, 500, 1000)


def model_class(label: str) -> str:
    """Class name behind a label."""
    return "CoCorrRec" if label.startswith(("CoCorrRec", "K = ")) else label


def made_ranks(users: int, strength: float, seed: int, candidates: int = 100) -> Ranks:
    """Ranks of users with geometric history lengths from 4 on; stronger models and longer histories rank higher."""
    history = 4 + np.random.default_rng(7).geometric(0.22, users) - 1
    # A user is as hard for every model, so that pairing pays.
    hardness = np.random.default_rng(11).random(users)
    own = np.random.default_rng([seed, int(1000 * strength)]).random(users)
    share = (0.6 * hardness + 0.4 * own) ** (1 + strength + 0.02 * np.minimum(history, 20))
    higher = np.minimum(np.floor(candidates * share).astype(int), candidates)
    return Ranks(
        users=[f"u{i}" for i in range(users)],
        higher=higher.tolist(),
        tied=[0] * users,
        others=[candidates] * users,
        history=history.tolist(),
    )


def made_run(
    label: str = "CoCorrRec",
    dataset: str = "amazon-beauty",
    protocol: str = "paper",
    seed: int = 2020,
    learning_rate: float = 0.005,
    *,
    users: int = 400,
    strength: float | None = None,
    epochs: int = 8,
    tested: bool = True,
    with_ranks: bool = True,
    settings: Mapping[str, Any] | None = None,
    **changes: Any,
) -> RunRecord:
    """One finished run; ``changes`` set any field of the record."""
    strength = STRENGTH.get(label, 1.25) if strength is None else strength
    model = model_class(label)
    ranks = made_ranks(users, strength, seed)
    test = dict(summarise(ranks.table(), METRICS[protocol], [5, 10, 20]))
    generator = np.random.default_rng([seed, len(label)])
    top = test["ndcg@10"]
    curve = [
        {
            "epoch": epoch,
            "train_loss": 0.7 - 0.05 * epoch,
            "train_seconds": 3.0 + 2 * generator.random(),
            "valid": {"ndcg@10": round(float(top * (1 - 0.6 * 0.6**epoch) + 0.004 * generator.normal()), 4)},
            "valid_seconds": 0.5,
        }
        for epoch in range(1 if model == "Pop" else epochs)
    ]
    best = max(range(len(curve)), key=lambda e: curve[e]["valid"]["ndcg@10"])
    fields = {
        "label": label,
        "model": model,
        "dataset": dataset,
        "protocol": protocol,
        "seed": seed,
        "learning_rate": learning_rate,
        "settings": dict(settings or {}),
        "config": {
            "loss_type": {"BERT4Rec": "CE", "Pop": None}.get(model, "BCE" if protocol == "paper" else "CE"),
            "MAX_ITEM_LIST_LENGTH": 10 if protocol == "paper" else 50,
            "valid_metric": "NDCG@10",
            "epochs": 100,
            "train_batch_size": 1024,
            "stopping_step": 5,
            "learner": "adamw",
        },
        "versions": {
            "python": "3.11.9",
            "recbole_cocorr": "0.1.0",
            "torch": "2.13.0",
            "recbole": "1.2.1",
            "numpy": "1.26.4",
        },
        "machine": {"processor": "made up", "cores": 2, "threads": 1, "system": "Linux", "gpu": None},
        "started": "2026-11-25T00:00:00Z",
        "seconds": sum(e["train_seconds"] + e["valid_seconds"] for e in curve),
        "parameters": 800_000,
        "curve": curve,
        "best_epoch": best,
        "valid": dict(curve[best]["valid"]),
        "test": test if tested else None,
        "ranks": ranks if tested and with_ranks else None,
    }
    return RunRecord(**{**fields, **changes})


def made_field(
    labels: Sequence[str] = FIELD,
    seeds: Sequence[int] = (2020, 2021, 2022),
    dataset: str = "amazon-beauty",
    protocol: str = "paper",
    **changes: Any,
) -> list[RunRecord]:
    """A tested run of every label and seed, and with the first seed one more that only served to choose a rate."""
    runs = [made_run(label, dataset, protocol, seed, **changes) for label in labels for seed in seeds]
    tried = [
        made_run(label, dataset, protocol, seeds[0], 0.001, tested=False, users=10)
        for label in labels
        if label != "Pop"
    ]
    return runs + tried


def made_sweep(
    sizes: Sequence[int] = (1, 2, 5, 10, 20), seeds: Sequence[int] = (2020,), **changes: Any
) -> list[RunRecord]:
    """Runs of ``sweep``."""
    return [
        made_run(f"K = {k}", seed=seed, strength=1.5 - 0.01 * k, settings={"mini_batch_size": k}, **changes)
        for k in sizes
        for seed in seeds
    ]


def write_results(folder: Path, records: Sequence[RunRecord]) -> Path:
    """Write a results folder; returns it."""
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / PLAN_FILE, PLAN_FORMAT, settings={})
    for index, record in enumerate(records):
        run = folder / "runs" / f"{slug(record.label)}-{record.seed}-{index}"
        run.mkdir(parents=True)
        write_run(run / RUN_FILE, record)
    return folder


def write_json(path: Path, kind: str, **content: Any) -> None:
    """Write one of the package's JSON files."""
    path.write_text(json.dumps({"format": kind, "format_version": FORMAT_VERSION, **content}))


def write_cost(folder: Path, labels: Sequence[str] = FIELD[1:]) -> None:
    """Write ``cost.json``: a recurrent cost for some models, an attention's for others."""
    rows = []
    for index, label in enumerate(labels):
        attends = label in ("SASRec", "BERT4Rec", "DIN")
        for length in LENGTHS:
            products = int(2e5 * (1 + 0.3 * index) * length + (4e3 * length**2 if attends else 0))
            rows.append(
                {
                    **dict.fromkeys(NUMBERS, 7),
                    "model": label,
                    "L": length,
                    "parameters": 800_000 + 10_000 * index,
                    "parameters_without_items": 40_000 + 3_000 * index,
                    "device_parameters": 40_000,
                    "cloud_parameters": 52_000 if label == "CoCorrRec" else 0,
                    "flops_products": products,
                    "flops_elementwise": products // 20,
                    "flops": products + products // 20,
                    "flops_score": 12_800,
                    "peak_bytes": 50_000 + 900 * length + (16 * length**2 if attends else 0),
                    "latency_us": 200 + 3.5 * length * (1 + index / 5),
                    "latency_us_quartiles": [190 + 3.5 * length, (260 if label == "DIN" else 210) + 6 * length],
                    "device_flops": products if label == "CoCorrRec" else products + products // 20,
                    "device_flops_per_click": 190_000 if label.startswith("CoCorrRec") else products,
                    "click_latency_us": 150.0 if label.startswith("CoCorrRec") else 200 + 3.5 * length,
                    "reads_history_again": not label.startswith("CoCorrRec"),
                    "K": 10 if label.startswith("CoCorrRec") else None,
                    "state_bytes": 8_448 if label.startswith("CoCorrRec") else 256 * length,
                    "flops_per_click": 210_000 if label.startswith("CoCorrRec") else products,
                }
            )
    settings = {"items": 12101, "candidates": 100, "mini_batch_size": 10, "threads": 1, "repeats": 50}
    content = {"rows": rows, "settings": settings, "machine": {"processor": "made up"}, "versions": {}}
    write_json(folder / "cost.json", "recbole_cocorr.cost", **content)


def device_times() -> dict[str, Any]:
    """What ``device.json`` holds."""
    models: dict[str, Any] = {}
    for index, name in enumerate(("CoCorrRec", "GRU4Rec", "SASRec", "Mamba4Rec")):
        click = {str(n): {"p50": 20.0 + index * n, "p99": 40.0 + index * n} for n in (10, 50, 200)}
        for time in click.values():
            time |= {"p25": 0.97 * time["p50"], "p75": 1.04 * time["p50"]}
        bytes_of = {"graph_bytes": 200_000, "artifact_bytes": 7_000_000, "state_bytes": 9832}
        models[name] = {"click": click, "rank": {"p50": 60.5, "p99": 80.0}, "startup_ms": 9.5, "peak_rss_mb": 71.0}
        models[name] |= bytes_of | {"policy": "window" if name == "SASRec" else "carry"}
    window = {str(n): {"p25": 43.0, "p50": 44.0, "p75": 46.0, "p99": 60.0} for n in (10, 50, 200)}
    window["50"]["p75"] = 66.0  # while the machine was busy
    models["CoCorrRec, window"] = models["CoCorrRec"] | {"policy": "window", "click": window}
    for name in ("CoCorrRec", "CoCorrRec, window"):
        fast = {n: {q: t / 2 for q, t in time.items()} for n, time in models[name]["click"].items()}
        models[f"{name}, native"] = models[name] | {"click": fast}
        models[f"{name}, 20 neighbours"] = models[name]
    setting = {"items": 100_000, "candidates": 100, "clicks": 2000, "histories": [10, 50, 200]}
    return {"setting": setting, "models": models}


def write_device(folder: Path) -> None:
    """Write ``device.json``."""
    write_json(folder / "device.json", "recbole_cocorr.device-bench", **device_times())


def write_sweep(folder: Path, sizes: Sequence[int] = (1, 2, 5, 10, 20)) -> None:
    """Write ``sweep.json``."""
    rows = [
        {
            "K": k,
            "latency_us": 300 + 1500 / k,
            "latency_us_quartiles": [280 + 1500 / k, (500 if k == 2 else 320) + 1500 / k],
            "batch_latency_us": 9000 + 60000 / k,
        }
        for k in sizes
    ]
    write_json(folder / "sweep.json", "recbole_cocorr.sweep", rows=rows)


def write_ablation(folder: Path, label: str = "CoCorrRec", seeds: Sequence[int] = (2020, 2021, 2022)) -> None:
    """Write ``ablation.json``."""
    variants = {"own": 0.3, "none": 0.28, "stale 1": 0.297, "stale 2": 0.294, "stale 5": 0.289, "another user's": 0.285}
    rows = [
        {
            "dataset": "amazon-beauty",
            "label": label,
            "seed": seed,
            "variant": variant,
            "metrics": {"gauc": base + 0.45, "ndcg@10": base + 0.001 * index, "hit@10": base + 0.15},
        }
        for index, seed in enumerate(seeds)
        for variant, base in variants.items()
    ]
    share = [
        {"dataset": "amazon-beauty", "label": label, "seed": seed, "attention": 0.91, "bias": 0.874} for seed in seeds
    ]
    write_json(folder / "ablation.json", "recbole_cocorr.ablation", rows=rows, common_share=share)


# How far the test item climbs under each correction, on top of the model's own strength.
CORRECTIONS = {
    "none": 0.0,
    "own": 0.5,
    "stale 1": 0.4,
    "stale 2": 0.2,
    "stale 5": 0.05,
    "another user's": -0.3,
    "the cloud alone": -0.5,
}


def made_corrected(
    label: str, seed: int = 2020, *, users: int = 400, valid: float = 0.3, strength: float | None = None, **changes: Any
) -> CorrectedRanks:
    """What ``correct`` read with one run."""
    strength = STRENGTH.get(label, 1.25) if strength is None else strength
    record = made_run(label, seed=seed, users=users, strength=strength, **changes)
    ranks = {name: made_ranks(users, max(0.0, strength + more), seed) for name, more in CORRECTIONS.items()}
    return CorrectedRanks(record, ranks["own"].users, {k: r.table() for k, r in ranks.items()}, valid)


def write_correctors(
    folder: Path,
    labels: Sequence[str] = ("GRU4Rec", "CoCorrRec (w/o GCN)"),
    seeds: Sequence[int] = (2020, 2021, 2022),
    **changes: Any,
) -> list[CorrectedRanks]:
    """Write ``correctors.json`` as ``correct`` does; returns what it is made of."""
    runs = [made_corrected(label, seed, **changes) for label in labels for seed in seeds]
    rows = [
        {
            "dataset": run.record.dataset,
            "protocol": run.record.protocol,
            "label": run.record.label,
            "seed": run.record.seed,
            "variant": variant,
            "metrics": dict(summarise(table, METRICS[run.record.protocol], [5, 10, 20])),
        }
        for run in runs
        for variant, table in run.tables.items()
    ]
    write_json(folder / "correctors.json", "recbole_cocorr.correctors", rows=rows, **compare_corrected(runs))
    return runs


def write_requests(folder: Path) -> None:
    """Write ``requests.json``."""
    rows = [
        {"answer": answer, "way": way, "share": share, "asked": share, "ndcg@10": 0.3 + share / 10, "hit@10": 0.5}
        | {"over_random": 0.001, "standard_error": 0.0004}
        for answer in ("scores", "correction")
        for way in ("rule", "random")
        for share in (0.0, 0.5, 1.0)
    ]
    content = {"dataset": "made-up", "model": "CoCorrRec", "users": 10, "rows": rows, "rules": {}}
    write_json(folder / "requests.json", "recbole_cocorr.requests", **content)


def write_failures(folder: Path, error: str = "a score is NaN") -> None:
    """Write ``failures.json``."""
    (folder / "failures.json").write_text(json.dumps([{"run": "sasrec-2021", "error": error}]))


ORIGIN = {
    "dataset": "amazon-beauty",
    "protocol": "full",
    "model": "CoCorrRec",
    "seed": 2021,
    "versions": {"torch": "2.13.0"},
    "machine": {"processor": "made up", "cores": 2},
}


def device_quality() -> DeviceQuality:
    """Two policies' lists on both phases, and a table."""
    rows = []
    for phase, more in (("valid", 0.1), ("test", 0.0)):
        for place, added in enumerate((ALONE, "20 neighbours", SERVICE)):
            for policy, clicks, users in (("window", 0, 1234), ("carry", 0, 1234), ("carry", 7, 56)):
                metrics = {"ndcg@10": 0.2 + more + place / 100, "hit@10": 0.4 + more + place / 100}
                rows.append(
                    {
                        "phase": phase,
                        "policy": policy,
                        "added": added,
                        "targets": users,
                        "clicks": clicks,
                        "metrics": metrics,
                    }
                )
    click = {"onnx, window": {"p25": 1.0, "p50": 2.0, "p99": 3.0}}
    table = {"count": 20, "bytes": 822880, "longest": 89, "base": 0.5, "per_log_click": -0.1, "click": click}
    return DeviceQuality("int8", 6, rows, [table], **ORIGIN)


def delay() -> Delay:
    """Two networks, two lengths, and the quality by the share that arrives."""
    times = {"upload_ms": 6.0, "cloud_ms": 2.0, "download_ms": 6.5, "total_ms": 14.5, "p99_ms": 20.0}
    rows = [
        {"bandwidth": 5.0, "round_trip": trip, "length": length, "up_bytes": 256 * length, "down_bytes": 4160}
        | {**times, "formula_ms": 3.5 + trip, "in_time": 0.25}
        for trip in (0.0, 10.0)
        for length in (10, 20)
    ]
    quality = [{"share": s, "ndcg@10": 0.3 + s / 100, "deviation": 0.001} for s in (0.0, 0.5, 1.0)]
    return Delay(rows, quality=quality, **ORIGIN)


def privacy() -> Privacy:
    """Two ways to upload, and two lengths of a request."""
    up = [
        {"way": "nothing is uploaded", "attack": "the most popular item", "bytes": 0, "recovered": 0.003},
        {"way": "a secret rotation", "attack": "none is known", "bytes": 2560, "recovered": None},
    ]
    uploads = UploadPrivacy(10_000, 22_363, 0.003, [r | {"ndcg@10": 0.3} for r in up])
    none = {"score_clicks": 0, "told": 0.0, "read": None, "up": 0.0, "down": 0.0}
    told = [none, {"score_clicks": 5, "told": 0.5, "read": 1.0, "up": 408.2, "down": 202.0}]
    return Privacy(uploads, ScorePrivacy(22_363, 198_502, [r | {"ndcg@10": 0.3214} for r in told]), **ORIGIN)


def simulation() -> Simulation:
    """A time without a fault, and one in which no correction came."""
    counts = dict.fromkeys(("late", "offline", "refused", "wrong", "lost"), 0)
    good = {"fault": "none", "lists": 1782, "corrected": 1782, "with_scores": 1782, **counts}
    bad = {"fault": "frozen", "lists": 6743, **counts, "corrected": 0, "with_scores": 0, "offline": 6743}
    rows = [
        good | {"kept": 1.0, "p50_ms": 5.95, "p99_ms": 10.95},
        bad | {"kept": 0.998, "p50_ms": None, "p99_ms": None},
    ]
    total = {**good, "fault": "all", "lists": 8525, "kept": 0.9984, "p50_ms": 5.95, "p99_ms": 10.95}
    return Simulation(rows, total, {"answered_per_s": 10.0, "refused_per_s": 900.0}, 20.0, 10.0, **ORIGIN)


def whole_results(folder: Path, **changes: Any) -> Path:
    """A results folder with every part of the report."""
    write_results(folder, made_field(**changes) + made_sweep(**changes))
    write_cost(folder)
    write_sweep(folder)
    write_device(folder)
    for result in (device_quality(), delay(), privacy(), simulation()):
        result.save(folder / result.FILE)
    write_correctors(folder)
    write_ablation(folder)
    write_requests(folder)
    write_failures(folder)
    return folder
