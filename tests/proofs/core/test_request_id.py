"""The request id: available in every context, and unique for every request."""

import httpx2
import pytest
import structlog
from fastapi import APIRouter, FastAPI

router = APIRouter()


@router.get("/request-id")
async def bound_id() -> str:
    request_id: str = structlog.contextvars.get_contextvars()["request_id"]
    return request_id


@router.get("/request-id/in-a-thread")
def bound_id_in_a_thread() -> str:
    request_id: str = structlog.contextvars.get_contextvars()["request_id"]
    return request_id


@pytest.fixture(scope="module")
def app(shared_app: FastAPI) -> FastAPI:
    shared_app.include_router(router)
    return shared_app


@pytest.mark.parametrize(
    "given", ["abc", "A.b-c_9", "x" * 64, "5f0d7c1e-0c5e-4d5b-9f0a-1b2c3d4e5f60"]
)
@pytest.mark.parametrize("path", ["/request-id", "/request-id/in-a-thread"])
async def test_valid_request_id_is_kept(client: httpx2.AsyncClient, path: str, given: str) -> None:
    response = await client.get(path, headers={"X-Request-ID": given})

    assert response.headers["X-Request-ID"] == given
    assert response.json() == given


async def test_request_without_an_id_gets_a_unique_one(client: httpx2.AsyncClient) -> None:
    answers = [await client.get("/request-id") for _ in range(20)]

    assert len({answer.json() for answer in answers}) == 20
