"""The backend for development and demonstrations: one .eml file a message."""

import asyncio
import os
import tempfile
from datetime import UTC, datetime
from email.headerregistry import Address
from email.policy import SMTP, SMTPUTF8
from pathlib import Path
from uuid import uuid4

from app.email.errors import TransientEmailError
from app.email.message import EmailMessage
from app.files import make_folder


class FileSender:
    """Writes messages into a folder, named by time and id; a mail program opens them.

    Nothing is synced: a power cut may lose the last messages, though they count as sent.
    """

    def __init__(self, sender: Address, directory: Path) -> None:
        self._sender = sender
        self._directory = directory

    async def send(self, message: EmailMessage) -> None:
        """Write the message; raises TransientEmailError when the disk is full or read-only."""
        addresses = "".join([self._sender.addr_spec, *message.to])
        policy = SMTP if addresses.isascii() else SMTPUTF8
        content = message.to_mime(self._sender).as_bytes(policy=policy)
        try:
            await asyncio.to_thread(self._write, _file_name(message), content)
        except OSError as error:
            msg = f"cannot write into {self._directory}: {error}"
            raise TransientEmailError(msg) from error

    def _write(self, name: str, content: bytes) -> None:
        """Write beside the file and rename, so that a reader never sees half a message."""
        make_folder(self._directory)
        descriptor, temporary = tempfile.mkstemp(dir=self._directory, suffix=".tmp")
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
            Path(temporary).replace(self._directory / name)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise


def _file_name(message: EmailMessage) -> str:
    # The same message can be sent twice in the same microsecond.
    return f"{datetime.now(UTC):%Y%m%dT%H%M%S.%fZ}-{message.message_id}-{uuid4().hex[:8]}.eml"
