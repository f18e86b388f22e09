"""What went wrong, as ``google.rpc.Status``: the same words for both doors."""

import logging
import uuid
from collections.abc import Iterator

from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.rpc import (  # type: ignore[import-untyped]
    code_pb2,
    error_details_pb2,
    status_pb2,
)

from disco_gateway.errors import (
    DeadlineError,
    DeniedError,
    GatewayError,
    GoneError,
    InvalidRequestError,
    JobExistsError,
    JobNotFoundError,
    NotPossibleError,
    OverloadedError,
    UnauthenticatedError,
    UnavailableError,
)

_log = logging.getLogger(__name__)

_DOMAIN = "discoproject.org"
_RESOURCE = "discoproject.org/DiscoJob"

# Which code each error is, and the word that programs find in its google.rpc.ErrorInfo.
_WORDS: dict[type[GatewayError], tuple[code_pb2.Code.ValueType, str]] = {
    UnauthenticatedError: (code_pb2.UNAUTHENTICATED, "UNAUTHENTICATED"),
    DeniedError: (code_pb2.PERMISSION_DENIED, "DENIED"),
    InvalidRequestError: (code_pb2.INVALID_ARGUMENT, "INVALID_REQUEST"),
    JobNotFoundError: (code_pb2.NOT_FOUND, "JOB_NOT_FOUND"),
    JobExistsError: (code_pb2.ALREADY_EXISTS, "JOB_EXISTS"),
    NotPossibleError: (code_pb2.FAILED_PRECONDITION, "NOT_POSSIBLE"),
    GoneError: (code_pb2.ABORTED, "GONE"),
    OverloadedError: (code_pb2.RESOURCE_EXHAUSTED, "OVERLOADED"),
    UnavailableError: (code_pb2.UNAVAILABLE, "UNAVAILABLE"),
    DeadlineError: (code_pb2.DEADLINE_EXCEEDED, "DEADLINE"),
}

_MESSAGE_BYTES = 900
_DETAIL_BYTES = 300
_VIOLATIONS_BYTES = 2_000
"""gRPC sends errors in headers, 8 KiB of them: the message, where each byte may become three, and
all of the status in base64. Who is told of the first mistakes hears of the others after them."""


def status_of(error: Exception, call: str) -> status_pb2.Status:
    """Return what the caller is told.

    What is no ``GatewayError`` is a bug of ours: it is logged here, and its text stays here.

    Args:
        error: Why the call is not carried out.
        call: Its name, for the log.
    """
    for kind in type(error).__mro__:
        if kind in _WORDS and isinstance(error, GatewayError):
            code, reason = _WORDS[kind]
            return _status(
                code,
                str(error),
                error_details_pb2.ErrorInfo(reason=reason, domain=_DOMAIN),
                *_details(error),
            )
    incident = uuid.uuid4().hex[:12]
    _log.error("call failed", exc_info=error, extra={"call": call, "incident": incident})
    return _status(
        code_pb2.INTERNAL,
        f"something is wrong in the gateway; its log says what, under incident {incident}",
        error_details_pb2.ErrorInfo(
            reason="INTERNAL", domain=_DOMAIN, metadata={"incident": incident}
        ),
    )


def retry_after_s(status: status_pb2.Status) -> float | None:
    """Return after how many seconds trying again may help; None: nobody says that it does."""
    retry = error_details_pb2.RetryInfo()
    for detail in status.details:
        if detail.Unpack(retry):
            delay: float = retry.retry_delay.ToTimedelta().total_seconds()
            return delay
    return None


def _details(error: GatewayError) -> Iterator[Message]:
    match error:
        case InvalidRequestError():
            bad = error_details_pb2.BadRequest()
            for where, problem in error.violations:
                violation = error_details_pb2.BadRequest.FieldViolation(
                    field=_cut(where, _DETAIL_BYTES), description=_cut(problem, _DETAIL_BYTES)
                )
                if bad.ByteSize() + violation.ByteSize() > _VIOLATIONS_BYTES:
                    break
                bad.field_violations.append(violation)
            yield bad
        case JobNotFoundError() | JobExistsError():
            yield error_details_pb2.ResourceInfo(
                resource_type=_RESOURCE,
                resource_name=error.job,
                description=_cut(str(error), _DETAIL_BYTES),
            )
        case NotPossibleError():
            yield error_details_pb2.PreconditionFailure(
                violations=[
                    error_details_pb2.PreconditionFailure.Violation(
                        type="STATE",
                        subject=_cut(error.subject, _DETAIL_BYTES),
                        description=_cut(str(error), _DETAIL_BYTES),
                    )
                ]
            )
        case OverloadedError() | UnavailableError() if error.retry_after_s is not None:
            delay = Duration()
            delay.FromMilliseconds(round(error.retry_after_s * 1000))
            yield error_details_pb2.RetryInfo(retry_delay=delay)
        case _:
            pass  # the message says it all


def _status(code: int, message: str, *details: Message) -> status_pb2.Status:
    status = status_pb2.Status(code=code, message=_cut(message, _MESSAGE_BYTES))
    for detail in details:
        packed = AnyMessage()
        packed.Pack(detail)
        status.details.append(packed)
    return status


def _cut(text: str, limit_bytes: int) -> str:
    data = text.encode(errors="replace")
    if len(data) <= limit_bytes:
        return data.decode()
    return data[: limit_bytes - 3].decode(errors="ignore") + "…"
