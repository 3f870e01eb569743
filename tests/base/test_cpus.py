"""The processors that a process may use, on made-up cgroups."""

import os

import pytest

from recbole_cocorr.base.cpus import allowed_cpus

HOST = 64


@pytest.fixture(autouse=True)
def many(monkeypatch):
    """A machine of 64 processors whose affinity allows them all."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(HOST)), raising=False)


def made(root, **files):
    for name, text in files.items():
        path = root / {"cgroup": "proc/self/cgroup"}.get(name, f"sys/fs/cgroup/{name}")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


@pytest.mark.parametrize(
    ("quota", "count"),
    [
        ("max 100000\n", HOST),
        ("50000 100000\n", 1),
        ("100000 100000\n", 1),
        ("250000 100000\n", 2),
        ("400000 50000\n", 8),
        ("9999999999 100000\n", HOST),
        ("0 0\n", HOST),
        ("garbage\n", HOST),
        ("", HOST),
    ],
)
def test_version_2(tmp_path, quota, count):
    assert allowed_cpus(made(tmp_path, cgroup="0::/\n", **{"cpu.max": quota})) == count


def test_the_least_of_a_group_and_those_above_it(tmp_path):
    root = made(
        tmp_path, cgroup="0::/kube/pod\n", **{"kube/cpu.max": "300000 100000", "kube/pod/cpu.max": "max 100000"}
    )
    assert allowed_cpus(root) == 3


@pytest.mark.parametrize(("quota", "count"), [("-1", HOST), ("50000", 1), ("350000", 3)])
@pytest.mark.parametrize("folder", ["cpu", "cpu,cpuacct"])
@pytest.mark.parametrize("path", ["", "docker/abc/"])
def test_version_1(tmp_path, quota, count, folder, path):
    # In a container the path is the host's and the files lie at the mount.
    files = {f"{folder}/{path}cpu.cfs_quota_us": quota + "\n", f"{folder}/{path}cpu.cfs_period_us": "100000\n"}
    made(tmp_path, cgroup="5:memory:/\n4:cpu,cpuacct:/docker/abc\n0::/x\n", **files)
    assert allowed_cpus(tmp_path) == count


def test_both_versions(tmp_path):
    files = {"unified/cpu.max": "200000 100000", "cpu/cpu.cfs_quota_us": "600000", "cpu/cpu.cfs_period_us": "100000"}
    assert allowed_cpus(made(tmp_path, cgroup="4:cpu:/\n0::/\n", **files)) == 2


def test_the_affinity_where_there_is_no_cgroup(tmp_path, monkeypatch):
    assert allowed_cpus(tmp_path) == HOST
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {3})
    assert allowed_cpus(made(tmp_path, cgroup="0::/\n", **{"cpu.max": "400000 100000"})) == 1
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert allowed_cpus() == 1
