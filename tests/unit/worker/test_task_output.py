"""Where an attempt's records leave its slot."""

import subprocess
import sys
from pathlib import Path

from disco_engine.outputs import commit, prepare, read_records

SLOT = """
import sys
from disco.v1 import common_pb2, coordinator_pb2, job_pb2
from disco_engine.core.settings import JobSettings
from disco_engine.worker.slot.output import TaskOutput

attempt = common_pb2.AttemptRef(stage=1, task=0, epoch=7, attempt=1)
task = coordinator_pb2.TaskAssignment(
    attempt=attempt, run=coordinator_pb2.StageTask(write_output=True)
)
job = job_pb2.JobSpec(uid="uid", output=job_pb2.Output(url=sys.argv[1], format="jsonl"))
output = TaskOutput(task, job, JobSettings(), conversation=None)
for line in sys.stdin:
    if line == "begin\\n":
        output.writer()
        print("begun", flush=True)
    else:
        output.writer().add(0, "key", "value")
        result = coordinator_pb2.AttemptResult()
        output.finish(result)
        print(result.output_file, flush=True)
"""


def test_a_slot_that_begins_an_attempt_which_another_has_does_not_empty_its_file(
    tmp_path: Path,
) -> None:
    """A worker takes an attempt back from a slot that has begun it just then."""
    url = str(tmp_path / "out")
    prepare(url, "jsonl", "uid")

    def slot() -> subprocess.Popen[str]:
        command = [sys.executable, "-c", SLOT, url]
        return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def tell(process: subprocess.Popen[str], what: str) -> str:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(f"{what}\n")
        process.stdin.flush()
        return process.stdout.readline().strip()

    with slot() as first, slot() as second:
        file = tell(second, "finish")
        assert tell(first, "begin") == "begun"
        first.kill()
        second.kill()
    commit(url, "jsonl", "uid", [file])
    assert list(read_records(url)) == [("key", "value")]
