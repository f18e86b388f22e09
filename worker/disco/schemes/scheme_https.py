"""The same as ``disco.schemes.scheme_http``."""

from disco.schemes.scheme_file import input_stream, open

__all__ = ["input_stream", "open"]
