"""Several processes train and rank as one does."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.multiprocessing as multiprocessing
from hypothesis import given, settings
from hypothesis import strategies as st

from recbole_cocorr.base.errors import UserError
from recbole_cocorr.data import distributed
from recbole_cocorr.data.loaders import EvalLoader
from recbole_cocorr.training.checkpoint import load_checkpoint
from recbole_cocorr.training.config import Config
from recbole_cocorr.training.run import run
from tests.conftest import CHECKOUT, random_rows, write_inter
from tests.models.test_scoring import disturb
from tests.training.test_trainer import FULL, prepare


def free_port() -> str:
    with socket.socket() as server:
        server.bind(("localhost", 0))
        return str(server.getsockname()[1])


@pytest.fixture
def as_process(monkeypatch):
    """Play one of several processes, without starting any: what it would do between two exchanges."""

    def play(rank: int, world_size: int) -> None:
        monkeypatch.setattr(distributed, "rank", lambda: rank)
        monkeypatch.setattr(distributed, "world_size", lambda: world_size)

    return play


# -- shares -------------------------------------------------------------------------------------


class Rows(EvalLoader):
    """An evaluation loader of which only the number of rows counts."""

    def __init__(self, users):
        self.users = np.arange(users)


@given(st.integers(0, 50), st.integers(1, 9))
@settings(max_examples=100, deadline=None)
def test_every_row_is_ranked_by_exactly_one_process(users, world_size):
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(distributed, "world_size", lambda: world_size)
        shares = []
        for rank in range(world_size):
            patched.setattr(distributed, "rank", lambda rank=rank: rank)
            shares.append(Rows(users).share().tolist())
    assert [row for share in shares for row in share] == list(range(users))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


@pytest.mark.parametrize("loss_type", ["BCE", "BPR", "CE"])
@pytest.mark.parametrize("name", ["CoCorrRec", "GRU4Rec"])
def test_the_gradient_of_a_global_batch_does_not_depend_on_its_split(make_config, as_process, name, loss_type):
    # A batch of 4 or 5 rows: of seven processes, some get none.
    more = {"train_batch_size": {"BCE": 25, "BPR": 16, "CE": 4}[loss_type], "dropout_prob": 0.0}
    trainer, (train, _, _) = prepare(make_config(name, loss_type=loss_type, **more))
    disturb(trainer.model)
    trainer._prepare(train)
    model = trainer.model.double()
    parameters = list(model.parameters())

    def gradient(rank: int, world_size: int, batch: int) -> tuple[torch.Tensor, list[int]]:
        as_process(rank, world_size)
        train.set_epoch(2)
        for number, part in enumerate(train.batches()):
            if number == batch:
                loss = trainer._objective(part.interaction) * part.weight
                flat = [
                    torch.zeros_like(p) if g is None else g
                    for p, g in zip(parameters, torch.autograd.grad(loss, parameters), strict=True)
                ]
                return torch.cat([g.flatten() for g in flat]), part
        raise AssertionError

    last = len(train) - 1
    for batch in (0, last):
        whole, part = gradient(0, 1, batch)
        assert part.weight == 1
        rows = len(part.interaction)
        for world_size in (2, 3, 7):
            pieces = [gradient(rank, world_size, batch) for rank in range(world_size)]
            assert sum(p.weight for _, p in pieces) == pytest.approx(1, abs=1e-12)
            if world_size > rows:
                assert any(p.weight == 0 for _, p in pieces)
            torch.testing.assert_close(sum(g for g, _ in pieces), whole, rtol=1e-9, atol=1e-12)
            real = [p.interaction["item_id"] for _, p in pieces if p.weight]
            assert torch.equal(torch.cat(real), part.interaction["item_id"]), "no row twice, none left out"


@pytest.mark.parametrize("loss_type", ["BCE", "BPR"])
def test_missing_negatives_do_not_tilt_the_split(make_config, as_process, tmp_path, loss_type):
    """In a small catalogue some users have fewer than four items left."""
    data = write_inter(tmp_path / "tiny", "tiny", random_rows(12, 9, 3, 8))
    trainer, (train, _, _) = prepare(
        make_config(dataset="tiny", data_path=str(data), dropout_prob=0.0, loss_type=loss_type)
    )
    trainer._prepare(train)

    def loss(rank: int, world_size: int) -> float:
        as_process(rank, world_size)
        part = next(train.batches())
        assert (part.interaction["neg_items"] == 0).any()
        return trainer._objective(part.interaction).item() * part.weight

    disturb(trainer.model)
    assert loss(0, 2) + loss(1, 2) == pytest.approx(loss(0, 1), rel=1e-5)


def test_the_parts_of_the_ranking_put_together_are_the_whole(make_config, as_process):
    for mode, metrics in (("uni100", ["NDCG", "GiniIndex"]), ("full", ["NDCG", "ItemCoverage"])):
        trainer, (train, _, test) = prepare(make_config(eval_args={**FULL, "mode": mode}, metrics=metrics))
        trainer.eval_collector.data_collect(train)
        trainer.evaluate(test, load_best_model=False)
        whole = trainer.ranks["test"]
        parts = []
        for rank in range(3):
            as_process(rank, 3)
            trainer.evaluate(test, load_best_model=False)
            parts.append(trainer.ranks["test"])
        assert (np.concatenate(parts) == whole).all()
        as_process(0, 1)


@pytest.mark.parametrize("mode", ["uni100", "full"])
def test_a_process_without_rows_has_nothing_to_add(make_config, as_process, mode, monkeypatch):
    trainer, (train, _, test) = prepare(make_config(eval_args={**FULL, "mode": mode}, metrics=["NDCG", "ItemCoverage"]))
    trainer.eval_collector.data_collect(train)
    monkeypatch.setattr(EvalLoader, "share", lambda self: torch.empty(0, dtype=torch.int64))
    handed = []

    def exchange(rows):
        handed.append(rows)
        other = torch.tensor([[0, 0, 100]]) if rows.shape[1:] == (3,) else torch.arange(1, 21)[None]
        return torch.cat([rows, other])

    monkeypatch.setattr(distributed, "gather_rows", exchange)
    result = trainer.evaluate(test, load_best_model=False)
    assert handed and not any(map(len, handed))
    assert result["ndcg@10"] == 1.0
    assert result["itemcoverage@20"] > 0


# -- the exchanges themselves, in three processes -----------------------------------------------


def exchange(rank: int, port: str, folder: str) -> None:
    settings_ = {"local_rank": rank, "world_size": 3, "port": port, "use_gpu": False}
    place = distributed.join(settings_)
    assert (place.rank, place.world_size, place.device.type) == (rank, 3, "cpu")
    assert (distributed.rank(), distributed.world_size(), distributed.active()) == (rank, 3, True)
    first, second, unused, own = (torch.nn.Parameter(torch.ones(n)) for n in (2, 3, 4, 5))
    first.grad = torch.full((2,), float(rank))
    if rank == 1:
        second.grad = torch.arange(3.0)
    own.grad = torch.arange(5.0) * (rank + 1)
    distributed.sum_gradients([first, second, unused, own])
    gradients = [None if p.grad is None else p.grad.tolist() for p in (first, second, unused, own)]
    rows = torch.arange(rank * 2 * 3).view(-1, 3) + 10 * rank  # none, two and four rows
    texts = {
        "gradients": gradients,
        "rows": distributed.gather_rows(rows).tolist(),
        "flat_nothing": distributed.gather_rows(rows if rank else torch.empty(0, dtype=torch.int64)).tolist(),
        "truths": distributed.gather_rows(torch.tensor([rank == 1])).tolist(),
        "bytes": distributed.gather_rows(torch.full((1, 2), rank, dtype=torch.uint8)).tolist(),
        "sum": distributed.sum_scalar(0.1 * rank, torch.device("cpu")),
    }
    texts["listening"] = listening()
    torch.distributed.barrier()
    Path(folder, f"{rank}.json").write_text(json.dumps(texts))
    distributed.leave()
    assert not distributed.active()


def listening() -> list[str]:
    """The addresses at which this process listens, as the kernel writes them."""
    sockets = {
        os.readlink(f"/proc/self/fd/{fd}")
        for fd in os.listdir("/proc/self/fd")
        if os.path.islink(f"/proc/self/fd/{fd}")
    }
    found = []
    for table in ("/proc/self/net/tcp", "/proc/self/net/tcp6"):
        for line in Path(table).read_text().splitlines()[1:] if os.path.exists(table) else []:
            fields = line.split()
            if fields[3] == "0A" and f"socket:[{fields[9]}]" in sockets:
                found.append(fields[1].split(":")[0])
    return found


def test_exchanges_of_three_processes(tmp_path):
    multiprocessing.spawn(exchange, args=(free_port(), str(tmp_path)), nprocs=3)
    seen = [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(3)]
    addresses = [one.pop("listening") for one in seen]
    assert addresses[0] and {address for one in addresses for address in one} == {"0100007F"}  # 127.0.0.1
    assert seen[0] == seen[1] == seen[2]
    # Only one process has the second gradient: zero elsewhere. None has the third: the optimizer passes it over,
    # as it does where there is one process, instead of letting weight decay shrink it.
    assert seen[0]["gradients"] == [[3.0, 3.0], [0.0, 1.0, 2.0], None, [0.0, 6.0, 12.0, 18.0, 24.0]]
    rows = [[10, 11, 12], [13, 14, 15], [20, 21, 22], [23, 24, 25], [26, 27, 28], [29, 30, 31]]
    assert seen[0]["rows"] == seen[0]["flat_nothing"] == rows
    assert seen[0]["truths"] == [False, True, False]
    assert seen[0]["bytes"] == [[0, 0], [1, 1], [2, 2]]
    assert seen[0]["sum"] == pytest.approx(0.3, abs=1e-15)


def test_alone_every_exchange_is_nothing():
    parameter = torch.nn.Parameter(torch.ones(2))
    distributed.sum_gradients([parameter])
    assert parameter.grad is None
    rows = torch.arange(4).view(2, 2)
    assert distributed.gather_rows(rows) is rows
    assert distributed.sum_scalar(0.5, torch.device("cpu")) == 0.5
    assert (distributed.rank(), distributed.world_size(), distributed.active()) == (0, 1, False)
    distributed.leave()


def test_the_folder_is_there_before_recbole_looks(make_config, monkeypatch):
    """It asks first and makes it then, and fails where another process has made it in between."""
    import recbole.trainer.trainer as stock

    found = []
    monkeypatch.setattr(stock, "ensure_dir", lambda path: found.append(Path(path).is_dir()))
    prepare(make_config(checkpoint_dir="new/folder"))
    assert found[0]


# -- whole runs ---------------------------------------------------------------------------------


@pytest.fixture
def odd_data(tmp_path: Path) -> Path:
    """An odd number of users and of batches' rows."""
    return write_inter(tmp_path / "odd", "odd", random_rows(31, 150, 4, 9, seed=3))


SETTINGS = {
    "use_gpu": False,
    "show_progress": False,
    "epochs": 2,
    "dropout_prob": 0.0,
    # Adam divides by the size of the gradient: where that is rounding alone, it would show in the weights.
    "learner": "sgd",
    "learning_rate": 0.5,
    "target_transform": "identity",
    "train_batch_size": 110,
    "eval_batch_size": 6,
    "metrics": ["GAUC", "NDCG", "Hit", "ItemCoverage"],
    "load_col": {"inter": ["user_id", "item_id", "timestamp"]},
}


def close_weights(path, expected):
    ours, theirs = load_checkpoint(path), load_checkpoint(expected)
    assert ours.epoch == theirs.epoch
    for name, weight in theirs.weights.items():
        torch.testing.assert_close(
            ours.weights[name], weight, rtol=1e-4, atol=1e-5, msg=lambda text, n=name: f"{n}: {text}"
        )


def test_two_processes_train_to_the_weights_and_metrics_of_one(odd_data):
    """By --nproc, and by torchrun; the three runs differ in the order of some float32 sums only."""
    more = {**SETTINGS, "data_path": str(odd_data)}
    alone = run("CoCorrRec", "odd", None, {**more, "checkpoint_dir": "alone"}, overrides={})
    two = run(
        "CoCorrRec",
        "odd",
        None,
        {**more, "checkpoint_dir": "two"},
        nproc=2,
        port=free_port(),
        overrides={},
    )
    assert alone["best_valid_result"] == two["best_valid_result"]
    assert alone["test_result"] == two["test_result"]
    start, _ = prepare(Config("CoCorrRec", "odd", None, more, overrides={}))
    moved = load_checkpoint(alone["saved_model_file"]).weights
    assert max((moved[k] - v).abs().max() for k, v in start.model.state_dict().items()) > 0.01, "it has learned"
    close_weights(two["saved_model_file"], alone["saved_model_file"])
    assert len(list(Path("two").glob("*.safetensors"))) == 2, "one process writes, a model and its state"
    # Random numbers of both, to resume from.
    state = load_checkpoint(next(Path("two").glob("*.training.safetensors")))
    assert len(state.tensors["rng.torch"]) == 2
    assert not torch.equal(*state.tensors["rng.torch"])

    Path("settings.yaml").write_text(json.dumps({**more, "checkpoint_dir": "torchrun"}))
    arguments = ["--model=CoCorrRec", "--dataset=odd", "--config_files=settings.yaml"]
    torchrun = ["-m", "torch.distributed.run", "--nproc_per_node=2", f"--master_port={free_port()}"]
    done = subprocess.run(
        [sys.executable, *torchrun, str(CHECKOUT / "run_recbole_cocorr.py"), *arguments],
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.count("best validation epoch") == 1, "one process reports"
    saved = [p for p in Path("torchrun").glob("*.safetensors") if ".training" not in p.name]
    assert len(saved) == 1
    close_weights(saved[0], alone["saved_model_file"])
    expected = "".join(f"{value:.4f}".rjust(8) for value in alone["test_result"].values()).split()
    assert next(line for line in done.stdout.splitlines() if line.startswith("test")).split()[1:] == expected


# -- joining ------------------------------------------------------------------------------------


def test_who_is_alone(monkeypatch):
    alone = distributed.Place()
    assert distributed.join({}) == alone
    assert distributed.join({"local_rank": 0, "world_size": 1}) == alone
    assert distributed.join({"world_size": 4}) == alone
    assert distributed.join({"local_rank": 0}) == alone
    for name, value in (
        ("RANK", "0"),
        ("WORLD_SIZE", "1"),
        ("LOCAL_RANK", "0"),
        ("MASTER_ADDR", "x"),
        ("MASTER_PORT", "1"),
    ):
        assert not distributed.under_torchrun()
        monkeypatch.setenv(name, value)
    assert distributed.under_torchrun()
    assert distributed.join({}) == alone


def test_more_processes_than_gpus(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(UserError, match="2 processes are asked for on this machine, which has 1 GPUs; give --nproc"):
        distributed.join({"local_rank": 1, "world_size": 2, "use_gpu": True})


def test_processes_that_cannot_meet(monkeypatch):
    def refuse(**arguments):
        assert arguments["init_method"] == "tcp://10.0.0.9:77"
        assert (arguments["rank"], arguments["world_size"], arguments["backend"]) == (5, 8, "gloo")
        raise RuntimeError("connection refused")

    monkeypatch.setattr(torch.distributed, "init_process_group", refuse)
    settings_ = {"local_rank": 1, "offset": 4, "world_size": 8, "ip": "10.0.0.9", "port": "77", "use_gpu": False}
    with pytest.raises(UserError, match=r"process 5 of 8 could not join at tcp://10\.0\.0\.9:77: connection refused"):
        distributed.join(settings_)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"nproc": 0}, "nproc is 0; it must be at least 1"),
        ({"nproc": 2, "world_size": 1}, "world_size is 1, but this machine's processes go up to number 2"),
        ({"nproc": 2, "world_size": 3, "group_offset": 2}, "this machine's processes go up to number 4"),
    ],
)
def test_numbers_of_processes_that_cannot_be(arguments, sentence):
    with pytest.raises(UserError, match=sentence):
        run("CoCorrRec", "ml-100k", overrides={}, **arguments)
