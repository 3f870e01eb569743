"""What the tests of the page need; without it they are skipped."""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from recbole_cocorr.base.errors import UserError
from recbole_cocorr.demo.runtime import FILES, PACKAGE, find_runtime, pinned_version
from tests.conftest import CHECKOUT
from tests.device.fixtures import written

__all__ = ["written"]


@pytest.fixture(scope="session")
def runtime(tmp_path_factory) -> Path:
    """onnxruntime-web: what a demo in the checkout has fetched, or fetched now."""
    kept = CHECKOUT / "demo" / f"{PACKAGE}-{pinned_version()}"
    if all((kept / name).is_file() for name in FILES):
        return kept
    if shutil.which("npm") is None:
        pytest.skip("npm is not installed")
    try:
        return find_runtime(tmp_path_factory.mktemp("runtime"))
    except UserError as error:
        if "ENOTFOUND" in str(error) or "network" in str(error):
            pytest.skip(f"the npm registry cannot be reached: {error}")
        raise


@pytest.fixture(scope="module")
def chromium() -> Iterator:
    """A headless Chromium, the one that is installed. Its driver ends with the module: it holds an event loop."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    path = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    if path is None:
        pytest.skip("no chromium is installed")
    with playwright.sync_playwright() as driver:
        # Without a sandbox: in a container Chromium has no right to make one. The page is ours.
        browser = driver.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def new_page(chromium) -> Iterator[Callable]:
    """Open an address; what the console says and what is requested is kept in ``.said`` and ``.asked``."""
    contexts = []

    def new(address: str, width: int = 1280, **options):
        context = chromium.new_context(viewport={"width": width, "height": 844}, **options)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(60_000)
        page.said, page.asked = [], []
        page.on("console", lambda message: page.said.append(message.text))
        page.on("pageerror", lambda error: page.said.append(str(error)))
        page.on("request", lambda request: page.asked.append(request.url))
        page.goto(address)
        page.wait_for_selector("main:not([hidden]), #news.error")
        return page

    yield new
    for context in contexts:
        context.close()
