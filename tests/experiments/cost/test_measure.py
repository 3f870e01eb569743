"""A row's figures belong together, and none of them depends on the machine's mood."""

import pytest
import torch

from recbole_cocorr.base.errors import UserError
from recbole_cocorr.experiments.cost.field import build
from recbole_cocorr.experiments.cost.measure import Settings, Subject, count, measure
from recbole_cocorr.experiments.cost.parameters import count_parameters, per_item_names
from recbole_cocorr.experiments.entries import Entry, catalogue_entries, find_entries
from recbole_cocorr.experiments.results.cost import NUMBERS
from tests.reference import cost_formulas as formulas

SETTINGS = Settings(items=60, candidates=20, mini_batch_size=5, repeats=1)
FIELD = [entry for entry in catalogue_entries() if entry.label != "Pop"]
LABELS = {entry.label: entry for entry in FIELD}


@pytest.fixture(scope="module")
def rows():
    return {(row["model"], row["L"]): row for row in measure(FIELD, [4, 12], SETTINGS).rows}


def test_every_model_and_length_has_a_row(rows):
    assert set(rows) == {(label, length) for label in LABELS for length in (4, 12)}
    for row in rows.values():
        times = {name for name in NUMBERS if name.endswith("_us")}
        spread = {f"{name}_quartiles" for name in times}
        assert set(row) == {*NUMBERS, *spread, "model", "K", "reads_history_again"}
        assert all(row[f"{n}_quartiles"][0] <= row[n] <= row[f"{n}_quartiles"][1] for n in times)


def test_parts_make_the_whole(rows):
    for row in rows.values():
        assert row["flops"] == row["flops_products"] + row["flops_elementwise"]
        assert row["flops"] == row["flops_encode"] + row["flops_score"] == row["device_flops"] + row["cloud_flops"]
        assert row["flops_per_click"] == row["device_flops_per_click"] + row["cloud_flops_per_click"]
        assert row["parameters_without_items"] == row["device_parameters"] + row["cloud_parameters"]


def test_flops_are_the_formulas(rows):
    for (label, length), row in rows.items():
        model = build(LABELS[label], length, 60, 5)
        expected = formulas.inference(model, length, 20)
        assert (row["flops_products"], row["flops_elementwise"]) == (expected.products, expected.elementwise)
        click = formulas.click(model)
        assert row["reads_history_again"] == (click is None)
        assert row["flops_per_click"] == (row["flops"] if click is None else click.total + row["flops_score"])


def test_din_has_no_user_vector(rows):
    row = rows["DIN", 4]
    assert row["flops_encode"] == 0 and row["flops_score"] == row["flops"]


def test_scores_are_dot_products(rows):
    for label in LABELS:
        score = 2 * 20 * 64 + (20 if label == "BERT4Rec" else 0)
        row = rows[label, 12]
        if label != "DIN":
            assert row["flops_score"] == score
        assert row["flops_score_without_table"] == row["flops_score"]
        assert row["item_table_bytes"] >= 61 * 64 * 4


def test_phi_comes_from_its_table():
    entry = Entry("phi", "CoCorrRec", {"hidden_size": 64, "use_gcn": False, "target_transform": "mlp"})
    (row,) = measure([entry], [12], SETTINGS).rows
    assert row["flops_score"] == 2 * 20 * 64
    assert row["flops_score_without_table"] == row["flops_score"] + formulas.target_mlp(20, 64).total
    assert row["item_table_bytes"] >= 2 * 61 * 64 * 4


def test_the_cloud_works_for_cocorrrec_alone(rows):
    for (label, length), row in rows.items():
        cloud = [row[key] for key in ("cloud_flops", "cloud_flops_per_click", "cloud_parameters", "cloud_state_bytes")]
        assert all(cloud) if label == "CoCorrRec" else not any(cloud)
        assert row["K"] == (min(5, length) if label.startswith("CoCorrRec") else None)
    for length in (4, 12):
        # What the device does with the correction comes on top of what it does alone.
        assert rows["CoCorrRec", length]["device_flops"] > rows["CoCorrRec (w/o GCN)", length]["device_flops"]
        assert rows["CoCorrRec", length]["peak_bytes"] > rows["CoCorrRec", length]["device_peak_bytes"]


def test_a_state_is_constant_and_a_history_is_not(rows):
    for label in LABELS:
        short, long = rows[label, 4], rows[label, 12]
        if short["reads_history_again"]:
            assert (short["state_bytes"], long["state_bytes"]) == (4 * 8, 12 * 8)
            assert long["flops_per_click"] > 2 * short["flops_per_click"]
        elif not label.startswith("CoCorrRec"):  # whose K is 4 and 5 here
            assert short["state_bytes"] == long["state_bytes"]
            assert short["flops_per_click"] == long["flops_per_click"]


def test_counts_and_memory_are_the_same_on_every_run():
    for label in ("Mamba4Rec", "CoCorrRec"):
        names = per_item_names(lambda n, label=label: build(LABELS[label], 6, n, 5))
        first, second = (count(Subject(LABELS[label], 6, SETTINGS), names) for _ in range(2))
        assert first == second


@torch.no_grad()
def test_the_device_gives_the_scores_of_the_whole():
    for label in ("CoCorrRec", "CoCorrRec (w/o GCN)", "SASRec"):
        subject = Subject(LABELS[label], 12, SETTINGS)
        for p in subject.model.parameters():
            p += torch.randn(p.shape) * 0.05
        subject.scorer.prepare()
        torch.testing.assert_close(subject.on_device(), subject.infer())
        assert "correction" not in vars(subject.model)


# -- parameters ------------------------------------------------------------------------------------


@pytest.mark.parametrize("label", LABELS)
def test_what_grows_with_the_catalogue_is_the_item_table(label):
    names = per_item_names(lambda n: build(LABELS[label], 6, n, 5))
    table = {"DIN": "embedding_layer.token_embedding_table.item.embedding.weight"}.get(label, "item_embedding.weight")
    assert names == ({table, "output_bias"} if label == "BERT4Rec" else {table})
    small, large = (count_parameters(build(LABELS[label], 6, n, 5), names) for n in (30, 90))
    assert small.without_items == large.without_items
    assert large.items - small.items == 60 * (65 if label == "BERT4Rec" else 64)


def test_the_gcn_is_in_the_cloud_and_all_else_on_the_device():
    d, H, K = 64, 4, 5
    ttt = 4 * d * d + H * d + H + K + 2 * d + d * d // H + d + 2 * d
    cloud = 2 * (6 * d * d + 6 * d) + 4 * d * d + d * (H * K * K + K * d)
    forms = {
        "plain": ttt + 2 * d + 2 * (d * d + d) + 2,  # two RMSNorms, the target MLP, alpha and beta
        "gated": ttt + 4 * d + 6 * d * d + 2,  # four RMSNorms, the feed-forward network, alpha and beta
    }
    for block, device in forms.items():
        phi = "mlp" if block == "plain" else "identity"
        entry = Entry(block, "CoCorrRec", {"hidden_size": d, "block": block, "target_transform": phi})
        counted = count_parameters(build(entry, 6, 30, K), frozenset({"item_embedding.weight"}))
        assert (counted.device, counted.cloud, counted.items) == (device, cloud, 31 * d)
        assert device < 66_000


# -- the field -------------------------------------------------------------------------------------


def test_labels_are_found_whatever_their_capitals():
    entries = find_entries(["cocorrrec (W/O gcn)", "sasrec", "NARM"])
    assert [entry.label for entry in entries] == ["CoCorrRec (w/o GCN)", "SASRec", "NARM"]
    assert entries[0].settings["use_gcn"] is False


@pytest.mark.parametrize(
    ("labels", "message"),
    [(["SASRek"], "no model 'SASRek'; did you mean 'SASRec'"), (["DIN", "din"], "'DIN' is given twice"), ([""], "''")],
)
def test_a_wrong_label_is_an_error(labels, message):
    with pytest.raises(UserError, match=message):
        find_entries(labels)


def test_a_model_that_needs_more_than_items_is_an_error():
    with pytest.raises(UserError, match="cannot be built"):
        build(find_entries(["GCSAN", "FDSA"])[1], 5, 20, 5)


def test_the_width_is_64_for_all():
    for entry in FIELD:
        table = next(p for name, p in build(entry, 3, 20, 3).named_parameters() if "item" in name)
        assert table.shape == (22 if entry.label == "BERT4Rec" else 21, 64)
