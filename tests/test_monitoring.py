"""Ring 3: every expression of the dashboard and the alerts, asked of a Prometheus that scrapes."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import demo
import pytest
import yaml
from service import Service, free_port, wait_for

from tests.conftest import Make
from tests.interpreters import OLDEST
from tests.options import DEFAULTS, title

pytestmark = [
    pytest.mark.generated,
    pytest.mark.xdist_group(f"{title(DEFAULTS)}-{OLDEST}"),
    pytest.mark.skipif(
        not (shutil.which("prometheus") and shutil.which("promtool")),
        reason="needs prometheus and promtool: Debian's package prometheus",
    ),
]

# Nothing is slow or refused in a short run; the metric has to be there all the same.
METRIC = re.compile(r"\b(?:bg|http|process)_\w+?(?=_bucket\b|\b)")


@pytest.fixture(scope="module")
def project(install: Make) -> Path:
    """A service with metrics."""
    return install(OLDEST, **DEFAULTS)


def expressions(project: Path) -> list[str]:
    """Return what the dashboard and the alerts ask."""
    dashboard = json.loads((project / "ops" / "dashboard.json").read_text(encoding="utf-8"))
    asked = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    rules = yaml.safe_load((project / "ops" / "alerts.yml").read_text(encoding="utf-8"))
    asked += [rule["expr"] for group in rules["groups"] for rule in group["rules"]]
    return [expression.replace("$__rate_interval", "5s") for expression in asked]


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
    with urllib.request.urlopen(f"{url}/api/v1/query?{query}") as response:  # noqa: S310 - our own
        answer = json.load(response)
    assert answer["status"] == "success"
    result: list[Any] = answer["data"]["result"]
    return result


def scraped_twice(url: str) -> bool | None:
    try:
        counts = ask(url, 'count_over_time(bg_tasks_completed_total{outcome="succeeded"}[1m])')
    except OSError:
        return None
    return (bool(counts) and int(counts[0]["value"][1]) > 1) or None


def test_every_expression_holds_against_a_real_scrape(project: Path, tmp_path: Path) -> None:
    settings = {"API_KEYS": "key", "EMAIL_BACKEND": "memory"}
    with Service(project, settings) as service:
        service.key = "key"
        demo.await_report(service, demo.upload(service, project / demo.SAMPLE, "you@example.com"))
        page = service.text("/metrics")
        with prometheus(configure(project, service, tmp_path)) as url:
            assert wait_for(lambda: scraped_twice(url), 60), "nothing was scraped"
            empty = [expression for expression in expressions(project) if not ask(url, expression)]
    check = ["promtool", "check", "metrics"]
    subprocess.run(check, input=page.encode(), check=True)
    offered = set(re.findall(r"^# TYPE (\w+)", page, flags=re.MULTILINE))
    for expression in expressions(project):
        assert set(METRIC.findall(expression)) <= offered, expression
    rare = re.compile(r"[<>=] [\d.]+$|dead|rejected|retries|errors|5\.\.|401")
    shown = [expression for expression in empty if not rare.search(expression)]
    assert shown == [], "nothing to show for what did happen"
