"""What a caller is told when a request is not carried out.

GatewayError
├── UnauthenticatedError    nobody knows who is asking: bring another token
├── DeniedError             who is asking may not do this there
├── InvalidRequestError     the request makes no sense: correct the fields that are named
├── JobNotFoundError        there is no such job
├── JobExistsError          there is another job of that name: choose another
├── NotPossibleError        not while things are as they are: change what is named first
├── GoneError               what a cursor points into is not there any more: begin anew
├── OverloadedError         too much at once: try again after a while
├── DeadlineError           it took longer than the caller, or the gateway, would wait
└── UnavailableError        something behind the gateway does not answer: try again after a while

Both doors translate these, and nothing else, into what their protocols say; any other exception is
a bug of ours, is logged, and told as such without its text.
"""

from collections.abc import Sequence
from typing import NamedTuple


class GatewayError(Exception):
    """A request is not carried out; the message is for the caller, and has nothing secret."""


class UnauthenticatedError(GatewayError):
    """There is no bearer token, or it is not accepted; the message says what to bring."""


class DeniedError(GatewayError):
    """The caller may not do this there.

    Raised before anything is looked up, so that it never tells what exists.
    """

    def __init__(self, caller: str, verb: str, namespace: str, reason: str = "") -> None:
        place = f"in namespace {namespace!r}" if namespace else "in all namespaces"
        because = f" ({reason})" if reason else ""
        super().__init__(f"{caller!r} may not {verb} discojobs {place}{because}")


class Violation(NamedTuple):
    """One mistake: where it is ("spec.inputs[2]"), and what it is."""

    field: str
    description: str


class InvalidRequestError(GatewayError):
    """The request makes no sense.

    Attributes:
        violations: All that is wrong, at least one.
    """

    def __init__(self, violations: Sequence[Violation]) -> None:
        super().__init__("; ".join(f"{field}: {text}" for field, text in violations))
        self.violations = tuple(violations)

    @classmethod
    def of(cls, field: str, description: str) -> "InvalidRequestError":
        """Return the error for a single mistake."""
        return cls((Violation(field, description),))


class JobNotFoundError(GatewayError):
    """There is no such job."""

    def __init__(self, namespace: str, name: str) -> None:
        super().__init__(f"there is no job {name!r} in namespace {namespace!r}")
        self.job = f"{namespace}/{name}"


class JobExistsError(GatewayError):
    """There is a job of that name that another request has made."""

    def __init__(self, namespace: str, name: str) -> None:
        super().__init__(
            f"there is another job {name!r} in namespace {namespace!r}: choose another name, or"
            " delete that one first"
        )
        self.job = f"{namespace}/{name}"


class NotPossibleError(GatewayError):
    """What is asked for cannot be done while things are as they are.

    Attributes:
        subject: What stands in the way: "ns/job", "code", a pod.
    """

    def __init__(self, subject: str, message: str) -> None:
        super().__init__(message)
        self.subject = subject


class GoneError(GatewayError):
    """What a cursor or a page token points into is not there any more: ask without it."""


class _LaterError(GatewayError):
    """Trying again may help.

    Attributes:
        retry_after_s: When; None: it will not, with this server.
    """

    def __init__(self, message: str, *, retry_after_s: float | None = 1.0) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class OverloadedError(_LaterError):
    """Too many calls, or too much data, at once; or more than a limit allows at all."""


class UnavailableError(_LaterError):
    """The API server, a coordinator or a partition service does not answer."""


class DeadlineError(GatewayError):
    """The call was given up because it took too long; it may have been carried out nevertheless."""
