"""Addresses: exactly one mailbox or an error, so that none can inject a header."""

import pytest
from pydantic import TypeAdapter

from app.mail.message import SenderAddress, normalize_address, parse_sender


@pytest.mark.parametrize(
    ("given", "normalized"),
    [
        ("ann@example.com", "ann@example.com"),
        ("Ann.Lee+tag@EXAMPLE.com", "Ann.Lee+tag@example.com"),
        ("o'hara_{x}!#$%&*/=?^`|~-@example.com", "o'hara_{x}!#$%&*/=?^`|~-@example.com"),
        ("ann@bücher.example", "ann@xn--bcher-kva.example"),
        ("ann@xn--bcher-kva.example", "ann@xn--bcher-kva.example"),
        ("jürgen@example.com", "jürgen@example.com"),
        ("ju\u0308rgen@example.com", "jürgen@example.com"),
        ("root@localhost", "root@localhost"),
        ("ops@mail.corp.local", "ops@mail.corp.local"),
    ],
)
def test_addresses_are_normalized_to_one_form(given: str, normalized: str) -> None:
    assert normalize_address(given) == normalized
    assert normalize_address(normalized) == normalized


@pytest.mark.parametrize(
    "text",
    [
        "",
        "ann",
        "ann@",
        "@example.com",
        "ann@@example.com",
        "ann@example",
        "ann@.example.com",
        "ann..lee@example.com",
        "ann@[127.0.0.1]",
        "ann@exam_ple.com",
        '"ann lee"@example.com',
        "Ann <ann@example.com>",
        "<ann@example.com>",
        "ann@example.com, bob@example.com",
        "ann@example.com;bob@example.com",
        "ann@example.com bob@example.com",
        " ann@example.com",
        "ann@example.com ",
        "ann@example.com\r\nBcc: bob@example.com",
        "ann@example.com\n",
        "ann\r\n@localhost",
        "ann@x\n.localhost",
        "ann\x00@example.com",
        "ann@example.com\x00",
        "ann\u200b@example.com",
        "ann\ud800@example.com",
        "ann@\udc80.example.com",
        "=?utf-8?q?ann=0D=0ABcc=3A_bob?=@example.com",
        f"{'a' * 300}@example.com",
    ],
)
def test_anything_but_one_address_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not a valid e-mail address"):
        normalize_address(text)


@pytest.mark.parametrize(
    ("text", "name", "address"),
    [
        ("My service <no-reply@localhost>", "My service", "no-reply@localhost"),
        ("no-reply@example.com", "", "no-reply@example.com"),
        ("<no-reply@example.com>", "", "no-reply@example.com"),
        ('"Lee, Ann" <ann@example.com>', "Lee, Ann", "ann@example.com"),
        ("Jürgen 🚀 <j@bücher.example>", "Jürgen 🚀", "j@xn--bcher-kva.example"),
    ],
)
def test_sender_is_split_into_name_and_address(text: str, name: str, address: str) -> None:
    sender = parse_sender(text)
    assert (sender.display_name, sender.addr_spec) == (name, address)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "My service",
        "My service <>",
        "A <a@example.com> <b@example.com>",
        "A <a@example.com",
        "A\r\nBcc: <b@example.com>",
        "A\x00 <a@example.com>",
        "A\ud800 <a@example.com>",
        "a@example.com, b@example.com",
    ],
)
def test_invalid_sender_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"not a valid|should match|valid string"):
        TypeAdapter(SenderAddress).validate_python(text)
