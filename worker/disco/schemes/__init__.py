"""Opening inputs by the scheme of their URL, for stream functions and for programs that ask."""

import importlib
from types import ModuleType
from typing import Any

from disco.urls import schemesplit

_MODULES = ("ddfs", "dir", "disco", "hdfs", "http", "https", "raw", "s3", "tag", "url")


def import_scheme(url: str) -> ModuleType:
    """Return the module that opens *url*: ``disco.schemes.scheme_SCHEME``.

    Whatever has no module of its own is opened by ``scheme_file``, which knows all that fsspec
    does.
    """
    scheme = schemesplit(url)[0].lower()
    return importlib.import_module(
        f"disco.schemes.scheme_{scheme if scheme in _MODULES else 'file'}"
    )


def input_stream(stream: Any, size: int | None, url: str, params: Any) -> Any:
    """Return (stream, size, url) for *url*, opened: a stream function for all schemes."""
    return import_scheme(url).input_stream(stream, size, url, params)


def open(url: str, task: Any = None) -> Any:
    """Return an open binary file, or what its scheme has instead; *task* is not needed."""
    return import_scheme(url).open(url)


def open_chain(url: str, task: Any = None) -> Any:
    """Return the records of *url*, which has those of a job, or chunks; *task* is not needed."""
    from disco.worker.record_streams import chain_reader  # few ask for it

    return chain_reader(open(url), None, url)
