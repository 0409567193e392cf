"""The service.

- `service.py` builds the application, `main.py` exposes it to the server; `settings.py`,
  `lifespan.py`, `middleware.py`, `logs.py`, `errors.py` and `security.py` are the core
- `db/` (database engines and sessions), `mail/` (the notifier) and `tasks/` (background tasks) are
  the platform that features build on
- `feature.py` defines what a feature is, `features/` contains them

One arrow: features import the platform, never each other, and the platform imports no feature.
"""
