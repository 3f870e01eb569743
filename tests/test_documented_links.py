"""Every link of the documentation leads somewhere, no page repeats another, and the index names every page."""

import ast
import importlib
import json
import re
from collections import Counter, defaultdict
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.conftest import CHECKOUT

DOCS = CHECKOUT / "docs"
PAGES = [
    *(CHECKOUT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")),
    *sorted(DOCS.glob("*.md")),
    DOCS / "tutorial.ipynb",
]
LINK = re.compile(r"!?\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^)\s]*)\)")


def text_of(page: Path) -> str:
    """A page's Markdown; of a notebook, that of its cells of text."""
    text = page.read_text(encoding="utf-8")
    if page.suffix == ".ipynb":
        cells = json.loads(text)["cells"]
        text = "\n\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")
    return text


def prose(page: Path) -> str:
    """The same without blocks of code."""
    return re.sub(r"^```.*?^```", "", text_of(page), flags=re.DOTALL | re.MULTILINE)


def anchors(page: Path) -> set[str]:
    """Of its headings, as GitHub makes them."""
    seen, names = Counter(), set()
    for heading in re.findall(r"^#{1,6} +(.+?) *$", prose(page), flags=re.MULTILINE):
        words = re.sub(r"[`*]|\]\([^)]*\)", "", heading).lower()
        name = re.sub(r"[^\w\- ]", "", words).replace(" ", "-")
        names.add(f"{name}-{seen[name]}" if seen[name] else name)
        seen[name] += 1
    return names


def links() -> list[tuple[Path, str]]:
    """Page and target of every link and picture."""
    return [(page, target) for page in PAGES for _, target in LINK.findall(re.sub(r"`[^`\n]*`", "", prose(page)))]


def wrong_with(page: Path, target: str) -> str | None:
    """What is wrong with a link; None if nothing is. The network is not asked."""
    if re.match(r"[a-z]+:", target):
        address = urlsplit(target)
        good = address.scheme in ("http", "https") and "." in address.netloc
        return None if good else "no address of the web"
    name, _, anchor = target.partition("#")
    file = (page.parent / name).resolve() if name else page
    if not file.is_relative_to(CHECKOUT) or not file.exists():
        return "no such file in the checkout"
    if anchor and file.suffix == ".md" and anchor not in anchors(file):
        return f"{file.name} has no heading with the anchor #{anchor}"
    return None


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_somewhere(page):
    wrong = {target: reason for of, target in links() if of == page and (reason := wrong_with(page, target))}
    assert not wrong


def test_a_link_that_leads_nowhere_is_seen():
    page = DOCS / "index.md"
    assert wrong_with(page, "installing.md") == "no such file in the checkout"
    assert wrong_with(page, "../../elsewhere.md") == "no such file in the checkout"
    assert "no heading" in wrong_with(page, "install.md#uvx")
    assert wrong_with(page, "https:/doi.org/1") == "no address of the web"
    assert wrong_with(page, "install.md#uv") is None
    assert len(links()) > 100


def test_every_picture_says_what_it_shows():
    pictures = [shown for page in PAGES for shown in re.findall(r"!\[([^\]]*)\]\(", prose(page))]
    assert pictures and all(len(shown.split()) > 3 for shown in pictures)


def test_the_index_names_every_page_once():
    named = [target for page, target in links() if page.name == "index.md" and not target.startswith("..")]
    pages = [*DOCS.glob("*.md"), *DOCS.glob("*.ipynb"), *DOCS.glob("api/*.rst")]
    assert sorted(named) == sorted(str(page.relative_to(DOCS)) for page in pages if page.name != "index.md")


def test_every_file_that_the_reference_names_exists():
    for page in DOCS.glob("api/*.rst"):
        for target in re.findall(r":doc:`([^`]+)`", page.read_text(encoding="utf-8")):
            assert (page.parent / f"{target}.md").is_file(), (page.name, target)


def test_no_page_repeats_another():
    size = 10
    pages = defaultdict(set)
    for page in PAGES:
        if page.name == "CHANGELOG.md":  # says of each thing what its page says
            continue
        written = re.sub(r"<!-- table .*?<!-- end of table -->", "", prose(page), flags=re.DOTALL)
        text = re.sub(r"^\|.*$|<!--.*?-->", "", written, flags=re.MULTILINE)
        words = re.findall(r"[\w.@'-]+", re.sub(r"\]\([^)]*\)", "]", text).lower())
        for start in range(len(words) - size + 1):
            pages[" ".join(words[start : start + size])].add(page.name)
    repeated = {words: sorted(names) for words, names in pages.items() if len(names) > 1}
    assert not repeated


def test_every_number_of_the_first_page_stands_in_the_documentation():
    """Quality, times and factors, so that the README says nothing that no command stands behind."""
    figure = r"(?<![\w.])\.\d{4}\b|\b[\d,.]*\d (?:us|µs|s|bytes)\b|\b\d+ times\b"
    stated = " ".join(text_of(page) for page in PAGES if page.parent == DOCS)
    numbers = set(re.findall(r"[\d.,]*\d", stated))
    missing = [f for f in re.findall(figure, prose(PAGES[0])) if re.search(r"[\d.,]*\d", f)[0] not in numbers]
    assert not missing


def python_blocks() -> list[tuple[str, str]]:
    """Page and text of every block of Python, and of the tutorial's cells."""
    blocks = [
        (page.name, code)
        for page in PAGES
        for code in re.findall(r"^```python\n(.*?)^```", text_of(page), flags=re.DOTALL | re.MULTILINE)
    ]
    cells = json.loads((DOCS / "tutorial.ipynb").read_text(encoding="utf-8"))["cells"]
    code = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    return [*blocks, *(("tutorial.ipynb", text) for text in code)]


@pytest.mark.parametrize(("page", "code"), python_blocks(), ids=lambda value: value[:40])
def test_documented_python_is_python_and_imports_what_there_is(page, code):
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.ImportFrom) and node.module.startswith("recbole_cocorr"):
            module = importlib.import_module(node.module)
            for name in node.names:
                assert hasattr(module, name.name), (page, node.module, name.name)
