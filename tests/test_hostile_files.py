"""Files that commands read, nested a hundred thousand deep: one sentence on stderr, no traceback."""

import pytest

from recbole_cocorr.__main__ import main
from tests.made_results import made_run, write_results

DEEP = "[" * 100_000


@pytest.fixture
def deep(tmp_path):
    (tmp_path / "deep.yaml").write_text(DEEP)
    return str(tmp_path / "deep.yaml")


def refused(capsys, *arguments: str) -> str:
    assert main(list(arguments)) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1
    return error


def test_configuration_files(capsys, deep):
    assert "deep.yaml is nested too deeply" in refused(capsys, "serve", "--config", deep)
    run = ["run", "--model=CoCorrRec", "--dataset=ml-100k", f"--config_files={deep}"]
    assert "deep.yaml is nested too deeply" in refused(capsys, *run)


@pytest.mark.parametrize("name", ["plan.json", "cost.json", "correctors.json", "failures.json", "device.json"])
def test_files_of_a_results_folder(tmp_path, capsys, name):
    folder = write_results(tmp_path / "r", [made_run(users=10)])
    (folder / name).write_text(DEEP)
    assert f"{name} is nested too deeply" in refused(capsys, "report", str(folder))


def test_a_run_record(tmp_path, capsys):
    folder = write_results(tmp_path / "r", [made_run(users=10)])
    (file,) = folder.glob("runs/*/run.json")
    file.write_text(DEEP)
    assert "run.json is nested too deeply" in refused(capsys, "report", str(folder))


def test_a_line_of_a_raw_file(tmp_path, capsys):
    good = '{"reviewerID": "A", "asin": "B", "overall": 5.0, "unixReviewTime": 1}'
    (tmp_path / "raw.json").write_text(f"{good}\n{DEEP}\n")
    convert = ["convert", "--format", "amazon-5core", "--input", str(tmp_path / "raw.json")]
    assert "raw.json, line 2" in refused(capsys, *convert, "--out", str(tmp_path / "out"), "--dataset", "x")


@pytest.mark.parametrize("content", [b"", b"short", b"\xff\xfe" * 20, b"x" * (2 << 20)])
def test_a_token_file(tmp_path, capsys, content):
    (tmp_path / "tokens").write_bytes(content)
    flags = ["--checkpoint=x", "--listen=0.0.0.0:0", f"--token_file={tmp_path / 'tokens'}"]
    assert "tokens" in refused(capsys, "serve", *flags)
