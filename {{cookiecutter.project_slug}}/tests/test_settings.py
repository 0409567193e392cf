"""Settings: where they come from, which values are refused, and what the error says."""

import re
from importlib import import_module
from pathlib import Path
from pkgutil import walk_packages

import pytest
from pydantic_settings import BaseSettings

import app
from app.mail import EmailSettings
from app.service import create_app
from app.settings import ConfigurationError, EnvSettings, Settings, in_project, read


def all_settings() -> list[type[BaseSettings]]:
    """Return every settings class of the service."""
    for module in walk_packages(app.__path__, "app."):
        if module.name.endswith(".settings"):
            import_module(module.name)
    classes = [*BaseSettings.__subclasses__(), *EnvSettings.__subclasses__()]
    return [each for each in classes if each.__module__.startswith("app.")]


def configured_keys() -> list[str]:
    return [key.get_secret_value() for key in read(Settings).api_keys]


@pytest.mark.parametrize("settings", all_settings())
def test_env_example_lists_every_setting_with_its_default(
    settings: type[BaseSettings],
) -> None:
    example = Path(__file__).parents[1] / ".env.example"
    listed = re.findall(r"^(\w+)=", example.read_text(encoding="utf-8"), re.MULTILINE)
    prefix = settings.model_config.get("env_prefix", "")

    names = {f"{prefix}{field}".upper().rstrip("_") for field in settings.model_fields}
    assert names <= set(listed)
    assert settings(_env_file=example) == settings(_env_file=None)


def test_env_file_and_paths_are_in_the_project_and_the_environment_takes_precedence(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / ".env").write_text("API_KEYS=a,b\nLOG_LEVEL=DEBUG\nUNKNOWN=1\n", encoding="utf-8")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    monkeypatch.setenv("LOG_LEVEL", "ERROR")

    assert configured_keys() == ["a", "b"]
    assert read(Settings).log_level == Settings().log_level == "ERROR"
    assert EmailSettings().file_dir == tmp_path / "data" / "outbox"
    assert EmailSettings(file_dir=tmp_path).file_dir == tmp_path
    monkeypatch.delenv("PROJECT_DIR")
    assert in_project(".env") == Path(__file__).parents[1] / ".env"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("one", ["one"]),
        (" one , two ,", ["one", "two"]),
        (",,", []),
        (' [ "one","two", " "]', ["one", "two"]),
        ("[]", []),
    ],
)
def test_a_list_may_be_separated_by_commas_or_be_json(
    monkeypatch: pytest.MonkeyPatch, text: str, expected: list[str]
) -> None:
    monkeypatch.setenv("API_KEYS", text)

    assert configured_keys() == expected
    assert "two" not in repr(read(Settings))


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("ENVIRONMENT", "staging-value"),
        ("LOG_LEVEL", "loud-value"),
        ("MAX_UPLOAD_BYTES", "-17"),
        ("MAX_UPLOAD_BYTES", "much-value"),
        ("SHUTDOWN_DELAY", "inf"),
        ("SHUTDOWN_DELAY", "-0.25"),
        ("ALLOWED_HOSTS", "example.com:8000"),
    ],
)
def test_an_error_names_the_variable_and_hides_its_value(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    monkeypatch.setenv(variable, value)

    with pytest.raises(ConfigurationError) as caught:
        read(Settings)

    lines = str(caught.value).splitlines()
    assert lines[0] == "invalid settings:"
    assert lines[1].startswith(f"  {variable}: ")
    assert value not in lines[1]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "API_KEYS: production needs"),
        (" , ", "API_KEYS: production needs"),
        (f"{'a' * 16},{'b' * 15}", r"API_KEYS: .* at least 16 characters"),
    ],
)
def test_production_requires_keys_of_at_least_16_characters(
    production_env: pytest.MonkeyPatch, text: str, message: str
) -> None:
    create_app()
    production_env.setenv("API_KEYS", text)

    with pytest.raises(ConfigurationError, match=message) as caught:
        create_app()

    assert "bbb" not in str(caught.value)


def test_all_invalid_settings_are_reported_at_once(production_env: pytest.MonkeyPatch) -> None:
    for name in ("API_KEYS", "EMAIL_BACKEND"):
        production_env.delenv(name)
    production_env.setenv("DATABASE_URL", "mysql://localhost")
    production_env.setenv("TASKS_QUEUE_SIZE", "many")

    with pytest.raises(ConfigurationError) as caught:
        create_app()

    names = re.findall(r"(?m)^  (\w+):", str(caught.value))
    assert sorted(names) == ["API_KEYS", "DATABASE_URL", "EMAIL_BACKEND", "TASKS_QUEUE_SIZE"]
