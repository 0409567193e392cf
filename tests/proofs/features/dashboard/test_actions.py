"""The buttons of the task page: forms that work without a script."""

import httpx2
import pytest
from fastapi import FastAPI


@pytest.fixture
def app(shared_app: FastAPI) -> FastAPI:
    return shared_app


@pytest.mark.parametrize("task_id", ["", "a" * 201, "\0"])
@pytest.mark.parametrize("action", ["cancel", "retry"])
async def test_invalid_id_is_422(client: httpx2.AsyncClient, action: str, task_id: str) -> None:
    response = await client.post(f"/dashboard/{action}", data={"task": task_id})

    assert response.status_code == 422
