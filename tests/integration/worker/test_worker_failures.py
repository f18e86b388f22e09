"""Whatever user code does to its slot costs one attempt, and the user reads why."""

from __future__ import annotations

from typing import TYPE_CHECKING

from disco.v1 import common_pb2
from disco_engine.core import label_table

if TYPE_CHECKING:
    from tests.integration.worker.conftest import Bench, Do

USER = common_pb2.FAILURE_KIND_USER
FATAL = common_pb2.FAILURE_KIND_FATAL


async def test_an_exception_comes_back_with_the_users_lines_and_the_record(
    bench: Bench, do: Do
) -> None:
    coordinator = await bench.begin(
        """
        def boom(context):
            context.record({"line": 7})
            raise ValueError("cannot parse 'x'")
        """
    )
    await bench.worker()
    failure = (await coordinator.run(inputs=do("boom"))).failed
    assert failure.kind == USER
    assert failure.message == "ValueError: cannot parse 'x'"
    assert failure.record == "{'line': 7}"
    assert "raise ValueError(\"cannot parse 'x'\")" in failure.traceback
    assert "disco_engine" not in failure.traceback
    after = await coordinator.run(inputs=do("nothing"))
    assert after.HasField("finished")


async def test_text_with_lone_surrogates_is_shown_escaped_and_the_slot_goes_on(
    bench: Bench, do: Do
) -> None:
    coordinator = await bench.begin(
        """
        def boom(context):
            print("caf\\udce9")
            context.status("caf\\udce9")
            context.record("caf\\udce9")
            raise ValueError("no caf\\udce9")
        def pid(context):
            print(os.getpid())
        """
    )
    await bench.worker()
    before = await coordinator.run(inputs=do("pid"))
    report = await coordinator.run(inputs=do("boom"))
    after = await coordinator.run(inputs=do("pid"))
    assert report.failed.message == "ValueError: no caf\\udce9"
    assert report.failed.record == "'caf\\udce9'"
    assert report.output == "caf\\udce9\n"
    assert before.output == after.output


async def test_code_that_calls_sys_exit_fails_its_attempt_only(bench: Bench, do: Do) -> None:
    coordinator = await bench.begin(
        """
        def leave(context):
            sys.exit(3)
        def pid(context):
            print(os.getpid())
        """
    )
    await bench.worker()
    before = await coordinator.run(inputs=do("pid"))
    failure = (await coordinator.run(inputs=do("leave"))).failed
    after = await coordinator.run(inputs=do("pid"))
    assert (failure.kind, failure.message) == (USER, "SystemExit: 3")
    assert before.output == after.output != ""


async def test_code_that_ends_its_process_is_charged_and_what_it_said_before_is_kept(
    bench: Bench, do: Do
) -> None:
    coordinator = await bench.begin(
        """
        def leave(context):
            print("last words")
            os._exit(7)
        """
    )
    await bench.worker()
    report = await coordinator.run(inputs=do("leave"))
    assert report.failed.kind == USER
    assert "exited with status 7" in report.failed.message
    assert report.output == "last words\n"
    assert (await coordinator.run(inputs=do("nothing"))).HasField("finished")


async def test_what_a_dead_slot_had_started_is_ended_with_it(bench: Bench, do: Do) -> None:
    coordinator = await bench.begin(
        """
        def leave(context):
            subprocess.Popen(["sleep", "1000"])
            os._exit(1)
        """
    )
    worker = await bench.worker()
    assert "status 1" in (await coordinator.run(inputs=do("leave"))).failed.message
    assert await worker.alone("sleep")


async def test_code_that_is_killed_is_told_by_which_signal(bench: Bench, do: Do) -> None:
    coordinator = await bench.begin(
        """
        def die(context):
            os.kill(os.getpid(), signal.SIGKILL)
        def crash(context):
            import ctypes
            ctypes.string_at(0)
        """
    )
    await bench.worker()
    killed = (await coordinator.run(inputs=do("die"))).failed
    assert killed.kind == USER
    assert killed.message == (
        "the slot running it was killed by signal 9 (SIGKILL): out of memory, or the code killed"
        " its own process"
    )
    crashed = await coordinator.run(inputs=do("crash"))
    assert "signal 11 (SIGSEGV)" in crashed.failed.message
    assert "in crash" in crashed.output  # where it was, from faulthandler


async def test_where_code_crashed_is_told_with_its_attempt_and_not_with_the_one_before(
    bench: Bench, do: Do
) -> None:
    coordinator = await bench.begin(
        """
        def crash(context):
            import ctypes
            ctypes.string_at(0)
        """
    )
    await bench.worker()
    for _ in range(3):  # so that the worker knows that tasks are short, and sends them ahead
        await coordinator.run(inputs=do("nothing"))
    tasks = [coordinator.task(inputs=do(name)) for name in [*(20 * ["nothing"]), "crash"]]
    coordinator.assign(*tasks)
    *others, crashed = [await coordinator.report_of(task) for task in tasks]
    assert "in crash" in crashed.output
    assert {report.output for report in others} == {""}


async def test_a_process_that_code_forks_tells_of_its_crash_in_the_output(
    bench: Bench, do: Do
) -> None:
    coordinator = await bench.begin(
        """
        def crash(context):
            import ctypes
            child = os.fork()
            if child == 0:
                ctypes.string_at(0)
            os.waitpid(child, 0)
        """
    )
    await bench.worker()
    report = await coordinator.run(inputs=do("crash"))
    assert report.HasField("finished")
    assert "Segmentation fault" in report.output
    assert "in crash" in report.output


async def test_when_a_slot_dies_only_the_attempt_that_ran_is_charged(bench: Bench, do: Do) -> None:
    """Twenty attempts are in the slot when the first of them kills it."""
    coordinator = await bench.begin(
        """
        def die(context):
            os.kill(os.getpid(), signal.SIGKILL)
        """
    )
    await bench.worker()
    for _ in range(3):  # so that the worker knows that tasks are short, and sends them ahead
        await coordinator.run(inputs=do("nothing"))
    tasks = [coordinator.task(inputs=do(name)) for name in ["die"] + 20 * ["nothing"]]
    coordinator.assign(*tasks)
    first, *others = [await coordinator.report_of(task) for task in tasks]
    assert "SIGKILL" in first.failed.message
    assert all(report.HasField("finished") for report in others)


async def test_a_task_that_runs_too_long_is_killed_and_tells_where_it_was(
    bench: Bench, do: Do
) -> None:
    coordinator = await bench.begin(
        """
        def hang(context):
            child = subprocess.Popen(["sleep", "1000"])
            context.status("sleeping")
            time.sleep(1000)
        """,
        task_timeout_s=0.5,
    )
    worker = await bench.worker()
    report = await coordinator.run(inputs=do("hang"))
    assert report.failed.kind == USER
    assert report.failed.message == (
        "ran longer than its limit of 0.5 s: make the task smaller, or raise the limit"
        " (--task-timeout)"
    )
    assert "in hang" in report.output
    assert (await coordinator.run(inputs=do("nothing"))).HasField("finished")
    assert await worker.alone("sleep")


async def test_a_task_that_takes_too_much_memory_fails_and_the_slot_goes_on(
    bench: Bench, do: Do
) -> None:
    coordinator = await bench.begin(
        """
        def hoard(context):
            context.record("the record")
            kept = []
            while True:
                kept.append(bytearray(1_000_000))
        """,
        memory_limit_bytes=300 * 1024 * 1024,
    )
    await bench.worker()
    failure = (await coordinator.run(inputs=do("hoard"))).failed
    assert failure.kind == USER
    assert failure.message.startswith("exceeded its memory limit of 300 MiB")
    assert failure.record == "'the record'"
    assert "kept.append" in failure.traceback
    assert (await coordinator.run(inputs=do("nothing"))).HasField("finished")


async def test_a_memory_limit_below_what_the_imports_take_fails_the_job(
    bench: Bench, do: Do
) -> None:
    coordinator = await bench.begin("", memory_limit_bytes=1024 * 1024)
    await bench.worker()
    failure = (await coordinator.run(inputs=do("nothing"))).failed
    assert failure.kind == FATAL
    assert "the memory limit of 1 MiB is too small" in failure.message


async def test_a_job_that_cannot_be_imported_is_fatal_and_says_where(bench: Bench, do: Do) -> None:
    coordinator = await bench.begin("import a_module_that_nobody_has")
    await bench.worker(slots=2)
    failure = (await coordinator.run(inputs=do("nothing"))).failed
    assert failure.kind == FATAL
    assert failure.message == "ModuleNotFoundError: No module named 'a_module_that_nobody_has'"
    assert "userjob.py" in failure.traceback
    assert "importlib" not in failure.traceback


async def test_a_job_that_kills_its_slot_while_it_is_imported_is_charged_once_per_attempt(
    bench: Bench, do: Do
) -> None:
    coordinator = await bench.begin("print('importing'); os._exit(5)")
    await bench.worker()
    for _ in range(2):
        report = await coordinator.run(inputs=do("nothing"))
        assert report.failed.kind == USER
        assert "the slot that loaded the job exited with status 5" in report.failed.message
        assert report.output == "importing\n"


async def test_output_that_cannot_be_pickled_is_the_users_failure(bench: Bench, do: Do) -> None:
    coordinator = await bench.begin(
        """
        def write(context):
            context.writer().add(0, "key", (n for n in range(3)))
        """
    )
    service = await bench.partition()
    await bench.worker()
    failure = (await coordinator.run(inputs=do("write"), push_to=service.address, layout=1)).failed
    assert failure.kind == USER
    assert "generator" in failure.message
    assert not service.complete


async def test_what_each_attempt_prints_and_logs_is_its_own(bench: Bench, do: Do) -> None:
    """Short attempts follow each other faster than the worker reads what they print."""
    coordinator = await bench.begin(
        """
        def speak(context):
            print("out", context.task)
            logging.getLogger("mine").info("logged %d", context.task)
            print("err", context.task, file=sys.stderr)
        """
    )
    await bench.worker()
    await coordinator.run(inputs=do("nothing"))
    tasks = [coordinator.task(inputs=do(name)) for name in 50 * ["speak", "nothing", "speak"]]
    coordinator.assign(*tasks)
    for task in tasks:
        report = await coordinator.report_of(task)
        number = task.attempt.task
        spoken = f"out {number}\nINFO mine: logged {number}\nerr {number}\n"
        assert report.output == (spoken if task.run.inputs[0].urls[0] == "speak" else "")


async def test_of_a_flood_of_output_the_end_is_kept_and_the_rest_is_counted(
    bench: Bench, do: Do
) -> None:
    coordinator = await bench.begin(
        """
        def flood(context):
            line = "x" * 9_999
            for _ in range(10_000):
                print(line)
            subprocess.run(["echo", "the end"])
        """
    )
    await bench.worker()
    report = await coordinator.run(inputs=do("flood"))
    assert report.HasField("finished")
    assert report.output.endswith("x\nthe end\n")
    note, _, kept = report.output.partition("\n")
    assert len(kept) == 16 * 1024
    assert note == f"[… {100_000_008 - len(kept):,} bytes before this were cut …]"


async def test_user_code_that_closes_its_streams_hurts_only_itself(bench: Bench, do: Do) -> None:
    coordinator = await bench.begin(
        """
        def close(context):
            sys.stdout.close()
            sys.stderr = None
            os.closerange(0, 3)
        def speak(context):
            print("still here")
        """
    )
    await bench.worker()
    assert (await coordinator.run(inputs=do("close"))).HasField("finished")
    assert (await coordinator.run(inputs=do("speak"))).output == "still here\n"


async def test_a_process_that_user_code_forks_never_speaks_for_its_slot(
    bench: Bench, do: Do
) -> None:
    """Both came back to the slot, and took each other's tasks; the job stood still."""
    coordinator = await bench.begin(
        """
        def fork(context):
            os.fork()
            context.writer().add(0, "key", 1)
        def pid(context):
            print(os.getpid())
        """
    )
    service = await bench.partition()
    await bench.worker()
    before = await coordinator.run(inputs=do("pid"))
    report = await coordinator.run(inputs=do("fork"), push_to=service.address, layout=1)
    after = [await coordinator.run(inputs=do("pid")) for _ in range(5)]
    assert label_table.total(report.finished.label_table).records == 1
    assert {report.output for report in after} == {before.output}


async def test_code_that_closes_its_slots_connection_is_told_so(bench: Bench, do: Do) -> None:
    coordinator = await bench.begin(
        """
        def close(context):
            os.closerange(3, 1000)
        """
    )
    await bench.worker()
    report = await coordinator.run(inputs=do("close"))
    assert report.failed.kind == USER
    assert "the job's code has closed it" in report.output
    assert (await coordinator.run(inputs=do("nothing"))).HasField("finished")


async def test_threads_of_user_code_keep_no_slot_that_has_to_end(bench: Bench, do: Do) -> None:
    """The interpreter waited for them, and the tasks behind them waited for it."""
    coordinator = await bench.begin(
        """
        def hoard(context):
            import threading
            threading.Thread(target=time.sleep, args=(1000,)).start()
            kept = []
            while True:
                kept.append(bytearray(1_000_000))
        """,
        memory_limit_bytes=300 * 1024 * 1024,
    )
    await bench.worker()
    failure = (await coordinator.run(inputs=do("hoard"))).failed
    assert failure.message.startswith("exceeded its memory limit")
    assert (await coordinator.run(inputs=do("nothing"))).HasField("finished")


async def test_a_slot_has_no_token_and_no_standard_input(bench: Bench, do: Do) -> None:
    coordinator = await bench.begin(
        """
        def look(context):
            print(os.environ.get("DISCO_JOB_TOKEN"), repr(sys.stdin.read()))
        """
    )
    await bench.worker()
    assert (await coordinator.run(inputs=do("look"))).output == "None ''\n"
