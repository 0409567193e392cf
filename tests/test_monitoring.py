"""Ring 3: a Prometheus with the configuration of compose.yaml scrapes the service.

Proofs in tests/proofs show that every alert can fire and that every panel shows something.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import demo
import pytest
import yaml
from service import Service, direct, free_port, wait_for

from tests.conftest import Make
from tests.interpreters import NEWEST
from tests.options import DEFAULTS, MAXIMAL, title

pytestmark = [
    pytest.mark.generated,
    pytest.mark.xdist_group(f"{title(DEFAULTS)}-{NEWEST}"),
    pytest.mark.skipif(
        not (shutil.which("prometheus") and shutil.which("promtool")),
        reason="needs prometheus and promtool: Debian's package prometheus",
    ),
]


@pytest.fixture(scope="module")
def project(install: Make) -> Path:
    """A service with metrics."""
    return install(NEWEST, **DEFAULTS)


def configuration(project: Path) -> dict[str, Any]:
    """Return the configuration of Prometheus in compose.yaml."""
    compose = yaml.safe_load((project / "compose.yaml").read_text(encoding="utf-8"))
    config: dict[str, Any] = yaml.safe_load(compose["configs"]["prometheus"]["content"])
    return config


def write(config: dict[str, Any], project: Path, folder: Path) -> Path:
    """Write a configuration and check it with promtool."""
    shutil.copy(project / "ops" / "alerts.yml", folder)
    path = folder / "prometheus.yml"
    path.write_text(yaml.safe_dump(config), encoding="utf-8")
    subprocess.run(["promtool", "check", "config", str(path)], check=True)
    return path


@contextmanager
def prometheus(config: Path) -> Iterator[str]:
    """Run Prometheus and yield its URL."""
    address = f"127.0.0.1:{free_port()}"
    options = [f"--config.file={config}", f"--storage.tsdb.path={config.parent / 'tsdb'}"]
    with subprocess.Popen(["prometheus", *options, f"--web.listen-address={address}"]) as process:
        try:
            yield f"http://{address}"
        finally:
            process.terminate()


def ask(url: str, expression: str) -> list[Any]:
    """Return the result of an expression; raises HTTPError if it is not valid."""
    query = urllib.parse.urlencode({"query": expression})
    with direct.open(f"{url}/api/v1/query?{query}") as response:
        answer = json.load(response)
    assert answer["status"] == "success"
    result: list[Any] = answer["data"]["result"]
    return result


def scraped(url: str) -> bool | None:
    """Return True once a successful task of the service has been scraped, None until then."""
    try:
        return bool(ask(url, 'bg_tasks_completed_total{outcome="succeeded"} > 0')) or None
    except OSError:
        return None


@pytest.mark.parametrize("answers", [DEFAULTS, MAXIMAL], ids=title)
def test_the_metrics_port_of_all_containers_is_scraped(
    bake: Make, tmp_path: Path, answers: dict[str, object]
) -> None:
    config = configuration(bake(**answers))
    write(config, bake(**answers), tmp_path)
    ports = [job["dns_sd_configs"][0]["port"] for job in config["scrape_configs"]]
    compose = yaml.safe_load((bake(**answers) / "compose.yaml").read_text(encoding="utf-8"))
    assert {str(port) for port in ports} == {compose["x-service"]["environment"]["METRICS_PORT"]}


def test_the_service_is_scraped(project: Path, tmp_path: Path) -> None:
    port = free_port()
    config = configuration(project)
    config["global"]["scrape_interval"] = "1s"
    del config["scrape_configs"][0]["dns_sd_configs"]
    config["scrape_configs"][0]["static_configs"] = [{"targets": [f"127.0.0.1:{port}"]}]
    settings = {"API_KEYS": "key", "EMAIL_BACKEND": "memory", "METRICS_PORT": str(port)}
    with Service(project, settings) as service:
        service.key = "key"
        demo.await_report(service, demo.upload(service, project / demo.SAMPLE, "you@example.com"))
        page = service.text("/metrics")
        with prometheus(write(config, project, tmp_path)) as url:
            assert wait_for(lambda: scraped(url), 60), "nothing was scraped"
            assert ask(url, 'up{job="service"} == 1')
    check = ["promtool", "check", "metrics"]
    subprocess.run(check, input=page.encode(), check=True)
