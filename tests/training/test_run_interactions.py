"""A table of interactions is trained on through RecBole's own file."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import recbole_cocorr
from recbole_cocorr.base.errors import UserError
from recbole_cocorr.data.frames import write_dataset
from tests.conftest import random_rows, write_inter

QUIET = {"use_gpu": False, "epochs": 1, "show_progress": False, "hidden_size": 8, "num_heads": 2, "state": "ERROR"}


def table(**more) -> pd.DataFrame:
    frame = pd.DataFrame(random_rows(60, 200, 3, 30), columns=["user_id", "item_id", "timestamp"])
    return frame.assign(**more)


def test_a_table_gives_what_the_file_gives(small_data):
    expected = recbole_cocorr.run(
        "CoCorrRec", "small", config_dict={**QUIET, "data_path": str(small_data)}, overrides={}
    )
    result = recbole_cocorr.run("CoCorrRec", "small", config_dict=QUIET, interactions=table(price=1.5))
    assert result["test_result"] == expected["test_result"]
    assert 0 <= result["test_result"]["ndcg@10"] <= 1
    model = recbole_cocorr.Recommender.load(result["saved_model_file"])
    assert Path(result["saved_model_file"]).name.startswith("CoCorrRec-small-")
    assert len(model.recommend_many(table(), k=2)) == 120
    assert not Path(model.config["data_path"]).exists()
    with pytest.raises(UserError, match="name the folder that holds it"):
        model.data()
    assert len(model.data(str(small_data)).test.users) > 0


def test_the_data_can_be_kept():
    result = recbole_cocorr.run("GRU4Rec", config_dict={**QUIET, "data_path": "kept"}, interactions=table())
    assert Path("kept/interactions/interactions.inter").is_file()
    model = recbole_cocorr.load_model(result["saved_model_file"])
    assert len(model.data().test.users) > 0


def test_what_is_written(tmp_path):
    frame = pd.DataFrame(
        {
            "user": [7, 8, 9],
            "item": ["a", "b b", "\u00fc"],
            "time": pd.to_datetime(["2020-01-01", "2020-01-01 00:00:01.5", "1969-12-31 23:59:59.75"], format="ISO8601"),
        }
    )
    text = write_dataset(frame, tmp_path, "x").read_text(encoding="utf-8")
    assert text.splitlines() == [
        "user_id:token\titem_id:token\ttimestamp:float",
        "7\ta\t1577836800",
        "8\tb b\t1577836801.5",
        "9\t\u00fc\t-0.25",
    ]
    assert write_dataset(frame, tmp_path, "x").read_text(encoding="utf-8") == text
    with pytest.raises(UserError, match="exists already with other rows"):
        write_dataset(frame.iloc[:2], tmp_path, "x")
    zoned = frame.assign(time=frame["time"].dt.tz_localize("UTC").dt.tz_convert("Asia/Tokyo"))
    assert write_dataset(zoned, tmp_path, "y").read_text(encoding="utf-8") == text


def test_numbers_among_objects_are_seconds(tmp_path):
    frame = pd.DataFrame({"user": [7, 7], "item": ["a", "b"], "time": pd.Series([881250949, 881250940], dtype=object)})
    plain = write_dataset(frame.assign(time=frame["time"].astype(int)), tmp_path, "x").read_bytes()
    assert write_dataset(frame, tmp_path, "y").read_bytes() == plain


def test_a_file_that_is_no_text_stays(tmp_path):
    frame = pd.DataFrame({"user": [7], "item": ["a"], "time": [1]})
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "x.inter").write_bytes(b"\xff")
    with pytest.raises(UserError, match="exists already with other rows"):
        write_dataset(frame, tmp_path, "x")


def test_the_written_file_is_the_one_that_rows_make(tmp_path):
    write_dataset(table(), tmp_path / "a", "small")
    write_inter(tmp_path / "b", "small", random_rows(60, 200, 3, 30))
    first, second = (tmp_path / folder / "small/small.inter" for folder in "ab")
    assert first.read_bytes() == second.read_bytes()


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ({"user": ["a"], "item": ["i"]}, "no column 'timestamp' or 'time'; it has user, item"),
        ({"user": ["a", "b"], "item": ["i", None], "time": [1, 2]}, "row 2 of the table: item is missing"),
        ({"user": ["a", "b"], "item": ["i", "j"], "time": [1, None]}, "row 2 of the table: time is missing"),
        ({"user": ["a", "b"], "item": ["i", "j"], "time": [1, np.inf]}, "row 2 of the table: time is no finite number"),
        ({"user": ["a"], "item": ["i"], "time": [True]}, "time of the table holds neither numbers nor times"),
        ({"user": ["a"], "item": ["[PAD]"], "time": [1]}, "row 1 of the table: item '.PAD.' is the name of RecBole's"),
        ({"user": ["a"], "item": ["x\ty"], "time": [1]}, "row 1 of the table: .* contains a tab"),
        ({"user": [], "item": [], "time": []}, "interactions has no row"),
        ({"user": ["a"], "item": [["i"]], "time": [1]}, r"row 1 of the table: item is \['i'\], neither text nor"),
        ({"user": ["a"], "item": ["i"], "time": [1j]}, "time of the table holds neither numbers nor times"),
        ({"user": ["a"], "item": ["i"], "time": ["0001-01-01"]}, "time of the table holds a time before 1678"),
        (
            {"user": ["a", "b"], "item": ["i", "j"], "time": [5, "2020-01-01"]},
            "time of the table holds neither numbers",
        ),
    ],
)
def test_a_table_that_does_not_fit(columns, words):
    with pytest.raises(UserError, match=words):
        recbole_cocorr.run("CoCorrRec", config_dict=QUIET, interactions=pd.DataFrame(columns))
    assert not list(Path.cwd().iterdir())


def test_what_is_no_table():
    with pytest.raises(UserError, match="it must be a pandas DataFrame"):
        recbole_cocorr.run("CoCorrRec", config_dict=QUIET, interactions=[("a", "b", 1)])
    with pytest.raises(UserError, match=r"dataset is '\.\./x'; it must be a name"):
        recbole_cocorr.run("CoCorrRec", "../x", config_dict=QUIET, interactions=table())
