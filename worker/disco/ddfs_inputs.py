"""What jobs read from DDFS: ``tag://`` stands for the blobs of a tag, ``ddfs://`` for one blob.

Cheap to import: what DDFS needs is imported when the first such URL is seen.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from disco.ddfs_urls import TAG, Urls, with_blobs
from disco.error import CommError, DataError, DiscoError
from disco_engine.inputs.urls import failed, scheme_of
from disco_engine.program import fatal

if TYPE_CHECKING:
    from disco.ddfs.client import DDFS


def expanded(inputs: Iterable[Urls], ddfs: "DDFS | None" = None) -> list[Urls]:
    """Return *inputs* with the URLs of blobs, which anybody can read, in place of tags.

    Args:
        inputs: URLs with the same content each; a tag has no replicas.
        ddfs: Where tags are; None: where the settings say.

    Raises:
        DiscoError: As for ``with_blobs``.
    """

    def given() -> "DDFS":
        from disco.ddfs.client import DDFS

        return DDFS() if ddfs is None else ddfs

    return with_blobs(inputs, given)


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
