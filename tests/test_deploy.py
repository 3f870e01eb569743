"""What stands in deploy/ is well-formed and speaks of settings, ports and metrics that the service has."""

import json
import re

import pytest
import yaml

from recbole_cocorr.service.server.metrics import Metrics
from recbole_cocorr.service.server.settings import PREFIX, TOKENS, gather
from tests.conftest import CHECKOUT

DEPLOY = CHECKOUT / "deploy"
DOCKERFILE = (DEPLOY / "Dockerfile").read_text(encoding="utf-8")
YAML = sorted(DEPLOY.rglob("*.yaml"))
# What every container of the image is started with.
IMAGE = dict(re.findall(rf"({PREFIX}\w+)=(\S+)", DOCKERFILE))


class Strict(yaml.SafeLoader):
    """Refuses a key that stands twice in one mapping."""

    def construct_mapping(self, node, deep=False):
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        assert len(set(keys)) == len(keys), f"a key stands twice {node.start_mark}"
        return super().construct_mapping(node, deep)


def documents(file) -> list[dict]:
    return list(yaml.load_all(file.read_text(encoding="utf-8"), Strict))


MANIFEST = {d["kind"]: d for d in documents(DEPLOY / "kubernetes" / "serve.yaml")}
CONTAINER = MANIFEST["Deployment"]["spec"]["template"]["spec"]["containers"][0]


@pytest.mark.parametrize("file", YAML, ids=lambda file: file.name)
def test_yaml_is_read_strictly(file):
    assert all(isinstance(document, dict) for document in documents(file))


@pytest.mark.parametrize("kind", MANIFEST)
def test_a_manifest_is_what_kubernetes_knows(kind):
    kubernetes_validate = pytest.importorskip("kubernetes_validate")
    kubernetes_validate.validate(MANIFEST[kind], "1.34", strict=True)


def test_a_container_starts_with_settings_that_the_service_takes():
    compose = documents(DEPLOY / "compose.yaml")[0]["services"]["serve"]["environment"]
    compose = {k: v for k, v in compose.items() if k != PREFIX + "TOKEN_FILE"}
    kubernetes = {e["name"]: e["value"] for e in CONTAINER["env"] if "value" in e}
    assert TOKENS in {e["name"] for e in CONTAINER["env"]}
    for environment in (compose, kubernetes):
        settings = gather({}, None, {**IMAGE, **environment, TOKENS: "x" * 16})
        assert settings.checkpoint and settings.http and settings.metrics


def test_ports_are_those_that_the_image_listens_on():
    ports = {IMAGE[PREFIX + name].rpartition(":")[2] for name in ("LISTEN", "HTTP", "METRICS")}
    assert set(re.search("EXPOSE (.*)", DOCKERFILE)[1].split()) == ports
    assert {str(p["containerPort"]) for p in CONTAINER["ports"]} == ports
    assert {str(p["port"]) for p in MANIFEST["Service"]["spec"]["ports"]} == ports
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert str(CONTAINER[probe]["grpc"]["port"]) == IMAGE[PREFIX + "LISTEN"].rpartition(":")[2]
    scraped = documents(DEPLOY / "prometheus.yaml")[0]["scrape_configs"][0]["dns_sd_configs"][0]["port"]
    assert str(scraped) == IMAGE[PREFIX + "METRICS"].rpartition(":")[2]


def test_a_copy_has_the_time_to_end():
    pod = MANIFEST["Deployment"]["spec"]["template"]["spec"]
    environment = {e["name"]: e.get("value") for e in CONTAINER["env"]}
    before = CONTAINER["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert pod["terminationGracePeriodSeconds"] > before + float(environment[PREFIX + "GRACE"]) + 5


def test_board_and_autoscaler_read_metrics_that_there_are():
    known = set()
    for metric in Metrics().registry.collect():
        endings = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count")}.get(metric.type, ("",))
        known |= {metric.name + ending for ending in endings}
    board = json.loads((DEPLOY / "grafana" / "service.json").read_text(encoding="utf-8"))
    queries = [target["expr"] for panel in board["panels"] for target in panel["targets"]]
    read = {name for query in queries for name in re.findall(r"recbole_cocorr_\w+", query)}
    read |= {m["pods"]["metric"]["name"] for m in MANIFEST["HorizontalPodAutoscaler"]["spec"]["metrics"]}
    read |= {
        r["name"]["matches"] for r in documents(DEPLOY / "kubernetes" / "prometheus-adapter.yaml")[0]["rules"]["custom"]
    }
    assert read and read <= known
    assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"])
