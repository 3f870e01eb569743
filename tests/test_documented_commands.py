"""Every command of the documentation is one that the programs understand."""

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


def documented() -> list[tuple[str, str]]:
    """File and command of every line of shell code in the documentation that starts one of the programs."""
    found = []
    for file in [CHECKOUT / "README.md", *sorted((CHECKOUT / "docs").glob("*.md"))]:
        fence = None
        for line in re.sub(r"\\\n\s*", " ", file.read_text(encoding="utf-8")).splitlines():
            if line.lstrip().startswith("```"):
                fence = line.strip()[3:] if fence is None else None
            elif fence in ("", "bash", "sh", "console") and PROGRAM.search(line):
                found.append((file.name, line.strip()))
    return found


@pytest.mark.parametrize(("file", "line"), documented(), ids=lambda value: value[:60])
def test_a_documented_command_is_understood(file, line):
    for folder in re.findall(r"--out[ =](results/[^/\s]+)/", line):  # of runs that stand before it in the text
        Path(folder).mkdir(parents=True)
    line = re.sub(r"\[--[^\]]*\]", "", line)  # what may be left out
    for part in re.split(r"&&|;\s", re.sub(r"\s#.*", "", line)):
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
