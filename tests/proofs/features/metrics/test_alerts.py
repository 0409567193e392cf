"""Every alert fires and every panel shows data, from the real metrics of a service in trouble.

The scrapes follow each other at once; promtool is told that a minute lies between them.
"""

import json
import re
import shutil
import subprocess
import time
from collections import defaultdict
from pathlib import Path

import httpx2
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.databases.server import run
from tests.server import PROJECT, SECONDS, ServerProcess

ALERTS = PROJECT / "ops" / "alerts.yml"
DASHBOARD = PROJECT / "ops" / "dashboard.json"
TARGET = {"job": "service", "instance": "service:8000"}
DOWN_ALERTS = {"ServiceDown": "service", "WorkerDown": "worker"}
KEY = "test-key"
HEALTHY, TROUBLED, DOWN = 4, 18, 4
"""Minutes, each of which is one scrape."""
STALE = 8
"""Minutes after the last scrape, when Prometheus no longer has series of the target."""

pytestmark = pytest.mark.skipif(
    not shutil.which("promtool"), reason="needs promtool: Debian's package prometheus"
)


class Scrapes:
    """The samples of successive scrapes."""

    def __init__(self) -> None:
        self.count = 0
        self._series: defaultdict[str, dict[int, float]] = defaultdict(dict)

    def add(self, text: str) -> None:
        """Add a target's answer; "" means that it did not answer."""
        for job in DOWN_ALERTS.values():
            self._add("up", {"job": job}, float(text != ""))
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                self._add(sample.name, sample.labels, sample.value)
        self.count += 1

    def input_series(self) -> list[dict[str, str]]:
        """Return the series in promtool's notation, in which "_" is a missing sample."""
        return [
            {
                "series": series,
                "values": " ".join(str(values.get(n, "_")) for n in range(self.count)),
            }
            for series, values in self._series.items()
        ]

    def _add(self, name: str, labels: dict[str, str], value: float) -> None:
        labelled = ",".join(f"{key}={json.dumps(text)}" for key, text in (TARGET | labels).items())
        self._series[f"{name}{{{labelled}}}"][self.count] = value


@pytest.fixture(scope="module")
def scrapes(tmp_path_factory: pytest.TempPathFactory, shared_database_url: str) -> Scrapes:
    """Return the scrapes of a service that is healthy, then in trouble, then down."""
    folder = tmp_path_factory.mktemp("service")
    shutil.copy(Path(__file__).with_name("troubled.py"), folder)
    scrapes = Scrapes()
    variables = {
        "API_KEYS": KEY,
        "DATABASE_URL": shared_database_url,
        "ENVIRONMENT": "test",
        "TASKS_DRAIN_TIMEOUT": "0",
    }
    with (
        ServerProcess(folder, "troubled:app", **variables) as server,
        httpx2.Client(base_url=server.url, headers={"X-API-Key": KEY}, timeout=30) as client,
    ):
        for _ in range(HEALTHY):
            client.get("/fine").raise_for_status()
            scrapes.add(client.get("/metrics").text)
        client.get("/hold/600").raise_for_status()
        add_forgotten_task(client, shared_database_url)
        for minute in range(TROUBLED):
            make_trouble(client)
            if minute == TROUBLED - 1:
                add_poisoned_task(server, client, shared_database_url)
                assert client.get("/hold/1000").json() < 1000  # the queue is full
            scrapes.add(client.get("/metrics").text)
    for _ in range(DOWN):
        scrapes.add("")
    return scrapes


def make_trouble(client: httpx2.Client) -> None:
    """Cause one minute's worth of every kind of trouble."""
    for path in (*["/bug"] * 10, *["/slow"] * 3, "/wait", "/fail"):
        client.get(path)
    for _ in range(70):
        client.get("/fine", headers={"X-API-Key": "unknown"})


def add_forgotten_task(client: httpx2.Client, database_url: str) -> None:
    """Store a due task whose function no process knows; wait until the metrics show it."""
    task_id = client.get("/doom").json()
    forgotten = "UPDATE background_tasks SET name = 'gone', due_at = due_at - 4000 WHERE id = :id"
    run(database_url, forgotten, id=task_id)
    deadline = time.monotonic() + SECONDS
    while 'bg_durable_tasks{state="queued",task="gone"}' not in client.get("/metrics").text:
        assert time.monotonic() < deadline


def add_poisoned_task(server: ServerProcess, client: httpx2.Client, database_url: str) -> None:
    """Store a task that has used up its attempts by killing its process."""
    task_id = client.get("/doom").json()
    died = "UPDATE background_tasks SET attempts = 99, due_at = 0 WHERE id = :id"
    run(database_url, died, id=task_id)
    server.wait_for_line("PoisonedError")


def alerts() -> list[str]:
    return re.findall(r"^ *- alert: (\w+)$", ALERTS.read_text(encoding="utf-8"), re.MULTILINE)


def panel_queries() -> list[str]:
    """Return the queries of the dashboard's panels."""
    dashboard = json.loads(DASHBOARD.read_text(encoding="utf-8"))
    queries = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    return [expression.replace("$__rate_interval", "5m") for expression in queries]


def run_promtool(folder: Path, scrapes: Scrapes, expressions: dict[str, int]) -> str:
    """Return promtool's complaints; "" if every expression is 1 at its minute."""
    sample = {"labels": "{}", "value": 1}
    test = {
        "rule_files": [str(ALERTS)],
        "evaluation_interval": "1m",
        "tests": [
            {
                "interval": "1m",
                "input_series": scrapes.input_series(),
                "promql_expr_test": [
                    {"expr": expression, "eval_time": f"{minute}m", "exp_samples": [sample]}
                    for expression, minute in expressions.items()
                ],
            }
        ],
    }
    path = folder / "test.yml"
    path.write_text(json.dumps(test), encoding="utf-8")  # JSON is YAML, too
    command = ["promtool", "test", "rules", str(path)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - a fixed command
    return result.stdout + result.stderr if result.returncode else ""


def test_no_alert_is_raised_while_the_service_is_healthy(tmp_path: Path, scrapes: Scrapes) -> None:
    absent = [f'count(absent(ALERTS{{alertname="{alert}"}}))' for alert in alerts()]

    assert absent
    assert run_promtool(tmp_path, scrapes, dict.fromkeys(absent, HEALTHY - 1)) == ""


def test_every_alert_fires_when_there_is_trouble(tmp_path: Path, scrapes: Scrapes) -> None:
    last = defaultdict(
        lambda: HEALTHY + TROUBLED - 1, dict.fromkeys(DOWN_ALERTS, scrapes.count - 1)
    )
    fires = 'count(ALERTS{{alertname="{}", alertstate="firing"}}) > bool 0'

    expressions = {fires.format(alert): last[alert] for alert in alerts()}
    assert run_promtool(tmp_path, scrapes, expressions) == ""


@pytest.mark.parametrize("alert", DOWN_ALERTS)
def test_down_alert_fires_for_a_gone_target(alert: str, tmp_path: Path, scrapes: Scrapes) -> None:
    """Where Prometheus finds targets by name, a stopped one is no longer a target."""
    fires = f'count(ALERTS{{alertname="{alert}", alertstate="firing"}}) > bool 0'

    assert run_promtool(tmp_path, scrapes, {fires: scrapes.count + STALE}) == ""


def test_every_panel_shows_data(tmp_path: Path, scrapes: Scrapes) -> None:
    shows = [f"count(({expression}) > 0) > bool 0" for expression in panel_queries()]

    assert shows
    assert run_promtool(tmp_path, scrapes, dict.fromkeys(shows, HEALTHY + TROUBLED - 1)) == ""
