"""Extras: what is missing, and the line to type."""

import configparser
import re
import sys

import pytest

from recbole_cocorr.base.errors import UserError
from recbole_cocorr.base.extras import require
from tests.conftest import CHECKOUT

EXTRAS = ("device", "cloud-client", "train", "export", "cloud", "report")


@pytest.mark.parametrize("extra", EXTRAS)
def test_an_extra_that_is_installed(extra):
    require(extra)
    setup = configparser.ConfigParser()
    setup.read(CHECKOUT / "setup.cfg", encoding="utf-8")
    assert extra in setup["options.extras_require"]


@pytest.mark.parametrize(
    ("module", "extras"),
    [
        ("onnxruntime", {"device", "cloud-client", "export", "cloud"}),
        ("grpc", {"cloud-client", "cloud"}),
        ("torch", {"train", "export", "report"}),
        ("onnxscript", {"export"}),
        ("httptools", {"cloud"}),
        ("matplotlib", {"report"}),
    ],
)
def test_a_package_that_is_missing(module, extras, monkeypatch):
    monkeypatch.setitem(sys.modules, module, None)
    for extra in EXTRAS:
        if extra not in extras:
            require(extra)
            continue
        with pytest.raises(UserError) as caught:
            require(extra)
        assert str(caught.value) == f"{module} is not installed; type: pip install 'recbole_cocorr[{extra}]'"


def test_recbole_comes_without_what_it_asks_for(monkeypatch):
    """An extra cannot leave out the ray of 2023 that RecBole's metadata asks for."""
    monkeypatch.setitem(sys.modules, "recbole", None)
    with pytest.raises(UserError) as caught:
        require("report")
    assert str(caught.value) == "recbole is not installed; type: pip install --no-deps recbole==1.2.1"
    assert "recbole==1.2.1" in (CHECKOUT / "Makefile").read_text(encoding="utf-8")


def test_no_extra_pulls_in_recbole():
    setup = configparser.ConfigParser()
    setup.read(CHECKOUT / "setup.cfg", encoding="utf-8")
    needs = [line.strip() for text in setup["options.extras_require"].values() for line in text.splitlines()]
    assert not [need for need in needs if re.match(r"recbole\b(?!_)", need)]
