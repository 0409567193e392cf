"""Core settings: where they come from, what is refused, and what the error says."""

from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

import pytest
from pydantic import ValidationError
from pydantic_settings import BaseSettings

from app.db import DatabaseSettings
from app.db.backend import default_url
from app.mail import EmailSettings
from app.settings import ConfigurationError, Settings, read
from app.tasks import TaskSettings
from cost import costs_little
from tests.server import ServerProcess
from tests.test_settings import all_settings


def keys(settings: Settings) -> list[str]:
    return [key.get_secret_value() for key in settings.api_keys]


@pytest.mark.parametrize(
    "text", ['["one"', "[one]", "[1]", '[["one"]]', '["one"], two', "[" * 100_000]
)
def test_broken_json_list_is_refused(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("API_KEYS", text)

    with pytest.raises(
        ConfigurationError, match=r"API_KEYS: begins with .* not a JSON list"
    ) as caught:
        read(Settings)

    assert "one" not in str(caught.value)


@pytest.mark.parametrize("settings", all_settings())
def test_broken_json_is_refused_by_every_list_setting(settings: type[BaseSettings]) -> None:
    for name, field in settings.model_fields.items():
        if field.default == ():
            with pytest.raises(ValidationError, match="not a JSON list"):
                settings.model_validate({name: "[broken"})


def test_allowed_hosts_are_split_and_lowercased(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Settings().allowed_hosts == ()

    monkeypatch.setenv("ALLOWED_HOSTS", "Example.com, *.example.org,localhost,127.0.0.1")

    hosts = ("example.com", "*.example.org", "localhost", "127.0.0.1")
    assert read(Settings).allowed_hosts == hosts


def test_cors_origins_are_lowercased_and_must_be_origins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CORS_ORIGINS", "https://App.example.com, http://localhost:5173,*")
    origins = ("https://app.example.com", "http://localhost:5173", "*")
    assert read(Settings).cors_origins == origins

    for text in ("app.example.com", "https://app.example.com/", "https://*.example.com", "ftp://a"):
        monkeypatch.setenv("CORS_ORIGINS", text)
        with pytest.raises(ConfigurationError, match="CORS_ORIGINS: must be origins"):
            read(Settings)


@pytest.mark.parametrize("text", ["a" * 100_000, "a." * 50_000, "*." * 50_000, "a" * 100_000 + "!"])
def test_host_names_are_checked_in_time_in_proportion_to_their_length(text: str) -> None:
    for settings, name in ((Settings, "allowed_hosts"), (EmailSettings, "smtp_host")):
        with costs_little(), suppress(ValidationError):
            settings.model_validate({name: text})


@pytest.mark.parametrize(
    "text", ["example.com:8000", "https://example.com", "*", "a.*.com", "a..b", "a b", ".a", "::1"]
)
def test_invalid_allowed_host_is_refused(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("ALLOWED_HOSTS", text)

    with pytest.raises(ConfigurationError, match="ALLOWED_HOSTS: must be host names"):
        read(Settings)


def test_all_invalid_settings_are_reported_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOG_LEVEL", "loud")
    monkeypatch.setenv("MAX_UPLOAD_BYTES", "0")

    with pytest.raises(ConfigurationError, match=r"MAX_UPLOAD_BYTES: .*\n  LOG_LEVEL: "):
        read(Settings)


def test_error_names_the_field_inside_a_nested_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TASKS_OVERRIDES", '{"send_email": {"max_concurrency": 0}}')

    with pytest.raises(ConfigurationError, match=r"TASKS_OVERRIDES\.send_email\.max_concurrency: "):
        read(TaskSettings)


@pytest.mark.parametrize(
    "url",
    [
        "nonsense-hunter2",
        "mysql://user:hunter2@host/name",
        "my sql://hunter2@/",
        "://hunter2",
    ],
)
def test_invalid_database_url_is_refused(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("DATABASE_URL", url)

    with pytest.raises(ConfigurationError, match=r"\n  DATABASE_URL: must look like") as caught:
        read(DatabaseSettings)

    assert "hunter2" not in str(caught.value)


def test_env_file_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    (tmp_path / ".env").write_bytes("EMAIL_FROM=Café\n".encode("latin-1"))

    with pytest.raises(ConfigurationError, match=r"\.env: it is not UTF-8 text"):
        read(Settings)


def test_empty_variable_means_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("API_KEYS", "ENVIRONMENT", "MAX_UPLOAD_BYTES", "SHUTDOWN_DELAY", "DATABASE_URL"):
        monkeypatch.setenv(name, "")

    assert read(Settings) == Settings()
    assert read(DatabaseSettings).url == default_url()


@pytest.mark.parametrize(
    ("text", "expected"), [("200MiB", 209_715_200), ("1kB", 1000), ("17", 17), ("1.5 MiB", 1572864)]
)
def test_upload_limit_may_have_a_unit(
    monkeypatch: pytest.MonkeyPatch, text: str, expected: int
) -> None:
    monkeypatch.setenv("MAX_UPLOAD_BYTES", text)

    assert read(Settings).max_upload_bytes == expected


def test_shutdown_delay_is_5_seconds_in_production(production_env: pytest.MonkeyPatch) -> None:
    assert Settings().effective_shutdown_delay == 5.0

    production_env.setenv("SHUTDOWN_DELAY", "2.5")
    assert Settings().effective_shutdown_delay == 2.5

    production_env.delenv("SHUTDOWN_DELAY")
    production_env.setenv("ENVIRONMENT", "test")
    assert Settings().effective_shutdown_delay == 0.0


def test_server_lists_all_invalid_settings_and_exits(tmp_path: Path) -> None:
    url = "mysql://hunter2@host/db"
    variables = {"LOG_LEVEL": "loud", "DATABASE_URL": url, "METRICS_PORT": "0"}
    with ServerProcess(tmp_path, **variables) as server:
        code = server.wait_for_exit()

    output = "".join(server.output)
    assert code == 1
    assert output.startswith("invalid settings:\n  LOG_LEVEL: ")
    assert "\n  DATABASE_URL: must look like " in output
    has_metrics = find_spec("app.features.metrics") is not None
    assert ("\n  METRICS_PORT: " in output) == has_metrics  # its feature is loaded later
    assert "hunter2" not in output
