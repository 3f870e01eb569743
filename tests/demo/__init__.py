"""A browser, a served artifact, and how its rankings are held to Python's."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from recbole_cocorr.demo.server import Server, bind
from recbole_cocorr.demo.site import NO_CLOUD, site_of
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
def artifact_served(
    artifact: Path, runtime: Path, folder: Path, cloud: Any = None, methods: tuple[str, ...] = ("correct",), **told
) -> Iterator[Server]:
    """An artifact of ``tests.device`` with made-up film titles, served.

    ``cloud`` is what the page's requests go to; ``told`` changes what the page is told of it.
    """
    items = folder / "titles" / "ml-100k" / "ml-100k.item"
    items.parent.mkdir(parents=True, exist_ok=True)
    lines = ["item_id:token\tmovie_title:token_seq\trelease_year:token"]
    lines += [f"{token}\t{title(token)}\t19{i:02}" for i, token in enumerate(TOKENS) if i]
    items.write_text("\n".join(lines) + "\n", encoding="utf-8")
    # Long enough for a busy machine: what must come late never comes by itself.
    of_cloud = {"reason": "", "service": "the cloud", "deadline_ms": 30_000, "methods": methods, **told}
    site = site_of(artifact, runtime, str(folder / "titles"), of_cloud if cloud or told else NO_CLOUD)
    with served(site) as server:
        server.cloud = cloud
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


def pick(page, token: str) -> None:
    """Click a film of the catalogue, and wait until the page has ranked."""
    before = int(page.inner_text("#clicks"))
    page.click(f"#found button[data-token='{token}']")
    page.wait_for_function("(n) => document.querySelector('#clicks').textContent === String(n)", arg=before + 1)


def ranking_of(page, which: str = "ranking") -> list[str]:
    """The tokens of a list that the page shows."""
    return page.eval_on_selector_all(f"#{which} button", "all => all.map(b => b.dataset.token)")
