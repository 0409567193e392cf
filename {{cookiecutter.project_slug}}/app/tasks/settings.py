"""Settings of the task runner, read from TASKS_* environment variables."""

from collections.abc import Collection
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator
from pydantic_core import from_json
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from .limits import Rate
from .priority import PriorityNumber

ALL, NONE = "all", "none"


class TaskLimits(BaseModel):
    """The limits of one task, which an operator may change at run time."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    max_concurrency: int | None = Field(default=None, ge=1, le=2**31 - 1)  # fits its column
    rate_limit: Annotated[str, AfterValidator(lambda text: str(Rate.parse(text)))] | None = None


class TaskOverride(TaskLimits):
    """The options of one task that an operator may override without a deployment."""

    priority: PriorityNumber | None = None
    timeout: float | None = Field(default=None, gt=0)


class TaskSettings(BaseSettings):
    """Settings of one runner, that is, of one process."""

    model_config = SettingsConfigDict(
        env_prefix="TASKS_",
        env_file=".env",
        env_ignore_empty=True,
        extra="ignore",
        frozen=True,
        hide_input_in_errors=True,
    )

    max_concurrency: int = Field(default=20, ge=1)
    """Tasks that may run at the same time."""
    queue_size: int = Field(default=1000, ge=1)
    """Tasks that may wait; further ones are refused with QueueFull."""
    max_threads: int = Field(default=8, ge=1)
    """Threads for sync functions, apart from those that FastAPI uses for requests."""
    aging: Annotated[float, AfterValidator(lambda seconds: min(seconds, 1e10))] = Field(10.0, ge=0)
    """Seconds that one step of priority is worth: a task overtakes tasks of the next lower priority
    that became due less than this time before it. 0 means first come, first served; inf, which is
    cut to 300 years, means strict priority, under which low priorities can starve."""
    drain_timeout: float = Field(default=20.0, ge=0, allow_inf_nan=False)
    """Seconds that queued and running tasks get at shutdown before they are cancelled."""
    lease: float = Field(default=20.0, gt=0, allow_inf_nan=False)
    """Seconds after which another process may claim the durable tasks of a process that has died; a
    live process renews its leases four times in that time."""
    sweep_interval: float = Field(default=5.0, gt=0, allow_inf_nan=False)
    """Seconds between two polls of the table for due tasks that other processes have added or left
    behind; a process claims its own at once."""
    claim: str = Field(default=ALL, pattern=r"[^\s,]")
    """Which durable tasks this process runs: `all`, `none`, or their names separated by commas. It
    can submit, cancel and retry the others too."""
    periodic: bool = True
    """Whether this process submits periodic tasks at their ticks."""
    retention: float = Field(default=7 * 86400.0, ge=0)
    """Seconds that durable tasks are kept after their end; inf keeps them for ever."""
    crash_attempts: int = Field(default=10, ge=1)
    """How often a durable task without `retry` is run if its process dies each time. Not a small
    number, since a harmless task may be running in several crashes that another task causes."""
    overrides: Annotated[dict[str, TaskOverride], NoDecode] = Field(default_factory=dict)
    """Options by the name of the task, which replace those in the code, as JSON:
    `{"process_report": {"max_concurrency": 1}}`."""
    default_timeout: float = Field(default=300.0, gt=0)
    """Seconds that a task without `timeout` may run; inf for no limit."""

    def claimed(self, names: Collection[str]) -> set[str]:
        """Return which of the durable tasks `names` this process runs.

        Raises ValueError when the settings claim a task that is not among `names`.
        """
        if self.claim in (ALL, NONE):
            return set(names) if self.claim == ALL else set()
        claimed = {name.strip() for name in self.claim.split(",")} - {""}
        if unknown := claimed.difference(names):
            msg = f"TASKS_CLAIM: there is no durable task called {', '.join(sorted(unknown))}"
            raise ValueError(msg)
        return claimed

    def check_overrides(self, names: Collection[str]) -> None:
        """Raise ValueError when the settings override a task that is not among `names`."""
        if unknown := self.overrides.keys() - names:
            msg = f"TASKS_OVERRIDES: there is no task called {', '.join(sorted(unknown))}"
            raise ValueError(msg)

    @field_validator("overrides", mode="before")
    @classmethod
    def _decode(cls, value: object) -> object:
        return from_json(value) if isinstance(value, str) else value
