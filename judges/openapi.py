"""Run in a generated project by tests/test_judges.py: requests made from its own OpenAPI schema.

Every answer has to be one that the schema documents, and none may be a server error.
"""

import os
from typing import Any

import hypothesis
import schemathesis
from app import security
from app.main import create_app
from schemathesis.config import PositiveDataAcceptanceConfig
from schemathesis.specs.openapi.checks import allow_header_conformance, negative_data_rejection

KEY = {"X-API-Key": os.environ["API_KEYS"]}
EXAMPLES = 25
security.MAX_WRONG_KEYS = 1_000_000  # the checks send many wrong keys, and want a 401 for each

schema = schemathesis.openapi.from_asgi("/openapi.json", create_app())
# What is in a CSV file, or is an address, is more than a JSON schema can say: 422 is fair. So is
# 400 for a form that has more fields than its parser takes.
schema.config.checks.positive_data_acceptance = PositiveDataAcceptanceConfig(
    expected_statuses=["2xx", "400", "401", "403", "404", "409", "422", "503"]
)


# It says that what it sends is not valid when it is: every text is a valid query and every part of
# a form is a valid file. And a malformed Authorization beside a valid X-API-Key is not looked at.
NOT_OURS = [negative_data_rejection]
# GET there asks for the task of that id, as `Allow` says; the schema has it under another address.
SHADOWED = "/tasks/retry"


@schema.parametrize()
@hypothesis.settings(
    max_examples=EXAMPLES,
    derandomize=True,
    deadline=None,
    suppress_health_check=list(hypothesis.HealthCheck),
)
def test_every_answer_is_documented(case: Any) -> None:
    """Send one request and hold the answer to every check but those."""
    excluded = [*NOT_OURS, allow_header_conformance] if case.path == SHADOWED else NOT_OURS
    case.call_and_validate(headers=KEY, excluded_checks=excluded)
