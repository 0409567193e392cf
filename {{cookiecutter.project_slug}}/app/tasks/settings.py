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
    """What an operator may change of one task while it runs."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    max_concurrency: int | None = Field(default=None, ge=1, le=2**31 - 1)  # as in the table
    rate_limit: Annotated[str, AfterValidator(lambda text: str(Rate.parse(text)))] | None = None


class TaskOverride(TaskLimits):
    """What an operator may change of one task without a deployment."""

    priority: PriorityNumber | None = None
    timeout: float | None = Field(default=None, gt=0)


class TaskSettings(BaseSettings):
    """Limits of one runner, that is, of one process."""

    model_config = SettingsConfigDict(
        env_prefix="TASKS_",
        env_file=".env",
        env_ignore_empty=True,
        extra="ignore",
        frozen=True,
        hide_input_in_errors=True,
    )

    max_concurrency: int = Field(default=20, ge=1)
    """Tasks that run at the same time."""
    queue_size: int = Field(default=1000, ge=1)
    """Tasks that may wait; one more is refused with QueueFull."""
    max_threads: int = Field(default=8, ge=1)
    """Threads for sync functions, apart from those that FastAPI uses for requests."""
    aging: Annotated[float, AfterValidator(lambda seconds: min(seconds, 1e10))] = Field(10.0, ge=0)
    """Seconds that one step of priority is worth: a task overtakes those of the next lower step
    that came less than this before it. 0 is first come, first served; inf, which is 300 years, is
    strict priority, under which low priorities can starve."""
    drain_timeout: float = Field(default=20.0, ge=0, allow_inf_nan=False)
    """Seconds that queued and running tasks get at shutdown before they are cancelled."""
    lease: float = Field(default=20.0, gt=0, allow_inf_nan=False)
    """Seconds after which another process may take the durable tasks of one that is gone; a live
    one renews its leases four times in that time."""
    sweep_interval: float = Field(default=5.0, gt=0, allow_inf_nan=False)
    """Seconds between two polls for durable tasks that nobody has; what this process itself adds is
    claimed at once."""
    claim: str = Field(default=ALL, pattern=r"[^\s,]")
    """Which durable tasks this process runs: `all`, `none`, or a comma list of their names. It
    submits, cancels and retries the others, too."""
    retention: float = Field(default=7 * 86400.0, ge=0)
    """Seconds that durable tasks are kept after their end; inf for ever."""
    crash_attempts: int = Field(default=10, ge=1)
    """Runs of a durable task, if its process ends each time, when it has no `retry` to say so. Not
    few: an innocent task may be running at several crashes that are due to another."""
    overrides: Annotated[dict[str, TaskOverride], NoDecode] = Field(default_factory=dict)
    """Options by the name of the task, over those in the code, as JSON:
    `{"process_report": {"max_concurrency": 1}}`."""
    default_timeout: float = Field(default=300.0, gt=0)
    """Seconds a task may run when it says nothing itself; inf for no limit."""

    def claimed(self, names: Collection[str]) -> set[str]:
        """Return those of all durable tasks that this process runs.

        Raises ValueError when the settings name one that is not among `names`.
        """
        if self.claim in (ALL, NONE):
            return set(names) if self.claim == ALL else set()
        claimed = {name.strip() for name in self.claim.split(",")} - {""}
        if unknown := claimed.difference(names):
            msg = f"TASKS_CLAIM: there is no durable task called {', '.join(sorted(unknown))}"
            raise ValueError(msg)
        return claimed

    def check_overrides(self, names: Collection[str]) -> None:
        """Raise ValueError when a task is overridden that is not among `names`."""
        unknown = self.overrides.keys() - names
        if unknown:
            msg = f"TASKS_OVERRIDES: there is no task called {', '.join(sorted(unknown))}"
            raise ValueError(msg)

    @field_validator("overrides", mode="before")
    @classmethod
    def _decode(cls, value: object) -> object:
        return from_json(value) if isinstance(value, str) else value
