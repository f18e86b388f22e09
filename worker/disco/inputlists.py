"""Lists of inputs, before a job reads them: what tags and indexes stand for."""

from collections.abc import Iterable, Iterator
from typing import Any

from disco.urls import schemesplit


def inputlist(inputs: Iterable[Any], label: Any = None, settings: Any = None) -> list[Any]:
    """Return all inputs: each a URL, or a list of URLs with the same content.

    Args:
        inputs: The same, or tags, or indexes (``dir://``).
        label: Only the lines of indexes that have it; None: all; False: leave indexes as they are.
        settings: Where DDFS finds its own.

    Raises:
        CommError: A tag is not there, or needs a token.
    """
    found: list[Any] = []
    for item in inputs:
        found.extend(entry for entry in inputexpand(item, label, settings) if entry)
    return found


def inputexpand(item: Any, label: Any = None, settings: Any = None) -> list[Any]:
    """Return the inputs that one stands for; see ``inputlist``."""
    urls = [item] if isinstance(item, str) else list(item)
    if ispartitioned(urls) and label is not False:
        return [
            list(replicas) for replicas in zip(*(parse_dir(u, label) for u in urls), strict=True)
        ]
    if any(schemesplit(url)[0] == "tag" for url in urls):
        from disco.ddfs import DDFS
        from disco.ddfs_inputs import expanded

        return list(map(list, expanded([tuple(urls)], DDFS(settings=settings))))
    return [item if isinstance(item, str) else urls]


def deref(inputs: Iterable[Any], resolve: bool = False) -> Iterator[list[str]]:
    """Yield the URLs of each input, in a list, as ``inputlist`` finds them.

    Args:
        inputs: As for ``inputlist``.
        resolve: As plain URLs, which can be read without DDFS.
    """
    for item in inputlist(inputs):
        urls = [item] if isinstance(item, str) else item
        yield [urlresolve(url) for url in urls] if resolve else list(urls)


def ispartitioned(item: Any) -> bool:
    """Return whether an input, or all of several, are indexes: ``dir://``."""
    if isinstance(item, str):
        return schemesplit(item)[0] == "dir"
    return bool(item) and all(map(ispartitioned, item))


def read_index(url: Any) -> Iterator[tuple[int, str, int]]:
    """Yield (label, URL, size) of each line of an index, or of the first of several replicas.

    Raises:
        DataError: It cannot be read, or is no index.
    """
    from disco import schemes
    from disco.error import DataError

    place = url if isinstance(url, str) else url[0]
    with schemes.open(place) as file:
        for line in file:
            try:
                label, where, size = line.decode().split()
                yield int(label), where, int(size)
            except ValueError as error:
                raise DataError(f"no line of an index: {line[:100]!r}", place) from error


def parse_dir(url: Any, label: int | None = None) -> list[str]:
    """Return the URLs in an index, by label; of one *label* only, if it is given."""
    return [where for mark, where, _ in sorted(read_index(url)) if label in (None, mark)]


def urlresolve(url: str, master: str | None = None) -> str:
    """Return the URL from which *url* can be read without DDFS: for a blob that of its file.

    Args:
        url: An input. Tags stay as they are: ``inputlist`` returns their blobs.
        master: Not needed.
    """
    if schemesplit(url)[0] != "ddfs":
        return url
    from disco.ddfs_inputs import expanded  # few ask for it

    return expanded([(url,)])[0][0]
