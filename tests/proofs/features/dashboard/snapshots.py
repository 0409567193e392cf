"""Snapshots of a runner that has waiting and ended tasks."""

from collections.abc import Mapping

from app.tasks import Snapshot


def snapshot(queue_depth: Mapping[int, int], succeeded: int = 0, failed: int = 0) -> Snapshot:
    return Snapshot(
        queued=sum(queue_depth.values()),
        running=0,
        succeeded=succeeded,
        failed=failed,
        timed_out=0,
        cancelled=0,
        retried=0,
        rejected=0,
        queue_depth=queue_depth,
        tasks=(),
    )
