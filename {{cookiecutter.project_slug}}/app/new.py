"""`python -m app.new orders` writes a feature to begin with: a table, routes, a task, a test."""

import builtins
import re
import sys
from keyword import kwlist
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1]
# Of the platform: no feature can make another one of these names.
TABLES = ("alembic_version", "background_tasks", "signed_out_sessions")
FILES = {
    "app/features/NAME/__init__.py": '''"""CLASS: what it is for."""

from app.feature import Feature
from app.settings import Settings

from .router import router
from .tasks import process_ITEM


def create_feature(_: Settings) -> Feature:
    """Make the feature."""
    return Feature(name="NAME", router=router, tasks=[process_ITEM])
''',
    "app/features/NAME/models.py": '''"""The tables."""

from datetime import datetime
from uuid import UUID, uuid4

from sqlalchemy.orm import Mapped, mapped_column

from app.db import Base, UtcDateTime


class CLASS(Base):
    """What was asked for, and when it was done."""

    __tablename__ = "NAME"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    title: Mapped[str]
    done_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
''',
    "app/features/NAME/tasks.py": '''"""The tasks."""

from uuid import UUID

from app.db import task_session, utc_now
from app.tasks import Retry, task

from .models import CLASS


@task(durable=True, timeout=30, retry=Retry(attempts=3))
async def process_ITEM(ITEM_id: UUID) -> None:
    """Do the work. After a crash it runs again: a second run must do no harm."""
    async with task_session() as session:
        item = await session.get_one(CLASS, ITEM_id)
        item.done_at = item.done_at or utc_now()
''',
    "app/features/NAME/router.py": '''"""The routes. Each wants an API key."""

from datetime import datetime
from typing import Any
from uuid import UUID

from fastapi import APIRouter
from pydantic import BaseModel, Field

from app.db import ReadSessionDep, SessionDep
from app.errors import NotFound
from app.tasks import Tasks

from .models import CLASS
from .tasks import process_ITEM

router = APIRouter(prefix="/NAME", tags=["NAME"])


class CLASSIn(BaseModel):
    """What a caller sends."""

    # Without NUL, which not every database can store.
    title: str = Field(min_length=1, max_length=200, pattern=r"^[^\\x00]*$")


class CLASSOut(CLASSIn):
    """What a caller gets."""

    id: UUID
    done_at: datetime | None


@router.post("", status_code=202, response_model=CLASSOut)
async def create_ITEM(
    body: CLASSIn,
    session: SessionDep,
    tasks: Tasks,
) -> Any:
    """Store it, and process it after the response."""
    item = CLASS(title=body.title)
    session.add(item)
    await session.flush()  # before it, the id is None
    tasks.add_task(process_ITEM, item.id)
    return item


@router.get("/{ITEM_id}", response_model=CLASSOut)
async def read_ITEM(ITEM_id: UUID, session: ReadSessionDep) -> Any:
    """Return one."""
    item = await session.get(CLASS, ITEM_id)
    if item is None:
        msg = "there is no such ITEM"
        raise NotFound(msg)
    return item
''',
    "tests/features/NAME/__init__.py": "",
    "tests/features/NAME/test_NAME.py": '''"""Stored by the request, and processed after it."""

from uuid import uuid4

import httpx2

from app.tasks import TaskRunner


async def test_it_is_processed(client: httpx2.AsyncClient, runner: TaskRunner) -> None:
    created = await client.post("/NAME", json={"title": "tea"})
    await runner.join(5)
    read = await client.get(f"/NAME/{created.json()['id']}")

    assert created.status_code == 202
    assert read.json()["done_at"]
    assert (await client.get(f"/NAME/{uuid4()}")).status_code == 404
    assert (await client.post("/NAME", json={"title": "\\0"})).status_code == 422


async def test_it_wants_a_key(client: httpx2.AsyncClient) -> None:
    del client.headers["X-API-Key"]

    assert (await client.post("/NAME", json={"title": "tea"})).status_code == 401
''',
}


def write_feature(name: str) -> list[str]:
    """Write the files of a feature; return their paths. Exits if it has a bad name or is there."""
    item = name.removesuffix("s")
    words = {"NAME": name, "ITEM": item, "CLASS": item.title().replace("_", "")}
    imports = re.findall(r"(?m)^from .* import (.*)$", "\n".join(FILES.values()))
    taken = {"", *TABLES, *kwlist, *", ".join(imports).split(", ")}
    is_taken = not taken.isdisjoint(words.values()) or hasattr(builtins, words["CLASS"])
    # A longer name would make lines that have to be broken.
    if not re.fullmatch(r"[a-z][a-z0-9_]{0,19}", name) or is_taken:
        rule = "20 of a-z, 0-9 and _ at most, and no word that the code has already"
        sys.exit(f"{name!r} is no name for a feature: use one such as `orders`, {rule}")
    for path in PROJECT.glob("*/features/*"):  # `order` and `orders` would have one class
        if path.name in {name, item, f"{item}s"}:
            sys.exit(f"{path} exists already: choose another name")
    files = {PROJECT / path.replace("NAME", name): text for path, text in FILES.items()}
    for path, text in files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(re.sub("|".join(words), lambda found: words[found[0]], text), "utf-8")
    return [str(path.relative_to(PROJECT)) for path in files]


def main() -> None:
    """Write the feature that the command line names, and say what comes next."""
    paths = write_feature(" ".join(sys.argv[1:]))
    sys.stdout.write("\n".join([*paths, "", "Now the table: README.md has the next steps.", ""]))


if __name__ == "__main__":
    main()
