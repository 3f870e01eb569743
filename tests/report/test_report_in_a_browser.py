"""The page in a browser, where there is one: no message on its console, nothing wider than a phone."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

pytest.importorskip("matplotlib")

from recbole_cocorr.report.report import build, page
from tests.made_results import whole_results

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)

FRAME = """<!doctype html><body style="margin:0">
<iframe id="f" src="{url}" style="border:0;width:{width}px;height:800px"></iframe>
<p id="found"></p><script>
f.onload = () => {{
  const page = f.contentDocument;
  page.querySelectorAll("details").forEach(d => d.open = true);
  const small = [...page.querySelectorAll("svg")].filter(s => s.getBoundingClientRect().width < 300).length;
  requestAnimationFrame(() => requestAnimationFrame(() => {{
    // A hint stands over a table that scrolls, and over no other.
    const tables = [...page.querySelectorAll("figure.table")];
    const scrolls = f => f.querySelector(".scroll").scrollWidth > f.querySelector(".scroll").clientWidth;
    const hinted = f => f.querySelector(".hint").getBoundingClientRect().height > 0;
    const wrong = tables.filter(f => scrolls(f) !== hinted(f)).length;
    found.textContent = `wide=${{page.documentElement.scrollWidth}} small=${{small}} `
      + `scrolls=${{tables.filter(scrolls).length}} wrong=${{wrong}}`;
  }}));
}};
</script>"""


@pytest.fixture(scope="module")
def report(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("browser")
    (folder / "report.html").write_text(page(build(whole_results(folder / "r", users=60))), encoding="utf-8")
    return folder / "report.html"


@pytest.mark.skipif(BROWSER is None, reason="no chromium is installed")
@pytest.mark.parametrize("width", [390, 1280])
def test_no_message_and_nothing_too_wide(tmp_path: Path, report: Path, width: int):
    frame = tmp_path / "frame.html"
    frame.write_text(FRAME.format(url=report.as_uri(), width=width), encoding="utf-8")
    command = [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--allow-file-access-from-files"]
    command += ["--enable-logging=stderr", f"--user-data-dir={tmp_path / 'profile'}", "--virtual-time-budget=5000"]
    done = subprocess.run(
        [*command, "--dump-dom", frame.as_uri()], capture_output=True, text=True, timeout=120, check=False
    )
    assert "CONSOLE" not in done.stderr, [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    result = re.search(r"wide=(\d+) small=(\d+) scrolls=(\d+) wrong=(\d+)", done.stdout)
    assert result, done.stderr[-800:]
    assert int(result[1]) <= width
    assert int(result[2]) == 0
    assert int(result[3]) > (10 if width < 400 else -1) and int(result[4]) == 0
