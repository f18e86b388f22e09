"""What every part of the tool uses: where things are, running programs, waiting."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import time
import urllib.error
from collections.abc import Callable
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parents[1]

TOOL = HERE / "kube"
CACHE = Path(os.environ.get("KUBE_CACHE") or Path.home() / ".cache/disco-kube").absolute()
STATE = Path(
    os.environ.get("KUBE_STATE")
    or Path(os.environ.get("XDG_STATE_HOME") or "/var/lib") / "disco-kube"
).absolute()

BIN = CACHE / "bin"
STARTED = time.monotonic()


class Failure(Exception):
    """An error that is reported to the user as one clear line."""


def say(text: str) -> None:
    """Report progress with the seconds since the start of this command."""
    print(f"[{time.monotonic() - STARTED:6.1f}s] {text}", flush=True)


def run(*argv: str | Path, **options: Any) -> None:
    """Run a program; its failure is ours."""
    result = subprocess.run([str(a) for a in argv], **options)
    if result.returncode:
        raise Failure(f"{' '.join(str(a) for a in argv)[:300]}: exit status {result.returncode}")


def output(*argv: str | Path) -> str:
    """Run a program and return what it printed; its failure is ours."""
    result = subprocess.run([str(a) for a in argv], capture_output=True, text=True)
    if result.returncode:
        raise Failure(
            f"{' '.join(str(a) for a in argv)[:300]}: {result.stderr.strip() or result.returncode}"
        )
    return result.stdout


def wait_for(what: str, check: Callable[[], Any], timeout: float = 120, every: float = 0.2) -> Any:
    """Call `check` until it gives something true."""
    end, why = time.monotonic() + timeout, ""
    while time.monotonic() < end:
        try:
            if result := check():
                return result
        except (OSError, urllib.error.URLError) as error:
            why = f" ({error})"
        time.sleep(every)
    raise Failure(f"timed out after {timeout:.0f} s waiting for {what}{why}")


def write(path: Path, content: str | dict[str, Any] | list[Any], mode: int = 0o644) -> Path:
    """Write a file, JSON for data (every Kubernetes component reads JSON where it reads YAML)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content, indent=1) + "\n")
    path.chmod(mode)
    return path


def start_time(pid: int | str) -> str:
    """When a process started, in clock ticks since boot: with its pid, this names it for good."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]


def clean_environment(path: str) -> dict[str, str]:
    """The environment without proxy settings, which would send cluster traffic to the outside."""
    kept = {k: v for k, v in os.environ.items() if not k.lower().endswith("_proxy")}
    return kept | {"PATH": f"{path}:{os.environ.get('PATH', '')}:/usr/sbin:/usr/bin:/sbin:/bin"}


def accepts(path: Path) -> bool:
    """Whether someone listens on a Unix socket."""
    with socket.socket(socket.AF_UNIX) as client:
        return client.connect_ex(str(path)) == 0
