"""What the server runs."""

from app.service import create_app

app = create_app()
