"""The roots of DDFS: one, or several that keep copies. The first has the tags.

Every root has an id, in ``root.json``, and tags call blobs by it: a root may be moved or mounted
elsewhere, and what tags say stays true. The file also says which root has the tags: a root that is
used with those of another would look like a heap of garbage.
"""

import json
import logging
import random
import secrets
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import IO, NamedTuple

from disco.ddfs.kinds import store_of
from disco.ddfs.names import DDFS, Digest, blob_path, digest_in, link_of, split_link
from disco.ddfs.stores import Store, storing
from disco.ddfs.tags import Link
from disco.error import CommError, DataError, DiscoError

log = logging.getLogger(__name__)

_MARKER = "root.json"
_FORMAT = 1
_LOST_S = 30.0
_IN_MEMORY_BYTES = 64 * 1024 * 1024
_COPY_BYTES = 1024 * 1024


class Root(NamedTuple):
    """One root: its id, and where it is."""

    id: str
    store: Store


class _Marker(NamedTuple):
    """What ``root.json`` says: the root's id, and that of the root with its tags."""

    root: str
    tags: str


class _Lost(NamedTuple):
    """A root that could not be reached, and until when it is not tried again."""

    error: CommError
    until_s: float


class Roots:
    """All roots.

    Args:
        urls: Of the roots: paths, or what fsspec knows; the first has the tags.
        clock: Returns seconds since 1970.

    Raises:
        DiscoError: There is no root.
    """

    def __init__(self, urls: Sequence[str], clock: Callable[[], float]) -> None:
        if not urls:
            raise DiscoError("DDFS has no root: set DISCO_DDFS to a directory or a URL")
        self._stores = [store_of(url) for url in urls]
        self._clock = clock
        self._known: dict[int, Root] = {}
        self._lost: dict[int, _Lost] = {}

    @property
    def first(self) -> Store:
        """The root that has the tags."""
        return self._stores[0]

    def all(self, *, make: bool = False) -> list[Root]:
        """Return the roots there are.

        Args:
            make: Make those that do not exist; else they are left out.

        Raises:
            CommError: A root cannot be read or made.
        """
        found = (self._root(number, make) for number in range(len(self._stores)))
        return [root for root in found if root is not None]

    def reachable(self, *, make: bool = False) -> list[Root]:
        """Return the roots there are, without those that cannot be read or made now.

        Raises:
            CommError: There are several, and none can.
        """
        found: list[Root | None] = []
        problem: CommError | None = None
        for number, store in enumerate(self._stores):
            lost = self._lost.get(number)
            if lost is not None and time.monotonic() < lost.until_s:
                problem = lost.error
                continue
            try:
                found.append(self._root(number, make))
            except CommError as error:
                log.warning("root left out", extra={"root": store.url, "error": str(error)})
                self._lost[number] = _Lost(error, time.monotonic() + _LOST_S)
                problem = error
        if not found and problem is not None:
            raise problem
        return [root for root in found if root is not None]

    def write(
        self,
        name: str,
        source: IO[bytes],
        *,
        replicas: int,
        forced: Sequence[str] = (),
        retries: int = 0,
    ) -> Link:
        """Store a blob and return its link.

        Args:
            name: What it is called.
            source: Its content.
            replicas: How many roots must have it.
            forced: URLs of roots that must be among them.
            retries: How often a root is tried again; then another one is taken.

        Raises:
            CommError: Fewer than *replicas* roots took it. What was written is garbage.
        """
        chosen = self._order(forced)
        if not 1 <= replicas <= len(chosen):
            raise CommError(
                f"{replicas} replicas are wanted, but {len(chosen)} of {len(self._stores)} roots"
                " can be used: set DISCO_DDFS to more of them, separated by commas",
                name,
                403,
            )
        with _rewindable(source) as content:
            path = blob_path(name, self._clock(), secrets.token_hex(4), _digest_of(content))
            link: list[str] = []
            problem: CommError | None = None
            for root in chosen:
                try:
                    _store(root.store, path, content, retries)
                    link.append(link_of(root.id, path))
                except CommError as error:
                    if root.store.url in forced:
                        raise
                    log.warning("root failed", extra={"root": root.store.url, "error": str(error)})
                    problem = error
                if len(link) == replicas:
                    return tuple(link)
        raise CommError(
            f"only {len(link)} of {replicas} replicas could be written: "
            f"{problem.msg if problem else ''}",
            name,
            problem.code if problem else None,
        ) from problem

    def resolved(self, link: Link) -> Link:
        """Return the URLs that anybody can read in place of those that only DDFS knows.

        Copies in roots that are not among ours, or cannot be reached, are left out.

        Raises:
            DataError: None is left.
        """
        urls: list[str] = []
        problem: DataError | None = None
        for url in link:
            try:
                urls.append(self.resolve(url))
            except DataError as error:
                problem = error
        if not urls and problem is not None:
            raise problem
        return tuple(urls)

    def resolve(self, url: str) -> str:
        """Return the URL that anybody can read.

        Raises:
            DataError: It is a blob of a root that is not among ours.
        """
        if not url.startswith(DDFS):
            return url
        store, path = self.place(url)
        return store.url_of(path)

    def place(self, url: str) -> tuple[Store, str]:
        """Return the root that has the blob of a ``ddfs://`` URL, and its name there.

        Raises:
            DataError: That is no such URL, or its root is not among ours.
        """
        parts = split_link(url)
        if parts is None:
            raise DataError("a blob is ddfs://ROOT/blob/HH/NAME$STAMP", url)
        root_id, path = parts
        for root in self.reachable():
            if root.id == root_id:
                return root.store, path
        places = ", ".join(store.url for store in self._stores)
        raise DataError(
            f"the blob is in the root {root_id}, which is not among {places}: add it to DISCO_DDFS",
            url,
            404,
        )

    def relative(self, url: str) -> str:
        """Return what ``resolve`` makes *url* of, if it is a blob in one of the roots."""
        for root in self.reachable():
            prefix = root.store.url_of("")
            for form in (url, url.removeprefix("file://")):
                link = link_of(root.id, form[len(prefix) :])
                if form.startswith(prefix) and split_link(link):
                    return link
        return url

    def _root(self, number: int, make: bool) -> Root | None:
        if number not in self._known:
            store = self._stores[number]
            with storing(store.url):
                found = store.read(_MARKER)
                if found is None and make:
                    own = secrets.token_hex(8)
                    fields = {"format": _FORMAT, "id": own, "tags": self._tags_id(number, own)}
                    store.swap(_MARKER, json.dumps(fields).encode(), None)
                    found = store.read(_MARKER)
            if found is None:
                return None
            marker = _marker_in(found.data, store)
            # Else what the tags of another DDFS have would be garbage to ours.
            if marker.tags != self._tags_id(number, marker.root):
                raise DiscoError(
                    f"{store.url} belongs to tags that are not in {self.first.url}: DISCO_DDFS"
                    " names the roots in another order than before, or one of another DDFS, or the"
                    " first is not mounted"
                )
            self._known[number] = Root(marker.root, store)
        return self._known[number]

    def _tags_id(self, number: int, own: str) -> str | None:
        """Return the id of the first root, which has the tags; None: it was never written to."""
        if number == 0:
            return own
        first = self._root(0, make=False)
        return first.id if first is not None else None

    def _order(self, forced: Sequence[str]) -> list[Root]:
        """Return the roots in the order in which they are tried; it spreads what is written."""
        roots = self.reachable(make=True)
        for url in forced:
            if url not in [root.store.url for root in roots]:
                raise DiscoError(
                    f"forceon: there is no root {url!r}; there are "
                    f"{', '.join(root.store.url for root in roots)}"
                )
        random.shuffle(roots)
        return sorted(roots, key=lambda root: root.store.url not in forced)


def _marker_in(data: bytes, store: Store) -> _Marker:
    try:
        fields = json.loads(data)
        if fields["format"] != _FORMAT:
            raise DiscoError(
                f"{store.url} has format {fields['format']!r} of DDFS: this version reads {_FORMAT}"
            )
        return _Marker(str(fields["id"]), str(fields["tags"]))
    except (ValueError, KeyError, TypeError) as error:
        raise DiscoError(f"{store.url_of(_MARKER)} is damaged: {error!r}") from error


def verified(store: Store, path: str) -> IO[bytes]:
    """Return a blob's content, to be read from the beginning, that has been checked.

    Raises:
        DataError: It is missing, cannot be read, or is not what was pushed.
    """
    url = store.url_of(path)
    copy = tempfile.SpooledTemporaryFile(_IN_MEMORY_BYTES)  # noqa: SIM115 - the caller closes it
    try:
        with storing(url), store.open(path) as source:
            shutil.copyfileobj(source, copy, _COPY_BYTES)
        copy.seek(0)
        promised = digest_in(path)
        if promised is not None and _digest_of(copy) != promised:
            raise DataError("corrupt data: the checksum is not that of what was pushed", url)
    except BaseException:
        copy.close()
        raise
    return copy


def _store(store: Store, path: str, content: IO[bytes], retries: int) -> None:
    for attempt in range(retries + 1):
        try:
            with storing(store.url_of(path)):
                content.seek(0)
                store.write(path, content)
            return
        except CommError as error:
            # Neither a full disk nor a missing right goes away while we wait.
            if error.code is not None or attempt == retries:
                raise


@contextmanager
def _rewindable(source: IO[bytes]) -> Iterator[IO[bytes]]:
    """Give a file that can be read more than once: the source if it can, else a copy."""
    if source.seekable():
        yield source
        return
    with tempfile.SpooledTemporaryFile(_IN_MEMORY_BYTES) as copy:
        shutil.copyfileobj(source, copy, _COPY_BYTES)
        yield copy


def _digest_of(content: IO[bytes]) -> str:
    digest = Digest()
    content.seek(0)
    while data := content.read(_COPY_BYTES):
        digest.update(data)
    content.seek(0)
    return digest.hexdigest()
