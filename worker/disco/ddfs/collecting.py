"""Garbage collection: blobs that no tag has go away, and copies that are missing come back.

A blob is removed when two collections, at least the grace period apart, have found that no tag has
it. So a push may take as long as that, and a tag that was deleted by mistake can be made again.

Between the last look at the tags and the removal somebody may give a tag a link to such a blob. So
the blobs that are about to be removed are written down first, then the tags are read once more,
then blobs are removed; who changes a tag looks into that list afterwards (``endangered``). One of
the two sees the other. A collection that dies leaves a list that only keeps those blobs from being
tagged, until the next one.

    gc/state    when each blob was first found without a tag, and those that are being removed
"""

import json
import logging
import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from disco.ddfs import tags
from disco.ddfs.names import TAG, TagAddress, link_of
from disco.ddfs.registry import Registry
from disco.ddfs.roots import Root, Roots, verified
from disco.ddfs.stores import Store, storing
from disco.ddfs.tags import Link, Tag
from disco.error import CommError, DataError

log = logging.getLogger(__name__)

GRACE_S = 5 * 24 * 3600.0
"""Disco's: orphans live for five days."""

_STATE = "gc/state"


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """What one collection leaves for the next, and for those who change tags.

    Attributes:
        orphans: When (seconds since 1970) each blob was first found without a tag, by its link.
        removing: Links of blobs that are being removed.
    """

    orphans: Mapping[str, float] = field(default_factory=dict)
    removing: frozenset[str] = frozenset()


@dataclass(slots=True, kw_only=True)
class Collected:
    """What a collection did.

    Attributes:
        tags: How many there are.
        kept: Blobs that tags have, copies included.
        kept_bytes: Their size.
        waiting: Blobs that no tag has, and whose grace period is not over.
        removed: Blobs that were removed (or would have been), and files that no push completed.
        removed_bytes: Their size.
        copied: Copies that were made because there were too few.
        lost: (tag, link) of blobs that no root has, or only damaged.
    """

    tags: int = 0
    kept: int = 0
    kept_bytes: int = 0
    waiting: int = 0
    removed: int = 0
    removed_bytes: int = 0
    copied: int = 0
    lost: list[tuple[str, str]] = field(default_factory=list)


def decided(
    stored: Iterable[str],
    reached: set[str],
    orphans: Mapping[str, float],
    now_s: float,
    grace_s: float,
) -> tuple[dict[str, float], set[str]]:
    """Return the orphans, with the time each was first seen as one, and those that are due.

    Args:
        stored: Links of what there is.
        reached: Links that tags have.
        orphans: Of the collection before.
        now_s: Seconds since 1970.
        grace_s: How long an orphan lives.
    """
    found = {link: orphans.get(link, now_s) for link in stored if link not in reached}
    return found, {link for link, since_s in found.items() if now_s - since_s >= grace_s}


def endangered(store: Store, links: Iterable[Link]) -> list[str]:
    """Return which of *links*, that a tag has got by now, may be gone at any moment."""
    removing = _read_state(store)[0].removing
    return [url for link in links for url in link if url in removing] if removing else []


class Collector:
    """Collects garbage in all roots.

    Args:
        roots: Where blobs are.
        registry: The tags.
        clock: Returns seconds since 1970.
        replicas: How many roots each blob should be in.
    """

    def __init__(
        self, roots: Roots, registry: Registry, clock: Callable[[], float], replicas: int
    ) -> None:
        self._roots = roots
        self._registry = registry
        self._clock = clock
        self._replicas = replicas

    def run(
        self, grace_s: float = GRACE_S, *, verify: bool = False, dry: bool = False
    ) -> Collected:
        """Collect once.

        Args:
            grace_s: How long a blob lives that no tag has. 0 is for a DDFS that nobody uses now.
            verify: Read every blob that a tag has; a damaged copy counts as missing.
            dry: Change nothing.

        Raises:
            TagCorruptError: A tag cannot be read, so nobody knows which blobs it has. Nothing was
                removed.
            CommError: The storage fails. 409: another collection runs.
        """
        collected = Collected()
        there = self._roots.all()
        if not there:
            return collected
        # Blobs first, then tags: what is pushed meanwhile is not looked at.
        stored = dict(self._stored(there))
        state, version = _read_state(self._roots.first)
        reached = self._reached()
        orphans, due = decided(stored, reached, state.orphans, self._clock(), grace_s)
        announced = bool(due) and not dry
        if announced:
            version = self._write(State(orphans=orphans, removing=frozenset(due)), version)
            due -= self._reached()
        for link in sorted(due):
            collected.removed += 1
            collected.removed_bytes += stored[link]
            if not dry:
                self._remove(link, there)
        orphans = {link: since for link, since in orphans.items() if link not in due}
        left = State(orphans=orphans)
        if announced or (left != state and not dry):
            self._write(left, version)
        kept = [size for link, size in stored.items() if link in reached]
        collected.kept, collected.kept_bytes = len(kept), sum(kept)
        collected.waiting = len(orphans)
        self._look_after(stored, there, collected, verify=verify, dry=dry)
        log.info(
            "garbage collected",
            extra={"kept": collected.kept, "waiting": collected.waiting, "removed": len(due)},
        )
        return collected

    def _stored(self, there: Iterable[Root]) -> Iterator[tuple[str, int]]:
        for root in there:
            for prefix in ("blob/", "tmp/"):
                with storing(root.store.url_of(prefix)):
                    for found in root.store.names(prefix):
                        yield link_of(root.id, found.name), found.size

    def _reached(self) -> set[str]:
        return {
            self._roots.relative(url)
            for tag in self._registry.all()
            for link in tag.links
            for url in link
        }

    def _remove(self, link: str, there: Iterable[Root]) -> None:
        for root in there:
            prefix = link_of(root.id, "")
            if link.startswith(prefix):
                with storing(link):
                    root.store.remove(link.removeprefix(prefix))

    def _write(self, state: State, version: str | None) -> str | None:
        store = self._roots.first
        fields = {
            "orphans": dict(state.orphans),
            "removing": sorted(state.removing),
            "writer": secrets.token_hex(8),  # so that another's list is never taken for ours
        }
        data = json.dumps(fields).encode()
        with storing(store.url_of(_STATE)):
            if not store.swap(_STATE, data, version):
                raise CommError("another collection runs at the same time", store.url, 409)
            written = store.read(_STATE)
        if written is None or written.data != data:
            raise CommError("another collection runs at the same time", store.url, 409)
        return written.version

    # --- copies -------------------------------------------------------------------------------

    def _look_after(
        self,
        stored: Mapping[str, int],
        there: list[Root],
        collected: Collected,
        *,
        verify: bool,
        dry: bool,
    ) -> None:
        """Find what is missing, and copy what is there too seldom."""
        for tag in self._registry.all():
            collected.tags += 1
            mended: dict[Link, Link] = {}
            for link in tag.links:
                blobs = [
                    url for url in map(self._roots.relative, link) if self._is_ours(url, there)
                ]
                if not blobs:
                    continue
                good = [url for url in blobs if url in stored and self._is_good(url, verify=verify)]
                if not good:
                    collected.lost.append((tag.name, blobs[0]))
                elif len(good) < min(max(self._replicas, len(blobs)), len(there)) and not dry:
                    added = self._copies(good, there, max(self._replicas, len(blobs)))
                    collected.copied += len(added)
                    others = [url for url in link if self._roots.relative(url) not in blobs]
                    mended[link] = (*good, *added, *others)
            if mended:
                self._mend(tag, mended)

    def _is_ours(self, url: str, there: list[Root]) -> bool:
        return any(url.startswith(link_of(root.id, "blob/")) for root in there)

    def _is_good(self, url: str, *, verify: bool) -> bool:
        if not verify:
            return True
        store, path = self._roots.place(url)
        try:
            verified(store, path).close()
        except DataError as error:
            log.warning("damaged copy", extra={"blob": url, "error": str(error)})
            return False
        return True

    def _copies(self, good: list[str], there: list[Root], wanted: int) -> list[str]:
        """Copy a blob to roots that have it not, or damaged, and return the links."""
        added: list[str] = []
        store, path = self._roots.place(good[0])
        for root in there:
            link = link_of(root.id, path)
            if len(good) + len(added) >= wanted:
                break
            if link in good:
                continue
            try:
                with verified(store, path) as content, storing(root.store.url_of(path)):
                    root.store.write(path, content)
                added.append(link)
            except DataError as error:
                log.warning("no copy made", extra={"blob": link, "error": str(error)})
        return added

    def _mend(self, tag: Tag, mended: Mapping[Link, Link]) -> None:
        try:
            self._registry.change(
                TagAddress(tag.name),
                lambda old: tags.replaced(old, tuple(mended.get(link, link) for link in old.links)),
                create=False,
                trusted=True,
            )
        except CommError as error:
            if error.code != 404:  # deleted since
                raise


def refuse_endangered(registry: Registry, address: TagAddress, links: Iterable[Link]) -> None:
    """Take links to blobs that are being removed out of a tag again, and say so.

    Raises:
        CommError: 410: there were some.
    """
    urls = endangered(registry.store, links)
    if not urls:
        return
    registry.change(address, lambda old: tags.without_links(old, urls), create=False, trusted=True)
    raise CommError(
        f"{len(urls)} of the blobs have had no tag for days and are being removed, such as "
        f"{urls[0]}: push them again",
        TAG + address.name,
        410,
    )


def _read_state(store: Store) -> tuple[State, str | None]:
    with storing(store.url_of(_STATE)):
        found = store.read(_STATE)
    if found is None:
        return State(), None
    try:
        fields = json.loads(found.data)
        orphans = {str(link): float(since) for link, since in fields["orphans"].items()}
        return State(orphans=orphans, removing=frozenset(fields["removing"])), found.version
    except (ValueError, KeyError, TypeError, AttributeError):
        # Then all orphans have their grace period once more.
        log.warning("damaged list of orphans ignored", extra={"file": store.url_of(_STATE)})
        return State(), found.version
