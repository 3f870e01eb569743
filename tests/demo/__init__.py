"""A browser, a served artifact, and how its rankings are held to Python's."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from recbole_cocorr.demo.server import Server, bind
from recbole_cocorr.demo.site import site_of
from tests.device import TOKENS


@contextmanager
def served(site: dict[str, Path | bytes]) -> Iterator[Server]:
    """A site, served on a free port."""
    server = bind(0)
    server.site = site
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def artifact_served(artifact: Path, runtime: Path, folder: Path) -> Iterator[Server]:
    """An artifact of ``tests.device`` with made-up film titles, served."""
    items = folder / "titles" / "ml-100k" / "ml-100k.item"
    items.parent.mkdir(parents=True, exist_ok=True)
    lines = ["item_id:token\tmovie_title:token_seq\trelease_year:token"]
    lines += [f"{token}\t{title(token)}\t19{i:02}" for i, token in enumerate(TOKENS) if i]
    items.write_text("\n".join(lines) + "\n", encoding="utf-8")
    with served(site_of(artifact, runtime, str(folder / "titles"))) as server:
        yield server


def title(token: str) -> str:
    """The made-up title of a token; markup in it must be shown, not obeyed."""
    return f"Film <b>№ {token.rpartition('-')[2]}</b>"


def assert_same_ranking(ours: list[dict], items: list[str], scores: list[float]) -> None:
    """The same order, but for items whose scores differ by rounding alone."""
    tolerance = 1e-4 * max(1.0, *map(abs, scores))
    by_token = dict(zip(items, scores, strict=True))
    assert {one["token"] for one in ours} == set(items)
    for place, one in enumerate(ours):
        assert abs(one["score"] - scores[place]) <= tolerance
        assert abs(by_token[one["token"]] - scores[place]) <= tolerance
