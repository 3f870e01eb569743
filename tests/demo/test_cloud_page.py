"""The page's switch: corrected lists are Python's, and whatever becomes of the cloud, the device's list is there."""

import shutil
import threading
from contextlib import contextmanager
from urllib.parse import urlsplit

import numpy as np
import pytest

pytest.importorskip("grpc_health")
pytest.importorskip("grpc_reflection")
pytest.importorskip("prometheus_client")
pytest.importorskip("httptools")

from recbole_cocorr import open_session
from recbole_cocorr.artifact.evidence import Evidence
from recbole_cocorr.artifact.manifest import read_manifest
from recbole_cocorr.correctors.folder import trust_of
from recbole_cocorr.demo.upstream import Upstream
from recbole_cocorr.device import Session
from recbole_cocorr.exporter.export import checkpoint_fingerprint
from recbole_cocorr.service.server.settings import ServeSettings
from recbole_cocorr.training.checkpoint import load_checkpoint
from tests.demo import artifact_served, pick, ranking_of
from tests.device import ITEMS, TOKENS, make
from tests.service import process, save, serving
from tests.service.fixtures import checkpoint, corrector, item_item, trained

__all__ = ["checkpoint", "corrector", "item_item", "trained"]

LOG = ["item-5", "item-9", "item-5", *(f"item-{i}" for i in range(20, 26))]
UP, DOWN = 4 * 16, 4 * 2 * 3 * (3 + 8)  # bytes of a hidden state, and of a correction


@pytest.fixture(scope="module")
def folder(written, checkpoint, corrector, tmp_path_factory):
    """The artifact of the checkpoint, with the trust in the corrector."""
    target = tmp_path_factory.mktemp("page") / "artifact"
    shutil.copytree(written()[1], target)  # of the same model
    manifest = read_manifest(target)
    manifest.fingerprint = checkpoint_fingerprint(load_checkpoint(checkpoint))
    manifest.trust = trust_of(corrector, manifest.fingerprint)
    (target / "manifest.json").write_text(manifest.to_json())
    return target


@contextmanager
def service(checkpoint, corrector="", http="127.0.0.1:0"):
    """A correction service, and the demo's way to it."""
    with serving(ServeSettings(str(checkpoint), "127.0.0.1:0", str(corrector), http=http)) as server:
        upstream = Upstream(f"http://127.0.0.1:{server.http_port}")
        yield server, upstream
        upstream.close()


@pytest.fixture(scope="module")
def running(checkpoint, corrector):
    with service(checkpoint, corrector) as (server, upstream):
        yield server, upstream


@pytest.fixture
def opened(folder, runtime, new_page, tmp_path):
    """Open the page with a cloud; the switch is off."""
    servers = []

    def open_page(cloud, methods=("correct",), width=1280, told=None, **options):
        made = artifact_served(folder, runtime, tmp_path, cloud, methods, **(told or {}))
        servers.append(made)
        return new_page(made.__enter__().address, width, **options)

    yield open_page
    for made in servers:
        made.__exit__(None, None, None)


def switch(page, to: bool = True) -> None:
    page.set_checked("#cloud-switch", to)
    page.wait_for_function("to => document.querySelector('#cloud').hidden !== to", arg=to)


def status_of(page, wanted: str) -> None:
    page.wait_for_function("s => document.querySelector('#cloud-status').textContent === s", arg=wanted)


@contextmanager
def answered(page, wanted: str):
    """Wait for what is said of the cloud after what is done here; not what was said before."""
    page.evaluate("document.querySelector('#cloud-status').textContent = ''")
    yield
    status_of(page, wanted)


def click(page, token: str, wanted: str) -> None:
    with answered(page, wanted):
        pick(page, token)


def alone(folder, log: list[str]) -> list[str]:
    session = Session.open(folder)
    session.history(log)
    return session.rank_all(20, exclude=log).items


def figures(page) -> tuple[str, str]:
    return page.inner_text("#upload"), page.inner_text("#download")


def test_both_lists_are_pythons(opened, folder, running):
    server, upstream = running
    page = opened(upstream)
    switch(page)
    differ = 0
    with open_session(folder, cloud=f"127.0.0.1:{server.port}", deadline_ms=20_000) as session:
        for place, token in enumerate(LOG, 1):
            click(page, token, "corrected")
            session.click(token)
            expected = session.rank_all(ITEMS, exclude=LOG[:place])
            assert expected.status == "corrected"
            assert ranking_of(page, "corrected") == expected.items[:20]
            assert ranking_of(page) == alone(folder, LOG[:place])
            rows = min(place, 7)
            assert figures(page) == (f"{rows * UP}", f"{DOWN}") == (f"{expected.upload_bytes}", f"{DOWN}")
            assert float(page.inner_text("#round-trip")) > 0
            differ += check_difference(page, folder, LOG[:place])
    assert differ > 20
    assert page.inner_text("#sent") == f"{sum(min(n, 7) for n in range(1, 10)) * UP:,}"
    assert page.inner_text("#cloud-said").startswith("Corrected in time, after ")
    assert page.said == []


def check_difference(page, folder, log: list[str]) -> int:
    """The moves and the sentence say how the second list differs from the first."""
    session = Session.open(folder)
    session.history(log)
    device = session.rank_all(ITEMS, exclude=log).items
    ours = ranking_of(page, "corrected")
    moved = [device.index(token) - place for place, token in enumerate(ours)]
    shown = page.eval_on_selector_all("#corrected .move", "all => all.map(m => m.textContent)")
    assert shown == ["–" if not m else f"▲ {m}" if m > 0 else f"▼ {-m}" for m in moved]
    others, new = sum(map(bool, moved)), len(set(ours) - set(device[:20]))
    said = page.inner_text("#cloud-note")
    if others:
        titles = f"{new} title is" if new == 1 else f"{new} titles are"
        assert said == f"▲ ▼ against the model alone: {others} of 20 places differ, {titles} new."
    else:
        assert said == "The same 20 places as the model alone."
    return others


def test_the_item_item_scores_are_a_choice(opened, folder, running, item_item):
    page = opened(running[1], ("correct", "score"))
    assert not page.is_visible("#cloud-method")
    switch(page)
    pick(page, LOG[0])
    status_of(page, "corrected")
    by_network = ranking_of(page, "corrected")
    page.check("input[value=score]")
    trust = read_manifest(folder).trust
    session = Session.open(folder)
    for place, token in enumerate(LOG, 1):
        if place > 1:
            click(page, token, "corrected")
        session.click(token)
        log = LOG[:place]
        candidates = session.rank_all(512, exclude=log).items
        rows = [np.array([TOKENS.index(t) for t in tokens]) for tokens in (log, candidates)]
        scores = item_item.scores([rows[0]], rows[1][None])[0]
        evidence = Evidence(dict(zip(candidates, scores.tolist(), strict=True)), place, trust["corrector"])
        expected = session.rank(candidates, 20, log, evidence).items
        page.wait_for_function(
            "n => document.querySelector('#download').textContent === String(n)", arg=4 * len(candidates)
        )
        assert ranking_of(page, "corrected") == expected != by_network
        assert ranking_of(page) == alone(folder, log)
        assert figures(page) == (f"{4 * (place + len(candidates))}", f"{4 * len(candidates)}")
    page.check("input[value=correct]")
    page.wait_for_function("n => document.querySelector('#download').textContent === String(n)", arg=DOWN)
    assert ranking_of(page, "corrected") != expected
    assert page.said == []


def test_nothing_leaves_while_it_is_off(opened, folder, running):
    page = opened(running[1])
    loaded = list(page.asked)
    assert not page.is_checked("#cloud-switch")
    pick(page, "item-5")
    assert page.asked == loaded
    assert page.inner_text("#sent") == "0"
    assert page.inner_text("#about").endswith("and sends nothing.")
    switch(page)  # what was clicked before is asked for at once
    status_of(page, "corrected")
    click(page, "item-9", "corrected")
    to = f"{urlsplit(page.url).scheme}://{urlsplit(page.url).netloc}/v1/correct"
    assert page.asked == [*loaded, to, to]
    assert page.inner_text("#sent") == str(3 * UP)
    switch(page, False)
    assert page.inner_text("#next-title") == "Next for you"
    assert not page.is_visible("#corrected")
    pick(page, "item-7")
    assert page.asked == [*loaded, to, to]
    assert ranking_of(page) == alone(folder, ["item-5", "item-9", "item-7"])
    assert page.inner_text("#about").endswith("and sends nothing.")
    assert page.said == []


def test_the_service_is_killed_and_comes_back(opened, folder, checkpoint, free_port):
    address = f"127.0.0.1:{free_port}"
    child, _ = process(checkpoint, f"--http={address}")
    try:
        page = opened(Upstream(f"http://{address}"))
        switch(page)
        click(page, "item-2", "corrected")
    finally:
        child.kill()
        child.wait()
        child.stdout.close()
    click(page, "item-9", "offline")
    assert ranking_of(page) == ranking_of(page, "corrected") == alone(folder, ["item-2", "item-9"])
    assert "cannot be reached" in page.inner_text("#cloud-said")
    assert figures(page) == (str(2 * UP), "0")
    with service(checkpoint, http=address):
        click(page, "item-7", "corrected")
    assert ranking_of(page, "corrected") != ranking_of(page)
    # The browser itself notes an answer of 502; nothing else is said.
    assert len(page.said) == 1
    assert "502" in page.said[0]


@pytest.fixture
def free_port():
    import socket

    with socket.socket() as made:
        made.bind(("127.0.0.1", 0))
        return made.getsockname()[1]


def test_a_service_of_another_model_is_refused(opened, folder, tmp_path):
    other = save(make(hidden_size=24), tmp_path / "other.safetensors")
    with service(other) as (_, upstream):
        page = opened(upstream, ("correct", "score"))
        switch(page)
        click(page, "item-5", "refused")
        assert "another one than the service's" in page.inner_text("#cloud-said")
        assert ranking_of(page) == ranking_of(page, "corrected") == alone(folder, ["item-5"])
        with answered(page, "refused"):  # it is asked for at once, and this service has none at all
            page.check("input[value=score]")
        click(page, "item-6", "refused")
        assert ranking_of(page, "corrected") == alone(folder, ["item-5", "item-6"])


class Made:
    """A cloud that answers as it is told, with what ``change`` makes of an honest answer."""

    def __init__(self, upstream, change=lambda *answer: answer):
        self.upstream, self.change = upstream, change

    def ask(self, *request):
        return self.change(*self.upstream.ask(*request))


NOT_A_NUMBER = np.full(DOWN // 4, np.nan, "<f4").tobytes()


def test_an_answer_that_does_not_fit_is_refused(opened, folder, running):
    changes = [
        ({"X-Fingerprint": "f" * 32}, None, "made by another model"),
        ({"X-Clicks": "7"}, None, "of 7 clicks, and the session has read 2"),
        ({"X-Shape": "2,3,4"}, None, "another shape"),
        ({}, b"short", "a correction of 5 bytes; this model reads 264"),
        ({}, NOT_A_NUMBER, "not finite"),
    ]
    next_ones = iter(changes)

    def change(status, given, content):
        headers, body, _ = next(next_ones)
        return status, {**given, **headers}, content if body is None else body

    page = opened(Made(running[1], change))
    switch(page)
    for place, (*_, said) in enumerate(changes, 1):
        click(page, f"item-{place}", "refused")
        assert said in page.inner_text("#cloud-said")
        log = [f"item-{i}" for i in range(1, place + 1)]
        assert ranking_of(page) == ranking_of(page, "corrected") == alone(folder, log)
        assert page.inner_text("#cloud-note") == "The same 20 places as the model alone."
    assert page.said == []


def test_scores_that_do_not_fit_are_refused(opened, folder, running):
    changes = iter([({"X-Fingerprint": "f" * 32}, None), ({"X-Clicks": "9"}, None), ({}, 4), ({}, np.nan)])

    def change(status, given, content):
        headers, body = next(changes)
        if body is not None:
            content = content[:body] if body == 4 else np.full(len(content) // 4, body, "<f4").tobytes()
        return status, {**given, **headers}, content

    page = opened(Made(running[1], change), ("score",))
    switch(page)
    for place, said in enumerate(["another corrector", "other clicks", "too few or too many", "not finite"], 1):
        click(page, f"item-{place}", "refused")
        assert said in page.inner_text("#cloud-said")
        assert ranking_of(page, "corrected") == alone(folder, [f"item-{i}" for i in range(1, place + 1)])


def test_a_late_answer_is_used_if_no_click_came_between(opened, folder, running):
    gates = [threading.Event() for _ in range(3)]
    waiting = iter(gates)

    def change(*answer):
        next(waiting).wait(60)
        return answer

    page = opened(Made(running[1], change), told={"deadline_ms": 20})
    switch(page)
    try:
        click(page, "item-2", "late")
        assert page.inner_text("#deadline") == "20"
        assert ranking_of(page) == ranking_of(page, "corrected") == alone(folder, ["item-2"])
        assert page.inner_text("#cloud-said") == "no answer in time: the list is the device's own."
        assert (figures(page), page.inner_text("#round-trip")) == ((str(UP), "0"), "–")
        gates[0].set()
        status_of(page, "corrected")
        said = page.inner_text("#cloud-said")
        assert "later than the 20 ms allowed; the list has been updated. The correction network in the cloud" in said
        assert ranking_of(page, "corrected") == corrected(folder, running, ["item-2"]) != alone(folder, ["item-2"])

        click(page, "item-9", "late")
        click(page, "item-7", "late")
        gates[1].set()  # of a click that is no longer the last
        gates[2].set()
        status_of(page, "corrected")
        assert ranking_of(page, "corrected") == corrected(folder, running, ["item-2", "item-9", "item-7"])
    finally:
        for gate in gates:
            gate.set()
    assert page.said == []


def test_a_late_answer_that_waited_for_its_turn_behind_a_click_is_not_used(opened, running):
    in_turn = """
      async () => {
        const { Corrected } = await import("/js/corrected.js");
        const answer = { status: "offline" };
        const pending = () => ({ within: async () => null, answer: Promise.resolve(answer), cancel() {}, upload: 1 });
        const session = { withoutCorrection() {} };
        const made = new Corrected(session, { deadline: 0, ask: pending }, { request: () => ({}) });
        made.ask(["a"]);
        let use;
        const come = new Promise((resolve) => { use = resolve; });
        const first = await made.rank(5, use);
        const later = await come;
        const while_last = await later();
        made.ask(["a", "b"]);
        return [first.status, while_last.status, await later()];
      }
    """
    assert opened(running[1]).evaluate(in_turn) == ["late", "offline", None]


def corrected(folder, running, log: list[str]) -> list[str]:
    with open_session(folder, cloud=f"127.0.0.1:{running[0].port}", deadline_ms=20_000) as session:
        session.history(log)
        ranking = session.rank_all(20, exclude=log)
        assert ranking.status == "corrected"
        return ranking.items


def test_start_again_and_off_give_up_what_is_on_its_way(opened, folder, running):
    gate = threading.Event()

    def change(*answer):
        gate.wait(60)
        return answer

    page = opened(Made(running[1], change), told={"deadline_ms": 20})
    try:
        switch(page)
        click(page, "item-5", "late")
        page.click("#again")
        page.wait_for_function("() => document.querySelector('#clicks').textContent === '0'")
        assert page.inner_text("#cloud-status") == "–"
        assert ranking_of(page, "corrected") == []
        click(page, "item-2", "late")
        switch(page, False)
        switch(page)
        gate.set()
        status_of(page, "corrected")
        assert ranking_of(page, "corrected") == corrected(folder, running, ["item-2"])
        assert ranking_of(page) == alone(folder, ["item-2"])
        page.click("#again")  # the cloud is asked for the new session from then on
        page.wait_for_function("() => document.querySelector('#clicks').textContent === '0'")
        click(page, "item-14", "corrected")
        assert ranking_of(page, "corrected") == corrected(folder, running, ["item-14"])
    finally:
        gate.set()
    assert page.said == []


def test_the_keyboard_is_enough_for_the_switch(opened, running):
    page = opened(running[1], ("correct", "score"))
    found = page.get_by_role("switch", name="Cloud correction")
    assert found.count() == 1
    assert found.get_attribute("aria-describedby") == "cloud-about"
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "cloud-switch"
    page.keyboard.press("Space")
    page.wait_for_selector("#cloud:not([hidden])")
    assert page.inner_text("#cloud-about").startswith("On: after each click the vectors that stand for your last")
    page.keyboard.press("Tab")
    page.keyboard.press("ArrowRight")
    page.wait_for_function("() => document.querySelector('#cloud-about').textContent.includes('numbers')")
    click(page, "item-5", "corrected")
    page.focus("#corrected button")
    page.keyboard.press("ArrowDown")
    second = ranking_of(page, "corrected")[1]
    assert page.evaluate("document.activeElement.dataset.token") == second
    page.keyboard.press("Enter")  # a title of the second list can be clicked, too
    page.wait_for_function("() => document.querySelector('#clicks').textContent === '2'")
    page.focus("#cloud-switch")
    page.keyboard.press("Space")
    page.wait_for_selector("#cloud", state="hidden")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_can_be_read_on_a_phone(opened, running, scheme):
    page = opened(running[1], ("correct", "score"), width=390, color_scheme=scheme)
    switch(page)
    click(page, "item-5", "corrected")
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    assert ranking_of(page, "corrected")
    boxes = "all => all.map(e => [e.scrollWidth > e.clientWidth, e.getBoundingClientRect().height])"
    found = page.eval_on_selector_all("#cloud-row label, #corrected button, #ranking button, #cloud-figures div", boxes)
    assert not any(wide for wide, _ in found), "a text is cut off"
    heights = page.eval_on_selector_all("#cloud-row label, #corrected button", boxes)
    assert min(height for _, height in heights) >= 44
    contrast = """
      () => {
        const luminance = (color) => {
          const parts = color.match(/[\\d.]+/g).slice(0, 3).map((v) => v / 255);
          const linear = parts.map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
          return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2];
        };
        const ground = luminance(getComputedStyle(document.body).backgroundColor);
        return [...document.querySelectorAll("#cloud-row label, #cloud-about, #cloud-figures :is(dt, dd), #cloud-said")]
          .map((e) => luminance(getComputedStyle(e).color))
          .map((ink) => (Math.max(ink, ground) + 0.05) / (Math.min(ink, ground) + 0.05));
      }
    """
    assert min(page.evaluate(contrast)) >= 4.5


@pytest.mark.parametrize("width", [700, 1280])
def test_on_a_wide_screen_the_lists_stand_beside_each_other(opened, running, width):
    page = opened(running[1], width=width)
    switch(page)
    click(page, "item-5", "corrected")
    tops = page.eval_on_selector_all("#ranking, #corrected", "all => all.map(e => e.getBoundingClientRect().top)")
    assert tops[0] == tops[1]
    lefts = page.eval_on_selector_all("#next, #cloud", "all => all.map(e => e.getBoundingClientRect().left)")
    assert lefts[0] < lefts[1]
    assert page.inner_text("#next-title") == "The model alone"


def test_without_a_cloud_the_reason_is_said(opened):
    page = opened(None, told={"reason": "grpc is not installed"})
    assert page.is_disabled("#cloud-switch")
    assert page.inner_text("#cloud-about") == "Not available: grpc is not installed."
