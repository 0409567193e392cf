"""A check that every error response has to pass."""

from http import HTTPStatus

import httpx2


def check_problem(response: httpx2.Response, status: int, title: str | None = None) -> str:
    """Check that a response is a problem document; return its detail."""
    title = title or HTTPStatus(status).phrase
    assert response.status_code == status
    assert response.headers["Content-Type"] == "application/problem+json"
    body = response.json()
    assert body["type"] == "about:blank"
    assert body["title"] == title
    assert body["status"] == status
    assert body["request_id"] == response.headers["X-Request-ID"]
    return str(body["detail"])
