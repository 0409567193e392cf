"""Text from callers is checked in little time, whatever its length and content."""

from collections.abc import Callable
from email.headerregistry import Address
from functools import partial

import pytest
from pydantic import TypeAdapter

from app.mail import EmailMessage, render_email
from app.mail.message import SenderAddress, normalize_address, one_line
from cost import costs_little
from tests.mail.test_templates import TEMPLATES


def subject(text: str) -> EmailMessage:
    return EmailMessage(to="ann@example.com", subject=text, text="")


def refuse(check: Callable[[str], object], text: str) -> None:
    with pytest.raises(ValueError, match=r"not a valid|at most 998"):
        check(text)


def send(text: str) -> None:
    """Render a mail with a long subject. (Authors limit the length of their bodies.)"""
    context = {"place": text, "name": "Ann", "link": "/"}
    message = render_email(TEMPLATES, "welcome", to="ann@example.com", context=context)
    message.to_mime(Address("Tests", "tests", "example.org")).as_bytes()


@pytest.fixture(scope="module", autouse=True)
def loaded() -> None:
    """Load lazy imports before the time is measured."""
    normalize_address("ann@bücher.example")
    send("Paris")


CHECKS = {
    "address": partial(refuse, normalize_address),
    "sender": partial(refuse, TypeAdapter(SenderAddress).validate_python),
    "subject": partial(refuse, subject),
    "data": send,
    "reason": one_line,
}


@pytest.mark.parametrize("check", CHECKS.values(), ids=CHECKS)
@pytest.mark.parametrize("pattern", ["@.", "@x.", "a@", "é", "<", "=?", "a ", "\0", "\r\n", "🚀"])
def test_100_kb_of_text_cost_little(check: Callable[[str], object], pattern: str) -> None:
    text = (pattern * 100_000)[:100_000]
    with costs_little():
        check(text)
