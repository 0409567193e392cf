"""Statistics: what each type of column has."""

from typing import Any

import pytest

from .conftest import Finish, Upload


async def test_a_column_of_each_type(upload: Upload, finish: Finish) -> None:
    lines = ["n,x,t,flag,day,at", "1,0.5,01,true,2026-01-31,2026-01-31T09:00:00"]
    lines += ["2,NA,a,FALSE,2026-02-01,2026-01-31 10:00", "2,,a,true,,", "5,2,b,,,"]
    report = await finish(await upload("\n".join(lines).encode()))

    columns: dict[str, Any] = {c["name"]: c for c in report["statistics"]["columns"]}
    types = ["integer", "number", "text", "boolean", "date", "datetime"]
    assert [column["type"] for column in columns.values()] == types
    assert columns["n"] == {
        "name": "n",
        "type": "integer",
        "count": 4,
        "nulls": 0,
        "min": 1,
        "max": 5,
        "mean": 2.5,
        "std": pytest.approx(3**0.5),
        "p25": 1.75,
        "p50": 2.0,
        "p75": 2.75,
        "distinct": 3,
        "top": [{"value": 2, "count": 2}, {"value": 1, "count": 1}, {"value": 5, "count": 1}],
        "histogram": [
            {"start": 0, "share": 0.4, "low": 1, "high": 2, "count": 3},
            {"start": 0.8, "share": pytest.approx(0.2), "low": 5, "high": 5, "count": 1},
        ],
    }
    assert (columns["x"]["count"], columns["x"]["nulls"], columns["x"]["mean"]) == (2, 2, 1.25)
    assert columns["t"]["top"][0] == {"value": "a", "count": 2}
    assert columns["flag"]["top"][0] == {"value": True, "count": 2}
    assert (columns["day"]["min"], columns["day"]["mean"]) == ("2026-01-31", None)
    assert columns["at"]["max"] == "2026-01-31T10:00:00"
