"""What is sent to a server for one job."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple


class Travelling(NamedTuple):
    """One thing that is sent: its name there, and its size before compression."""

    name: str
    size_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Submission:
    """What a server is given.

    Attributes:
        spec: Of the DiscoJob, as in a manifest.
        code: A serialised ``disco.v1.JobCode``; empty: the spec says where the code is.
        travels: What is in the code, largest last: files by their names, and "(the job itself)".
        left_out: Paths of modules that an ignore file keeps here, although the job imports them.
        pickled_by: ``major.minor`` of the Python that the workers must have because the job's
            functions were pickled by it; empty: the job travels as source files, any will do.
        name: Of the job; empty: the server makes one of *name_prefix*.
        name_prefix: At most 36 characters, lower-case letters, digits and "-".
        labels: Of the job.
    """

    spec: Mapping[str, Any]
    code: bytes = field(default=b"", repr=False)
    travels: Sequence[Travelling] = ()
    left_out: Sequence[str] = ()
    pickled_by: str = ""
    name: str = ""
    name_prefix: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
