"""``DDFS``, as Disco's programs know it: tags, and the blobs that are stored under them."""

import io
import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import IO, Any

from disco.ddfs import names, sources
from disco.ddfs.chunks import CHUNK_SIZE, MAX_RECORD_SIZE, Chunker
from disco.ddfs.collecting import GRACE_S, Collected, Collector
from disco.ddfs.names import istag
from disco.ddfs.roots import verified
from disco.ddfs.tagging import Links, Tagging
from disco.ddfs.tags import Link
from disco.ddfs_urls import with_blobs
from disco.error import CommError, DataError, DiscoError
from disco.job_inputs import input_urls
from disco.schemes import scheme_file

_RETRIES = 10


class DDFS(Tagging):
    """Tags and blobs in the roots that the setting ``DISCO_DDFS`` names; see ``Tagging``."""

    def pull(
        self,
        tag: Any,
        blobfilter: Callable[[str], Any] = lambda name: True,
        token: str | None = None,
    ) -> Iterator[IO[bytes]]:
        """Yield an open file for each blob of *tag* itself, until you ask for the next.

        What was pushed here has been checked.

        Args:
            tag: The tag.
            blobfilter: Called with a blob's name; false leaves it out.
            token: To read the tag.

        Raises:
            DataError: None of the replicas can be read, or all are damaged.
        """
        for link in self._get(tag, token).links:
            if not istag(link[0]) and blobfilter(names.blob_name(link[0])):
                with self.open(link) as content:
                    yield content

    def open(self, urls: Sequence[str]) -> IO[bytes]:
        """Return the content of a blob from one of its URLs, in random order.

        Raises:
            DataError: None of them can be read, or all are damaged.
        """
        problems: list[DataError] = []
        for url in random.sample(urls, len(urls)):
            try:
                return self._open(url)
            except DataError as error:
                problems.append(error)
        if len(problems) == 1:
            raise problems[0]
        raise DataError(
            f"none of the {len(problems)} replicas can be read: {'; '.join(map(str, problems))}",
            " ".join(urls),
        ) from problems[-1]

    def push(
        self,
        tag: Any,
        files: Iterable[Any],
        replicas: int | None = None,
        forceon: Sequence[str] = (),
        retries: int = _RETRIES,
        delayed: bool = False,
        update: bool = False,
        token: str | None = None,
    ) -> tuple[str, Links]:
        """Store files as blobs, and add them to a tag when all are there.

        Args:
            tag: The tag.
            files: Paths, or (path, name) or (binary file, name), or the (name, file, size) of
                ``tarblobs``.
            replicas: Roots that must have each; None: ``DDFS_BLOB_REPLICAS``.
            forceon: URLs of roots that must be among them.
            retries: Attempts more at a root that fails for no known reason.
            delayed: As for ``tag``.
            update: Leave out files whose name the tag has already; they are not even stored.
            token: To change the tag.

        Returns:
            The tag's URL, and the links that were added.

        Raises:
            CommError: 401: the token does not fit. 507: the storage is full. Else it fails.
            OSError: A file cannot be read.
        """
        there = self._blob_names(tag, token) if update else set()
        links = []
        for source, name in map(sources.aimed, files):
            if name in there:
                continue
            with sources.opened(source) as content:
                links.append(self._write(name, content, replicas, forceon, retries))
        return self._added(tag, links, token, delayed=delayed, update=update)

    def store(self, name: str, content: IO[bytes]) -> Link:
        """Store a blob under no tag, and return the link to tag it by.

        ``collect`` takes it for garbage until then.

        Raises:
            CommError: 507: the storage is full. Else it fails.
        """
        return self._write(name, content, None, (), _RETRIES)

    def chunk(
        self,
        tag: Any,
        urls: Iterable[Any],
        replicas: int | None = None,
        forceon: Sequence[str] = (),
        retries: int = _RETRIES,
        delayed: bool = False,
        update: bool = False,
        token: str | None = None,
        chunk_size: int = CHUNK_SIZE,
        max_record_size: int = MAX_RECORD_SIZE,
        **reading: Any,
    ) -> tuple[str, Links]:
        """Read records, store them in chunks, and add those to a tag when all are there.

        A chunk is what a task reads, with ``chain_reader``: a record is never in two.

        Args:
            tag: The tag.
            urls: What to read: URLs, paths, tags, or lists of URLs with the same content. Their
                chunks are called after them, and each starts a chunk of its own.
            replicas: As for ``push``.
            forceon: As for ``push``.
            retries: As for ``push``.
            delayed: As for ``tag``.
            update: Leave out chunks whose name the tag has already.
            token: To change the tag.
            chunk_size: Bytes, compressed, after which a chunk ends.
            max_record_size: Bytes, pickled, of the longest record.
            **reading: For ``result_iterator``; without a ``reader`` the records are lines (bytes).

        Returns:
            The tag's URL, and the links that were added.

        Raises:
            ValueError: A record is too long.
            DataError: Something cannot be read.
            CommError: As for ``push``.
        """
        from disco.results import records  # needs gRPC, which tags do not

        there = self._blob_names(tag, token) if update else set()
        chunker = Chunker(chunk_size, max_record_size)
        links = []
        for same in with_blobs(input_urls(urls), lambda: self):
            content = records([same], **{"reader": None, **reading})
            base = names.blob_name(same[0])
            for number, chunk in enumerate(chunker.chunks(content)):
                name = self.safe_name(f"{base}-{number}")
                if name not in there:
                    links.append(self._write(name, io.BytesIO(chunk), replicas, forceon, retries))
        return self._added(tag, links, token, delayed=delayed, update=update)

    def save(
        self, jobname: str, paths: Iterable[str], retries: int = 600, token: str | None = None
    ) -> str:
        """Store files of a job's results under the job's own tag, and return its URL."""
        files = [(path, self.job_blob(jobname, path)) for path in paths]
        tag, _links = self.push(
            self.job_tag(jobname), files, retries=retries, update=True, token=token
        )
        return tag

    def collect(
        self, grace_s: float = GRACE_S, *, verify: bool = False, dry: bool = False
    ) -> Collected:
        """Remove blobs that no tag has, and make copies that are missing; see ``Collector.run``."""
        self.flush()
        return Collector(self.roots, self.registry, self._clock, self._replicas()).run(
            grace_s, verify=verify, dry=dry
        )

    def tarblobs(
        self,
        tarball: str,
        compress: bool = True,
        include: str | None = None,
        exclude: str | None = None,
    ) -> Iterator[tuple[str, IO[bytes], int]]:
        """Yield (name, file, size) of the files in a tar archive, for ``push``.

        Args:
            tarball: Its path.
            compress: Compress each with gzip.
            include: Only files that have this text in their names.
            exclude: No files that have this text in their names.
        """
        return sources.tarblobs(tarball, compress=compress, include=include, exclude=exclude)

    def _blob_names(self, tag: Any, token: str | None) -> set[str]:
        """Return the names of the blobs that a tag has; none if there is no tag."""
        try:
            links = self._get(tag, token).links
        except CommError as error:
            if error.code != 404:
                raise
            return set()
        return {names.blob_name(link[0]) for link in links}

    def _replicas(self) -> int:
        text = str(self.settings["DDFS_BLOB_REPLICAS"])
        if not text.isdecimal() or not int(text):
            raise DiscoError(f"DDFS_BLOB_REPLICAS is {text!r}: it must be a number from 1 on")
        return int(text)

    def _write(
        self,
        name: str,
        content: IO[bytes],
        replicas: int | None,
        forceon: Sequence[str],
        retries: int,
    ) -> Link:
        wanted = self._replicas() if replicas is None else replicas
        return self.roots.write(name, content, replicas=wanted, forced=forceon, retries=retries)

    def _added(
        self, tag: Any, links: Sequence[Link], token: str | None, *, delayed: bool, update: bool
    ) -> tuple[str, Links]:
        url = self.tag(tag, links, token, delayed=delayed, update=update)
        return url, [list(self.roots.resolved(link)) for link in links]

    def _open(self, url: str) -> IO[bytes]:
        link = self.roots.relative(url)
        if not link.startswith(names.DDFS):
            return scheme_file.open(url)
        return verified(*self.roots.place(link))
