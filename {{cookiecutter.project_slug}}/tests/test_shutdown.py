"""SIGTERM: probes see it before the service stops, and running tasks may finish."""

from pathlib import Path

from .server import ServerProcess

SERVICE = """
import sys
from app.service import create_app
from app.tasks import Tasks, task

@task
def read_a_line():
    print("task started", flush=True)
    sys.stdin.readline()
    print("task done", flush=True)

app = create_app()

@app.post("/test-shutdown", status_code=202)
async def read(tasks: Tasks) -> str:
    return tasks.add_task(read_a_line)
"""


def test_sigterm_ends_readiness_and_lets_tasks_finish(tmp_path: Path, database_url: str) -> None:
    (tmp_path / "service.py").write_text(SERVICE, encoding="utf-8")
    variables = {"DATABASE_URL": database_url, "SHUTDOWN_DELAY": "3600"}
    with ServerProcess(tmp_path, "service:app", **variables) as server:
        server.post("/test-shutdown")
        server.wait_for_line("task started")
        server.terminate()
        server.wait_for_line("shutdown announced")
        server.terminate()  # as systemd does, if the service is started by `uv run`
        ready, live = server.get("/health/ready"), server.get("/health/live")
        server.interrupt()  # ends the delay
        server.wait_for_line("Waiting for application shutdown")
        server.say("go on")
        server.wait_for_line("task done")
        code = server.wait_for_exit()

    assert ready.status_code == 503
    assert ready.headers["Retry-After"] == "1"
    assert ready.json()["detail"] == "the service is shutting down"
    assert live.status_code == 200
    assert "Traceback" not in "".join(server.output)
    assert code == 0
