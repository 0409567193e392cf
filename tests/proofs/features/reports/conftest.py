"""Fixtures from the example's own tests."""

from fastapi import FastAPI
from sqlalchemy import func, select

from app.features.reports.models import Report
from tests.features.reports.conftest import analyse, browser, finish, upload

__all__ = ["analyse", "browser", "finish", "upload"]


async def count_reports(app: FastAPI) -> int:
    """Return the number of stored reports."""
    async with app.state.database.session(read_only=True) as session:
        return await session.scalar(select(func.count()).select_from(Report)) or 0
