"""``disco job``: a job whose worker is a program, from the command line alone.

Flags are those of Disco's command of this name. Nothing slow is imported here, so that ``--help``
answers at once.
"""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from disco.cli.connection_options import master_option, where
from disco.cli.disco_flags import scheduler_flag
from disco.cli.errors import EXIT_STATUS, EXIT_WRONG_USE, CommandError

if TYPE_CHECKING:
    from disco.job import Job

_EPILOG = (
    """
\b
Examples:
  disco job -m -r -n 4 ./wordcount books/*.txt
      Stages "map" and "reduce" with four labels, on this machine; prints the results.
  disco job -m -f stopwords.txt -d '{"lower": true}' ./filter s3://bucket/logs/
      The program finds stopwords.txt in its directory, and the data in its job file.
  disco job -M disco://host:7070 -m -r ./wordcount s3://bucket/texts/
      On a server; prints the job's name.
"""
    + EXIT_STATUS
)


@click.command(epilog=_EPILOG, short_help="Run a program as the worker of a job.")
@click.argument("worker", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.argument("inputs", nargs=-1, metavar="[INPUT]...")
@master_option
@click.option("-m", "--has-map", is_flag=True, help='The job has a stage "map".')
@click.option("-r", "--has-reduce", is_flag=True, help='The job has a stage "reduce".')
@click.option(
    "-n",
    "--nr-reduces",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Labels that the map writes: 1 makes one task of the reduce, more one for each label.",
)
@click.option("-o", "--owner", help="Of the job, for people.")
@click.option("-p", "--prefix", help="What the job's name begins with.  [the program's name]")
@scheduler_flag
@click.option(
    "-e",
    "--env",
    nargs=2,
    multiple=True,
    metavar="NAME VALUE",
    help="An environment variable of the program; may be repeated.",
)
@click.option(
    "-f",
    "--file",
    "files",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    multiple=True,
    help="A file that the program finds in its directory; may be repeated.",
)
@click.option(
    "-d", "--data", default="", metavar="TEXT|@FILE", help="What its job file has for the program."
)
@click.option(
    "-D", "--dump-jobpack", is_flag=True, help="Write the job pack to standard output, run nothing."
)
def job(worker: Path, inputs: tuple[str, ...], dump_jobpack: bool, **flags: Any) -> int:
    """Run the program WORKER over the INPUTs.

    It speaks Disco's worker protocol: docs/other-languages.md says how. INPUTs are what "disco run"
    takes, or the lines of standard input if there are none; the program is given their URLs.

    It runs on this machine, unless a flag or the setting DISCO_MASTER names another.
    """
    from disco.cli.server import client_errors
    from disco.masters import LOCAL
    from disco.settings import DiscoSettings

    with client_errors():
        made = _job_of(worker, inputs or _lines(), flags)
        if dump_jobpack:
            sys.stdout.buffer.write(_jobpack(made))
            return 0
        there = where()
        if there.token_file:
            raise CommandError(
                "disco job knows no --token-file: set DISCO_TOKEN_FILE, or use a context",
                EXIT_WRONG_USE,
            )
        master = there.server or there.context or DiscoSettings()["DISCO_MASTER"]
        return _run_here(made) if master == LOCAL else _submit(made, master, there.namespace)


def _lines() -> tuple[str, ...]:
    """Return the inputs that standard input has, a URL per line."""
    lines = () if sys.stdin.isatty() else tuple(line.strip() for line in sys.stdin if line.strip())
    if not lines:
        raise CommandError(
            "no input: give INPUT arguments, or lines on standard input", EXIT_WRONG_USE
        )
    return lines


def _job_of(worker: Path, inputs: tuple[str, ...], flags: dict[str, Any]) -> "Job":
    from disco.functions import reify
    from disco.job import Job
    from disco.worker.executable import Executable
    from disco.worker.pipeline.worker import group_all, group_label, split

    pipeline = []
    if flags["has_map"]:
        pipeline.append((split, "map"))
    if flags["has_reduce"]:
        pipeline.append((group_all if flags["nr_reduces"] == 1 else group_label, "reduce"))
    if not pipeline:
        raise CommandError("say which stages there are: -m, -r or both", EXIT_WRONG_USE)
    parameters = Executable(
        program=worker.name,
        pipeline=pipeline,
        input=list(inputs),
        env=dict(flags["env"]),
        jobdata=_data(flags["data"]),
        required_files={f"lib/{path.name}": _content(path) for path in (*flags["files"], worker)},
        scheduler={key: reify(value) for key, value in flags["scheduler"]},
        owner=flags["owner"],
    )
    return Job(name=flags["prefix"] or worker.name.partition(".")[0], worker=parameters)


def _data(text: str) -> bytes:
    return _content(Path(text[1:])) if text.startswith("@") else text.encode()


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise CommandError(f"{path}: {error.strerror}", EXIT_WRONG_USE) from error


def _jobpack(job: "Job") -> bytes:
    from disco.jobpack import JOBPACK_VERSION2, JobPack

    worker = job.worker_for({})
    jobdict = {**worker.jobdict(job), "worker": f"lib/{worker['program']}"}
    home = worker.jobhome(job)
    return JobPack(JOBPACK_VERSION2, jobdict, worker["env"], home, worker["jobdata"]).dumps()


def _run_here(job: "Job") -> int:
    from disco.cli.execution import run_prepared
    from disco.cli.preparation import Prepared
    from disco.cli.request import Showing
    from disco.submission import job_spec
    from disco_engine.local.machine import cores

    prepared = Prepared(
        spec=job_spec(job, {}, name=job.name), workers=cores(), slots=1, partition_services=1
    )
    return run_prepared(prepared, Showing(head=None))


def _submit(job: "Job", master: str, namespace: str | None) -> int:
    from disco.core import Disco

    disco = Disco(master, namespace=namespace)
    click.echo(disco.start(job, {}, prefix=job.name))
    return 0
