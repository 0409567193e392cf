"""How values are written: readable, with control characters escaped."""

import pytest

from app.features.reports.pages import readable


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (1234567, "1,234,567"),
        (-(2**63), "-9,223,372,036,854,775,808"),
        (True, "true"),
        (False, "false"),
        (0.0, "0"),
        (0.1 + 0.2, "0.3"),
        (1.0, "1"),
        (100.0, "100"),
        (-1234567.891, "-1.23457e+06"),
        (0.00012345678, "0.000123457"),
        (0.99999999, "1"),
        (1.5e-7, "1.5e-07"),
        (1.7e308, "1.7e+308"),
        ("a\nb\u202ec", "a\\nb\\u202ec"),
        ("North", "North"),
    ],
)
def test_values_are_written_readably(value: object, text: str) -> None:
    assert readable(value) == text
