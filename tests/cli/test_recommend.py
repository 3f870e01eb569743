"""From a stranger's table to recommendations, by commands alone."""

import csv
import gzip
import shlex
from pathlib import Path

import pytest

from recbole_cocorr.__main__ import main
from recbole_cocorr.base.errors import UserError
from recbole_cocorr.data.convert.click_file import read_clicks
from recbole_cocorr.training.recommend import load_model
from tests.conftest import random_rows

SMALL = "--epochs=1 --use_gpu=False --show_progress=False --state=ERROR --hidden_size=8 --num_heads=2"


def command(line: str) -> int:
    return main(shlex.split(line))


def put(text: str, name: str = "users.csv") -> str:
    Path(name).write_text(text, encoding="utf-8")
    return name


def rows_of(file: str) -> list[dict[str, str]]:
    with open(file, newline="", encoding="utf-8") as lines:
        return list(csv.DictReader(lines))


@pytest.fixture
def trained(capsys) -> list[tuple]:
    """A shop's table of orders, converted and trained on; gives its rows."""
    rows = random_rows(60, 200, 3, 30)
    put("when;who;what\n" + "".join(f"{clock};{user};{item}\n" for user, item, clock in rows), "orders.csv")
    names = "--columns user=who,item=what,time=when"
    assert command(f"convert --format csv {names} --time_unit s --input orders.csv --dataset shop") == 0
    assert command(f"run --model=CoCorrRec --dataset=shop --data_path=dataset {SMALL}") == 0
    assert "recommend --checkpoint saved/CoCorrRec-shop-" in capsys.readouterr().out
    return rows


def test_from_the_raw_file_to_an_artifact_in_four_commands(trained, capsys):
    names = "--columns user=who,item=what,time=when --time_unit s"
    assert command(f"recommend --checkpoint latest --input orders.csv {names} --out recs.csv --k 3") == 0
    (checkpoint,) = (f for f in Path("saved").glob("*.safetensors") if "training" not in f.name)
    assert checkpoint.name.startswith("CoCorrRec-shop-")
    assert f"recs.csv: 180 rows for 60 users, by {checkpoint}" in capsys.readouterr().err
    histories: dict[str, list[str]] = {}
    for user, item, _ in sorted(trained, key=lambda row: row[2]):
        histories.setdefault(user, []).append(item)
    model, written = load_model(checkpoint), rows_of("recs.csv")
    assert [row["user"] for row in written[::3]] == list(dict.fromkeys(user for user, _, _ in trained))
    for user in ("u1", "u7", "u60"):
        own = [row for row in written if row["user"] == user]
        expected = model.recommend(histories[user], k=3)
        assert [row["item"] for row in own] == expected.items
        assert [float(row["score"]) for row in own] == pytest.approx(expected.scores, abs=1e-4)
        assert [(row["rank"], row["source"]) for row in own] == [("1", "model"), ("2", "model"), ("3", "model")]
    assert command("export --checkpoint latest --out artifact") == 0
    assert Path("artifact/manifest.json").is_file()


def test_new_users_get_what_is_popular_and_it_is_said(trained, capsys):
    put("user,item\nnew,\nold,i1\nstrange,zz9\n")
    assert command("recommend --input users.csv --out recs.csv --k 2 --exclude_history") == 0
    assert "2 users got what is popular" in capsys.readouterr().err
    written = rows_of("recs.csv")
    assert [(row["user"], row["source"]) for row in written] == [
        *[("new", "popularity")] * 2,
        *[("old", "model")] * 2,
        *[("strange", "popularity")] * 2,
    ]
    assert "i1" not in [row["item"] for row in written[2:4]]


def test_what_fails_leaves_the_old_file(trained, capsys):
    put("old\n", "recs.csv")
    put("user,item\na,i1\nb,i2,9\n")
    assert command("recommend --checkpoint latest --input users.csv --out recs.csv") == 2
    assert capsys.readouterr().err == "error: users.csv, line 3: 3 fields instead of 2\n"
    put("user,item\na,zz8\nb,zz9\n")
    assert command("recommend --checkpoint latest --input users.csv --out recs.csv") == 2
    assert "the model knows none of these items, for example 'zz8'" in capsys.readouterr().err
    assert Path("recs.csv").read_text() == "old\n"
    assert command("recommend --checkpoint latest --input users.csv --out ./users.csv") == 2
    assert "--out names the input, users.csv" in capsys.readouterr().err
    assert Path("users.csv").read_text() == "user,item\na,zz8\nb,zz9\n"


@pytest.mark.parametrize(
    "line",
    [
        "recommend --input users.csv --out r.csv",
        "export --checkpoint latest --out artifact",
        "fit-corrector --checkpoint latest --out corrector",
        "delay --checkpoint latest",
        "device-bench --checkpoint latest --out x.json",
        "serve --checkpoint latest",
    ],
)
def test_latest_is_understood_by_every_verb(line, capsys):
    put("user,item\na,i1\n")
    assert command(line) == 2
    assert "there is no checkpoint in saved/, so none is the latest" in capsys.readouterr().err


def test_a_run_is_resumed_from_the_latest_state(trained, capsys):
    (state,) = Path("saved").glob("*.training.safetensors")
    before = state.read_bytes()
    more = SMALL.replace("--epochs=1", "--epochs=2")
    assert command(f"run --model=CoCorrRec --dataset=shop --data_path=dataset --resume=latest {more}") == 0
    assert state.read_bytes() != before


def test_config_shows_the_settings(capsys):
    assert command("config --model=CoCorrRec --dataset=shop --epochs=3 --use_gpu=False") == 0
    shown = capsys.readouterr().out
    assert "# command line\nepochs: 3\nuse_gpu: false\n" in shown
    assert "# packaged properties/model/CoCorrRec.yaml\n" in shown
    assert command("config --model=CoCorrRec --dataset=shop --epoch=3") == 2
    assert "did you mean 'epochs'?" in capsys.readouterr().err


# -- reading ------------------------------------------------------------------------------------------


def test_clicks_are_put_in_the_order_of_time():
    put("user_id,price,item_id,timestamp\na,1,x,2020-02-01\nb,1,y,2020-02-02\na,1,z,2020-01-01\na,1,w,2020-02-01\n")
    clicks = read_clicks("users.csv")
    assert (clicks.users, clicks.histories) == (["a", "b"], [["z", "x", "w"], ["y"]])
    with gzip.open("users.csv.gz", "wb") as file:
        file.write(Path("users.csv").read_bytes())
    assert read_clicks("users.csv.gz") == clicks
    # One further digit than a float holds.
    put("user,item,time\na,x,1600000000.0000000002\na,y,1600000000.0000000001\n")
    assert read_clicks("users.csv").histories == [["y", "x"]]
    put("a\tx\na\ty\n")
    assert read_clicks("users.csv", "user=1,item=2").histories == [["x", "y"]]


@pytest.mark.parametrize(
    ("text", "columns", "words"),
    [
        ("", None, "users.csv holds no row"),
        ("user,item\n", None, "users.csv holds no row"),
        ("who,what\na,x\n", None, "the header names no columns user or user_id, item or item_id; say which they are"),
        ("who,what\na,x\n", "user=who", "--columns user=who: item is missing"),
        ("who,what\na,x\n", "user=who,item=item", "line 1: the header has no column 'item'"),
        ("user,item\na,x\n,y\n", None, "line 3: user is empty"),
        ("user,item\na,[PAD]\n", None, "line 2: item '.PAD.' is the name of RecBole's padding"),
        ("user,item\na,x\na,\n", None, "line 3: the user 'a' has a row without an item, and other rows"),
        ("user,item\na,\na,x\n", None, "line 3: the user 'a' has a row without an item, and other rows"),
        ("user,item,time\na,x,1\na,y,soon\n", None, "line 3: time is 'soon', neither a number nor a date"),
        ('user,item\na,"x\nb,y\n', None, "line 2: the quotation marks do not match"),
    ],
)
def test_a_bad_row_is_named(text, columns, words):
    put(text)
    with pytest.raises(UserError, match=words):
        read_clicks("users.csv", columns)


def test_a_file_that_is_not_there():
    with pytest.raises(UserError, match=r"there is no file none\.csv"):
        read_clicks("none.csv")


def test_a_user_without_clicks_needs_no_time():
    clicks = read_clicks(put("user,item,time\n1,50,2\n2,,\n"))
    assert (clicks.users, clicks.histories) == (["1", "2"], [["50"], []])


@pytest.mark.parametrize(
    ("header", "row", "unit", "words"),
    [
        (
            "user,item,timestamp,time",
            "1,50,2,3",
            None,
            r"more than one column could be meant \(user, item, timestamp, time",
        ),
        ("user,user_id,item", "1,7,50", None, r"more than one column could be meant \(user, item, user_id"),
        ("user,item", "1,50", "ms", "--time_unit is ms, and no column of times is read"),
    ],
)
def test_no_column_and_no_flag_is_passed_over(header, row, unit, words):
    with pytest.raises(UserError, match=words):
        read_clicks(put(f"{header}\n{row}\n"), unit=unit)
