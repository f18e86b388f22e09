"""One stage of a job while it runs: which tasks it has, what they read and what they left.

How single tasks come along is in ``core.stage_tasks``.
"""

from collections.abc import Iterable, Iterator
from zlib import crc32

from disco_engine.core import label_table
from disco_engine.core.actions import StageCounts, Work
from disco_engine.core.grouping import (
    NODE_GROUPINGS,
    Readers,
    group_order,
    groups_of_inputs,
    groups_of_outputs,
    inputs_by_group,
    sources_of,
    split_source,
)
from disco_engine.core.model import (
    Group,
    Grouping,
    Layout,
    NodeName,
    Source,
    TaskInput,
    TaskRef,
)
from disco_engine.core.outputs import StageOutputs
from disco_engine.core.stage_tasks import StageTasks
from disco_engine.core.task_events import (
    Action,
    Cancelled,
    DropOutput,
    Event,
    Output,
)
from disco_engine.core.task_state import Limits, Task, TaskState
from disco_engine.core.values import ValueBook
from disco_engine.core.yardstick import Yardstick

Reads = tuple[tuple[TaskInput, ...], tuple[Source, ...]]
"""What a task reads: inputs in the first stage, sources in the others."""


class StageRun(StageTasks):
    """One stage.

    Args:
        how: How its tasks follow from what they read.
        before: The stage it reads; None in the first stage, and for plan and commit.
        inputs: What the first stage reads.
        number, work, name, limits, values: As for its tasks (``StageTasks``).

    Attributes:
        layout: How its output will be read.
        sort_output: The next stage wants sorted blocks.
        write_output: Its records go to the job's output; nothing is pushed.
        even_if_empty: It has its one task even if there is nothing to read.
        arrangement: Part of every task's group (see Group): which outputs, on which nodes, were
            grouped by node, here or before. None: nothing was.
        groups: What each task is about.
        outputs: Sums over what is sealed.
        missing: Tasks that are done, but whose output is gone. Nobody needed it when it went.
        version: Grows whenever ``outputs`` changes.
        yardstick: How long its attempts take.
        started_s: First assignment (or planning, if there is no task); None: not yet.
        finished_s: Last seal; None: not yet.
    """

    layout = Layout.BY_TASK
    sort_output = False
    write_output = False
    even_if_empty = False

    def __init__(
        self,
        number: int,
        work: Work,
        name: str,
        *,
        limits: Limits,
        values: ValueBook,
        how: Grouping = Grouping.GROUP_ALL,
        before: "StageRun | None" = None,
        inputs: tuple[TaskInput, ...] = (),
    ) -> None:
        super().__init__(number, work, name, limits=limits, values=values)
        self.grouping = how
        self.before = before
        self.started_s: float | None = None
        self.finished_s: float | None = None
        self._inputs = inputs
        self._inputs_by_group: dict[Group, tuple[TaskInput, ...]] = {}
        self.version = 0

    def _empty(self) -> None:
        super()._empty()
        self.arrangement: int | None = None
        self.groups: list[Group] = []
        self.outputs = StageOutputs()
        self.missing: set[int] = set()
        self.yardstick = Yardstick()
        self._sorted = True
        self._readers: Readers | None = None  # made when it is first asked for
        # Tasks whose output was counted in since the next stage looked; None: it never has.
        self._renewed: list[int] | None = None
        self._records_in = self._bytes_in = self._file_records = 0

    @property
    def chosen_as(self) -> str | None:
        """The name by which workers take the stage or do not; None: every worker takes it."""
        return self.name if self.work is Work.RUN else None

    @property
    def pushes(self) -> bool:
        """Its attempts push what they write to a partition service."""
        return self.work is Work.RUN and not self.write_output

    @property
    def inputs_version(self) -> int:
        """The version of what its tasks read; another one means that it has changed."""
        return self.before.version if self.before else 0

    # --- planning -----------------------------------------------------------------------------

    def wanted_groups(self) -> list[Group]:
        """Return the groups that follow from what there is to read now, in task order.

        When it is asked again, only those of renewed outputs are returned if the stage reads single
        tasks.
        """
        if self.work is not Work.RUN:
            return [Group()]
        if self.before is None:
            return groups_of_inputs(self.grouping, self._inputs)
        read = self.before.outputs
        groups = groups_of_outputs(self.grouping, read.held, read.homes, self.before.news())
        if self.even_if_empty:
            groups = groups or [Group()]
        if self.arrangement is None:
            return groups
        return [group._replace(arrangement=self.arrangement) for group in groups]

    def plan(self) -> None:
        """Make the stage's tasks; they wait."""
        self.planned = True
        self._values.forget_stage(self.number)  # if it starts over
        if self.before is not None:
            by_node = self.grouping in NODE_GROUPINGS
            self.arrangement = self.before.fingerprint() if by_node else self.before.arrangement
            self.before._renewed = None  # all that it left is news
        self._add_tasks(self.wanted_groups())
        if self.before is None and self.grouping is not Grouping.SPLIT:
            self._inputs_by_group = inputs_by_group(self.grouping, self._inputs)

    def extend(self) -> int:
        """Add tasks for groups that had none when the stage was planned; return how many.

        That happens if an output that was made again is not what it was: the user's code is not
        deterministic. What already ran stays as it is; what came new must not go unread.
        """
        readers = self._index()
        new = [group for group in self.wanted_groups() if group not in readers]
        self._sorted = self._sorted and not new
        self._add_tasks(new)
        return len(new)

    def start_over(self, reason: str) -> list[Action]:
        """Forget all tasks; the stage waits to be planned again."""
        actions: list[Action] = []
        for index, task in enumerate(self.tasks):
            self.floor = max(self.floor, task.started)
            output = task.output
            if task.state is not TaskState.DONE or output is None:
                actions += self.apply(index, Cancelled(reason))
                continue
            if index not in self.missing:
                actions.append(DropOutput(output.id, output.service))
            if output.copy is not None:
                actions.append(DropOutput(output.id, output.copy))
        self.version += 1
        self._empty()
        return actions

    def _add_tasks(self, groups: list[Group]) -> None:
        first = len(self.tasks)
        self.groups += groups
        if self._readers is not None:
            self._readers.add(groups)
        self._waiting.update(range(first, first + len(groups)))
        self.tasks += [
            Task(ref=TaskRef(self.number, index), limits=self._limits, started=self.floor)
            for index in range(first, first + len(groups))
        ]

    def reads(self, index: int) -> Reads:
        """Return what a task reads now."""
        group = self.groups[index]
        if self.work is not Work.RUN:
            return (), ()
        if self.before is None:
            if self.grouping is Grouping.SPLIT:
                return (self._inputs[group.origin or 0],), ()
            return self._inputs_by_group[group], ()
        if self.grouping is Grouping.SPLIT:
            output = self.before.tasks[group.origin or 0].output
            if output is None:
                return (), ()
            source = split_source(group, self.before.number, output.service, output.table)
            return (), (source,)
        read = self.before.outputs
        return (), sources_of(group, self.before.number, read.held, read.homes)

    def _home_of(self, index: int) -> NodeName | None:
        group = self.groups[index]
        if self.before is None or group.node is not None:
            return group.node
        if self.grouping is Grouping.SPLIT:
            output = self.before.tasks[group.origin or 0].output
            return self.before.outputs.homes.get(output.service) if output else None
        if group.label is not None:
            return self.before.outputs.main_node(group.label)
        return None

    # --- outputs ------------------------------------------------------------------------------

    def count_in(self, index: int, node: NodeName) -> None:
        """Count the output of a task that is done now.

        Args:
            index: Which task.
            node: Of the service that has the output.
        """
        output = self._output(index)
        self.outputs.add(output.service, node, output.table)
        self.version += 1
        if self._renewed is not None:
            self._renewed.append(index)
        self._records_in += output.records_in
        self._bytes_in += output.bytes_in
        self._file_records += output.file_records

    def miss(self, index: int) -> None:
        """Note that the output of a task that is done is gone."""
        output = self._output(index)
        self.outputs.remove(output.service, output.table)
        self.version += 1
        self.missing.add(index)

    def found_again(self, index: int, node: NodeName) -> None:
        """Note that an output that was missing is there after all."""
        output = self._output(index)
        self.missing.discard(index)
        self.outputs.add(output.service, node, output.table)
        self.version += 1

    def reopen(self, index: int, event: Event) -> list[Action]:
        """Have a task's missing output read from its copy, or made again; *event* tells it so."""
        output = self._output(index)
        self.missing.discard(index)
        self._records_in -= output.records_in
        self._bytes_in -= output.bytes_in
        return self.apply(index, event)

    def without_copy(self) -> int:
        """Return how many tasks are done whose output, if they have one, is kept once only."""
        return sum(1 for _, output in self.done_outputs() if output.table and output.copy is None)

    def news(self) -> Iterator[tuple[int, bytes]]:
        """Yield the tasks that were done since they were last asked for, with their label tables.

        Only whoever looks at the first has asked: most stages need not know.
        """
        renewed, self._renewed = self._renewed, []
        for index in range(len(self.tasks)) if renewed is None else sorted(set(renewed)):
            output = self.tasks[index].output
            yield index, output.table if output else label_table.EMPTY

    def _index(self) -> Readers:
        """Return which of its tasks read what; takes time for each task at the first call only."""
        if self._readers is None:
            self._readers = Readers(self.grouping, self.groups)
        return self._readers

    def fingerprint(self) -> int:
        """Return a number that is another if other attempts are sealed, or on other nodes."""
        fingerprint = self.arrangement or 0
        for _, output in self.done_outputs():
            if output.table:
                where = f"{tuple(output.id)} {self.outputs.homes[output.service]}"
                fingerprint = crc32(where.encode(), fingerprint)
        return fingerprint

    def needed_of(self, before: "StageRun") -> list[int]:
        """Return which missing outputs of *before* this stage's unfinished tasks read."""
        missing = sorted(before.missing)
        if not self.planned:
            return missing
        readers_of = self._index().of
        needed = []
        for index in missing:
            output = before._output(index)
            node = before.outputs.homes[output.service]  # set when it was counted in
            readers = readers_of(index, node, label_table.labels_in(output.table))
            if any(self.tasks[reader].state is not TaskState.DONE for reader in readers):
                needed.append(index)
        return needed

    def done_outputs(self) -> Iterable[tuple[int, Output]]:
        """Yield the output of every task that is done, in the order of the parts."""
        order: Iterable[int] = range(len(self.tasks))
        if not self._sorted:
            order = sorted(order, key=lambda index: group_order(self.groups[index]))
        for index in order:
            if self.tasks[index].state is TaskState.DONE:
                yield index, self._output(index)

    def _output(self, index: int) -> Output:
        output = self.tasks[index].output
        if output is None:
            raise LookupError(f"stage {self.name}, task {index} has no output")
        return output

    def counts(self) -> StageCounts:
        """Return the stage in numbers, but for its workers."""
        written = self.outputs.total
        return StageCounts(
            name=self.name,
            total=len(self.tasks),
            waiting=len(self.tasks) - self._busy - self._done,
            running=self._busy,
            done=self._done,
            retries=self._retries,
            rivals=self.rivals,
            records_in=self._records_in,
            bytes_in=self._bytes_in,
            records_out=written.records + self._file_records,
            bytes_out=written.bytes,
            started_s=self.started_s,
            finished_s=self.finished_s,
            largest_labels=self.outputs.largest(),
        )
