"""What travels to a worker slot in ``JobCode.payload``: one line of JSON, then perhaps a pickle."""

import json
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

LOADER = "disco.program:load"
"""What turns such a payload into a program: ``JobCode.loader`` of every Disco job."""

PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """What a payload says about itself.

    Attributes:
        python: ``major.minor`` of the Python that packed it; pickled code runs on no other.
        reference: ``module:attribute`` or ``file.py:attribute`` of the job; empty if it is pickled.
        jobargs: Arguments of ``Job.run`` for a job that is given by reference.
        sources: Text by file name of code that travels in the pickle, so that tracebacks can show
            its lines.
        files: Where the modules in the ZIP come from, by their name there, for the same reason.
        environment: Variables that are set in the slot.
    """

    python: str = PYTHON
    reference: str = ""
    jobargs: Mapping[str, Any] = field(default_factory=dict)
    sources: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)


def join_payload(header: Header, body: bytes) -> bytes:
    """Return the payload.

    Args:
        header: What it says about itself.
        body: The pickled (job, jobargs); empty for a job that is given by reference.
    """
    fields = asdict(header)
    if not header.environment:
        del fields["environment"]  # older workers know nothing of it
    return json.dumps(fields).encode() + b"\n" + body


def split_payload(payload: bytes) -> tuple[Header, bytes]:
    """Return what ``join_payload`` was given.

    Raises:
        ValueError: It is no payload.
    """
    line, _, body = payload.partition(b"\n")
    return Header(**json.loads(line)), body
