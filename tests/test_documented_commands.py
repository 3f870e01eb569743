"""Every command of the documentation is one that the programs understand."""

import configparser
import re
import shlex
from pathlib import Path

import pytest

from recbole_cocorr.__main__ import command_parser
from recbole_cocorr.base.errors import UserError
from recbole_cocorr.cli.run import parser as run_parser
from recbole_cocorr.training.config import parse_overrides
from tests.conftest import CHECKOUT

PROGRAM = re.compile(r"(?:python[0-9.]* -m recbole_cocorr|recbole-cocorr|python run_recbole_cocorr\.py) (.*)")


PAGES = [CHECKOUT / "README.md", CHECKOUT / "CONTRIBUTING.md", *sorted((CHECKOUT / "docs").glob("*.md"))]


def shell_lines() -> list[tuple[str, str]]:
    """File and line of all shell code in the documentation."""
    lines = []
    for file in PAGES:
        fence = None
        for line in re.sub(r"\\\n\s*", " ", file.read_text(encoding="utf-8")).splitlines():
            if line.lstrip().startswith("```"):
                fence = line.strip()[3:] if fence is None else None
            elif fence in ("", "bash", "sh", "console"):
                lines.append((file.name, line.strip()))
    return lines


def documented() -> list[tuple[str, str]]:
    """File and command of every line that starts one of the programs."""
    return [(file, line) for file, line in shell_lines() if PROGRAM.search(line)]


@pytest.mark.parametrize(("file", "line"), documented(), ids=lambda value: value[:60])
def test_a_documented_command_is_understood(file, line):
    for folder in re.findall(r"--out[ =](results/[^/\s]+)/", line):  # of runs that stand before it in the text
        Path(folder).mkdir(parents=True)
    line = re.sub(r"\[--[^\]]*\]", "", line)  # what may be left out
    # Between commands, not within quotation marks.
    for part in re.split(r"(?:&&|;\s)(?=[^\"]*(?:\"[^\"]*\"[^\"]*)*$)", re.sub(r"\s#.*", "", line)):
        match = PROGRAM.search(part)
        if match is None:
            continue
        # Words that a shell, or the reader, fills in.
        text = re.sub(r"\$\{?\w+\}?|\[[^\]]*\.\.\.\]|\.\.\.$", "1", match[1])
        arguments = shlex.split(re.split(r"\s(?:[|&]|[0-9]?>)", text)[0])
        for folder in re.findall(r"--out[ =](\S+)/\S+", text):  # what an earlier command has made
            Path(folder).mkdir(parents=True, exist_ok=True)
        run = "run_recbole_cocorr" in match[0] or arguments[:1] == ["run"]
        try:
            if run:
                _, rest = run_parser().parse_known_args([a for a in arguments if a != "run"])
            else:
                parsed, rest = command_parser().parse_known_args(arguments)
                assert not rest or getattr(parsed, "takes_settings", False), f"{file}: {line}: {rest}"
            parse_overrides(rest)
        except (SystemExit, UserError) as error:
            pytest.fail(f"{file}: {line}: {error}")


def test_there_are_some():
    assert len(documented()) > 20


def test_make_knows_every_documented_target():
    known = set(re.findall(r"^([a-z-]+):", (CHECKOUT / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE))
    text = "\n".join(page.read_text(encoding="utf-8") for page in PAGES)
    code = [line for _, line in shell_lines()] + re.findall(r"`([^`\n]+)`", text)
    named = {match[1] for line in code if (match := re.match(r"(?:\.ci/debian \w+ )?make ([a-z-]+)", line))}
    assert {"docs", "run", "setup", "test", "tutorial"} <= named <= known


@pytest.mark.parametrize(
    ("file", "line"), [pair for pair in shell_lines() if "python benchmarks/" in pair[1]], ids=lambda value: value[:60]
)
def test_a_documented_script_is_there_and_has_the_flags(file, line):
    name, *arguments = shlex.split(line.partition("python ")[2], comments=True)
    script = (CHECKOUT / name).read_text(encoding="utf-8")
    for flag in re.findall(r"--\w+", " ".join(arguments)):
        assert f'"{flag}"' in script, (file, line, flag)


def test_every_documented_extra_can_be_installed():
    setup = configparser.ConfigParser()
    setup.read(CHECKOUT / "setup.cfg", encoding="utf-8")
    text = "\n".join(page.read_text(encoding="utf-8") for page in PAGES)
    named = re.findall(r"(?:recbole_cocorr|\.whl\))\[([\w,-]+)\]", text)
    assert "train" in named
    assert {extra for group in named for extra in group.split(",")} <= set(setup["options.extras_require"])
