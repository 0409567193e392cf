"""Every alert fires and every panel shows something, of what a service in trouble really says.

The service is scraped again and again; Prometheus is told that a minute lay between the scrapes.
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
"""Minutes, which is scrapes."""
FORGOTTEN = 8
"""Minutes after which Prometheus has no more to say of a target."""

pytestmark = pytest.mark.skipif(
    not shutil.which("promtool"), reason="needs promtool: Debian's package prometheus"
)


class Scrapes:
    """Samples of one scrape after the other."""

    def __init__(self) -> None:
        self.count = 0
        self._series: defaultdict[str, dict[int, float]] = defaultdict(dict)

    def add(self, text: str) -> None:
        """Add the answer of a target; "" is one that did not answer."""
        for job in DOWN_ALERTS.values():
            self._add("up", {"job": job}, float(text != ""))
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                self._add(sample.name, sample.labels, sample.value)
        self.count += 1

    def input_series(self) -> list[dict[str, str]]:
        """Return them as promtool reads them: "_" is none."""
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
    """Give the scrapes of a service that is well, then in trouble, then down."""
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
        forget(client, shared_database_url)
        for minute in range(TROUBLED):
            make_trouble(client)
            if minute == TROUBLED - 1:
                die(server, client, shared_database_url)
                assert client.get("/hold/1000").json() < 1000  # the rest is refused
            scrapes.add(client.get("/metrics").text)
    for _ in range(DOWN):
        scrapes.add("")
    return scrapes


def make_trouble(client: httpx2.Client) -> None:
    """Do what, minute after minute, somebody should know of."""
    for path in (*["/bug"] * 10, *["/slow"] * 3, "/wait", "/fail"):
        client.get(path)
    for _ in range(70):
        client.get("/fine", headers={"X-API-Key": "unknown"})


def forget(client: httpx2.Client, database_url: str) -> None:
    """Let a task wait that no process knows any more."""
    task_id = client.get("/doom").json()
    forgotten = "UPDATE background_tasks SET name = 'gone', due_at = due_at - 4000 WHERE id = :id"
    run(database_url, forgotten, id=task_id)
    deadline = time.monotonic() + SECONDS
    while 'bg_durable_tasks{state="queued",task="gone"}' not in client.get("/metrics").text:
        assert time.monotonic() < deadline


def die(server: ServerProcess, client: httpx2.Client, database_url: str) -> None:
    """Let a task have taken its process along too often."""
    task_id = client.get("/doom").json()
    died = "UPDATE background_tasks SET attempts = 99, due_at = 0 WHERE id = :id"
    run(database_url, died, id=task_id)
    server.wait_for_line("PoisonedError")


def alerts() -> list[str]:
    return re.findall(r"^ *- alert: (\w+)$", ALERTS.read_text(encoding="utf-8"), re.MULTILINE)


def panels() -> list[str]:
    """Return what the dashboard asks."""
    dashboard = json.loads(DASHBOARD.read_text(encoding="utf-8"))
    asked = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    return [expression.replace("$__rate_interval", "5m") for expression in asked]


def ask_promtool(folder: Path, scrapes: Scrapes, expressions: dict[str, int]) -> str:
    """Return what promtool has to complain about; "" if each is 1 at its minute."""
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
    path.write_text(json.dumps(test), encoding="utf-8")  # which is YAML, too
    command = ["promtool", "test", "rules", str(path)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    return result.stdout + result.stderr if result.returncode else ""


def test_no_alert_is_raised_while_all_is_well(tmp_path: Path, scrapes: Scrapes) -> None:
    absent = [f'count(absent(ALERTS{{alertname="{alert}"}}))' for alert in alerts()]

    assert absent
    assert ask_promtool(tmp_path, scrapes, dict.fromkeys(absent, HEALTHY - 1)) == ""


def test_every_alert_fires(tmp_path: Path, scrapes: Scrapes) -> None:
    last = defaultdict(
        lambda: HEALTHY + TROUBLED - 1, dict.fromkeys(DOWN_ALERTS, scrapes.count - 1)
    )
    fires = 'count(ALERTS{{alertname="{}", alertstate="firing"}}) > bool 0'

    expressions = {fires.format(alert): last[alert] for alert in alerts()}
    assert ask_promtool(tmp_path, scrapes, expressions) == ""


@pytest.mark.parametrize("alert", DOWN_ALERTS)
def test_what_is_gone_is_down(alert: str, tmp_path: Path, scrapes: Scrapes) -> None:
    """Where targets are found by name, one that has stopped is a target no more."""
    fires = f'count(ALERTS{{alertname="{alert}", alertstate="firing"}}) > bool 0'

    assert ask_promtool(tmp_path, scrapes, {fires: scrapes.count + FORGOTTEN}) == ""


def test_every_panel_shows_something(tmp_path: Path, scrapes: Scrapes) -> None:
    shows = [f"count(({expression}) > 0) > bool 0" for expression in panels()]

    assert shows
    assert ask_promtool(tmp_path, scrapes, dict.fromkeys(shows, HEALTHY + TROUBLED - 1)) == ""
