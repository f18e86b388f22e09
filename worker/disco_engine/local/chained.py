"""Lets a job on this machine read the results of others: a task for each part and label.

Whoever starts a job does this for it: workers can read parts, but not ask what labels they have.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

from disco_engine.core.model import Label
from disco_engine.core.parts import PREFIX, StoredPart, part_of
from disco_engine.result_errors import ResultTooFineError
from disco_engine.result_labels import labels_of

Urls = tuple[str, ...]

MOST_INPUTS = 200_000
"""Of one job: as many URLs as fit into the message that starts it, with room to spare."""


def by_label(inputs: Iterable[Urls], token: str) -> list[Urls]:
    """Return *inputs* with a URL per label in place of parts whose records have labels.

    That is so for what a map with partitions has left when no reduce followed it: a job without a
    map then reduces label by label, and a map gets a task per part and label. Parts without any
    label but 0, and inputs that are no stored parts, stay as they are.

    Args:
        inputs: URLs with the same content each.
        token: That opens all the services.

    Raises:
        ResultUnreachableError: A service does not answer.
        ResultLostError: A service does not have the job any more.
        ResultDeniedError: A service does not accept the token.
        ResultTooFineError: There would be more URLs than a job can have.
    """
    told: dict[tuple[str, str, int], Mapping[int, Mapping[Label, int]]] = {}

    def urls_of(part: StoredPart) -> Iterator[Urls]:
        where = (part.address, part.uid, part.stage)
        if where not in told:
            told[where] = labels_of(part.address, token, part.uid, part.stage)
        labels = list(told[where].get(part.task or 0, ()))
        if labels in ([], [0]):
            yield (str(part),)
        else:
            yield from ((str(replace(part, label=label)),) for label in labels)

    found: list[Urls] = []
    for urls in inputs:
        part = stored_part(urls)
        if part is None or part.task is None or part.label is not None:
            found.append(urls)
        else:
            found.extend(urls_of(part))
        if len(found) > MOST_INPUTS:
            raise ResultTooFineError(
                f"the results have more than {MOST_INPUTS:,} parts and labels, and a job that reads"
                " them a task for each: let a reduce follow the map that made them, or have it"
                " write to an output URL, and read the files"
            )
    return found


def stored_part(urls: Urls) -> StoredPart | None:
    """Return the stored part that an input is; None: it is something else."""
    if not urls[0].startswith(PREFIX):
        return None
    try:
        part = part_of(urls[0])
    except ValueError:
        return None  # the plan tells what is wrong with it
    return part if isinstance(part, StoredPart) else None


def jobs_read(inputs: Iterable[Urls]) -> frozenset[str]:
    """Return the uids of the jobs whose stored parts are among *inputs*."""
    parts = map(stored_part, inputs)
    return frozenset(part.uid for part in parts if part is not None)
