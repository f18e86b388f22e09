"""Runs programs written for Disco on each of the engines: this machine's, a server's, a cluster's.

Local engine and server always; a cluster if the environment names it: ``DISCO_COMPAT_MASTER`` is
the name of a context of ``disco config``, or ``disco://host:port`` with ``DISCO_TOKEN``.

Many observations share a job: ``observed(module.run)`` runs a function once per engine, and the
tests look at what it returned.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import pytest

from disco.client.config import load
from disco.core import Disco, result_iterator
from disco.job import Job

CLUSTER = os.environ.get("DISCO_COMPAT_MASTER", "")
PROGRAMS = Path(__file__).parent / "programs"
T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Backend:
    """An engine.

    Attributes:
        name: "local", "serve" or "cluster".
        master: What programs call it.
        environment: That programs in processes of their own need to find it.
    """

    name: str
    master: str
    environment: Mapping[str, str]
    _seen: dict[Any, Any] = field(default_factory=dict)

    @property
    def sees_files(self) -> bool:
        """Whether its workers see the files of this machine."""
        return self.name != "cluster"

    def run(self, job: type[Job], **jobargs: Any) -> Job:
        """Start a job, with one worker: more of them would only take longer to start."""
        return job(master=self.master).run(workers=1, **jobargs)

    def results(self, job: type[Job], **jobargs: Any) -> list[Any]:
        """Run a job, and return its records."""
        started = self.run(job, **jobargs)
        try:
            return list(result_iterator(started.wait()))
        finally:
            started.purge()

    def observed(self, look: "Callable[[Backend], T]") -> T:
        """Return what *look* returns, which is called once."""
        if look not in self._seen:
            try:
                self._seen[look] = look(self), None
            except Exception as error:  # the tests that share it fail each
                self._seen[look] = None, error
        found, failure = self._seen[look]
        if failure is not None:
            raise failure
        return found  # type: ignore[no-any-return]

    def script(self, name: str, *arguments: str) -> str:
        """Run one of the programs, and return what it prints."""
        ended = subprocess.run(
            [sys.executable, str(PROGRAMS / name), *arguments],
            env={**os.environ, **self.environment},
            capture_output=True,
            text=True,
            timeout=150,
        )
        assert ended.returncode == 0, ended.stderr
        return ended.stdout


@pytest.fixture(scope="session")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Give a directory for the settings and tags of these tests, which all of their jobs see."""
    home = tmp_path_factory.mktemp("compat")
    with pytest.MonkeyPatch.context() as patch:
        if not CLUSTER:
            patch.setenv("DISCO_CONFIG", str(home / "config.yaml"))
            patch.setenv("XDG_STATE_HOME", str(home / "state"))
        patch.setenv("DISCO_DDFS", str(home / "ddfs"))
        for name in ("MASTER", "SERVER", "NAMESPACE", "EVENTS", "SETTINGS_FILE"):
            patch.delenv(f"DISCO_{name}", raising=False)
        yield home


@pytest.fixture(scope="session")
def serve(place: Path) -> Iterator[Backend]:
    """Start a server of the tests' own."""
    command = [sys.executable, "-P", "-m", "disco.cli.main", "serve", "--no-http"]
    command += ["--listen", "127.0.0.1:0", "--workers", "2"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        assert process.stdout is not None
        try:
            first = process.stdout.readline()
            assert "Serving jobs on 127.0.0.1:" in first, first
            (name,) = load(place / "config.yaml").contexts
            yield Backend(name="serve", master=name, environment={"DISCO_MASTER": name})
        finally:
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=60)


@pytest.fixture(scope="session")
def local(place: Path) -> Backend:
    return Backend(name="local", master="local", environment={"DISCO_MASTER": "local"})


@pytest.fixture(scope="session")
def cluster(place: Path) -> Backend:
    return Backend(name="cluster", master=CLUSTER, environment={"DISCO_MASTER": CLUSTER})


@pytest.fixture(
    scope="session",
    params=["cluster"] if CLUSTER else ["local", "serve"],
)
def backend(request: pytest.FixtureRequest) -> Backend:
    found: Backend = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def files(backend: Backend) -> Backend:
    """Give an engine whose workers see the files of this machine."""
    if not backend.sees_files:
        pytest.skip("the workers of a cluster do not see the files of this machine")
    return backend


@pytest.fixture
def disco(backend: Backend) -> Disco:
    return Disco(backend.master)
