"""Reads the records of a job that wrote them to an output, from wherever the output is."""

import asyncio
from collections.abc import AsyncGenerator, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

from disco.client.decoding import distrust
from disco.client.errors import LostRecordsError, NotPossibleError, UntrustedError
from disco.v1 import jobs_pb2
from disco_engine.inputs.urls import local_path
from disco_engine.program import ProgramError

_BATCH = 1_000
_WITH_PICKLES = ("pickle", "")
"""Formats whose files may hold pickles; without one, each file's name says what it is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """The output of a job.

    Attributes:
        info: Where it is.
        job: What to call the job in messages.
        here: The server is on this machine, or shares its files.
    """

    info: jobs_pb2.ResultsInfo
    job: str
    here: bool

    def urls(self) -> list[str]:
        """Return its files, in order.

        Raises:
            NotPossibleError: They cannot be found from here.
            LostRecordsError: Some are gone.
        """
        from disco_engine.outputs.reading import part_urls  # needs fsspec

        url = self.info.output_url
        if not self.here and local_path(url) is not None:
            raise NotPossibleError(
                f"the output of {self.job} is at {url}, a path on the workers: read it where they"
                " have it, or give the job an output URL that can be reached from here"
            )
        try:
            urls = part_urls(url)
        except ProgramError as error:
            raise self._unreadable(error) from error
        if len(urls) < self.info.parts:
            raise self._lost(f"{len(urls)} of its {self.info.parts} files are there")
        return urls

    async def batches(
        self, first: int, count: int, *, trusted: bool
    ) -> AsyncGenerator[list[tuple[Any, Any]], None]:
        """Yield the (key, value) records, some at a time; files are read on a thread.

        Args:
            first: The first part.
            count: How many; 0: all that follow.
            trusted: Pickles may be read.

        Raises:
            UntrustedError: The output may consist of pickles.
            NotPossibleError: It cannot be read from here.
            LostRecordsError: Files or records are gone.
        """
        if self.info.output_format in _WITH_PICKLES and not trusted:
            raise UntrustedError(distrust(self.job))
        records = self._records(first, first + count if count else None)
        came = 0
        try:
            while batch := await asyncio.to_thread(list, islice(records, _BATCH)):
                came += len(batch)
                yield batch
        except ProgramError as error:
            raise self._unreadable(error) from error
        # More are none too many: in text, a record with a newline is two.
        if not (first or count) and came < self.info.records:
            raise self._lost(f"{came} of its {self.info.records} records are there")

    def _records(self, first: int, stop: int | None) -> Iterator[tuple[Any, Any]]:
        from disco_engine.outputs.reading import read_part  # needs fsspec

        for url in self.urls()[first:stop]:
            yield from read_part(url, self.info.output_format)

    def _lost(self, what: str) -> LostRecordsError:
        return LostRecordsError(
            f"the output of {self.job} is not what it has written any more: {what}, in"
            f" {self.info.output_url}; bring back what is missing, or run the job again"
        )

    def _unreadable(self, error: ProgramError) -> NotPossibleError:
        return NotPossibleError(f"the output of {self.job}: {error.failure.message}")
