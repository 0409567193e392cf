"""Send requests made from the OpenAPI schema of a project, in which tests/test_judges.py runs this.

The schema must document every response, and no response may be a server error.
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
security.MAX_WRONG_KEYS = 1_000_000  # the checks send many wrong keys, and expect 401 each time

schema = schemathesis.openapi.from_asgi("/openapi.json", create_app())
# A JSON schema cannot describe valid CSV files and addresses, so 422 is allowed. So is 400 for a
# form with more fields than its parser accepts.
schema.config.checks.positive_data_acceptance = PositiveDataAcceptanceConfig(
    expected_statuses=["2xx", "400", "401", "403", "404", "409", "422", "503"]
)


# This check takes valid requests for invalid: any text is a valid query, any part of a form a valid
# file, and a malformed Authorization header beside a valid X-API-Key is ignored.
WRONG_CHECKS = [negative_data_rejection]
# `Allow` names GET, which reads the task with the id "retry"; the schema has it at another path.
SHADOWED = "/tasks/retry"


@schema.parametrize()
@hypothesis.settings(
    max_examples=EXAMPLES,
    derandomize=True,
    deadline=None,
    suppress_health_check=list(hypothesis.HealthCheck),
)
def test_every_response_is_documented(case: Any) -> None:
    """Send one request, and check the response."""
    excluded = [*WRONG_CHECKS, allow_header_conformance] if case.path == SHADOWED else WRONG_CHECKS
    case.call_and_validate(headers=KEY, excluded_checks=excluded)
