"""Tags, as Disco's programs know them."""

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Self

from disco.ddfs import names, tags
from disco.ddfs.collecting import refuse_endangered
from disco.ddfs.delayed import Delayed
from disco.ddfs.names import TAG, TagAddress, canonizetags, istag, relativizetags, tag_address
from disco.ddfs.registry import Registry
from disco.ddfs.roots import Roots
from disco.ddfs.settings import roots_of
from disco.ddfs.tags import Link, Tag
from disco.error import CommError
from disco.iterables import partition
from disco.settings import DiscoSettings

Links = list[list[str]]
"""URLs with the same content in each list, or one ``tag://`` URL."""

Texts = list[str]  # in the class, `list` is a method

Walk = tuple[tuple[str, ...], Links | None, Links | None]


class Tagging:
    """Tags and blobs in the roots that the setting ``DISCO_DDFS`` names.

    Tags are given as names, or as ``tag://`` URLs, which may have a token. A token can also be
    given to each method; else that in the URL counts, else ``DDFS_READ_TOKEN`` or
    ``DDFS_WRITE_TOKEN``.

    Args:
        master: Roots, in place of the setting's: a path, or a URL of storage; several are separated
            by commas. The address of an engine is fine, too: then the setting counts.
        proxy: Not needed.
        settings: Where defaults come from.
        clock: Returns seconds since 1970.

    Raises:
        DiscoError: There is no root, or nobody knows its kind of storage.
    """

    safe_name = staticmethod(names.safe_name)
    blob_name = staticmethod(names.blob_name)
    job_tag = staticmethod(names.job_tag)
    job_oob = staticmethod(names.job_oob)
    job_blob = staticmethod(names.job_blob)

    def __init__(
        self,
        master: str | None = None,
        proxy: str | None = None,
        settings: DiscoSettings | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.settings = DiscoSettings() if settings is None else settings
        self._clock = clock
        self.roots = Roots(roots_of(master, self.settings), clock)
        self.registry = Registry(self.roots.first, clock)
        self._delayed = Delayed(self._append, time.monotonic)

    def __repr__(self) -> str:
        return f"DDFS at {self.roots.first.url}"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Make the delayed updates, as the end of the program does."""
        self.flush()

    def flush(self) -> None:
        """Make the delayed updates now.

        Raises:
            CommError: One cannot be made; those that are left stay delayed.
        """
        self._delayed.flush()

    # --- reading ------------------------------------------------------------------------------

    def get(self, tag: Any, token: str | None = None) -> dict[str, Any]:
        """Return a tag: ``version``, ``id``, ``last-modified``, ``urls`` and ``user-data``.

        Raises:
            CommError: 404: there is none. 401: the token does not fit.
        """
        found = self._get(tag, token)
        return tags.shown(found, map(self.roots.resolved, found.links))

    def urls(self, tag: Any, token: str | None = None) -> Links:
        """Return the links of a tag, newest first: lists of URLs with the same content."""
        urls: Links = self.get(tag, token)["urls"]
        return urls

    def exists(self, tag: Any, token: str | None = None) -> bool:
        """Return whether there is such a tag; that is no secret, so no token is asked for."""
        self._delayed.flush()
        return self.registry.exists(tag_address(tag).name)

    def list(self, prefix: str = "", token: str | None = None) -> Texts:
        """Return the names of the tags that begin with *prefix*, sorted; no token is asked for."""
        self._delayed.flush()
        return self.registry.names(prefix)

    def blobs(
        self, tag: Any, ignore_missing: bool = True, token: str | None = None
    ) -> Iterator[Texts]:
        """Yield the replicas of each blob that *tag*, or a tag it has links to, has.

        Raises:
            CommError: A tag is missing, and *ignore_missing* is False; or a token does not fit.
        """
        for _path, _tags, blobs in self.walk(tag, ignore_missing, token=token):
            yield from blobs or ()

    def walk(
        self,
        tag: Any,
        ignore_missing: bool = True,
        tagpath: tuple[str, ...] = (),
        token: str | None = None,
    ) -> Iterator[Walk]:
        """Yield (path, tags, blobs) for *tag* and all tags it has links to, each as often as it is.

        Args:
            tag: Where to start.
            ignore_missing: Yield tags that do not exist as empty ones.
            tagpath: The URLs of the tags on the way here.
            token: To read the tags.

        Yields:
            The URLs of the tags on the way, this one last; the links to tags; the other links.
            Before an error is raised, both are None.

        Raises:
            CommError: A tag cannot be read. 508: tags lead in a circle.
        """
        url = names.canonizetag(tag)
        if url in tagpath:
            raise CommError(f"tags lead in a circle: {' -> '.join((*tagpath, url))}", url, 508)
        path = (*tagpath, url)
        try:
            links = self.urls(url, token)
        except CommError as error:
            if not (ignore_missing and error.code == 404):
                yield path, None, None
                raise
            links = []
        below, blobs = partition(links, istag)
        yield path, below, blobs
        for child in relativizetags(canonizetags(below), url):
            yield from self.walk(child, ignore_missing, path, token)

    def findtags(
        self, tags: Any = (), ignore_missing: bool = True, token: str | None = None
    ) -> Iterator[tuple[str, Texts, Links]]:
        """Yield (tag, tags, blobs) for each of *tags* and those they have links to, once each.

        Circles are fine.

        Raises:
            CommError: A tag is missing, and *ignore_missing* is False; or a token does not fit.
        """
        queue = canonizetags(tags)
        seen = set(queue)
        for url in queue:
            try:
                links = self.urls(url, token)
            except CommError as error:
                if ignore_missing and error.code == 404:
                    continue
                raise
            below, blobs = partition(links, istag)
            children = relativizetags(canonizetags(below), url)
            yield url, children, blobs
            for child in children:
                if child not in seen:
                    seen.add(child)
                    queue.append(child)

    # --- changing tags ------------------------------------------------------------------------

    def tag(
        self,
        tag: Any,
        urls: Any,
        token: str | None = None,
        delayed: bool = False,
        update: bool = False,
    ) -> str:
        """Add links to a tag, before those it has; the tag is made if there is none.

        Args:
            tag: The tag.
            urls: URLs, or lists of URLs with the same content, or tags.
            token: To change the tag; a new tag gets it, for readers and writers.
            delayed: Keep the update for up to a second, or until this object reads a tag, to make
                several at once. A program that is killed meanwhile has not made it.
            update: Leave out blobs whose name the tag has already.

        Returns:
            The tag's URL.

        Raises:
            CommError: 401: the token does not fit. 507: the storage is full. Else it fails.
            DiscoError: *urls* are none.
        """
        address = self._address(tag, token, write=True)
        links = self._relative(urls)
        if delayed:
            self._delayed.add(address, links, only_new=update)
        else:
            self._delayed.flush()
            self._append(address, links, only_new=update)
        return TAG + address.name

    def put(self, tag: Any, urls: Any, token: str | None = None) -> str:
        """Replace the links of a tag, which is made if there is none; returns its URL.

        What others have added since you looked is gone: programs that run side by side use ``tag``.
        """
        links = self._relative(urls)
        return self._change(tag, token, lambda old: tags.replaced(old, links))

    def untag(self, tag: Any, urls: Any, token: str | None = None) -> str:
        """Remove the links that have one of *urls*; those that are not there are fine.

        Raises:
            CommError: 404: there is no such tag. 401: the token does not fit.
        """
        gone = [url for link in self._relative(urls) for url in link]
        return self._change(tag, token, lambda old: tags.without_links(old, gone), create=False)

    def touch(self, tag: Any, token: str | None = None) -> str:
        """Make a tag without links, unless there is one; returns its URL."""
        return self.tag(tag, [], token)

    def clone(self, source: Any, target: Any, token: str | None = None) -> str:
        """Replace the links of *target* with those of *source*; returns the target's URL."""
        links = self._get(source, token).links
        return self._change(target, token, lambda old: tags.replaced(old, links))

    def delete(self, tag: Any, token: str | None = None) -> str:
        """Remove a tag; one that is not there is fine. Its blobs stay until they are collected.

        Raises:
            CommError: 401: the token does not fit.
        """
        self._delayed.flush()
        address = self._address(tag, token, write=True)
        self.registry.delete(address)
        return TAG + address.name

    # --- attributes and tokens ----------------------------------------------------------------

    def attrs(self, tag: Any, token: str | None = None) -> dict[str, str]:
        """Return the attributes of a tag."""
        return dict(self._get(tag, token).attributes)

    def getattr(self, tag: Any, attr: str, token: str | None = None) -> Any:
        """Return an attribute of a tag; ``ddfs:urls`` are its links.

        Raises:
            CommError: 404: there is no such tag or attribute. 403: it is a token, of which only a
                hash is kept.
        """
        if attr == tags.URLS:
            return self.urls(tag, token)
        found = self._get(tag, token)
        if attr in (tags.READ_TOKEN, tags.WRITE_TOKEN):
            raise CommError(f"{attr} cannot be read: only a hash is kept", _url(found), 403)
        if attr not in found.attributes:
            known = ", ".join(sorted(found.attributes)) or "none"
            raise CommError(f"no attribute {attr!r}; there are: {known}", _url(found), 404)
        return found.attributes[attr]

    def setattr(self, tag: Any, attr: str, val: Any, token: str | None = None) -> str:
        """Set an attribute of a tag, or a token (``ddfs:read-token``, ``ddfs:write-token``).

        Args:
            tag: The tag, which must exist.
            attr: Up to 1,024 bytes.
            val: A text of up to 4,096 bytes; links for ``ddfs:urls``.
            token: To change the tag.

        Raises:
            CommError: 404: there is no such tag. 401: the token does not fit.
            DiscoError: The name or value is none.
        """
        if attr == tags.URLS:
            links = self._relative(val)
            return self._change(tag, token, lambda old: tags.replaced(old, links), create=False)
        if attr in (tags.READ_TOKEN, tags.WRITE_TOKEN):
            change = tags.token_change(attr, val)
        else:

            def change(old: Tag) -> Tag:
                return tags.with_attribute(old, attr, val)

        return self._change(tag, token, change, create=False)

    def delattr(self, tag: Any, attr: str, token: str | None = None) -> str:
        """Remove an attribute of a tag, or a token; one that is not there is fine."""
        if attr in (tags.READ_TOKEN, tags.WRITE_TOKEN):
            change = tags.token_change(attr, None)
        else:

            def change(old: Tag) -> Tag:
                return tags.without_attribute(old, attr)

        return self._change(tag, token, change, create=False)

    # --- within -------------------------------------------------------------------------------

    def _address(self, tag: Any, token: str | None, *, write: bool = False) -> TagAddress:
        address = tag_address(tag)
        setting = "DDFS_WRITE_TOKEN" if write else "DDFS_READ_TOKEN"
        return address._replace(token=token or address.token or self.settings[setting] or None)

    def _get(self, tag: Any, token: str | None) -> Tag:
        self._delayed.flush()
        return self.registry.get(self._address(tag, token))

    def _change(
        self, tag: Any, token: str | None, change: Callable[[Tag], Tag], *, create: bool = True
    ) -> str:
        self._delayed.flush()
        address = self._address(tag, token, write=True)
        changed = self.registry.change(address, change, create=create)
        refuse_endangered(self.registry, address, changed.links)
        return TAG + address.name

    def _append(self, address: TagAddress, links: Sequence[Link], *, only_new: bool) -> None:
        self.registry.change(address, lambda old: tags.with_links(old, links, only_new=only_new))
        refuse_endangered(self.registry, address, links)

    def _relative(self, urls: Any) -> tuple[Link, ...]:
        return tuple(tuple(map(self.roots.relative, link)) for link in tags.as_links(urls))


def _url(tag: Tag) -> str:
    return TAG + tag.name
