"""The kinds of databases that `DATABASE_URL` can name, a file for each."""
