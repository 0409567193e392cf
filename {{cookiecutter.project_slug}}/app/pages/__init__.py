"""Pages for browsers: what features share that serve HTML."""
