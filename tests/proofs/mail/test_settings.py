"""Mail settings: their defaults, and which values are refused."""

from typing import Any

import pytest
from pydantic import SecretStr, ValidationError

from app.mail import AlertSettings, EmailSettings


def test_all_settings_are_read_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    environment = {
        "EMAIL_BACKEND": "smtp",
        "EMAIL_FROM": "Reports <reports@example.com>",
        "EMAIL_FILE_DIR": "",
        "EMAIL_SMTP_HOST": "mail.example.com",
        "EMAIL_SMTP_PORT": "2525",
        "EMAIL_SMTP_USER": "mailer",
        "EMAIL_SMTP_PASSWORD": "s3cret",
        "EMAIL_SMTP_TLS": "tls",
        "EMAIL_TIMEOUT": "10",
        "ALERT_EMAIL_TO": " ann@example.com, ops@Example.com ,",
        "ALERT_WINDOW": "60",
    }
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    settings = EmailSettings()
    assert settings == EmailSettings(
        backend="smtp",
        from_="Reports <reports@example.com>",
        smtp_host="mail.example.com",
        smtp_port=2525,
        smtp_user="mailer",
        smtp_password=SecretStr("s3cret"),
        smtp_tls="tls",
        timeout=10,
    )
    assert "s3cret" not in repr(settings)
    assert AlertSettings().email_to == ("ann@example.com", "ops@example.com")
    assert AlertSettings().window == 60.0


@pytest.mark.parametrize(
    ("host", "given", "tls"),
    [
        ("mail.example.com", None, "starttls"),
        ("mail.example.com", "tls", "tls"),
        ("mail.example.com", "none", "none"),
        ("192.0.2.1", None, "starttls"),
        ("localhost.example.com", None, "starttls"),
        ("localhost", None, "none"),
        ("127.0.0.1", None, "none"),
        ("127.8.9.1", None, "none"),
        ("::1", None, "none"),
        ("localhost", "starttls", "starttls"),
    ],
)
def test_encryption_is_the_default_for_other_machines(host: str, given: Any, tls: str) -> None:
    assert EmailSettings(backend="smtp", smtp_host=host, smtp_tls=given).tls == tls


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"backend": "pigeon"}, "'console', 'file', 'memory' or 'smtp'"),
        ({"smtp_host": None}, "EMAIL_BACKEND=smtp needs EMAIL_SMTP_HOST"),
        ({"smtp_user": "mailer"}, "set both or neither"),
        ({"smtp_password": "s3cret"}, "set both or neither"),
        (
            {"smtp_user": "mailer", "smtp_password": "s3cret", "smtp_tls": "none"},
            "over the network in clear text",
        ),
        ({"from_": "nobody"}, "not a valid e-mail address"),
        ({"smtp_host": "https://mail.example.com"}, "should match pattern"),
        ({"smtp_host": "mail.example.com\r\n"}, "should match pattern"),
        ({"smtp_port": 0}, "greater than or equal to 1"),
        ({"smtp_port": 65536}, "less than or equal to 65535"),
        ({"smtp_tls": "maybe"}, "'none', 'starttls' or 'tls'"),
        ({"timeout": 0}, "greater than 0"),
        ({"timeout": 61}, "less than or equal to 60"),
        ({"timeout": "nan"}, "less than or equal to 60"),
        ({"from_": "A <a@example.com> B"}, "can't be anything after"),
    ],
)
def test_invalid_settings_are_refused(values: dict[str, Any], message: str) -> None:
    given = {"backend": "smtp", "smtp_host": "mail.example.com"} | values
    with pytest.raises(ValidationError, match=message) as refused:
        EmailSettings(**given)
    assert "s3cret" not in str(refused.value)
    assert refused.value.error_count() == 1


def test_error_names_the_field_without_its_value(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EMAIL_FROM", "nobody")
    with pytest.raises(ValidationError) as refused:
        EmailSettings()
    assert [error["loc"] for error in refused.value.errors()] == [("from_",)]
    assert "nobody" not in str(refused.value)


@pytest.mark.parametrize("backend", ["console", "file", "memory"])
def test_production_needs_a_backend_that_sends(
    monkeypatch: pytest.MonkeyPatch, backend: Any
) -> None:
    monkeypatch.setenv("ENVIRONMENT", "production")
    with pytest.raises(ValidationError, match=f"EMAIL_BACKEND: {backend} .* EMAIL_SMTP_HOST"):
        EmailSettings(backend=backend)


def test_smtp_settings_are_not_checked_for_another_backend() -> None:
    assert EmailSettings(backend="file", smtp_user="mailer").smtp_user == "mailer"


@pytest.mark.parametrize("window", [0, -1, float("nan"), float("inf")])
def test_alert_window_must_be_positive_and_finite(window: float) -> None:
    with pytest.raises(ValidationError):
        AlertSettings(window=window)


@pytest.mark.parametrize("value", ["ann", "ann@example.com;bob@example.com", "Ann <a@example.com>"])
def test_invalid_alert_address_is_refused(value: str) -> None:
    with pytest.raises(ValidationError, match="not a valid e-mail address"):
        AlertSettings(email_to=value)
