"""One backend a file: console, file, memory and smtp."""
