"""What the API server's refusals mean to whoever asked the gateway: its words, our errors."""

from disco_gateway.backend import Caller, Verb
from disco_gateway.errors import (
    DeniedError,
    GatewayError,
    GoneError,
    InvalidRequestError,
    NotPossibleError,
    OverloadedError,
    UnauthenticatedError,
    UnavailableError,
    Violation,
)
from disco_operator.api import Reply
from disco_operator.model import JobKey, Json

MAX_VIOLATIONS = 50
MAX_TEXT = 2_000


def error_of_write(reply: Reply, caller: Caller, verb: Verb, key: JobKey) -> GatewayError:
    """Return the error for an answer (400 to 499) to a write in a caller's name.

    404 and 409 about the job itself are for whoever wrote to take as answers first.
    """
    message = _shortened(reply.message) or f"the API server answered {reply.status}"
    match reply.status:
        case 401:
            return UnauthenticatedError(
                "the token is not accepted any more: expired, or not of this cluster"
            )
        case 403 if "exceeded quota" in message or _is_terminating(reply.body):
            return NotPossibleError(f"namespace/{key.namespace}", message)
        case 403 if _is_rights(message):
            return DeniedError(caller.name, verb.value, key.namespace)
        case 404 if _kind_of(reply.body) == "namespaces":
            return NotPossibleError(
                f"namespace/{key.namespace}", f"there is no namespace {key.namespace!r}"
            )
        case 404:
            return UnavailableError(
                "the cluster does not know DiscoJobs: is their definition installed?"
            )
        case 413:
            return InvalidRequestError.of("spec", f"it is too large for the cluster: {message}")
        case 400 | 422 if not message.startswith("admission webhook"):
            return InvalidRequestError(_violations(reply.body, message))
        case _:  # a policy of the cluster's, or a conflict
            return NotPossibleError(str(key), message)


def error_of_read(reply: Reply, what: str, namespaces: tuple[str, ...] = ()) -> GatewayError:
    """Return the error for an answer (400 to 499) to the gateway's own reading.

    Args:
        reply: The answer.
        what: Was read, for people.
        namespaces: That this gateway serves; empty: all.
    """
    match reply.status:
        case 410:
            return GoneError(f"{what}: the cluster has forgotten where that was: begin anew")
        case 403:
            serves = f": it serves {', '.join(namespaces)}" if namespaces else ""
            return NotPossibleError("gateway", f"this gateway may not read {what}{serves}")
        case 404:
            return UnavailableError(
                "the cluster does not know DiscoJobs: is their definition installed?"
            )
        case 400:
            return InvalidRequestError.of("label_selector", _shortened(reply.message))
        case _:
            return UnavailableError(f"{what} cannot be read: {_shortened(reply.message)}")


def error_of_code(reply: Reply, namespace: str) -> GatewayError:
    """Return the error for an answer (400 to 499) to storing code in the gateway's name."""
    message = _shortened(reply.message)
    if reply.status == 403 and "exceeded quota" in message:
        return OverloadedError(f"there is no room for more code: {message}", retry_after_s=60.0)
    if reply.status == 403 and _is_rights(message):
        return NotPossibleError(
            f"namespace/{namespace}", f"the gateway may not bring code to namespace {namespace!r}"
        )
    return NotPossibleError(f"namespace/{namespace}", f"the code cannot be stored: {message}")


def _violations(status: Json, message: str) -> list[Violation]:
    causes = (status.get("details") or {}).get("causes") or ()
    found = [
        Violation(cause.get("field") or "spec", _shortened(cause.get("message") or message))
        for cause in causes[:MAX_VIOLATIONS]
    ]
    return found or [Violation("spec", message)]


def _is_rights(message: str) -> bool:
    """Return whether a refusal is about rights, and not a policy's about the object."""
    return " cannot " in message and "admission" not in message


def _is_terminating(status: Json) -> bool:
    causes = (status.get("details") or {}).get("causes") or ()
    return any(cause.get("reason") == "NamespaceTerminating" for cause in causes)


def _kind_of(status: Json) -> str:
    return str((status.get("details") or {}).get("kind", ""))


def _shortened(text: str) -> str:
    return text if len(text) <= MAX_TEXT else f"{text[:MAX_TEXT]}…"
