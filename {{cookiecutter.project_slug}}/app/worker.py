"""The worker: `python -m app.worker` runs durable tasks beside the service, and serves its health.

It opens what the service opens, and ends as the service does; the database is all they share.
"""

from collections.abc import Sequence
from dataclasses import replace

import uvicorn

from app.feature import Feature, load_features
from app.service import create_app
from app.settings import ConfigurationError, Settings, WorkerSettings, read
from app.tasks import TaskSettings

_LAST_PROBES = 5
"""Seconds that a shutdown waits for probes that are being answered."""


def main(features: Sequence[Feature] | None = None) -> None:
    """Run the durable tasks of TASKS_CLAIM until SIGTERM.

    Unless given, the features are those under `app/features`. Raises ConfigurationError, as
    `create_app` does, and when there would be nothing to run.
    """
    settings, worker_settings = read(Settings), read(WorkerSettings)
    if read(TaskSettings).claim == "none":
        raise ConfigurationError("TASKS_CLAIM: a worker needs tasks to run")
    features = load_features(settings) if features is None else features
    uvicorn.run(
        create_app(settings, [_of_a_worker(feature) for feature in features]),
        host=worker_settings.host,
        port=worker_settings.port,
        workers=1,  # whatever WEB_CONCURRENCY says, which is for the service
        timeout_graceful_shutdown=_LAST_PROBES,
        server_header=False,
        log_config=None,  # the application's is there already
    )


def _of_a_worker(feature: Feature) -> Feature:
    """Leave out a feature's routes, except those of health, and run its tasks in this process."""
    router = feature.router if feature.name == "health" else None
    return replace(feature, router=router, engine=None)


if __name__ == "__main__":
    main()
