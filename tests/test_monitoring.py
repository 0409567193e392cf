"""Ring 3: a Prometheus with the configuration of compose.yaml scrapes the service.

That every alert can fire and every panel shows something is proven in tests/proofs.
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
from tests.options import DEFAULTS, title

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


def configure(project: Path, service: Service, folder: Path) -> Path:
    """Write what compose.yaml gives to Prometheus, for this service, and more impatient."""
    compose = yaml.safe_load((project / "compose.yaml").read_text(encoding="utf-8"))
    config = yaml.safe_load(compose["configs"]["prometheus"]["content"])
    config["global"]["scrape_interval"] = "1s"
    config["scrape_configs"][0]["static_configs"][0]["targets"] = [f"127.0.0.1:{service.port}"]
    shutil.copy(project / "ops" / "alerts.yml", folder)
    (folder / "api_key").write_text("key", encoding="utf-8")
    path = folder / "prometheus.yml"
    path.write_text(yaml.safe_dump(config), encoding="utf-8")
    subprocess.run(["promtool", "check", "config", str(path)], check=True)
    return path


@contextmanager
def prometheus(config: Path) -> Iterator[str]:
    """Run Prometheus, and give its address."""
    address = f"127.0.0.1:{free_port()}"
    options = [f"--config.file={config}", f"--storage.tsdb.path={config.parent / 'tsdb'}"]
    with subprocess.Popen(["prometheus", *options, f"--web.listen-address={address}"]) as process:
        try:
            yield f"http://{address}"
        finally:
            process.terminate()


def ask(url: str, expression: str) -> list[Any]:
    """Return what an expression gives; raises HTTPError when it is not valid."""
    query = urllib.parse.urlencode({"query": expression})
    with direct.open(f"{url}/api/v1/query?{query}") as response:
        answer = json.load(response)
    assert answer["status"] == "success"
    result: list[Any] = answer["data"]["result"]
    return result


def scraped(url: str) -> bool | None:
    """Say whether what has happened in the service is known; None as long as it is not."""
    try:
        return bool(ask(url, 'bg_tasks_completed_total{outcome="succeeded"} > 0')) or None
    except OSError:
        return None


def test_the_service_is_scraped(project: Path, tmp_path: Path) -> None:
    settings = {"API_KEYS": "key", "EMAIL_BACKEND": "memory"}
    with Service(project, settings) as service:
        service.key = "key"
        demo.await_report(service, demo.upload(service, project / demo.SAMPLE, "you@example.com"))
        page = service.text("/metrics")
        with prometheus(configure(project, service, tmp_path)) as url:
            assert wait_for(lambda: scraped(url), 60), "nothing was scraped"
            assert ask(url, 'up{job="service"} == 1')
    check = ["promtool", "check", "metrics"]
    subprocess.run(check, input=page.encode(), check=True)
