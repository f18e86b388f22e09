"""Whether requests make sense: every mistake is found, and named with its field."""

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from google.protobuf.struct_pb2 import ListValue, Struct, Value
from google.protobuf.timestamp_pb2 import Timestamp

from disco.manifest import ManifestError, Spec, parse_spec
from disco.v1 import coordinator_pb2, jobs_pb2
from disco_engine.core.values import key_problem
from disco_gateway.backend import ListQuery
from disco_gateway.errors import InvalidRequestError, Violation
from disco_gateway.names import name_problem, namespace_problem, prefix_problem
from disco_gateway.selectors import SelectorError, label_problem, parse_selector

MAX_REQUEST_ID = 64
MAX_PAGE = 500
DEFAULT_PAGE = 100
_MAX_LABELS = 64
_MAX_REASON = 1_000
_LARGEST_EXACT = 2**53 - 1
"""Beyond this a double stands for several whole numbers, and nobody knows which one was meant."""

_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(slots=True)
class Findings:
    """The mistakes of one request."""

    violations: list[Violation] = field(default_factory=list)

    def add(self, where: str, problem: str) -> None:
        """Note a mistake, if *problem* is not empty."""
        if problem:
            self.violations.append(Violation(where, problem))

    def settle(self) -> None:
        """Refuse the request if anything was found.

        Raises:
            InvalidRequestError: It was.
        """
        if self.violations:
            raise InvalidRequestError(self.violations)


def check_place(namespace: str, name: str) -> None:
    """Check where a job should be.

    Raises:
        InvalidRequestError: There can be no such place.
    """
    findings = Findings()
    findings.add("namespace", namespace_problem(namespace))
    findings.add("name", name_problem(name))
    findings.settle()


def check_namespace(namespace: str, where: str = "namespace") -> None:
    """Check the name of a namespace.

    Raises:
        InvalidRequestError: None is called that.
    """
    if problem := namespace_problem(namespace):
        raise InvalidRequestError.of(where, problem)


def checked_spec(request: jobs_pb2.SubmitRequest) -> tuple[Mapping[str, Any], Spec]:
    """Check a submission, and return its spec in JSON's types, and read.

    Raises:
        InvalidRequestError: It makes no sense.
    """
    findings = Findings()
    if len(request.request_id) > MAX_REQUEST_ID:
        findings.add("request_id", f"expected at most {MAX_REQUEST_ID} characters")
    if request.name:
        findings.add("name", name_problem(request.name))
    findings.add("name_prefix", prefix_problem(request.name_prefix))
    if len(request.labels) > _MAX_LABELS:
        findings.add("labels", f"expected at most {_MAX_LABELS}")
    else:
        for key in sorted(request.labels):
            findings.add(f"labels[{key[:80]}]", label_problem(key, request.labels[key]))
    if request.code_sha256:
        findings.add("code_sha256", digest_problem(request.code_sha256))
        if "code" in request.spec.fields:
            findings.add("spec.code", "must not be set together with code_sha256")
    plain = _plain(request.spec, "spec", findings)
    spec = _read(plain, findings)
    findings.settle()
    assert spec is not None, "without findings there is a spec"
    return plain, spec


def _read(plain: Mapping[str, Any], findings: Findings) -> Spec | None:
    try:
        return parse_spec(plain)
    except ManifestError as error:
        for problem in error.problems:
            where, separator, text = problem.partition(": ")
            findings.add(where if separator else "spec", text or problem)
    return None


def digest_problem(sha256: str) -> str:
    """Return what is wrong with a SHA-256; "" if nothing is."""
    return "" if _SHA256.fullmatch(sha256) else "expected 64 lower-case hexadecimal digits"


def checked_reason(reason: str) -> str:
    """Return why somebody cancels.

    Raises:
        InvalidRequestError: It is too long.
    """
    if len(reason) > _MAX_REASON:
        raise InvalidRequestError.of("reason", f"expected at most {_MAX_REASON:,} characters")
    return reason


def check_logs(request: jobs_pb2.LogsRequest) -> None:
    """Check what somebody wants of the logs.

    Raises:
        InvalidRequestError: It names less than it needs to.
    """
    findings = Findings()
    if request.HasField("task") and not request.stage:
        findings.add("stage", "is required with task, which is counted in its stage")
    if request.HasField("attempt") and not request.HasField("task"):
        findings.add("task", "is required with attempt, which is counted in its task")
    findings.settle()


def checked_query(request: jobs_pb2.ListRequest) -> ListQuery:
    """Return which jobs are wanted, from the beginning.

    Raises:
        InvalidRequestError: It makes no sense.
    """
    findings = Findings()
    if request.page_size > MAX_PAGE:
        findings.add("page_size", f"expected at most {MAX_PAGE}, found {request.page_size}")
    for number, phase in enumerate(request.phases):
        if phase not in coordinator_pb2.JobPhase.values() or not phase:
            findings.add(f"phases[{number}]", f"expected a phase, found {phase}")
    try:
        parse_selector(request.label_selector)
    except SelectorError as error:
        findings.add("label_selector", str(error))
    query = ListQuery(
        namespace=request.namespace,
        limit=request.page_size or DEFAULT_PAGE,
        phases=frozenset(request.phases),
        label_selector=request.label_selector,
        created_from=_moment(request, "created_from", findings),
        created_before=_moment(request, "created_before", findings),
    )
    findings.settle()
    return query


def check_values(request: jobs_pb2.JobValuesRequest) -> None:
    """Raise unless the request for values makes sense.

    Raises:
        InvalidRequestError: A text is none that keys can have.
    """
    findings = Findings()
    for name in ("key", "prefix", "cursor"):
        text = getattr(request, name)
        if text and (problem := key_problem(text)):
            findings.add(name, problem)
    findings.settle()


def _moment(request: jobs_pb2.ListRequest, name: str, findings: Findings) -> datetime | None:
    if not request.HasField(name):  # type: ignore[arg-type]  # it wants to know the name
        return None
    stamp: Timestamp = getattr(request, name)
    try:
        return stamp.ToDatetime(tzinfo=UTC)
    except (ValueError, OverflowError):
        findings.add(name, "expected a time in the years 1 to 9999")
        return None


def _plain(struct: Struct, where: str, findings: Findings) -> dict[str, Any]:
    """Return a Struct as JSON has it; whole numbers, which all are doubles there, become ints."""
    return {
        key: _plain_value(value, f"{where}.{key}", findings) for key, value in struct.fields.items()
    }


def _plain_value(value: Value, where: str, findings: Findings) -> Any:
    match value.WhichOneof("kind"):
        case "struct_value":
            return _plain(value.struct_value, where, findings)
        case "list_value":
            return list(_plain_items(value.list_value, where, findings))
        case "number_value":
            return _plain_number(value.number_value, where, findings)
        case "string_value":
            return value.string_value
        case "bool_value":
            return value.bool_value
        case _:
            return None


def _plain_items(values: ListValue, where: str, findings: Findings) -> Iterator[Any]:
    for number, item in enumerate(values.values):
        yield _plain_value(item, f"{where}[{number}]", findings)


def _plain_number(number: float, where: str, findings: Findings) -> int | float:
    if not math.isfinite(number):
        findings.add(where, f"expected a number that JSON knows, found {number}")
        return 0
    if not number.is_integer():
        return number
    if abs(number) > _LARGEST_EXACT:
        findings.add(
            where,
            f"whole numbers beyond {_LARGEST_EXACT} do not arrive as they were sent: write"
            " this one as a text",
        )
    return int(number)
