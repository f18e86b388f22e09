"""Compare this project with its peers on this machine, in one run; see README.md."""

import argparse
import json
import shlex
import shutil
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from data import CACHE, sort_files, text_files
from scaling.processes import Sampler
from scaling.table import machine

HERE = Path(__file__).parent
PEERS_PYTHON = CACHE / "peers" / "bin" / "python"

CASES = {
    "wordcount": ("bare", "disco", "spark", "dask"),
    "shuffle": ("disco", "spark"),
    "sort": ("disco", "spark"),
    "empty": ("disco",),
}
SCRIPTS = {"bare": "bare.py", "disco": "disco_jobs.py", "spark": "spark.py", "dask": "dask_bag.py"}


@dataclass
class Measured:
    """All runs of one contender in one case."""

    seconds: list[float] = field(default_factory=list)
    peak_mb: list[float] = field(default_factory=list)
    answers: set[str] = field(default_factory=set)


def install_peers() -> str:
    """Install the peers once; return why they are missing, or nothing."""
    if PEERS_PYTHON.exists():
        return ""
    if shutil.which("java") is None:
        print("no Java: PySpark will be left out", file=sys.stderr)
    subprocess.run([sys.executable, "-m", "venv", CACHE / "peers"], check=True)
    done = subprocess.run(
        [PEERS_PYTHON, "-m", "pip", "install", "-q", "-r", HERE / "requirements.txt"], check=False
    )
    return "" if done.returncode == 0 else "pip could not install bench/requirements.txt"


def command(contender: str, case: str, arguments: list[str]) -> list[str]:
    """Return the command that runs *contender* once."""
    python = sys.executable if contender in ("bare", "disco") else str(PEERS_PYTHON)
    return [python, str(HERE / "peers" / SCRIPTS[contender]), case, *arguments]


def run_once(contender: str, case: str, arguments: list[str], measured: Measured) -> None:
    """Run one contender once and add what was measured.

    Raises:
        RuntimeError: It failed; its last output is in the message.
    """
    started = time.monotonic()
    process = subprocess.Popen(
        command(contender, case, arguments),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with Sampler(process.pid) as sampler:
        output, errors = process.communicate()
        seconds = time.monotonic() - started
    if process.returncode:
        raise RuntimeError(f"{contender} failed in {case}:\n{errors[-3000:]}")
    measured.seconds.append(seconds)
    measured.peak_mb.append(sampler.peak_bytes() / 1e6)
    measured.answers.add(output.strip())


def arguments_of(case: str, options: argparse.Namespace) -> list[str]:
    """Return what the contenders' scripts get after the case's name."""
    if case == "sort":
        return [str(path) for path in sort_files(options.records)]
    if case == "empty":
        return [str(options.tasks)]
    return [str(path) for path in text_files(options.text_mb)]


def run_case(case: str, contenders: list[str], options: argparse.Namespace) -> list[str]:
    """Run one case in rounds and return its rows of the table."""
    arguments = arguments_of(case, options)
    results = {contender: Measured() for contender in contenders}
    for round_number in range(options.runs):
        for contender in contenders:
            run_once(contender, case, arguments, results[contender])
            seconds = results[contender].seconds[-1]
            print(f"{case} round {round_number + 1} {contender}: {seconds:.1f} s", file=sys.stderr)
    answers = {answer for measured in results.values() for answer in measured.answers if answer}
    if len(answers) > 1:
        raise RuntimeError(f"{case}: the contenders disagree: {sorted(answers)}")
    ours = statistics.median(results["disco"].seconds) if "disco" in results else None
    rows = []
    for contender, measured in results.items():
        median = statistics.median(measured.seconds)
        ratio = f"{median / ours:.2f}" if ours else ""
        spread = f"{min(measured.seconds):.1f}-{max(measured.seconds):.1f}"
        peak = f"{max(measured.peak_mb):.0f}"
        rows.append(f"| {case} | {contender} | {median:.1f} | {spread} | {ratio} | {peak} |")
    return rows


def main() -> None:
    """Run the cases and print a table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("cases", nargs="*", metavar="CASE", help=f"of: {', '.join(CASES)}")
    parser.add_argument("--runs", type=int, default=3, help="rounds per case (default 3)")
    parser.add_argument("--contenders", default="", help="comma-separated; default: all")
    parser.add_argument("--text-mb", type=int, default=512, help="text to count, in MB")
    parser.add_argument("--records", type=int, default=10_000_000, help="100-byte lines to sort")
    parser.add_argument("--tasks", type=int, default=10_000, help="empty tasks")
    options = parser.parse_args()
    if unknown := set(options.cases) - set(CASES):
        parser.error(f"unknown cases: {', '.join(sorted(unknown))}")
    wanted = options.contenders.split(",") if options.contenders else list(SCRIPTS)
    missing = install_peers() if {"spark", "dask"} & set(wanted) else ""
    rows = []
    for case in options.cases or CASES:
        contenders = [name for name in CASES[case] if name in wanted]
        if missing or shutil.which("java") is None:
            contenders = [name for name in contenders if name in ("bare", "disco")]
        if contenders:
            rows += run_case(case, contenders, options)
    print(f"Machine: {machine()}. Command: `python bench/run.py {shlex.join(sys.argv[1:])}`")
    print("\n| case | contender | median s | range s | times disco | peak MB of one process |")
    print("| --- | --- | --- | --- | --- | --- |")
    print("\n".join(rows))
    if missing:
        print(json.dumps({"left out": missing}))


if __name__ == "__main__":
    main()
