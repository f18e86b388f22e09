"""How tags and blobs are called: their URLs, and their places below a root. Nothing here acts.

    tag://NAME                   a tag; tag://TOKEN@HOST/NAME has a token, the host does not count
    ddfs://ROOT/blob/HH/BLOB     a blob in the root with that id

A blob is called ``NAME$STAMP``. The stamp has the time, some random digits and the digest of the
content, so that no two pushes ever write the same blob, and every reader can check what it got.
"""

import hashlib
import re
from collections.abc import Iterable
from typing import Any, NamedTuple

from disco.error import DiscoError
from disco.iterables import isiterable, iterify

TAG, DDFS = "tag://", "ddfs://"

_UNSAFE = re.compile(r"[^A-Za-z0-9_\-@:]")
_TAG_NAME = re.compile(r"[A-Za-z0-9_\-@:]+")
_MAX_TAG_NAME = 511
_MAX_FILE_NAME = 200  # of 255 bytes that file systems have, less what we append
_MAX_BLOB_NAME = 150

_BLOB = re.compile(r"(?P<name>[^/$]+)\$[0-9a-f]+-[0-9a-f]+-(?P<digest>[0-9a-f]{32})")
_LINK = re.compile(r"ddfs://(?P<root>[0-9a-f]+)/(?P<path>blob/[0-9a-f]{2}/[^/$]+\$[^/]+)")


class InvalidTag(DiscoError):
    """A name cannot be that of a tag."""


class TagAddress(NamedTuple):
    """What a tag's URL says.

    Attributes:
        name: Of the tag.
        token: Read or write token; None if there is none in the URL.
    """

    name: str
    token: str | None = None


def canonizetag(tag: Any) -> str:
    """Return the URL of *tag*: a name, a URL already, or a list whose first item is either.

    Raises:
        InvalidTag: It is none of these.
    """
    if isiterable(tag):
        for first in tag:
            return canonizetag(first)
    elif isinstance(tag, str) and tag:
        if tag.startswith(TAG):
            return tag
        if "://" not in tag and "/" not in tag:
            return TAG + tag
    raise InvalidTag(f"invalid tag {tag!r}: expected a name, or tag://NAME")


def canonizetags(tags: Any) -> list[str]:
    """Return the URLs of one tag, or of several."""
    return [canonizetag(tag) for tag in iterify(tags)]


def istag(tag: Any) -> str | None:
    """Return the URL of *tag* if it may be one, else None."""
    try:
        return canonizetag(tag)
    except InvalidTag:
        return None


def tagname(tag: Any) -> str:
    """Return the name in a tag's URL, or the name that was given."""
    return _split(tag)[1]


def relativizetag(tag: Any, parent: Any) -> str:
    """Return the URL of *tag* as it is meant in *parent*: with its host and token, if any."""
    location, name = _split(tag)
    location = location or _split(parent)[0]
    return f"{TAG}{location}/{name}" if location else TAG + name


def relativizetags(tags: Any, parent: Any) -> list[str]:
    """Return the URLs of several tags as they are meant in *parent*."""
    return [relativizetag(tag, parent) for tag in iterify(tags)]


def _split(tag: Any) -> tuple[str, str]:
    """Return (location, name): names may have "@" and ":", so only a slash tells them apart."""
    rest = canonizetag(tag)[len(TAG) :]
    location, slash, name = rest.partition("/")
    return (location, name) if slash else ("", rest)


def tag_address(tag: Any) -> TagAddress:
    """Return the name and token of a tag.

    Raises:
        InvalidTag: No tag can be called so.
    """
    location, name = _split(tag)
    if not _TAG_NAME.fullmatch(name) or len(name) > _MAX_TAG_NAME:
        raise InvalidTag(
            f"invalid tag name {name[:200]!r}: 1 to {_MAX_TAG_NAME} of A-Z a-z 0-9 _ - @ : will do"
        )
    credentials, at, _host = location.rpartition("@")
    token = credentials.rpartition(":")[2] if at else None
    return TagAddress(name, token or None)


def safe_name(name: str) -> str:
    """Return *name* with "_" for each character that names of blobs and tags cannot have."""
    return _UNSAFE.sub("_", name)


def blob_name(url: str) -> str:
    """Return the name that a blob was given when it was pushed."""
    return url.rpartition("/")[2].partition("$")[0]


def job_tag(jobname: str) -> str:
    """Return the name of the tag with a job's saved results."""
    return f"disco:results:{jobname}"


def job_oob(jobname: str) -> str:
    """Return the name of the tag with a job's out-of-band results."""
    return f"disco:job:oob:{jobname}"


def job_blob(jobname: str, path: str) -> str:
    """Return the name of a blob with a file of a job's results."""
    return safe_name(f"disco:blob:{jobname}:{path.rpartition('/')[2]}")


def tag_path(name: str) -> str:
    """Return where the tag of that name is, below a root."""
    if len(name) > _MAX_FILE_NAME:
        name = f"{name[: _MAX_FILE_NAME - 40]}%{_digest(name.encode())}"
    return f"tag/{name}"


def blob_path(name: str, time_s: float, random: str, digest: str) -> str:
    """Return where a new blob goes, below its root.

    Args:
        name: What the user called it; made safe, and cut if it is long.
        time_s: Seconds since 1970.
        random: Hexadecimal digits that no other push at that time has.
        digest: ``Digest`` of the content.
    """
    # fsspec takes "::" in a URL for one file in another.
    safe = safe_name(name).replace("::", ":_") or "_"
    if len(safe) > _MAX_BLOB_NAME:
        safe = f"{safe[: _MAX_BLOB_NAME - 40]}_{_digest(safe.encode())}"
    return f"blob/{digest[:2]}/{safe}${int(time_s):x}-{random}-{digest}"


def link_of(root: str, path: str) -> str:
    """Return the URL of a blob, as tags hold it."""
    return f"{DDFS}{root}/{path}"


def split_link(url: str) -> tuple[str, str] | None:
    """Return (root id, path below the root) of a ``ddfs://`` URL; None if it is another."""
    match = _LINK.fullmatch(url)
    return (match["root"], match["path"]) if match else None


def digest_in(path: str) -> str | None:
    """Return the digest that a blob's name promises; None if it is no blob of ours."""
    match = _BLOB.fullmatch(path.rpartition("/")[2])
    return match["digest"] if match else None


class Digest:
    """Computes the digest of a blob's content: BLAKE2b, 16 bytes."""

    def __init__(self, data: bytes = b"") -> None:
        self._hash = hashlib.blake2b(data, digest_size=16)

    def update(self, data: bytes) -> None:
        """Take more of the content."""
        self._hash.update(data)

    def hexdigest(self) -> str:
        """Return 32 hexadecimal digits."""
        return self._hash.hexdigest()


def _digest(data: bytes) -> str:
    return Digest(data).hexdigest()


def first_urls(links: Iterable[Iterable[str]]) -> list[str]:
    """Return the first replica of each link."""
    return [next(iter(link)) for link in links]
