"""The yardstick: the smallest FastAPI application, served with uvicorn's access log."""

from fastapi import FastAPI

app = FastAPI()


@app.get("/health/live")
async def live() -> dict[str, str]:
    """Answer what the service answers."""
    return {"status": "ok"}
