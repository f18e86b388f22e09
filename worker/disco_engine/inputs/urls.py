"""What a URL names: a local path, something fsspec can open, or one of the engine's own schemes.

fsspec takes 50 ms to import and more for each kind of storage, so it is imported when the first
URL that needs it is seen; local paths never do.
"""

import difflib
import os
import re
from functools import lru_cache
from typing import Any

from disco_engine.core.model import Failure, FailureKind
from disco_engine.program import ProgramError, fatal

RAW, DISCO, DIR, URL = "raw", "disco", "dir", "url"
"""The schemes that are the engine's own: text in the URL, a job's result, an index of URLs, and
something that only the job's own readers know what to do with."""

FRAMES_SUFFIX = ".disco"
"""How files of records end that keep their types: jobs with an output make them."""

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)(?:://|::)")
_LOCAL = ("", "file", "local")
_HTTP = ("http", "https")

# Scheme: (package, extra of this distribution that installs it).
_EXTRAS = {
    "http": ("aiohttp", "http"),
    "https": ("aiohttp", "http"),
    "s3": ("s3fs", "s3"),
    "s3a": ("s3fs", "s3"),
    "gs": ("gcsfs", "gcs"),
    "gcs": ("gcsfs", "gcs"),
}


@lru_cache(maxsize=64)  # a task asks ten times about its one input
def scheme_of(url: str) -> str:
    """Return the scheme in lower case, or "" for a plain path."""
    match = _SCHEME.match(url)
    return match.group(1).lower() if match else ""


def local_path(url: str) -> str | None:
    """Return the absolute path that *url* names on this machine, or None if it is elsewhere.

    A relative path starts at the working directory; ``~`` is somebody's home.
    """
    scheme = scheme_of(url)
    if scheme not in _LOCAL:
        return None
    path = url[len(scheme) + 3 :] if scheme else url
    return os.path.abspath(os.path.expanduser(path))


def is_utf8(url: str) -> bool:
    """Tell whether messages can hold *url*: names of local files may be any bytes."""
    try:
        url.encode()
    except UnicodeEncodeError:
        return False
    return True


def is_http(url: str) -> bool:
    """Tell whether a web server has it: such a URL is no pattern, and names no directory."""
    return scheme_of(url) in _HTTP


def suffix_of(url: str) -> str:
    """Return the file name's last suffix in lower case, with its dot, or ""."""
    path = re.split("[?#]", url, maxsplit=1)[0] if is_http(url) else url
    return os.path.splitext(path)[1].lower()


def text_of(url: str) -> str:
    """Return the text of a ``raw://`` URL: all that follows the scheme, as it stands."""
    return url[len(RAW) + 3 :]


def filesystem(url: str) -> tuple[Any, str]:
    """Return fsspec's file system for *url*, and the URL's path in it.

    Raises:
        ProgramError: FATAL: nobody knows the scheme, or the package for it is not installed.
    """
    scheme = scheme_of(url)
    if scheme in (RAW, DISCO, DIR, URL):
        raise fatal(f"{url}: {scheme}:// is not storage that can be opened here", input=url)
    try:
        import fsspec.core

        found: tuple[Any, str] = fsspec.core.url_to_fs(url)
    except ImportError as error:
        raise fatal(_missing_package(scheme, error), input=url) from error
    except ValueError as error:
        reason = _unknown(scheme) or str(error)
        raise fatal(f"cannot open {url}: {reason}", input=url) from error
    return found


def reason_of(error: BaseException) -> str:
    """Return what *error* says in words for people, never empty."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    if isinstance(error, FileNotFoundError):  # fsspec gives the path and nothing else
        return "no such file"
    return str(error) or type(error).__name__


def failed(message: str, **details: str) -> ProgramError:
    """Return the error of an attempt that may work elsewhere or later, and so counts as one."""
    return ProgramError(Failure(kind=FailureKind.USER, message=message, **details))


def _unknown(scheme: str) -> str:
    """Return that nobody knows *scheme*, with the nearest ones; empty if somebody does."""
    import fsspec

    known = {RAW, DISCO, DIR, URL, *fsspec.available_protocols()}
    if scheme in known:
        return ""
    close = difflib.get_close_matches(scheme, sorted(known), n=3)
    hint = "did you mean " if close else "there are, for instance, "
    names = [f"{name}://" for name in close or ("file", "http", "https", "s3", "gs", RAW)]
    return f"{scheme}:// is not known; {hint}{', '.join(names)}"


def _missing_package(scheme: str, error: ImportError) -> str:
    if scheme not in _EXTRAS:
        return f"{scheme}:// needs a package that is not installed: {error}"
    package, extra = _EXTRAS[scheme]
    return f"{scheme}:// needs the package {package}: pip install 'disco-k8s[{extra}]'"
