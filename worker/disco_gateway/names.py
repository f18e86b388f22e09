"""What jobs and requests are called."""

import base64
import hashlib
import re
import secrets

MAX_NAME = 45
"""Characters of a job's name: Kubernetes makes the names of pods of it, and they have 63."""

_NAME = re.compile(r"[a-z](?:[-a-z0-9]*[a-z0-9])?")
_PREFIX = re.compile(r"[a-z][-a-z0-9]*")
_NAMESPACE = re.compile(r"[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?")
_SUFFIX = 8
MAX_PREFIX = MAX_NAME - _SUFFIX - 1

_DEFAULT_PREFIX = "job"


def namespace_problem(text: str) -> str:
    """Return what is wrong with the name of a namespace; "" if nothing is."""
    if _NAMESPACE.fullmatch(text):
        return ""
    return f"expected at most 63 lower-case letters, digits and dashes, found {text[:80]!r}"


def name_problem(text: str) -> str:
    """Return what is wrong with a job's name; "" if nothing is."""
    if len(text) <= MAX_NAME and _NAME.fullmatch(text):
        return ""
    return (
        f"expected a letter and at most {MAX_NAME - 1} more lower-case letters, digits and dashes,"
        f" no dash at the end, found {text[:80]!r}"
    )


def prefix_problem(text: str) -> str:
    """Return what is wrong with the beginning of a name; "" if nothing is."""
    if not text or (len(text) <= MAX_PREFIX and _PREFIX.fullmatch(text)):
        return ""
    return (
        f"expected a letter and at most {MAX_PREFIX - 1} more lower-case letters, digits and"
        f" dashes, found {text[:80]!r}"
    )


def identity_of_request(caller: str, request_id: str) -> str:
    """Return what names a request among those of all callers: 32 hexadecimal digits.

    Without a *request_id* no two requests are the same.
    """
    if not request_id:
        return secrets.token_hex(16)
    return hashlib.sha256(f"{caller}\0{request_id}".encode()).hexdigest()[:32]


def name_of_job(prefix: str, request: str) -> str:
    """Return the name of the job that a request makes which gives none.

    The same request gives the same name, so that it finds the job that it has made before.

    Args:
        prefix: What it begins with, or empty.
        request: What ``identity_of_request`` returned.
    """
    digest = hashlib.sha256(request.encode()).digest()
    suffix = base64.b32encode(digest).decode().lower()[:_SUFFIX]
    return f"{(prefix or _DEFAULT_PREFIX).rstrip('-')}-{suffix}"
