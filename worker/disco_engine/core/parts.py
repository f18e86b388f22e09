"""The names of what jobs leave in partition services, as URLs that other jobs can read.

    disco://ADDRESS/UID/STAGE/TASK            what one task wrote, of all labels
    disco://ADDRESS/UID/STAGE/TASK?label=3    of one label
    disco://ADDRESS/UID/STAGE?label=3&records=17  what all tasks wrote for a label
    disco://SERVER/NAMESPACE/NAME/UID/PART    a part of the result of a job that a server knows

Only the first three say where something is. The last is for people and their programs: a server
turns it into one of the others when a job of its own is to read it.
"""

import re
from dataclasses import dataclass
from typing import TypeAlias

from disco_engine.core.model import Label

PREFIX = "disco://"

_STORED = re.compile(
    r"disco://([^/?]+)/([^/?]+)/(\d+)(?:/(\d+))?(?:\?label=(-?\d+)(?:&records=(\d+))?)?"
)
_SERVED = re.compile(r"disco://([^/?]+)/([^/?]+)/([^/?]+)/([^/?]+)/(\d+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredPart:
    """Records in a partition service.

    Attributes:
        address: host:port of the service.
        uid: Of the job that wrote them.
        stage: In which they were written.
        task: Who wrote them; None: all tasks of the stage, so there is a label.
        label: Which of them; None: all labels.
        records: How many they are, since a service that has lost the output of one of all tasks
            does not know what it lost; None: it says so itself, or nobody has counted.
    """

    address: str
    uid: str
    stage: int
    task: int | None
    label: Label | None = None
    records: int | None = None

    def __str__(self) -> str:
        task = "" if self.task is None else f"/{self.task}"
        label = "" if self.label is None else f"?label={self.label}"
        records = "" if self.records is None else f"&records={self.records}"
        return f"{PREFIX}{self.address}/{self.uid}/{self.stage}{task}{label}{records}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedPart:
    """A part of a result that a server has.

    Attributes:
        server: host:port of the server, or what a client calls it.
        namespace: Of the job.
        name: Of the job.
        uid: Of the job.
        number: Of the part, from 0.
    """

    server: str
    namespace: str
    name: str
    uid: str
    number: int

    def __str__(self) -> str:
        return f"{PREFIX}{self.server}/{self.namespace}/{self.name}/{self.uid}/{self.number}"


Part: TypeAlias = StoredPart | ServedPart


def part_of(url: str) -> Part:
    """Return what *url* names.

    Raises:
        ValueError: It is no such URL.
    """
    if match := _STORED.fullmatch(url):
        address, uid, stage, task, label, records = match.groups()
        if task is not None or label is not None:
            return StoredPart(
                address=address,
                uid=uid,
                stage=int(stage),
                task=None if task is None else int(task),
                label=None if label is None else int(label),
                records=None if records is None else int(records),
            )
    elif match := _SERVED.fullmatch(url):
        server, namespace, name, uid, number = match.groups()
        return ServedPart(
            server=server, namespace=namespace, name=name, uid=uid, number=int(number)
        )
    raise ValueError(
        f"{url!r} is no part of a result: expected disco://host:port/uid/stage/task, or"
        " disco://server/namespace/name/uid/part"
    )
