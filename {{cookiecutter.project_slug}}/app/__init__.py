"""The service.

- `service.py` puts everything together, and `main.py` is the result; `settings.py`, `lifespan.py`,
  `middleware.py`, `logs.py`, `errors.py` and `security.py` are the core
- `db/` database engines and sessions, `mail/` the notifier, `tasks/` background tasks: the
  platform that features build on
- `feature.py` says what a feature is, `features/` holds them

One arrow: features import the platform, never each other, and the platform imports no feature.
"""
