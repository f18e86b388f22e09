"""What a job reads, as its author wrote it: URLs, and lists of URLs with the same content."""

from collections.abc import Iterable
from itertools import chain
from pathlib import Path
from typing import Any

from disco.error import DiscoError
from disco_engine.inputs.urls import is_utf8
from disco_engine.passwords import password_problem


def refuse_passwords(inputs: Iterable[Iterable[str]], output: Any = None) -> None:
    """Raise if a password is in a URL: a job's inputs and its output can be seen by many.

    Raises:
        DiscoError: The URL, but for its password, and what to do instead.
    """
    for url in chain.from_iterable(inputs):
        if problem := password_problem(url):
            raise DiscoError(f"input {problem}")
    if problem := password_problem(str(output)):
        raise DiscoError(f"output {problem}")


def input_urls(inputs: Any) -> list[tuple[str, ...]]:
    """Return a job's inputs, each as URLs with the same content.

    Results of other jobs are never taken for replicas: a list of them is as many inputs.

    Args:
        inputs: URLs or paths, or lists of them with the same content.

    Raises:
        DiscoError: They are something else, empty, or not UTF-8.
    """
    if isinstance(inputs, str | bytes) or not isinstance(inputs, Iterable):
        raise DiscoError(f"input must be a list of URLs, got {inputs!r}")
    found: list[tuple[str, ...]] = []
    for number, entry in enumerate(inputs, start=1):
        single = isinstance(entry, str | Path) or not isinstance(entry, Iterable)
        urls = (entry,) if single else tuple(entry)
        if not urls or not all(isinstance(url, str | Path) for url in urls):
            raise DiscoError(
                f"input {entry!r}: each must be a URL or path, or a list of URLs with the same"
                " content"
            )
        texts = tuple(str(url) for url in urls)
        if not all(texts):
            raise DiscoError(f"input {number} is empty: it must be a URL or path")
        if any("\0" in url and not url.startswith("raw://") for url in texts):
            raise DiscoError(f"input {number}, {entry!r}, has a zero byte, which no name has")
        if not all(map(is_utf8, texts)):
            raise DiscoError(f"input {number}, {entry!r}, is not UTF-8: rename the file")
        if all(url.startswith("disco://") for url in texts):
            found.extend((url,) for url in texts)
        else:
            found.append(texts)
    return found
