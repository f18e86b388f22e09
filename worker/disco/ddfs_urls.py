"""Tags and blobs among the URLs that somebody reads: what stands for them, if a DDFS is given.

Knows nothing of DDFS but what it asks of it, so that both sides can use it.
"""

from collections.abc import Callable, Iterable
from typing import Any, Protocol

from disco.error import DiscoError
from disco_engine.inputs.urls import scheme_of

Urls = tuple[str, ...]
"""URLs with the same content."""

TAG, DDFS_SCHEME = "tag", "ddfs"


class Blobs(Protocol):
    """What is asked of a ``disco.ddfs.DDFS``; its ``roots`` know where blobs are."""

    roots: Any

    def blobs(self, tag: str, ignore_missing: bool = True) -> Iterable[Iterable[str]]:
        """Yield the replicas of each blob below a tag."""
        ...


def with_blobs(inputs: Iterable[Urls], ddfs: Callable[[], Blobs]) -> list[Urls]:
    """Return *inputs* with the URLs of blobs, which anybody can read, in place of tags.

    Args:
        inputs: URLs with the same content each; a tag has no replicas.
        ddfs: Returns where tags are; called when the first is seen.

    Raises:
        CommError: 404: there is no such tag, or one that it has a link to. 401: it needs a token.
        DataError: A blob is in a root that is not among ours.
        DiscoError: A tag is given as a replica, or cannot be one.
    """
    found: list[Urls] = []
    there: Blobs | None = None
    for urls in inputs:
        schemes = set(map(scheme_of, urls))
        if not schemes & {TAG, DDFS_SCHEME}:
            found.append(urls)
            continue
        there = there or ddfs()
        if TAG not in schemes:
            found.append(there.roots.resolved(urls))
        elif len(urls) == 1:
            found.extend(map(tuple, there.blobs(urls[0], ignore_missing=False)))
        else:
            raise DiscoError(f"input {list(urls)!r}: a tag has no replicas; give each on its own")
    return found
