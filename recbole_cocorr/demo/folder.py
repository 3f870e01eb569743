"""Where the page's own files lie."""

from pathlib import Path


def web_folder() -> Path:
    """The folder ``web``: inside the package in a wheel, beside it in a checkout."""
    package = Path(__file__).resolve().parent.parent
    inside = package / "web"
    return inside if inside.is_dir() else package.parent / "web"
