"""Results that are kept in DDFS: two stages that follow those of a job with ``save_results``.

    ... last stage --a task per task and label--> ddfs:save --one task--> ddfs:tag

The first stores the records as blobs, in Disco's stream format, and passes on where they are; the
second makes one tag of all. So the tag is there when the job has succeeded, whoever waits for it,
and not before. Blobs of attempts that did not count belong to no tag, which ``ddfs gc`` notices.

Workers find DDFS as everybody does: by ``DISCO_DDFS`` in their environment.
"""

import io
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from disco.error import DiscoError
from disco.saved import TAG_STAGE, results_tag
from disco.worker.base import PlannedStage, planned
from disco.worker.reading import InputChain, StageInputs
from disco_engine.core.model import Grouping
from disco_engine.program import TaskContext

if TYPE_CHECKING:
    from disco.worker.base import Worker

_SAVE_STAGE = "ddfs:save"
_PARAMETERS = ("save_results", "save")
_ANY_SIZE = 1 << 62


def is_saved(worker: "Worker", job: object, jobargs: Mapping[str, Any]) -> bool:
    """Return whether a job's results are to be kept in DDFS.

    Raises:
        DiscoError: They are to be kept elsewhere, or an output wants them as well.
    """
    if not any(worker.getitem(name, job, jobargs) for name in _PARAMETERS):
        return False
    where = worker.getitem("save_info", job, jobargs)
    if where != "ddfs":
        raise DiscoError(
            f"save_info={where!r}: results are saved to DDFS ('ddfs'); for other storage give the"
            " job an output URL, such as output='hdfs://namenode/dir' or 's3://bucket/dir'"
        )
    if worker.getitem("output", job, jobargs):
        raise DiscoError("save_results and output: records go to DDFS or to the output, choose one")
    return True


def saving_stages(
    worker: "Worker", job: object, jobargs: Mapping[str, Any]
) -> tuple[PlannedStage, ...]:
    """Return the stages that follow a job's own; none if nothing is to be saved.

    Raises:
        DiscoError: As for ``is_saved``.
    """
    if not is_saved(worker, job, jobargs):
        return ()
    return (
        planned(_SAVE_STAGE, Grouping.SPLIT, SaveTasks()),
        # A job without records has a tag, too: of nothing.
        planned(TAG_STAGE, Grouping.GROUP_ALL, TagTasks(), even_if_empty=True),
    )


class SaveTasks:
    """Each stores what one task of the stage before has written; yields ((task, number), link)."""

    splittable = False

    def run(self, context: TaskContext, params: Any) -> None:
        """Run one task."""
        from disco.ddfs import DDFS
        from disco.ddfs.chunks import Chunker

        ddfs, writer = DDFS(), context.writer()
        records = StageInputs(context, InputChain(), params).all()
        for number, chunk in enumerate(Chunker(max_record_size=_ANY_SIZE).chunks(records)):
            name = ddfs.job_blob(context.job_name, f"{context.task}-{number}")
            link = ddfs.store(name, io.BytesIO(chunk))
            writer.add(0, (context.task, number), list(link))


class TagTasks:
    """One task, which tags what the others have stored; doing so again changes nothing."""

    splittable = False

    def run(self, context: TaskContext, params: Any) -> None:
        """Run the task."""
        from disco.ddfs import DDFS

        records = StageInputs(context, InputChain(), params).all()
        links = [link for _, link in sorted(records, key=lambda record: record[0])]
        tag = DDFS().put(results_tag(context.job_name), links)
        context.writer().add(0, tag, len(links))
