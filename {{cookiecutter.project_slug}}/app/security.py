"""API keys: who may call anything but health."""

import secrets
from ipaddress import ip_address
from typing import Annotated

from fastapi import Depends, Request
from fastapi.security import APIKeyHeader, HTTPAuthorizationCredentials, HTTPBearer

from app.errors import Forbidden, Unauthorized
from app.settings import Settings

api_key_header = APIKeyHeader(name="X-API-Key", auto_error=False)
bearer = HTTPBearer(auto_error=False, description="an API key")


async def require_api_key(
    request: Request,
    header: Annotated[str | None, Depends(api_key_header)],
    credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(bearer)],
) -> None:
    """Let a request pass that carries one of `API_KEYS` as `X-API-Key` or as a bearer token.

    Without any key configured, which production refuses, only this machine may call.
    """
    settings: Settings = request.app.state.settings
    if not settings.api_keys:
        if not _is_loopback(request):
            msg = "without API_KEYS only this machine may call the service"
            raise Forbidden(msg)
        return
    given = header or (credentials.credentials if credentials else None)
    if given is None:
        msg = "send an API key as X-API-Key or as a bearer token"
        raise Unauthorized(msg)
    if not is_known_key(given.encode("latin-1"), settings):  # as headers are decoded
        msg = "the API key is not known"
        raise Unauthorized(msg)


def is_known_key(sent: bytes, settings: Settings) -> bool:
    """Tell whether the bytes that a caller sent are one of `API_KEYS`."""
    # Every key is compared, each in constant time: neither the number of equal characters nor
    # the position in the list can be told from the time.
    matches = [
        secrets.compare_digest(sent, key.get_secret_value().encode()) for key in settings.api_keys
    ]
    return any(matches)


def _is_loopback(request: Request) -> bool:
    try:
        return request.client is not None and ip_address(request.client.host).is_loopback
    except ValueError:  # not an IP address: a Unix socket, or a test client
        return False
