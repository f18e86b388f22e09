"""Web servers, with and without TLS."""

from disco.schemes.scheme_file import input_stream, open

__all__ = ["input_stream", "open"]
