"""What jobs read from DDFS: ``tag://`` stands for the blobs of a tag, ``ddfs://`` for one blob.

Cheap to import: what DDFS needs is imported when the first such URL is seen.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from disco.error import CommError, DataError, DiscoError
from disco_engine.inputs.urls import failed, scheme_of
from disco_engine.program import fatal

if TYPE_CHECKING:
    from disco.ddfs.client import DDFS

Urls = tuple[str, ...]

TAG, DDFS_SCHEME = "tag", "ddfs"


def expanded(inputs: Iterable[Urls], ddfs: "DDFS | None" = None) -> list[Urls]:
    """Return *inputs* with the URLs of blobs, which anybody can read, in place of tags.

    Args:
        inputs: URLs with the same content each; a tag has no replicas.
        ddfs: Where tags are; None: where the settings say.

    Raises:
        CommError: 404: there is no such tag, or one that it has a link to. 401: it needs a token.
        DataError: A blob is in a root that is not among ours.
        DiscoError: A tag is given as a replica, or cannot be one.
    """
    found: list[Urls] = []
    for urls in inputs:
        schemes = set(map(scheme_of, urls))
        if not schemes & {TAG, DDFS_SCHEME}:
            found.append(urls)
            continue
        if ddfs is None:
            from disco.ddfs.client import DDFS

            ddfs = DDFS()
        if TAG not in schemes:
            found.append(ddfs.roots.resolved(urls))
        elif len(urls) == 1:
            found.extend(map(tuple, ddfs.blobs(urls[0], ignore_missing=False)))
        else:
            raise DiscoError(f"input {list(urls)!r}: a tag has no replicas; give each on its own")
    return found


def planned(inputs: Iterable[Urls]) -> list[Urls]:
    """Return ``expanded(inputs)``, for the plan of a job.

    Raises:
        ProgramError: FATAL: there is no such tag, or its token is missing. USER: the storage cannot
            be reached now.
    """
    try:
        return expanded(inputs)
    except CommError as error:
        lasting = error.code in (401, 403, 404, 508)
        raise (fatal if lasting else failed)(str(error), input=error.url) from error
    except DataError as error:
        raise fatal(str(error), input=error.url) from error
    except DiscoError as error:
        raise fatal(str(error)) from error


def without_tokens(inputs: Iterable[Urls]) -> list[Urls]:
    """Return *inputs*, with tags that have a token in their URL expanded: it must not travel.

    Raises:
        CommError: As for ``expanded``.
    """
    found: list[Urls] = []
    for urls in inputs:
        found.extend(expanded([urls]) if any(map(_has_token, urls)) else [urls])
    return found


def _has_token(url: str) -> bool:
    if scheme_of(url) != TAG:
        return False
    from disco.ddfs.names import tag_address

    return tag_address(url).token is not None
