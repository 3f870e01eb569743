"""CITATION.cff, the BibTeX of the README and the package's metadata say the same."""

import configparser
import re

import yaml

import recbole_cocorr
from tests.conftest import CHECKOUT

DOI = "10.24963/ijcai.2025/402"


def citation() -> dict:
    """What CITATION.cff says."""
    return yaml.safe_load((CHECKOUT / "CITATION.cff").read_text(encoding="utf-8"))


def bibtex() -> dict[str, str]:
    """The fields of the README's entry."""
    (block,) = re.findall(r"^```bibtex\n(.*?)^```", (CHECKOUT / "README.md").read_text(encoding="utf-8"), re.M | re.S)
    return dict(re.findall(r"^  (\w+) += \{(.*)\}", block, re.M))


def test_the_version_is_the_package_s():
    assert citation()["version"] == recbole_cocorr.__version__
    assert citation()["cff-version"] == "1.2.0" and citation()["license"] == "MIT"


def test_both_name_the_same_paper():
    paper, entry = citation()["preferred-citation"], bibtex()
    assert paper["doi"] == entry["doi"] == DOI
    assert paper["title"] == entry["title"] and str(paper["year"]) == entry["year"]
    assert f"{paper['start']}--{paper['end']}" == entry["pages"]
    assert " and ".join(f"{a['family-names']}, {a['given-names']}" for a in paper["authors"]) == entry["author"]


def test_the_package_leads_to_the_paper():
    setup = configparser.ConfigParser()
    setup.read(CHECKOUT / "setup.cfg", encoding="utf-8")
    assert f"Paper = https://doi.org/{DOI}" in setup["metadata"]["project_urls"]
    assert setup["metadata"]["license"] == "MIT" and (CHECKOUT / setup["metadata"]["license_files"]).is_file()
