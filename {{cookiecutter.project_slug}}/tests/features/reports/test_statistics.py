"""Statistics of the files that people have."""

from typing import Any

import httpx2
import pytest

from app.tasks import TaskRunner

from .conftest import Finish, Upload

FILES = {
    "pandas": (b",price,qty\n0,1.5,3\n1,2.5,4\n", ["column 1", "price", "qty"]),
    "R": (b'"","Ozone","Wind"\n"1",41,7.4\n', ["column 1", "Ozone", "Wind"]),
    "Excel": (b"sep=;\r\nNr;Betrag\r\n1;5\r\n", ["Nr", "Betrag"]),
    "line break in a name": (b'"Umsatz,\nnetto";Menge\n1;2\n', ["Umsatz,\nnetto", "Menge"]),
    "commas in names": (b"A (b, c);Price (EUR, net)\n1;7.9\n", ["A (b, c)", "Price (EUR, net)"]),
    "pipes": (b"id|name\n1|a\n", ["id", "name"]),
    "Mac": (b"a,b\r1,2\r", ["a", "b"]),
    "UTF-16": ("a\tb\n1\té\n".encode("utf-16"), ["a", "b"]),
    "Windows": (b"a,b\ncaf\xe9,2\n", ["a", "b"]),
}


async def test_files_as_programs_write_them(
    client: httpx2.AsyncClient, upload: Upload, runner: TaskRunner
) -> None:
    accepted = [await upload(content) for content, _ in FILES.values()]
    await runner.join(30)

    for (program, (_, names)), response in zip(FILES.items(), accepted, strict=True):
        report = (await client.get(response.headers["Location"])).json()
        assert [column["name"] for column in report["statistics"]["columns"]] == names, program


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
