"""The tags of a root: reading one, and changing one so that concurrent changes are not lost.

A change is a function from a tag to a tag. It is applied to the newest version, and written if
that still is the newest; else it is applied again.
"""

import logging
import random
import secrets
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

from disco.ddfs import tags
from disco.ddfs.names import TAG, TagAddress, tag_path
from disco.ddfs.stores import Store, storing
from disco.ddfs.tags import Tag
from disco.error import CommError

log = logging.getLogger(__name__)

Change = Callable[[Tag], Tag]

_GIVE_UP_S = 300.0
_LONGEST_PAUSE_S = 5.0


class Found(NamedTuple):
    """A tag, and the version of the file that it is in; None: there is none yet."""

    tag: Tag
    version: str | None


class Registry:
    """The tags of one store.

    Args:
        store: Where they are.
        clock: Returns seconds since 1970.
        pause: Waits for some seconds; between two attempts at a change.
    """

    def __init__(
        self,
        store: Store,
        clock: Callable[[], float],
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self.store = store
        self._clock = clock
        self._pause = pause

    def get(self, address: TagAddress) -> Tag:
        """Return a tag.

        Raises:
            CommError: 404: there is none. 401: the token does not fit.
            TagCorruptError: It is damaged.
        """
        found = self._found(address.name)
        if found.version is None:
            raise missing(address.name)
        if not tags.may_read(found.tag, address.token):
            raise _denied(address, "read")
        return found.tag

    def exists(self, name: str) -> bool:
        """Tell whether there is a tag of that name."""
        path = tag_path(name)
        with storing(self.store.url_of(path)):
            return self.store.exists(path)

    def change(
        self, address: TagAddress, change: Change, *, create: bool = True, trusted: bool = False
    ) -> Tag:
        """Apply *change* to a tag and return the version that came of it.

        A change that leaves a tag as it is writes nothing. One that makes a new tag gives it the
        address's token, for reading and for writing.

        Args:
            address: Which tag, and the token to change it.
            change: Returns the new tag; it may be called several times.
            create: Make the tag if there is none.
            trusted: Ask for no token: it is DDFS itself that changes the tag.

        Raises:
            CommError: 401: the token does not fit. 404: there is no tag, and it was not to be
                created. 409: for minutes others were faster. Else the storage fails.
            TagCorruptError: It is damaged.
        """
        update = secrets.token_hex(6)
        deadline = time.monotonic() + _GIVE_UP_S
        failed = 0
        path = tag_path(address.name)
        while True:
            began = time.monotonic()
            found = self._found(address.name)
            if update in found.tag.updates:  # written, though we were told that it was not
                return found.tag
            base = found.tag
            if found.version is None:
                if not create:
                    raise missing(address.name)
                base = tags.with_token(base, address.token)
            elif not trusted and not tags.may_write(base, address.token):
                raise _denied(address, "change")
            changed = change(base)
            if found.version and tags.content_of(changed) == tags.content_of(base):
                return base
            changed = tags.stamped(changed, update, self._clock())
            with storing(self.store.url_of(path)):
                if self.store.swap(path, tags.encoded(changed), found.version):
                    return changed
            now = time.monotonic()
            if now > deadline:
                raise CommError("others change this tag all the time", TAG + address.name, 409)
            # In units of what an attempt takes here: attempts that are too many slow down all.
            failed += 1
            self._pause(random.uniform(0, min((now - began) * 2**failed, _LONGEST_PAUSE_S)))

    def delete(self, address: TagAddress) -> None:
        """Remove a tag; one that is not there is fine. Its blobs become garbage.

        Raises:
            CommError: 401: the token does not fit. Else the storage fails.
        """
        try:
            found = self._found(address.name)
        except tags.TagCorruptError:
            log.warning("damaged tag removed", extra={"tag": address.name})
        else:
            if found.version is None:
                return
            if not tags.may_write(found.tag, address.token):
                raise _denied(address, "delete")
        path = tag_path(address.name)
        with storing(self.store.url_of(path)):
            self.store.remove(path)

    def names(self, prefix: str = "") -> list[str]:
        """Return the names of all tags that begin with *prefix*, sorted."""
        return sorted(name for name in self._names(prefix) if name.startswith(prefix))

    def all(self) -> Iterator[Tag]:
        """Yield all tags; those that go while we read are left out.

        Raises:
            TagCorruptError: One is damaged.
        """
        for path in self._paths("tag/"):
            with storing(self.store.url_of(path)):
                stored = self.store.read(path)
            if stored is not None:
                yield tags.decoded(stored.data, self.store.url_of(path))

    def _names(self, prefix: str) -> Iterator[str]:
        # The name of a file has only the beginning of a very long name; the file has all of it.
        for path in self._paths("tag/" + prefix[:_SURE_CHARACTERS]):
            if "%" not in path:
                yield path.removeprefix("tag/")
                continue
            with storing(self.store.url_of(path)):
                stored = self.store.read(path)
            if stored is not None:
                yield tags.decoded(stored.data, self.store.url_of(path)).name

    def _paths(self, prefix: str) -> list[str]:
        with storing(self.store.url_of("tag")):
            return sorted(stored.name for stored in self.store.names(prefix))

    def _found(self, name: str) -> Found:
        path = tag_path(name)
        with storing(self.store.url_of(path)):
            stored = self.store.read(path)
        if stored is None:
            return Found(Tag(name=name), None)
        return Found(tags.decoded(stored.data, self.store.url_of(path)), stored.version)


_SURE_CHARACTERS = 100  # of a name, that its file's name begins with


def missing(name: str) -> CommError:
    """Return the error that there is no such tag."""
    return CommError(f"there is no tag {name!r}; `ddfs ls` lists those there are", TAG + name, 404)


def _denied(address: TagAddress, what: str) -> CommError:
    given = "the token that was given does not fit" if address.token else "it needs a token"
    return CommError(
        f"not allowed to {what} the tag {address.name!r}: {given}", TAG + address.name, 401
    )
