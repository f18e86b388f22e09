"""What goes wrong between a client and a server, named by what its reader should do.

ClientError
├── SettingsError           the config file, the environment or an argument makes no sense
├── NotConnectedError       nothing that can be used answers: correct the address, or start it
├── UnauthenticatedError    the server does not know who is asking: bring another token
├── DeniedError             who is asking may not do this there
├── InvalidError            the request makes no sense: correct the fields that are named
├── NotFoundError           there is no such job
├── ExistsError             there is another job of that name: choose another
├── NotPossibleError        not while things are as they are: change what is named first
├── GoneError               what a cursor points into is not there any more: begin anew
├── OverloadedError         too much at once: try again after a while
├── UnavailableError        what is behind the server does not answer: try again after a while
├── InternalError           the server has a bug, or speaks another language than this client
├── UntrustedError          records hold pickles that somebody else wrote
├── LostRecordsError        less, or more, came than there is
└── CannotTravelError       something of the job cannot go to where it would run

``disco.client.calls`` makes them of what gRPC tells; nobody else does.
"""

from collections.abc import Sequence
from typing import NamedTuple

from disco.error import DiscoError


class ClientError(DiscoError):
    """A call was not carried out; the message is fit to print.

    Attributes:
        tried_before: An earlier try of the same call got no answer, and may have been carried out.
    """

    tried_before: bool = False


class SettingsError(ClientError):
    """The config file, the environment or an argument makes no sense; the message says which."""


class NotConnectedError(ClientError):
    """Nothing that can be used answers.

    Attributes:
        address: Where it was looked for, host:port.
        reason: What was tried, and what came of it.
        remedy: What to do.
    """

    def __init__(self, address: str, reason: str, remedy: str) -> None:
        super().__init__(f"no Disco server at {address}: {reason}; {remedy}")
        self.address = address
        self.reason = reason
        self.remedy = remedy


class UnauthenticatedError(ClientError):
    """The server does not accept the token, or wants one."""


class DeniedError(ClientError):
    """Who is asking may not do this there; the message names who, what and where."""


class Violation(NamedTuple):
    """One mistake: where it is ("spec.inputs[2]"), and what it is."""

    field: str
    text: str


class InvalidError(ClientError):
    """The request makes no sense.

    Attributes:
        violations: All that is wrong; may be empty if an old server gave a sentence only.
    """

    def __init__(self, message: str, violations: Sequence[Violation] = ()) -> None:
        lines = [f"{field}: {text}" if field else text for field, text in violations]
        super().__init__("\n".join(lines) or message)
        self.violations = tuple(violations)


class NotFoundError(ClientError):
    """There is no such job."""


class ExistsError(ClientError):
    """There is a job of that name that another request has made."""


class NotPossibleError(ClientError):
    """What is asked for cannot be done while things are as they are; the message says which."""


class GoneError(ClientError):
    """What was read so far belongs to a job that is not there any more: begin anew."""


class OverloadedError(ClientError):
    """Too many calls, or too much data, at once, or more than a limit allows at all.

    Attributes:
        retry_after_s: When trying again may help; None: never, as it is.
    """

    def __init__(self, message: str, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class UnavailableError(ClientError):
    """The server is there, but it, or something behind it, did not answer for long enough.

    Attributes:
        retry_after_s: When trying again may help; None: nobody says.
    """

    def __init__(self, message: str, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class InternalError(ClientError):
    """The server has a bug, or speaks another language than this client."""


class UntrustedError(ClientError):
    """Records hold pickles, which run code when they are read, and somebody else wrote them.

    Raised unless this user has submitted the job from here, or the caller says ``trust=True``.
    """


class LostRecordsError(ClientError):
    """A stream of results ended with less, or more, than the server says there is: read again."""


class CannotTravelError(ClientError):
    """Something of the job cannot go to where it would run; the message says what to do."""
