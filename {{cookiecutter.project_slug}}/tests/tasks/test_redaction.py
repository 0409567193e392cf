"""What is told of an exception: no secret, nothing endless, and nothing that takes long."""

from time import process_time

import pytest

from app.tasks import describe_error, describe_traceback, redact

SIZE = 100_000
WORST = ["/", "//", "//a@", "a", "token", "token=", 'token="', "token='\"", "bearer ", "password_"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("postgresql://user:hunter2@host/db failed", "postgresql://***@host/db failed"),
        ("postgresql://user:hun@/ter2@host/db", "postgresql://***@host/db"),
        ("see https://host/path, mail a@example.com", "see https://host/path, mail a@example.com"),
        ("password=hunter2 user=ann", "password=*** user=ann"),
        ("password = 'hunter2 hunter2' user=ann", "password = *** user=ann"),
        ('{"smtp_password": "hunter2", "user": "ann"}', '{"smtp_password": ***, "user": "ann"}'),
        ("AWS_SECRET_ACCESS_KEY=hunter2", "AWS_SECRET_ACCESS_KEY=***"),
        ("X-API-Key: hunter2", "X-API-Key: ***"),
        ("Authorization: Bearer hunter2", "Authorization: Bearer ***"),
        ("API_KEYS=hunter2,hunter3", "API_KEYS=***"),
        ("API_KEYS: production needs one", "API_KEYS: production needs one"),
        ("a token is a word", "a token is a word"),
    ],
)
def test_what_is_hidden(text: str, expected: str) -> None:
    assert redact(text, 1000) == expected


@pytest.mark.parametrize("length", range(1, 60))
@pytest.mark.parametrize(
    "text", ["at postgresql://user:hunter2@host/db", 'password="hunter2 hunter2"']
)
def test_a_cut_shows_no_part_of_a_secret(text: str, length: int) -> None:
    assert "hun" not in redact(text, length)


@pytest.mark.parametrize("unit", WORST)
def test_no_text_takes_long(unit: str) -> None:
    text = (unit * SIZE)[:SIZE]
    for worst in (text, f"{text} ", f"token{' ' * SIZE}", f"token={' ' * SIZE}"):
        error = ValueError(worst)
        for describe in (describe_error, describe_traceback):
            begin = process_time()
            describe(error)
            assert process_time() - begin < 0.05
        begin = process_time()
        redact(worst, SIZE)
        assert process_time() - begin < 0.05
