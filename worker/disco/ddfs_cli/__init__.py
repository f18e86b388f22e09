"""The ``ddfs`` command: tags and blobs from a shell, with Disco's commands and flags."""
