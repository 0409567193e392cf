"""Settings of the mail backends (EMAIL_*) and of the failure alerts (ALERT_*)."""

import re
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, SecretStr, model_validator
from pydantic_settings import SettingsConfigDict

from app.settings import NAME, EnvSettings, ListSetting, ProjectPath, in_production, is_loopback

from .message import EmailAddress, SenderAddress

# The name of a project may contain characters that the name of a sender may not.
_DEFAULT_SENDER = re.sub('[<>"]', "", NAME) + " <no-reply@localhost>"

Tls = Literal["none", "starttls", "tls"]


class EmailSettings(EnvSettings):
    """How mail is sent. Raises ValidationError for a combination that cannot work."""

    model_config = SettingsConfigDict(
        env_prefix="EMAIL_", populate_by_name=True, loc_by_alias=False
    )

    backend: Literal["console", "file", "memory", "smtp"] = "console"
    from_: SenderAddress = Field(default=_DEFAULT_SENDER, validation_alias="EMAIL_FROM")
    """Sender of every mail: "Name <address>" or a bare address."""
    file_dir: ProjectPath = Path("data/outbox")
    """Folder of the file backend; created with the first mail."""
    smtp_host: str | None = Field(default=None, pattern=r"^[A-Za-z0-9._:-]+$")
    smtp_port: int | None = Field(default=None, ge=1, le=65535)
    """The library's default is 587 for "starttls", 465 for "tls" and 25 for "none"."""
    smtp_tls: Tls | None = None
    """Encryption: "starttls" (required: without it no mail is sent), "tls" from the first byte, or
    "none". By default "none" for a server on this machine and "starttls" for any other."""
    smtp_user: str | None = None
    smtp_password: SecretStr | None = None
    timeout: float = Field(default=30.0, gt=0, le=60)
    """Seconds for one attempt to send a message, from connecting to the server's answer."""

    @property
    def tls(self) -> Tls:
        """The encryption in use: `smtp_tls` or its default."""
        return self.smtp_tls or ("none" if is_loopback(self.smtp_host or "") else "starttls")

    @model_validator(mode="after")
    def _check_backend(self) -> Self:
        if problem := self._problem():
            raise ValueError(problem)
        return self

    def _problem(self) -> str | None:
        if self.backend != "smtp":
            remedy = "sends no mail in production; set EMAIL_BACKEND=smtp and EMAIL_SMTP_HOST"
            return f"EMAIL_BACKEND: {self.backend} {remedy}" if in_production() else None
        if self.smtp_host is None:
            return "EMAIL_BACKEND=smtp needs EMAIL_SMTP_HOST"
        if (self.smtp_user is None) != (self.smtp_password is None):
            return "EMAIL_SMTP_USER and EMAIL_SMTP_PASSWORD: set both or neither"
        if self.smtp_user is not None and self.tls == "none" and not is_loopback(self.smtp_host):
            return "EMAIL_SMTP_TLS=none would send the password over the network in clear text"
        return None


class AlertSettings(EnvSettings):
    """Who gets mail about failed tasks, and how often."""

    model_config = SettingsConfigDict(env_prefix="ALERT_")

    email_to: ListSetting[EmailAddress] = ()
    """Addresses; empty sends no alerts."""
    window: float = Field(default=3600.0, gt=0, allow_inf_nan=False)
    """Seconds after a mail in which failures of the same task and type are only counted."""
