"""The session cookie: it stands for an API key and is not the key.

It is signed with a secret that is derived from the key, so that nothing is stored for it, and a key
that is taken out of `API_KEYS` takes its sessions along. Who signs out ends the session: its id is
kept until the cookie would have ended anyway.
"""

import hmac
from collections.abc import Iterable
from datetime import datetime, timedelta
from hashlib import sha256
from uuid import uuid4

from itsdangerous import BadData, URLSafeTimedSerializer
from pydantic import SecretStr
from sqlalchemy import delete
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from app.db import Base, Database, UtcDateTime, utc_now

COOKIE = "session"
LIFETIME = 12 * 3600
"""Seconds."""


class SignedOut(Base):
    """A session that was ended before its time."""

    __tablename__ = "signed_out_sessions"

    id: Mapped[str] = mapped_column(primary_key=True)
    forgotten_at: Mapped[datetime] = mapped_column(UtcDateTime, index=True)
    """When its cookie has ended as well."""


def make_session(key: str) -> str:
    """Return the value of a cookie that stands for `key` from now on."""
    return str(_serializer([key]).dumps(uuid4().hex))


def read_session(cookie: str, keys: Iterable[SecretStr]) -> str | None:
    """Return the id of a session; None if it is too old or stands for none of these keys."""
    try:
        values = [key.get_secret_value() for key in keys]
        return str(_serializer(values).loads(cookie, max_age=LIFETIME))
    except BadData:
        return None


async def is_signed_out(session_id: str, database: Database) -> bool:
    """Tell whether a session was ended; raises what `Database.session` raises."""
    async with database.session(read_only=True) as session:
        return await session.get(SignedOut, session_id) is not None


async def end_session(session_id: str, session: AsyncSession) -> None:
    """End a session for good, and forget those whose cookies have ended."""
    await session.execute(delete(SignedOut).where(SignedOut.forgotten_at < utc_now()))
    forgotten_at = utc_now() + timedelta(seconds=LIFETIME)
    await session.merge(SignedOut(id=session_id, forgotten_at=forgotten_at))


def _serializer(keys: Iterable[str]) -> URLSafeTimedSerializer:
    secrets = [hmac.digest(key.encode(), b"session cookie", "sha256") for key in keys]
    algorithm = {"key_derivation": "hmac", "digest_method": sha256}
    return URLSafeTimedSerializer(secrets, salt=COOKIE, signer_kwargs=algorithm)
