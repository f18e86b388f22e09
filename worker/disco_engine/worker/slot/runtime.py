"""Runs attempts one after the other in this process, and says how each of them ended."""

import gc
import importlib
import os
import sys
import time
import traceback
from typing import NamedTuple

from disco.v1 import coordinator_pb2, job_pb2, slot_pb2
from disco_engine.core.model import AttemptId, Failure, FailureKind
from disco_engine.program import OutputCompleteError, PlanRequest, Program, ProgramError
from disco_engine.wire import (
    attempt_to_wire,
    failure_to_wire,
    plan_to_wire,
    settings_from_wire,
    values_to_wire,
)
from disco_engine.worker.slot.channel import UNFIT_STATUS, leave
from disco_engine.worker.slot.context import SlotContext
from disco_engine.worker.slot.conversation import Conversation
from disco_engine.worker.slot.failures import (
    RECORD_CHARACTERS,
    failure_of,
    found_disk_full,
    record_text,
    user_traceback,
)
from disco_engine.worker.slot.limits import MemoryLimit
from disco_engine.worker.slot.output import TaskOutput
from disco_engine.worker.slot.stdio import Printer


class _Trouble(NamedTuple):
    """How an attempt failed, and whether the process can go on."""

    failure: Failure
    damaged: AttemptId | None = None
    fit: bool = True


class Slot:
    """One slot, from set-up to its end."""

    def __init__(self, conversation: Conversation, printer: Printer) -> None:
        self._conversation = conversation
        self._printer = printer
        self._started = 0
        self._forked = False
        os.register_at_fork(after_in_child=self._note_fork)

    def serve(self) -> None:
        """Load the program and run what comes until told to stop, or until memory ran out."""
        setup = self._setup = self._conversation.setup()
        self._settings = settings_from_wire(setup.job.settings)
        self._limit = MemoryLimit(self._settings.memory_limit_bytes)
        self._program = self._load(setup)
        self._printer.end()
        # What is here now stays: the collector need not look at it again and again.
        gc.collect()
        gc.freeze()
        ready = slot_pb2.SlotReady()
        if isinstance(self._program, Failure):
            ready.failure.CopyFrom(failure_to_wire(self._program))
        self._conversation.ready(ready)
        while (task := self._conversation.next_task()) is not None:
            if not self._run(task):
                os._exit(UNFIT_STATUS)  # without waiting for threads that user code has started
        if self._conversation.stop is not None and self._conversation.stop.remove_output:
            from disco_engine import outputs  # needs fsspec, which most slots never load

            outputs.remove_temporary(setup.job.output.url, setup.job.uid)
            os._exit(0)  # the status says that this was done, whatever user code still holds open

    def _note_fork(self) -> None:
        self._forked = True

    def _load(self, setup: slot_pb2.Setup) -> Program | Failure:
        code = setup.job.code
        if setup.modules_dir:
            sys.path.insert(0, setup.modules_dir)
        sys.path.extend(code.python_path)
        try:
            program = _call_loader(code)
        except BaseException as error:
            return failure_of(error, planning=True)
        if problem := self._limit.too_small():
            return Failure(kind=FailureKind.FATAL, message=problem)
        self._limit.apply()
        return program

    def _run(self, task: coordinator_pb2.TaskAssignment) -> bool:
        """Run one attempt and report it; False: the process is not fit for another one."""
        self._started += 1
        self._printer.begin(self._started)
        self._conversation.started(task.attempt)
        began = time.perf_counter()
        output = TaskOutput(task, self._setup.job, self._settings, self._conversation)
        context = SlotContext(
            task,
            conversation=self._conversation,
            setup=self._setup,
            settings=self._settings,
            output=output,
        )
        message = slot_pb2.SlotReport()
        report = message.report
        report.attempt.CopyFrom(task.attempt)
        trouble = self._execute(task, context, output, report.finished)
        fit = trouble is None or trouble.fit
        if fit:
            context.release()
        self._printer.end()
        if context.untold_status:
            report.status = context.untold_status
        if trouble is None:
            result = report.finished
            result.seconds = time.perf_counter() - began
            result.records_in = context.records_in
            result.bytes_in = context.bytes_in
        else:
            report.failed.CopyFrom(failure_to_wire(trouble.failure))
            if trouble.damaged is not None:
                message.damaged.CopyFrom(attempt_to_wire(trouble.damaged))
        self._conversation.report(message, at_once=not fit)
        return fit

    def _execute(
        self,
        task: coordinator_pb2.TaskAssignment,
        context: SlotContext,
        output: TaskOutput,
        result: coordinator_pb2.AttemptResult,
    ) -> _Trouble | None:
        trouble = None
        try:
            self._work(task, context, output, result)
        except OutputCompleteError:
            result.output_complete = True
        except MemoryError as error:
            trouble = self._out_of_memory(error, context)
        except BaseException as error:
            planning = task.HasField("plan")
            trouble = _Trouble(
                failure_of(
                    error,
                    record=context.current_record,
                    input=_only_input(task.run),
                    planning=planning,
                ),
                # What it has written for itself is removed with the process.
                fit=not found_disk_full(error),
            )
        if context.source_failure is not None:
            # Whatever came of it, even success: the program has seen less than there was.
            fit = trouble is None or trouble.fit
            trouble = _Trouble(context.source_failure, damaged=context.damaged, fit=fit)
        if trouble is not None:
            output.abandon()
        return trouble

    def _work(
        self,
        task: coordinator_pb2.TaskAssignment,
        context: SlotContext,
        output: TaskOutput,
        result: coordinator_pb2.AttemptResult,
    ) -> None:
        program = self._program
        if isinstance(program, Failure):
            raise ProgramError(program)
        match task.WhichOneof("work"):
            case "run":
                program.run(context)
                if self._forked:
                    leave()  # both processes have come back, and this is the new one
                output.finish(result)
                result.values.extend(values_to_wire(context.values_left))
            case "plan":
                self._plan(program, result)
            case "commit":
                from disco_engine import outputs

                job = self._setup.job
                outputs.commit(job.output.url, job.output.format, job.uid, task.commit.output_files)
            case other:
                raise RuntimeError(f"a task of the unknown kind {other!r}")

    def _plan(self, program: Program, result: coordinator_pb2.AttemptResult) -> None:
        job = self._setup.job
        if job.HasField("output"):
            from disco_engine import outputs

            outputs.prepare(job.output.url, job.output.format, job.uid)
        plan = program.plan(
            PlanRequest(
                inputs=tuple(tuple(item.urls) for item in job.inputs),
                settings=self._settings,
                output_url=job.output.url,
            )
        )
        result.plan.CopyFrom(plan_to_wire(plan))

    def _out_of_memory(self, error: MemoryError, context: SlotContext) -> _Trouble:
        self._limit.lift()
        text = user_traceback(error)
        traceback.clear_frames(error.__traceback__)  # what they hold is what there is too much of
        if not self._limit.limit_bytes:
            message = "MemoryError: the machine has no more memory for this task"
        else:
            message = (
                f"exceeded its memory limit of {self._limit}: keep less in memory at a time,"
                " or raise the limit (--memory)"
            )
        failure = Failure(
            kind=FailureKind.USER,
            message=message,
            traceback=text,
            record=record_text(context.current_record),
            input=_only_input(context.assignment.run),
        )
        # What is left of the heap, and of a message that was being received, is anybody's guess, so
        # this process ends and the next attempt gets a new one.
        return _Trouble(failure, fit=False)


def _only_input(run: coordinator_pb2.StageTask) -> str:
    """Return the URL that a task reads; empty if it reads several, or what other tasks wrote."""
    return run.inputs[0].urls[0][:RECORD_CHARACTERS] if len(run.inputs) == 1 else ""


def _call_loader(code: job_pb2.JobCode) -> Program:
    module, _, function = code.loader.partition(":")
    program: Program = getattr(importlib.import_module(module), function)(code.payload)
    return program
