"""``hdfs://…``: through fsspec, as everything that has no module of its own."""

from disco.schemes.scheme_file import input_stream, open

__all__ = ["input_stream", "open"]
