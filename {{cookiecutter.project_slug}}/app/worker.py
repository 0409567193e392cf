"""The worker: `python -m app.worker` runs durable tasks, and serves only health routes.

It starts and stops in the same way as the service, and shares nothing with it but the database.
"""

from collections.abc import Sequence
from dataclasses import replace

import uvicorn

from app.feature import Feature, load_features
from app.service import create_app
from app.settings import ConfigurationError, Settings, WorkerSettings, read
from app.tasks import TaskSettings

_LAST_PROBES = 5
"""Seconds that a shutdown waits for health requests in progress."""


def main(features: Sequence[Feature] | None = None) -> None:
    """Run the durable tasks of TASKS_CLAIM until SIGTERM.

    By default the features come from `app/features`. Raises ConfigurationError as `create_app`
    does, and if TASKS_CLAIM is none.
    """
    settings, worker_settings = read(Settings), read(WorkerSettings)
    if read(TaskSettings).claim == "none":
        raise ConfigurationError("TASKS_CLAIM: a worker needs tasks to run")
    features = load_features(settings) if features is None else features
    uvicorn.run(
        create_app(settings, [_for_worker(feature) for feature in features]),
        host=worker_settings.host,
        port=worker_settings.port,
        workers=1,  # WEB_CONCURRENCY is for the service
        timeout_graceful_shutdown=_LAST_PROBES,
        server_header=False,
        log_config=None,  # create_app has configured logging
    )


def _for_worker(feature: Feature) -> Feature:
    """Return the feature with its tasks in this process, and without routes unless it is health."""
    router = feature.router if feature.name == "health" else None
    return replace(feature, router=router, engine=None)


if __name__ == "__main__":
    main()
