"""Take the README's pictures: the task page and a report, of a service that is really running."""

from __future__ import annotations

import shutil
import tempfile
import urllib.request
from pathlib import Path

import demo
from bake import ROOT, copy_template, generate, write_config
from playwright.sync_api import Page, sync_playwright  # type: ignore[import-not-found]  # `--with`
from service import Service, uv, wait_for

PICTURES = ROOT / "docs" / "pictures"
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
SIZE = {"width": 1200, "height": 900}
# One report at a time, so that there is something to see that runs and something that waits.
SLOWLY = {
    "EMAIL_BACKEND": "file",
    "TASKS_OVERRIDES": '{"process_report": {"max_concurrency": 1}}',
}
ROWS = 400_000
SECONDS = 20
"""The charts of the tasks need something to draw."""


def main() -> None:
    """Generate and install a service in a temporary folder, give it work, and photograph it."""
    PICTURES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        template = copy_template(Path(folder) / "template")
        project = generate(template, Path(folder), write_config(Path(folder)))
        uv("sync", "--quiet", "--no-dev", project=project)
        with Service(project, SLOWLY) as service, sync_playwright() as playwright:
            executable = next(filter(None, map(shutil.which, BROWSERS)), None)
            browser = playwright.chromium.launch(executable_path=executable)
            photograph(service, browser.new_page(viewport=SIZE, color_scheme="light"))
            browser.close()


def photograph(service: Service, page: Page) -> None:
    """Save what the pages of a service look like: a report, then tasks that run, wait and fail."""
    report = demo.upload(service, service.project / demo.SAMPLE, "you@example.com")
    demo.await_report(service, report)
    page.goto(f"{service.url}/reports/{report}")
    page.screenshot(path=PICTURES / "report.png")
    keep_busy(service, service.project)
    page.goto(f"{service.url}/dashboard")
    page.wait_for_timeout(SECONDS * 1000)
    page.screenshot(path=PICTURES / "dashboard.png")


def keep_busy(service: Service, project: Path) -> None:
    """Add tasks that end at once, one that fails, and more long ones than may run."""
    for number in range(30):
        notify(service, f"user{number}@example.com")
    large = project / "data" / "orders.csv"
    lines = (f"{number},{number % 97 / 7:.2f},city {number % 13}\n" for number in range(ROWS))
    large.write_text("id,amount,city\n" + "".join(lines), encoding="utf-8")
    broken = project / "data" / "broken.csv"
    broken.write_text('a,b\n1,"never closed\n', encoding="utf-8")
    for sample in (broken, *[large] * 60):
        demo.upload(service, sample, "you@example.com")
    wait_for(lambda: service.get("/tasks")["running"] or None, 10)


def notify(service: Service, address: str) -> None:
    """Add the two tasks of a notification."""
    url = f"{service.url}/notifications/{address}"
    service.send(urllib.request.Request(url, method="POST"))  # noqa: S310 - our own URL


if __name__ == "__main__":
    main()
