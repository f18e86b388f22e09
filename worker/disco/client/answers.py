"""What gRPC tells of a call that was not carried out, as one of the client's own errors."""

from dataclasses import dataclass

import grpc
import grpc.aio
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2  # type: ignore[import-untyped]

from disco.client.errors import (
    ClientError,
    DeniedError,
    ExistsError,
    GoneError,
    InternalError,
    InvalidError,
    NotConnectedError,
    NotFoundError,
    NotPossibleError,
    OverloadedError,
    UnauthenticatedError,
    UnavailableError,
    Violation,
)

_DETAILS_KEY = "grpc-status-details-bin"
_BROKEN_TEXTS = (
    "RST_STREAM", "Stream removed", "GOAWAY", "Connection reset", "Socket closed",
    "Internal error from Core",  # grpc.aio, if the answer comes while it still sends an upload
)  # fmt: skip
_FULL_TEXT = "Concurrent RPC limit exceeded"
"""What gRPC itself answers for a server that has all the calls that it takes."""

_FULL_RETRY_S = 0.5
_TOKEN_REMEDY = (
    "bring a token: --token-file, DISCO_TOKEN_FILE or DISCO_TOKEN, or that of a context"
    " (disco config)"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """How a call failed.

    Attributes:
        code: Of the status.
        message: Of the status.
        violations: Fields that make no sense.
        retry_after_s: When the server says that trying again may help; None: it does not.
        from_server: The server itself said so, and nothing between it and us.
    """

    code: grpc.StatusCode
    message: str
    violations: tuple[Violation, ...] = ()
    retry_after_s: float | None = None
    from_server: bool = False

    @property
    def is_broken(self) -> bool:
        """Nobody answered, or not to the end: the very same call may succeed."""
        if self.from_server:
            return False
        if self.code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED):
            return True
        return self.code in (grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN) and any(
            text in self.message for text in _BROKEN_TEXTS
        )


def answer_of(error: grpc.aio.AioRpcError) -> Answer:
    """Return what *error* says."""
    code, message = error.code(), error.details() or ""
    status = _rich_status(error)
    if status is None:
        retry_after_s = _FULL_RETRY_S if _FULL_TEXT in message else None
        return Answer(code=code, message=message, retry_after_s=retry_after_s)
    violations: list[Violation] = []
    retry_after_s = None
    request, retry = error_details_pb2.BadRequest(), error_details_pb2.RetryInfo()
    for detail in status.details:
        if detail.Unpack(request):
            violations += [Violation(v.field, v.description) for v in request.field_violations]
        elif detail.Unpack(retry):
            retry_after_s = retry.retry_delay.ToTimedelta().total_seconds()
    return Answer(
        code=code,
        message=status.message or message,
        violations=tuple(violations),
        retry_after_s=retry_after_s,
        from_server=True,
    )


def _rich_status(error: grpc.aio.AioRpcError) -> status_pb2.Status | None:
    for key, value in error.trailing_metadata():
        if key == _DETAILS_KEY and isinstance(value, bytes):
            try:
                return status_pb2.Status.FromString(value)
            except DecodeError:
                return None
    return None


def error_of(answer: Answer, address: str, call: str) -> ClientError:
    """Return what to raise for a call that will not be tried again.

    Args:
        answer: How it failed.
        address: Of the server.
        call: Its name, for messages.
    """
    message = answer.message or f"{call} failed: {answer.code.name}"
    match answer.code:
        case grpc.StatusCode.UNAUTHENTICATED:
            return UnauthenticatedError(f"{address}: {message}; {_TOKEN_REMEDY}")
        case grpc.StatusCode.PERMISSION_DENIED:
            return DeniedError(message)
        case grpc.StatusCode.INVALID_ARGUMENT | grpc.StatusCode.OUT_OF_RANGE:
            return InvalidError(message, answer.violations)
        case grpc.StatusCode.NOT_FOUND:
            return NotFoundError(message)
        case grpc.StatusCode.ALREADY_EXISTS:
            return ExistsError(message)
        case grpc.StatusCode.FAILED_PRECONDITION:
            return NotPossibleError(message)
        case grpc.StatusCode.ABORTED:
            return GoneError(message)
        case grpc.StatusCode.RESOURCE_EXHAUSTED:
            return OverloadedError(message, answer.retry_after_s)
        case grpc.StatusCode.DEADLINE_EXCEEDED:
            return UnavailableError(
                f"{address} did not answer {call} in time ({message}): try again, or see whether"
                " it is overloaded"
            )
        case grpc.StatusCode.UNAVAILABLE | grpc.StatusCode.CANCELLED:
            return UnavailableError(f"{address}: {message}", answer.retry_after_s)
        case grpc.StatusCode.UNIMPLEMENTED:
            return NotConnectedError(
                address,
                f"something answers, but it does not know {call}",
                "give the address of a Disco gateway, of the same version as this client or later",
            )
        case _:
            return InternalError(f"{address} could not carry out {call}: {message}")
