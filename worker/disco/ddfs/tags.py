"""A tag as a value, and what an update makes of it. Nothing here acts.

A tag is a small JSON object: links (each a list of URLs with the same content), attributes, the
hashes of its tokens, and the ids of its latest updates. An update that was written, but whose
answer was lost, is recognised by its id when it is tried again, so nothing is added twice.
"""

import hashlib
import hmac
import json
import secrets
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from disco.ddfs.names import TAG, blob_name, canonizetag
from disco.error import DiscoError
from disco.iterables import isiterable

Link = tuple[str, ...]
"""URLs with the same content, or one ``tag://`` URL."""

VERSION = 1
MAX_ATTRIBUTES = 1000
MAX_ATTRIBUTE_NAME_BYTES = 1024
MAX_ATTRIBUTE_BYTES = 4096
READ_TOKEN, WRITE_TOKEN, URLS = "ddfs:read-token", "ddfs:write-token", "ddfs:urls"

_REMEMBERED_UPDATES = 200
"""More than can be made while one writer waits for an answer and asks again."""


class TagCorruptError(DiscoError):
    """What is stored as a tag is none: it was damaged, or a newer version wrote it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tag:
    """One version of a tag.

    Attributes:
        name: Of the tag.
        stamp: Differs in every version.
        modified_s: Seconds since 1970 of the last change.
        links: Newest first.
        attributes: Text by name.
        read_token: Salted hash of the token that readers need; None: anybody may read.
        write_token: Of the token that writers need; None: anybody may write.
        updates: Ids of the latest updates, newest first.
    """

    name: str
    stamp: str = ""
    modified_s: float = 0.0
    links: tuple[Link, ...] = ()
    attributes: dict[str, str] = field(default_factory=dict)
    read_token: str | None = None
    write_token: str | None = None
    updates: tuple[str, ...] = ()

    @property
    def id(self) -> str:
        """The name and stamp, which tell versions apart."""
        return f"{self.name}${self.stamp}"


def as_links(urls: Any) -> tuple[Link, ...]:
    """Return what a program gives as links of a tag: lists of URLs, or single URLs.

    Raises:
        DiscoError: They are something else.
    """
    if isinstance(urls, str | bytes) or not isinstance(urls, Iterable):
        raise DiscoError(f"expected a list of URLs, or of lists of replicas, got {urls!r}")
    links = []
    for entry in urls:
        link = (entry,) if isinstance(entry, str) else tuple(entry if isiterable(entry) else ())
        if not link or not all(isinstance(url, str) and url for url in link):
            raise DiscoError(f"link {entry!r}: expected a URL, or a list of replicas")
        if any("\0" in url for url in link):
            raise DiscoError(f"link {entry!r} has a NUL character, which no URL has")
        if link[0].startswith(TAG):
            link = (canonizetag(link[0]),)
        links.append(link)
    return tuple(links)


def with_links(tag: Tag, links: Sequence[Link], *, only_new: bool) -> Tag:
    """Return *tag* with more links, which come before those it has.

    Args:
        tag: The current version.
        links: To add.
        only_new: Leave out those whose blob has the name of one that is there, and tags that are
            there. Names are what blobs were called when they were pushed.
    """
    if only_new:
        there = {_name_of(link) for link in tag.links}
        added = []
        for link in links:
            if _name_of(link) not in there:
                there.add(_name_of(link))
                added.append(link)
        links = added
    return replace(tag, links=(*links, *tag.links)) if links else tag


def replaced(tag: Tag, links: tuple[Link, ...]) -> Tag:
    """Return *tag* with other links."""
    return replace(tag, links=links)


def without_links(tag: Tag, urls: Iterable[str]) -> Tag:
    """Return *tag* without the links that have one of *urls* as a replica."""
    gone = set(urls)
    return replace(tag, links=tuple(link for link in tag.links if not gone & set(link)))


def with_attribute(tag: Tag, name: str, value: str) -> Tag:
    """Return *tag* with one attribute set.

    Raises:
        DiscoError: The name or value is not a text, or too long, or there are too many.
    """
    if not isinstance(name, str) or not isinstance(value, str):
        raise DiscoError(f"attribute {name!r}: names and values are texts, got {value!r}")
    if not name or len(name.encode()) > MAX_ATTRIBUTE_NAME_BYTES:
        raise DiscoError(
            f"attribute name {name[:80]!r}: it must have 1 to {MAX_ATTRIBUTE_NAME_BYTES} bytes"
        )
    if name.startswith("ddfs:"):
        raise DiscoError(
            f"attribute {name!r}: names that begin with 'ddfs:' are DDFS's own; there are "
            f"{READ_TOKEN}, {WRITE_TOKEN} and {URLS}"
        )
    if len(value.encode()) > MAX_ATTRIBUTE_BYTES:
        raise DiscoError(
            f"attribute {name!r}: the value has {len(value.encode()):,} bytes, more than "
            f"{MAX_ATTRIBUTE_BYTES:,}; push it as a blob instead"
        )
    attributes = {**tag.attributes, name: value}
    if len(attributes) > MAX_ATTRIBUTES:
        raise DiscoError(f"tag {tag.name} has {MAX_ATTRIBUTES} attributes: delete some first")
    return replace(tag, attributes=attributes)


def without_attribute(tag: Tag, name: str) -> Tag:
    """Return *tag* without an attribute; one that is not there is fine."""
    return replace(tag, attributes={k: v for k, v in tag.attributes.items() if k != name})


def content_of(tag: Tag) -> tuple[Any, ...]:
    """Return what makes a version differ from another: no change makes no new version."""
    return tag.links, tag.attributes, tag.read_token, tag.write_token


# --- tokens -----------------------------------------------------------------------------------


def token_change(attribute: str, token: str | None) -> Callable[[Tag], Tag]:
    """Return the change that gives a tag a token, or takes it away.

    Args:
        attribute: ``READ_TOKEN`` or ``WRITE_TOKEN``.
        token: None: anybody may.

    Raises:
        DiscoError: The token is empty, or no text.
    """
    if token is not None and (not isinstance(token, str) or not token):
        raise DiscoError(f"{attribute}: a token is a text that is not empty")
    value = None if token is None else hashed(token)

    def change(tag: Tag) -> Tag:
        if attribute == READ_TOKEN:
            return replace(tag, read_token=value)
        return replace(tag, write_token=value)

    return change


def with_token(tag: Tag, token: str | None) -> Tag:
    """Return a new tag with the token that it was made with, for readers and writers."""
    if token is None:
        return tag
    value = hashed(token)
    return replace(tag, read_token=value, write_token=value)


def hashed(token: str) -> str:
    """Return a salted hash of *token*: whoever reads the storage does not learn the token."""
    salt = secrets.token_hex(8)
    return f"{salt}${_scrypt(token, salt)}"


def may_read(tag: Tag, token: str | None) -> bool:
    """Tell whether *token* opens the tag for reading; a write token does, too."""
    return tag.read_token is None or _fits(token, tag.read_token) or may_own(tag, token)


def may_write(tag: Tag, token: str | None) -> bool:
    """Tell whether *token* opens the tag for changes."""
    return tag.write_token is None or _fits(token, tag.write_token)


def may_own(tag: Tag, token: str | None) -> bool:
    """Tell whether *token* is the tag's write token."""
    return tag.write_token is not None and _fits(token, tag.write_token)


def _fits(token: str | None, stored: str) -> bool:
    salt, _, digest = stored.partition("$")
    return token is not None and hmac.compare_digest(_scrypt(token, salt), digest)


def _scrypt(token: str, salt: str) -> str:
    return hashlib.scrypt(
        token.encode("utf-8", "surrogateescape"), salt=salt.encode(), n=2**12, r=8, p=1, dklen=16
    ).hex()


# --- as stored, and as programs see it --------------------------------------------------------


def encoded(tag: Tag) -> bytes:
    """Return *tag* as it is stored."""
    fields = {
        "version": VERSION,
        "name": tag.name,
        "stamp": tag.stamp,
        "modified": tag.modified_s,
        "urls": tag.links,
        "user-data": tag.attributes,
        "read-token": tag.read_token,
        "write-token": tag.write_token,
        "updates": tag.updates,
    }
    return json.dumps(fields, separators=(",", ":")).encode()


def decoded(data: bytes, place: str) -> Tag:
    """Return the tag that ``encoded`` wrote.

    Args:
        data: What is stored.
        place: Where, for the message.

    Raises:
        TagCorruptError: It is no tag.
    """
    try:
        fields = json.loads(data)
        if fields["version"] != VERSION:
            raise TagCorruptError(
                f"{place} was written by another version of DDFS ({fields['version']!r}): this one "
                f"reads version {VERSION}"
            )
        return Tag(
            name=str(fields["name"]),
            stamp=str(fields["stamp"]),
            modified_s=float(fields["modified"]),
            links=tuple(tuple(map(str, link)) for link in fields["urls"]),
            attributes={str(key): str(value) for key, value in fields["user-data"].items()},
            read_token=fields["read-token"],
            write_token=fields["write-token"],
            updates=tuple(map(str, fields["updates"])),
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise TagCorruptError(
            f"{place} is damaged ({error!r}): restore it from a copy, or delete it"
        ) from error


def shown(tag: Tag, links: Iterable[Link]) -> dict[str, Any]:
    """Return *tag* as Disco's programs get it, with *links* in place of its own."""
    return {
        "version": VERSION,
        "id": tag.id,
        "last-modified": time.strftime("%Y/%m/%d %H:%M:%S", time.gmtime(tag.modified_s)),
        "urls": [list(link) for link in links],
        "user-data": dict(tag.attributes),
    }


def stamped(tag: Tag, update: str, now_s: float) -> Tag:
    """Return *tag* as the version that *update* makes at *now_s*."""
    return replace(
        tag,
        stamp=f"{int(now_s):x}-{update}",
        modified_s=now_s,
        updates=(update, *tag.updates)[:_REMEMBERED_UPDATES],
    )


def _name_of(link: Link) -> str:
    """Return what makes a link the same as another: a tag's URL, a blob's name, else the URL."""
    url = link[0]
    return blob_name(url) if "$" in url.rpartition("/")[2] else url
