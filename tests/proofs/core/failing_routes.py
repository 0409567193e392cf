"""Routes that fail in every possible way."""

from typing import Annotated

from fastapi import APIRouter, Depends, HTTPException, Request, UploadFile
from pydantic import BaseModel, ConfigDict

from app.errors import MAX_BODY_BYTES

SERVICE = """
from app.service import create_app
from core.failing_routes import router
app = create_app()
app.include_router(router)
"""
"""The source of a module that serves these routes in a process of its own."""

LIMIT = MAX_BODY_BYTES

router = APIRouter()


class Item(BaseModel):
    model_config = ConfigDict(extra="forbid")

    name: str
    number: float = 0.0


@router.post("/items")
async def make_item(item: Item) -> int:
    return len(item.name)


@router.post("/numbers")
async def add_numbers(numbers: dict[str, int]) -> int:
    return sum(numbers.values())


@router.get("/items/{number}")
async def get_item(number: int) -> int:
    return number


@router.delete("/items/{number}")
async def delete_item(number: int) -> int:
    return number


@router.post("/bytes")
async def count_bytes(request: Request) -> int:
    return len(await request.body())


@router.post("/unread")
async def ignore_the_body() -> str:
    return "unread"


async def read_body(request: Request) -> bytes:
    return await request.body()


@router.post("/bytes-in-a-dependency")
async def count_bytes_in_a_dependency(body: Annotated[bytes, Depends(read_body)]) -> int:
    return len(body)


@router.post("/large-files", max_body_size=2**22)
async def count_large_file(file: UploadFile) -> int:
    return len(await file.read())


@router.post("/files")
async def count_file(file: UploadFile) -> int:
    return len(await file.read())


@router.post("/form")
async def count_fields(request: Request) -> int:
    async with request.form() as form:
        return len(form)


@router.get("/status/{status}")
async def raise_status(status: int) -> None:
    raise HTTPException(status, "in words", headers={"X-More": "1"})


@router.get("/errors/{name}")
async def raise_error(name: str) -> None:
    raise ERRORS[name]


ERRORS: dict[str, Exception] = {
    "bug": RuntimeError("internal words"),
    "busy": HTTPException(429, "in words", headers={"retry-after": "30"}),
}

PART = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.csv"\r\n\r\n'
