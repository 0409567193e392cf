"""HTTP metrics: which requests are counted, and under which labels."""

import httpx2
import pytest
from fastapi import APIRouter, FastAPI
from fastapi.responses import PlainTextResponse
from prometheus_client.parser import text_string_to_metric_families

from app.service import create_app

Labels = dict[str, str]

router = APIRouter()


@router.get("/things/{number}")
async def get_thing(number: int) -> int:
    return number


@router.get("/bug")
async def bug() -> None:
    raise RuntimeError


@pytest.fixture
def app(settings_env: pytest.MonkeyPatch) -> FastAPI:  # noqa: ARG001 - what it reads
    app = create_app()
    app.include_router(router)
    return app


async def samples(client: httpx2.AsyncClient, name: str) -> list[tuple[Labels, float]]:
    """Return the samples of one name, which do not yet include this request."""
    response = await client.get("/metrics")
    assert response.status_code == 200
    families = text_string_to_metric_families(response.text)
    return [
        (sample.labels, sample.value)
        for family in families
        for sample in family.samples
        if sample.name == name
    ]


@pytest.mark.parametrize(
    ("method", "path", "labels"),
    [
        ("GET", "/things/1", {"method": "GET", "route": "/things/{number}", "status": "200"}),
        ("GET", "/things/a", {"method": "GET", "route": "/things/{number}", "status": "422"}),
        ("PUT", "/things/1", {"method": "PUT", "route": "/things/{number}", "status": "405"}),
        ("HEAD", "/things/1", {"method": "HEAD", "route": "/things/{number}", "status": "200"}),
        ("GET", "/bug", {"method": "GET", "route": "/bug", "status": "500"}),
        ("GET", "/nothing", {"method": "GET", "route": "unmatched", "status": "404"}),
        ("GET", "/things/1/", {"method": "GET", "route": "unmatched", "status": "404"}),
        ("BREW", "/nothing", {"method": "OTHER", "route": "unmatched", "status": "404"}),
        ("get", "/nothing", {"method": "GET", "route": "unmatched", "status": "404"}),
        ("BREW", "/bug", {"method": "OTHER", "route": "/bug", "status": "405"}),
    ],
)
async def test_requests_are_counted_by_method_route_and_status(
    client: httpx2.AsyncClient, method: str, path: str, labels: Labels
) -> None:
    for _ in range(2):
        await client.request(method, path)

    assert await samples(client, "http_requests_total") == [(labels, 2.0)]
    labels.pop("status")
    assert await samples(client, "http_request_duration_seconds_count") == [
        (labels, 2.0),
        ({"method": "GET", "route": "/metrics"}, 1.0),
    ]


async def test_unknown_paths_and_methods_add_no_labels(client: httpx2.AsyncClient) -> None:
    for number in range(100):
        await client.request(f"M{number}", f"/nothing/{number}")

    assert len(await samples(client, "http_requests_total")) == 1


async def test_metrics_are_in_the_prometheus_text_format(client: httpx2.AsyncClient) -> None:
    plain = await client.get("/metrics")

    assert plain.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    for name in ("python_info", "python_gc_objects_collected_total", "bg_tasks_started_total"):
        assert f"# TYPE {name.removesuffix('_total')}" in plain.text


async def test_applications_have_separate_metrics(app: FastAPI, client: httpx2.AsyncClient) -> None:
    other = create_app()
    transport = httpx2.ASGITransport(other)
    async with httpx2.AsyncClient(
        transport=transport, base_url="http://test", headers=client.headers
    ) as other_client:
        await client.get("/things/1")
        await other_client.get("/nothing")

        (mine,) = await samples(client, "http_requests_total")
        (others,) = await samples(other_client, "http_requests_total")

    assert app is not other
    assert mine[0]["route"] == "/things/{number}"
    assert others[0]["route"] == "unmatched"


async def test_answer_without_a_body_is_counted(app: FastAPI, client: httpx2.AsyncClient) -> None:
    @app.get("/plain")
    async def plain() -> PlainTextResponse:
        return PlainTextResponse("", 204)

    await client.get("/plain")

    ((labels, count),) = await samples(client, "http_requests_total")
    assert (labels["status"], count) == ("204", 1.0)
