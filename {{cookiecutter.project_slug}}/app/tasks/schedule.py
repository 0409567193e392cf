"""When a periodic task runs: at the times of a cron expression, or at an interval."""

from datetime import UTC, datetime, timedelta, timezone, tzinfo
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

_CRON_FIELDS = 5
_SECOND = timedelta(seconds=1)

WRONG_CLOCK = 3600.0
"""Seconds: a clock that is set back by more was wrong, so ticks are counted from the new time."""


class Schedule:
    """The ticks of a periodic task: whole seconds, the same in every process.

    `when` is a cron expression, with the rules of Debian's cron and a time zone (UTC by default),
    or an interval, whose ticks are its multiples since the epoch. Raises ValueError for others.
    """

    def __init__(self, when: str | timedelta, zone: str | None = None) -> None:
        if isinstance(when, timedelta) and zone is not None:
            msg = f"timezone={zone!r} is for a cron expression: an interval has none"
            raise ValueError(msg)
        self._when = _check_interval(when) if isinstance(when, timedelta) else when
        self.zone: tzinfo = UTC if zone is None else _zone(zone)
        if isinstance(when, str):
            self._check_cron(when)

    def next_after(self, time: float) -> float:
        """Return the first tick after `time`, both in seconds since the epoch."""
        if isinstance(self._when, timedelta):
            seconds = self._when.total_seconds()
            return (time // seconds + 1) * seconds
        cron = CronSim(self._when, datetime.fromtimestamp(time, self.zone))
        # In an hour that the clock repeats, CronSim also gives ticks of the first pass.
        tick = next(tick for tick in map(datetime.timestamp, cron) if tick > time)
        # `fixup_tz` marks a fixed time of day, for which CronSim follows Debian's cron.
        return tick if cron.fixup_tz else self._earliest(tick, self._when, time)

    def _earliest(self, tick: float, cron: str, time: float) -> float:
        """Return `tick`, or an earlier tick after `time` that CronSim has missed.

        CronSim steps from hour to hour, and misses ticks where the clock changes by half an hour.
        """
        offset = timezone(self._offset(tick))
        ticks = map(datetime.timestamp, CronSim(cron, datetime.fromtimestamp(time, offset)))
        return next(tick for tick in ticks if self._offset(tick) == offset.utcoffset(None))

    def _offset(self, time: float) -> timedelta:
        return datetime.fromtimestamp(time, self.zone).utcoffset() or timedelta()

    def __contains__(self, tick: float) -> bool:
        return self.next_after(tick - 1) == tick

    def __str__(self) -> str:
        return self._when if isinstance(self._when, str) else f"every {self._when}"

    def _check_cron(self, text: str) -> None:
        try:
            if len(text.split()) != _CRON_FIELDS:
                msg = "it needs five fields: minute, hour, day of the month, month, day of the week"
                raise CronSimError(msg)
            self.next_after(0.0)
        except (CronSimError, StopIteration) as error:
            msg = f"schedule={text!r} is no cron expression: {str(error) or 'it matches no day'}"
            raise ValueError(msg) from None


def _check_interval(interval: timedelta) -> timedelta:
    if interval < _SECOND or interval % _SECOND:
        msg = f"schedule={interval!r} must be whole seconds, one or more"
        raise ValueError(msg)
    return interval


def _zone(name: str) -> tzinfo:
    try:
        return ZoneInfo(name)
    except (KeyError, OSError, ValueError):
        msg = f"timezone={name!r} is not in the time zone database of this machine"
        raise ValueError(msg) from None
