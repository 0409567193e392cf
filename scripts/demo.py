"""Generate the default service, run it, and make it turn a CSV file into a report and an e-mail."""

from __future__ import annotations

import email
import email.policy
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

from bake import BARE, ROOT, cookiecutter_command, copy_template, write_config
from service import Service, ServiceError, uv, wait_for

SAMPLE = Path("app/features/reports/sample.csv")
OUTBOX = Path("data/outbox")
REPORT_SECONDS = 30.0
COLUMNS = ("name", "type", "count", "nulls", "min", "max", "mean", "p50", "distinct", "top")


def step(text: str) -> None:
    """Print a heading at once, even to a pipe."""
    print(f"\n==> {text}", flush=True)


@contextmanager
def timed(what: str) -> Iterator[None]:
    """Print how long something took."""
    started = time.perf_counter()
    yield
    print(f"{what} in {time.perf_counter() - started:.2f} s", flush=True)


def shown(path: Path) -> Path:
    """Return a path relative to the working folder, if it is in that folder."""
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path


def make_project(output: Path) -> Path:
    """Generate the project with the default answers; replaces the project of the last demo."""
    project = output / "my-service"
    shutil.rmtree(project, ignore_errors=True)
    output.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        template = copy_template(Path(folder) / "template")
        command = cookiecutter_command(template, output, write_config(Path(folder)))
        with timed(f"{shown(project)}"):
            environment = {**os.environ, **BARE}
            subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL)
    return project


def upload(service: Service, sample: Path, address: str) -> str:
    """Upload the file as a browser form does, and return the id of the report."""
    boundary = uuid.uuid4().hex
    body = (
        f'--{boundary}\r\nContent-Disposition: form-data; name="email"\r\n\r\n{address}\r\n'
        f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="{sample.name}"\r\n'
        "Content-Type: text/csv\r\n\r\n"
    ).encode() + sample.read_bytes()
    request = urllib.request.Request(  # noqa: S310 - our own URL
        f"{service.url}/reports",
        data=body + f"\r\n--{boundary}--\r\n".encode(),
        headers={"Content-Type": f"multipart/form-data; boundary={boundary}"},
    )
    return str(service.send(request)["id"])


def await_report(service: Service, report_id: str) -> dict[str, Any]:
    """Poll the report until it is done; raise ServiceError if it fails or takes too long."""

    def finished() -> dict[str, Any] | None:
        report = service.get(f"/reports/{report_id}")
        return report if report["status"] in {"done", "failed"} else None

    report = wait_for(finished, REPORT_SECONDS)
    if report is None:
        raise service.error(f"The report was not done after {REPORT_SECONDS:.0f} seconds.")
    if report["status"] == "failed":
        raise service.error(f"The report failed: {report['error']}")
    return report


def await_mail(service: Service) -> str:
    """Return the first mail in the outbox as a person would read it."""
    outbox = service.project / OUTBOX
    path = wait_for(lambda: next(iter(sorted(outbox.glob("*.eml"))), None), REPORT_SECONDS)
    if path is None:
        raise service.error(f"No mail was written to {outbox}.")
    message = email.message_from_bytes(path.read_bytes(), policy=email.policy.default)
    headers = "\n".join(f"{name}: {message[name]}" for name in ("From", "To", "Subject"))
    text = message.get_body(("plain",))
    return f"{headers}\n\n{text.get_content().strip() if text else '(no text)'}"


def cell(value: object) -> str:
    """Return a value as short text; a statistic that a column does not have is a dash."""
    if isinstance(value, list):  # the most frequent values; the first is enough here
        value = f"{value[0]['value']} ({value[0]['count']}x)" if value else None
    if value is None:
        return "-"
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def table(statistics: dict[str, Any]) -> str:
    """Return the statistics as a table, one line for each column of the file."""
    rows = [list(COLUMNS)]
    rows += [[cell(column.get(name)) for name in COLUMNS] for column in statistics["columns"]]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True))
        for row in rows
    ]
    return "\n".join(line.rstrip() for line in [*lines, f"{statistics['rows']} rows"])


def show(service: Service) -> None:
    """Upload the sample; print the report and the mail."""
    step(f"Uploading {SAMPLE} to {service.url}/reports")
    report_id = upload(service, service.project / SAMPLE, "you@example.com")
    report = await_report(service, report_id)
    step(f"GET {service.url}/reports/{report_id}")
    print(table(report["statistics"]))
    mail = await_mail(service)
    step(f"The mail in {shown(service.project / OUTBOX)}")
    print(mail)
    step(f"The report with charts, for a browser: {service.url}/reports/{report_id}")
    print(f"A form to upload your own file: {service.url}/reports")
    print(f"The API's documentation: {service.url}/docs", flush=True)


def wait_for_interrupt(service: Service) -> NoReturn:
    """Leave the service running until Ctrl-C, or until it ends by itself."""
    print("The service is running. Press Ctrl-C to stop it.", flush=True)
    code = service.process.wait()
    raise service.error(f"The service ended with exit code {code}.")


def main(output: Path) -> int:
    """Run the demo in a folder; return 0 if everything worked."""
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="replace")  # type: ignore[union-attr]  # a console may be ASCII
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # otherwise the service would go on
    try:
        step("Generating a service with the default answers")
        project = make_project(output)
        step("Installing its packages: uv sync (the first time downloads some 60 of them)")
        with timed("installed"):
            uv("sync", "--no-dev", "--quiet", project=project)
        step("Starting it")
        environment = {"EMAIL_BACKEND": "file", "EMAIL_FILE_DIR": OUTBOX.as_posix()}
        with Service(project, environment) as service:
            show(service)
            if os.environ.get("DEMO_EXIT") != "1":
                wait_for_interrupt(service)
    except KeyboardInterrupt:
        print("\nStopped.")
    except (ServiceError, subprocess.CalledProcessError) as error:
        print(f"\nThe demo failed. {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1] if len(sys.argv) > 1 else ROOT / "build")))
