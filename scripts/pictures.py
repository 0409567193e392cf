"""Take the README's pictures, the task page and a report, from a running service."""

from __future__ import annotations

import shutil
import tempfile
import time
import urllib.request
from pathlib import Path

import demo
from bake import ROOT, copy_template, generate, write_config
from playwright.sync_api import Page, sync_playwright  # type: ignore[import-not-found]  # `--with`
from service import Service, uv

PICTURES = ROOT / "docs" / "pictures"
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
SIZE = {"width": 1200, "height": 900}
ENVIRONMENT = {"EMAIL_BACKEND": "file", "TASKS_MAX_CONCURRENCY": "8"}
ORDERS = 745
"""They fill the ten minutes of the charts, and end in a rush, so that some tasks wait."""
SHOP = '''"""A shop whose tasks the page shows."""

import asyncio
from random import random

from fastapi import APIRouter

from app.db import SessionDep
from app.feature import Feature
from app.settings import Settings
from app.tasks import Priority, Retry, Tasks, task

router = APIRouter()


@task(durable=True, timeout=20, retry=Retry(attempts=2, delay=1))
async def charge_card(order: int) -> None:
    await asyncio.sleep(random())
    if order % 40 == 7:
        raise ConnectionError("the bank does not answer")


@task(timeout=30)
async def send_invoice(order: int) -> None:
    await asyncio.sleep(random())


@task(timeout=15)
async def resize_pictures(order: int) -> None:
    await asyncio.sleep(2 + 4 * random())


@router.post("/orders/{order}")
async def sell(order: int, session: SessionDep, tasks: Tasks) -> None:
    tasks.add_task(charge_card, order, priority=Priority.HIGH)
    tasks.add_task(send_invoice, order)
    tasks.add_task(resize_pictures, order, priority=Priority.LOW)


def create_feature(_: Settings) -> Feature:
    return Feature(name="shop", router=router, tasks=[charge_card, send_invoice, resize_pictures])
'''


def main() -> None:
    """Generate and install a service in a temporary folder, give it work, and take the pictures."""
    PICTURES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        template = copy_template(Path(folder) / "template")
        project = generate(template, Path(folder), write_config(Path(folder)))
        shop = project / "app" / "features" / "shop"
        shop.mkdir()
        (shop / "__init__.py").write_text(SHOP, encoding="utf-8")
        uv("sync", "--quiet", "--no-dev", project=project)
        with Service(project, ENVIRONMENT) as service, sync_playwright() as playwright:
            executable = next(filter(None, map(shutil.which, BROWSERS)), None)
            browser = playwright.chromium.launch(executable_path=executable)
            photograph(service, browser.new_page(viewport=SIZE, color_scheme="light"))
            browser.close()


def photograph(service: Service, page: Page) -> None:
    """Save pictures of a report, and of the task page with running, waiting and failed tasks."""
    report = demo.upload(service, service.project / demo.SAMPLE, "you@example.com")
    demo.await_report(service, report)
    page.goto(f"{service.url}/reports/{report}")
    page.screenshot(path=PICTURES / "report.png")
    sell(service)
    page.goto(f"{service.url}/dashboard")
    page.get_by_text("Live.").wait_for()
    page.screenshot(path=PICTURES / "dashboard.png")


def sell(service: Service) -> None:
    """Place orders for ten minutes, at times more than the tasks can keep up with."""
    for order in range(ORDERS):
        url = f"{service.url}/orders/{order}"
        service.send(urllib.request.Request(url, method="POST"))  # noqa: S310 - our own URL
        in_a_rush = order % 150 > 90  # noqa: PLR2004 - sixty orders of a hundred and fifty
        time.sleep(0.3 if in_a_rush else 1)


if __name__ == "__main__":
    main()
