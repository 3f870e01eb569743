"""The delay: the shaped network by its arithmetic, the table by its sizes, the quality by hand."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recbole_cocorr.__main__ import main
from recbole_cocorr.base.errors import UserError
from recbole_cocorr.experiments.ablation import GivenCorrection, ranks_given
from recbole_cocorr.experiments.delay import measure, quality_by_share
from recbole_cocorr.experiments.evaluation_rows import model_and_rows, ndcg_of
from recbole_cocorr.experiments.results.delay import Delay
from recbole_cocorr.experiments.simulate.proxy import Link
from recbole_cocorr.report.delay import draw
from tests.device import make
from tests.service import save


@given(
    st.lists(st.tuples(st.integers(1, 10_000), st.floats(0, 1)), min_size=1, max_size=20),
    st.floats(1e3, 1e8),
    st.floats(0, 1),
)
def test_a_link_is_one_pipe(chunks, bandwidth, delay):
    link, now, arrived, busy = Link(bandwidth, delay), 0.0, [], 0.0
    for size, pause in chunks:
        now += pause
        arrived.append(link.arrival(size, now))
        busy += size / bandwidth
        # No sooner than alone, and no sooner than everything before it takes.
        assert arrived[-1] >= now + size / bandwidth + delay - 1e-9
    assert arrived == sorted(arrived)
    assert arrived[-1] >= busy + delay - 1e-6
    assert arrived[-1] <= now + busy + delay + 1e-6


def test_no_limit():
    assert Link(0, 0.25).arrival(10**9, 5.0) == 5.25


def test_the_table_over_sockets(tmp_path):
    result = measure(None, None, [5.0], [20.0], [10, 30], requests=4, with_tolerance=False)
    first, second = result.rows
    # The paper's sizes, to the byte.
    assert (first["up_bytes"], first["down_bytes"]) == (2560, 4160)
    assert (second["up_bytes"], second["down_bytes"]) == (7680, 4160)
    for row in (first, second):
        # A shaped network is never faster than its formula.
        assert row["upload_ms"] >= 10 + row["up_bytes"] / 5000
        assert row["download_ms"] >= 10 + row["down_bytes"] / 5000
        assert row["in_time"] == 0
        assert row["formula_ms"] == pytest.approx(20 + (row["up_bytes"] + row["down_bytes"]) / 5000 + row["cloud_ms"])
    assert "2560" in result.text() and result.machine["cores"] and result.model == ""
    result.save(tmp_path / "d.json")
    assert Delay.load(tmp_path / "d.json") == result


def test_quality_by_share(with_data):
    file, model, test = with_data
    result = quality_by_share(file, None, [0, 0.5, 1], draws=5)
    own, none = (ndcg_of(ranks_given(model, test, GivenCorrection(name))[0]).mean() for name in ("own", "none"))
    assert own != none
    assert [q["ndcg@10"] for q in (result[0], result[2])] == pytest.approx([none, own])
    assert max(result[0]["deviation"], result[2]["deviation"]) < 1e-12
    assert result[1]["deviation"] > 1e-6


def test_the_picture(tmp_path):
    pytest.importorskip("matplotlib")
    quality = [{"share": s, "ndcg@10": 0.3 + s / 100, "deviation": 0.001} for s in (0, 0.5, 1)]
    parts = {"upload_ms": 6.0, "cloud_ms": 2.0, "download_ms": 6.5}
    rows = [{"length": n, "in_time": 0.2, "bandwidth": 5.0, "round_trip": 10.0, **parts} for n in (10, 20)]
    for name in ("a.svg", "a.png"):
        draw(Delay(rows, quality=quality), tmp_path / name)
    text = (tmp_path / "a.svg").read_text()
    assert "<svg" in text
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")


def test_what_cannot_be_measured(tmp_path, capsys):
    other = save(make("GRU4Rec"), tmp_path / "gru.safetensors")
    with pytest.raises(UserError, match="no CoCorrRec"):
        model_and_rows(other, None)
    assert main(["delay", "--picture", "x.svg"]) == 2
    assert "--checkpoint" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["delay", "--bandwidths", "0"])


def test_the_command_writes_what_it_found(tmp_path, capsys, monkeypatch):
    from recbole_cocorr.experiments import delay

    monkeypatch.setattr(delay, "measure", lambda *args: Delay([]))
    assert main(["delay", "--out", str(tmp_path / "d.json")]) == 0
    content = json.loads((tmp_path / "d.json").read_text())
    unmarked = {"rows": [], "papers_tolerance": 4.21, "tolerance": None, "quality": []}
    no_origin = {"dataset": "", "protocol": "", "model": "", "seed": None, "versions": {}, "machine": {}}
    assert content == {"format": "recbole_cocorr.delay", "format_version": 1, **unmarked, **no_origin}
    # As earlier versions wrote it.
    (tmp_path / "d.json").write_text(json.dumps(unmarked))
    assert Delay.load(tmp_path / "d.json") == Delay([])
    assert "MB/s" in capsys.readouterr().out


def test_ndcg():
    assert np.allclose(ndcg_of(np.array([[0, 0, 100], [1, 0, 100], [50, 0, 100]])), [1, 1 / np.log2(3), 0])
