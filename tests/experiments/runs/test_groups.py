"""Which runs make a table, in which order."""

import pytest

from recbole_cocorr.base.errors import UserError
from recbole_cocorr.experiments.runs.groups import comparison_groups, in_field_order, slug, sweep_groups
from recbole_cocorr.models.catalogue import variants
from tests.made_results import made_field, made_run, made_sweep

FIELD = tuple(variants())


def test_order_of_the_field_then_by_name():
    assert in_field_order(["Zeta", "CoCorrRec", "Alpha", "DIN", "Pop", "DIN"]) == [
        "Pop",
        "DIN",
        "CoCorrRec",
        "Alpha",
        "Zeta",
    ]


def test_only_tested_runs_count_and_sweeps_stand_apart():
    records = made_field(seeds=(2, 1), users=20) + made_sweep(users=20, seeds=(3, 1))
    (group,) = comparison_groups(records)
    assert tuple(group.runs) == FIELD
    assert all(list(runs) == [1, 2] and all(r.test for r in runs.values()) for runs in group.runs.values())
    assert group.baselines == list(FIELD[:-2])
    assert {k: list(runs) for k, runs in sweep_groups(records)["amazon-beauty", "paper"].items()} == {
        k: [1, 3] for k in (1, 2, 5, 10, 20)
    }


def test_a_mini_batch_size_alone_makes_no_sweep():
    """A field whose CoCorrRec is set to some K is still compared."""
    (group,) = comparison_groups([made_run(users=20, settings={"mini_batch_size": 5})])
    assert list(group.runs) == ["CoCorrRec"]


def test_a_table_per_dataset_and_protocol():
    records = [
        made_run(users=20, dataset=dataset, protocol=protocol)
        for dataset in ("yelp", "amazon-beauty")
        for protocol in ("paper", "full")
    ]
    assert [(g.dataset, g.protocol) for g in comparison_groups(records)] == [
        ("amazon-beauty", "full"),
        ("amazon-beauty", "paper"),
        ("yelp", "full"),
        ("yelp", "paper"),
    ]


def test_two_tested_runs_of_one_seed_are_refused():
    with pytest.raises(UserError, match=r"SASRec on amazon-beauty .* seed 2020 \(learning rates 0\.005 and 0\.001\)"):
        comparison_groups([made_run("SASRec", users=20), made_run("SASRec", users=20, learning_rate=0.001)])
    with pytest.raises(UserError, match="K = 1"):
        sweep_groups(made_sweep(users=20) * 2)


def test_slugs_are_file_names():
    assert slug("CoCorrRec (w/o GCN)") == "cocorrrec-w-o-gcn"
    assert slug("../..") == slug("é") == "x"
