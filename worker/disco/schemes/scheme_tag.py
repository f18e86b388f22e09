"""``tag://NAME``: all blobs of a tag of DDFS, and of the tags it has links to.

A job's plan makes an input of each, and so does ``result_iterator``; a tag is not one file.
"""

from typing import Any, NoReturn

from disco.error import DataError


def open(url: str) -> NoReturn:
    """Refuse.

    Raises:
        DataError: Always.
    """
    raise DataError(
        "a tag has many blobs: give it as an input of a job, or to result_iterator, or open what"
        " DDFS().blobs(tag) returns",
        url,
    )


def input_stream(stream: Any, size: int | None, url: str, params: Any) -> Any:
    """Refuse, as ``open`` does."""
    return open(url)
