"""Take the README's pictures: the task page and a report, of a service that is really running."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import urllib.request
from pathlib import Path

import demo
from bake import ROOT, copy_template, generate, write_config
from service import Service, child_environment, python_of, uv, wait_for

PICTURES = ROOT / "docs" / "pictures"
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
SIZE = {"width": 1200, "height": 900}
# One report at a time, so that there is something to see that runs and something that waits.
SLOWLY = {
    "EMAIL_BACKEND": "file",
    "TASKS_OVERRIDES": '{"process_report": {"max_concurrency": 1}}',
}
ROWS = 400_000


def main() -> int:
    """Generate and install a service in a temporary folder, and photograph it from there."""
    with tempfile.TemporaryDirectory() as folder:
        template = copy_template(Path(folder) / "template")
        project = generate(template, Path(folder), write_config(Path(folder)))
        uv("sync", "--quiet", project=project)
        paths = [Path(__file__).parent, project]
        environment = child_environment(PYTHONPATH=":".join(map(str, paths)))
        python = str(python_of(project))
        command = [python, __file__, str(project)]
        return subprocess.run(command, cwd=project, env=environment, check=False).returncode


def photograph(project: Path) -> None:
    """Fill a service with work and save what its pages look like, in the project's environment."""
    from playwright.sync_api import (  # type: ignore[import-not-found]  # noqa: PLC0415
        sync_playwright,
    )

    PICTURES.mkdir(exist_ok=True)
    executable = next(filter(None, map(shutil.which, BROWSERS)), None)
    with Service(project, SLOWLY) as service, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable)
        page = browser.new_page(viewport=SIZE, color_scheme="light")
        report = demo.upload(service, project / demo.SAMPLE, "you@example.com")
        demo.await_report(service, report)
        page.goto(f"{service.url}/reports/{report}")
        page.screenshot(path=PICTURES / "report.png")
        keep_busy(service, project)
        page.goto(f"{service.url}/dashboard")
        page.wait_for_timeout(20_000)  # the charts need something to draw
        page.screenshot(path=PICTURES / "dashboard.png")
        browser.close()


def keep_busy(service: Service, project: Path) -> None:
    """Add tasks that end at once, one that fails, and more long ones than may run."""
    for number in range(30):
        notify(service, f"user{number}@example.com")
    large = project / "data" / "orders.csv"
    lines = (f"{number},{number % 97 / 7:.2f},city {number % 13}\n" for number in range(ROWS))
    large.write_text("id,amount,city\n" + "".join(lines), encoding="utf-8")
    broken = project / "data" / "broken.csv"
    broken.write_text('a,b\n1,"never closed\n', encoding="utf-8")
    for sample in (broken, *[large] * 12):
        demo.upload(service, sample, "you@example.com")
    wait_for(lambda: service.get("/tasks")["running"] or None, 10)


def notify(service: Service, address: str) -> None:
    """Add the two tasks of a notification."""
    url = f"{service.url}/notifications/{address}"
    service.send(urllib.request.Request(url, method="POST"))  # noqa: S310 - our own URL


if __name__ == "__main__":
    if len(sys.argv) > 1:
        photograph(Path(sys.argv[1]))
    else:
        sys.exit(main())
