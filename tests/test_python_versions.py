"""The oldest Python that setup.cfg promises can read every file and has every name that is used."""

import configparser
import re
import subprocess
import sys
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[1]


def oldest_python() -> str:
    """The version of ``python_requires``, such as "3.10"."""
    setup = configparser.ConfigParser()
    setup.read(CHECKOUT / "setup.cfg", encoding="utf-8")
    return setup["options"]["python_requires"].removeprefix(">=")


def test_ruff_keeps_to_the_oldest_python():
    target = re.search(r'target-version = "py3(\d+)"', (CHECKOUT / "pyproject.toml").read_text(encoding="utf-8"))
    assert f"3.{target[1]}" == oldest_python()


@pytest.mark.parametrize("part", ["recbole_cocorr", "tests", "benchmarks", "run_recbole_cocorr.py"])
def test_no_name_of_a_later_python(part):
    pytest.importorskip("vermin")
    command = [
        sys.executable,
        "-c",
        "import vermin; vermin.main()",
        f"--target={oldest_python()}-",
        "--violations",
        "--no-tips",
    ]
    result = subprocess.run([*command, str(CHECKOUT / part)], capture_output=True, text=True)
    assert result.returncode == 0, result.stdout


def test_setup_and_make_name_the_same_pythons():
    setup = (CHECKOUT / "setup.cfg").read_text(encoding="utf-8")
    assert f"Programming Language :: Python :: {oldest_python()}" in setup
    makefile = (CHECKOUT / "Makefile").read_text(encoding="utf-8")
    assert f"({', '.join(oldest_python().split('.'))}) <= sys.version_info[:2]" in makefile
