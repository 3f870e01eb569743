"""The pages of this folder as a site: ``make docs``. Sphinx reads the Markdown as GitHub does, and the docstrings."""

import re

from recbole_cocorr import __version__

project = "recbole_cocorr"
copyright = "2026, the recbole_cocorr authors"
version = release = __version__

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build"]
suppress_warnings = ["ref.python"]  # the device and the layers have a Correction each, of numpy and of torch
html_theme = "furo"
html_title = f"recbole_cocorr {release}"

myst_heading_anchors = 4  # links such as results.md#by-time-movielens-100k
nb_execution_mode = "off"  # the outputs are kept in the notebook; `make tutorial` makes them
nb_merge_streams = True

napoleon_google_docstring = False
napoleon_use_rtype = False
napoleon_use_ivar = True
autodoc_member_order = "bysource"
autodoc_typehints = "none"  # the docstrings say them
autoclass_content = "class"


def _for_the_site(app, page: str, source: list[str]) -> None:
    """What the files say in GitHub's words, in Sphinx's.

    Pages beside this folder become downloads. The sections of index.md, and the pages that they name, become the
    site's navigation.
    """
    source[0] = re.sub(r"\]\((\.\./[\w/]+\.md)\)", r"](path:\1)", source[0])
    if page != "index":
        return
    for title, section in re.findall(r"^## (.+?)\n(.*?)(?=^## |\Z)", source[0], re.MULTILINE | re.DOTALL):
        pages = "\n".join(re.findall(r"\]\(([\w/]+)\.(?:md|rst|ipynb)\)", section))
        source[0] += f"\n```{{toctree}}\n:hidden:\n:caption: {title}\n\n{pages}\n```\n"


def setup(app) -> None:
    """Sphinx calls it."""
    app.connect("source-read", _for_the_site)
