"""The application that the server runs, `app.main:app`."""

from app.service import create_app

app = create_app()
