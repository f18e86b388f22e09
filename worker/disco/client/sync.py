"""The client for programs without an event loop: ``AsyncClient``, run on a thread of its own."""

from collections.abc import Collection, Iterator
from datetime import datetime
from types import TracebackType
from typing import Any, Self

from disco.client.connection import Connection
from disco.client.submitting import Submission
from disco.v1 import coordinator_pb2, jobs_pb2


class Client:
    """Talks to one server; its methods are those of ``disco.client.aio.AsyncClient``, blocking.

        with Client(resolve()) as client:
            for job in client.list():
                print(job.name)

    Safe to use from several threads. What was not closed is closed when Python exits. An iterator
    that is not read to its end should be closed (``close()``), as generators are.

    Args:
        connection: From ``disco.client.connection.resolve``.
        patience_s: Seconds to go on trying while a server that has answered before does not.
    """

    def __init__(self, connection: Connection, *, patience_s: float = 60.0) -> None:
        raise NotImplementedError

    def __enter__(self) -> Self:
        raise NotImplementedError

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        raise NotImplementedError

    def close(self) -> None:
        """End what runs, and let go of the connection. Doing it again does nothing."""
        raise NotImplementedError

    def about(self) -> jobs_pb2.AboutReply:
        """Return what answers, and who is asking."""
        raise NotImplementedError

    def upload_code(self, code: bytes, *, namespace: str | None = None) -> str:
        """Bring a serialised ``disco.v1.JobCode``; return its SHA-256 in hexadecimal.

        Args:
            code: At most ``about().max_code_bytes``. What is there already is not sent.
            namespace: Of the submissions that follow; None: the connection's.
        """
        raise NotImplementedError

    def submit(
        self,
        submission: Submission,
        *,
        namespace: str | None = None,
        name: str = "",
        request_id: str = "",
        dry_run: bool = False,
    ) -> jobs_pb2.Job:
        """Start a job, its code brought before, and return it.

        Args:
            submission: From ``disco.client.submitting``.
            namespace: None: the connection's.
            name: Empty: the submission's, or a new one made of its prefix.
            request_id: Empty: a new one. A second submission with it returns the job of the first.
            dry_run: Check everything, make nothing.

        Raises:
            InvalidError: The spec makes no sense; all violations are named.
            ExistsError: There is another job of that name.
        """
        raise NotImplementedError

    def get(self, name: str, *, namespace: str | None = None) -> jobs_pb2.Job:
        """Return all about a job."""
        raise NotImplementedError

    def list(
        self,
        *,
        namespace: str | None = None,
        all_namespaces: bool = False,
        phases: Collection[coordinator_pb2.JobPhase.ValueType] = (),
        label_selector: str = "",
        created_from: datetime | None = None,
        created_before: datetime | None = None,
        page_size: int = 0,
    ) -> Iterator[jobs_pb2.Job]:
        """Yield the jobs, ascending by namespace and name, a page at a time.

        Args:
            namespace: None: the connection's.
            all_namespaces: Of all, instead.
            phases: Any of these; empty: all.
            label_selector: As kubectl's.
            created_from: At or after; without a time zone: local time.
            created_before: Before.
            page_size: Of a page, at most 500; 0: the server's choice.
        """
        raise NotImplementedError

    def watch(
        self, name: str, *, namespace: str | None = None, cursor: str = ""
    ) -> Iterator[jobs_pb2.WatchJobReply]:
        """Yield how a job stands, and its events, until it has ended.

        Args:
            name: Of the job.
            namespace: None: the connection's.
            cursor: Of the last reply that was seen; empty: from the oldest event that is kept.

        Raises:
            GoneError: The job was replaced by another of its name.
        """
        raise NotImplementedError

    def logs(
        self,
        name: str,
        *,
        namespace: str | None = None,
        stage: str = "",
        task: int | None = None,
        attempt: int | None = None,
        follow: bool = False,
        cursor: str = "",
    ) -> Iterator[jobs_pb2.LogsReply]:
        """Yield what a job's code has printed; with *follow*, until the job has ended.

        Args:
            name: Of the job.
            namespace: None: the connection's.
            stage: Only of this stage; empty: of all.
            task: Only of this task of the stage.
            attempt: Only of this attempt at it.
            follow: Go on.
            cursor: Of the last reply that was seen.
        """
        raise NotImplementedError

    def results(
        self,
        name: str,
        *,
        namespace: str | None = None,
        first_part: int = 0,
        parts: int = 0,
        cursor: str = "",
    ) -> Iterator[jobs_pb2.ResultsReply]:
        """Yield the frames of a job's records, part by part.

        The first reply has ``info``. If the records are in an output (``info.output_url``), nothing
        follows. What comes is counted; with a *cursor* it cannot be.

        Args:
            name: Of the job.
            namespace: None: the connection's.
            first_part: From 0.
            parts: How many; 0: all that follow.
            cursor: Of the last reply that was seen; the other arguments as then.

        Raises:
            NotPossibleError: The job has not succeeded, or its results are lost.
            LostRecordsError: The counts differ.
        """
        raise NotImplementedError

    def records(
        self,
        name: str,
        *,
        namespace: str | None = None,
        first_part: int = 0,
        parts: int = 0,
        trust: bool = False,
    ) -> Iterator[tuple[Any, Any]]:
        """Yield the (key, value) records of a job, from its output if it has one.

        Args:
            name: Of the job.
            namespace: None: the connection's.
            first_part: From 0.
            parts: How many; 0: all that follow.
            trust: Read pickles, although this user has not submitted the job from here: whoever
                wrote them can run any code here.

        Raises:
            UntrustedError: There are pickles, and no reason to trust who wrote them.
            LostRecordsError: The counts differ.
        """
        raise NotImplementedError

    def wait(
        self, name: str, *, namespace: str | None = None, timeout_s: float | None = None
    ) -> jobs_pb2.Job:
        """Return the job when it has ended, however it did; its ``phase`` says how.

        Raises:
            TimeoutError: It still runs after *timeout_s* seconds.
        """
        raise NotImplementedError

    def cancel(self, name: str, *, namespace: str | None = None, reason: str = "") -> jobs_pb2.Job:
        """Stop a job for good; ``wait`` tells when it has. Nothing happens to one that has ended.

        Args:
            name: Of the job.
            namespace: None: the connection's.
            reason: For people.
        """
        raise NotImplementedError

    def retry(self, name: str, *, namespace: str | None = None) -> jobs_pb2.Job:
        """Run what is missing of a failed job.

        Raises:
            NotPossibleError: It has not failed.
        """
        raise NotImplementedError

    def delete(self, name: str, *, namespace: str | None = None, uid: str = "") -> None:
        """Remove a job and all that it left but its output.

        Args:
            name: Of the job.
            namespace: None: the connection's.
            uid: Only if the job is still this one; empty: whichever it is.
        """
        raise NotImplementedError
