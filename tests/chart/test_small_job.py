"""The program that ``helm test`` runs, against an API server of one DiscoJob."""

import importlib.util
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

PROGRAM = Path(__file__).resolve().parents[2] / "charts" / "disco" / "files" / "small_job.py"
NAME = "disco-test"
PATH = "/apis/discoproject.org/v1alpha1/namespaces/team-a/discojobs"


@dataclass
class ApiServer:
    """Knows one DiscoJob, and forgets it when it is asked to.

    Attributes:
        progress: Statuses that the job has, one per question; the last one stays.
        calls: Methods and paths, in order.
        refusal: What it answers to everything, if anything.
        job: The job, while there is one.
    """

    url: str = ""
    progress: list[dict[str, Any]] = field(default_factory=lambda: [{}])
    calls: list[tuple[str, str]] = field(default_factory=list)
    refusal: tuple[int, str] | None = None
    job: dict[str, Any] | None = None

    def answer(self, method: str, path: str, body: bytes, token: str) -> tuple[int, dict[str, Any]]:
        """Return a status and a body, as a real API server would."""
        self.calls.append((method, path))
        if self.refusal is not None:
            return self.refusal[0], {"message": self.refusal[1]}
        assert token == "Bearer secret"
        assert path == (PATH if method == "POST" else f"{PATH}/{NAME}")
        if method == "POST":
            self.job = json.loads(body)
            return 201, self.job
        if self.job is None:
            return 404, {"message": f'discojobs.discoproject.org "{NAME}" not found'}
        if method == "DELETE":
            self.job = None
            return 200, {}
        status = self.progress.pop(0) if len(self.progress) > 1 else self.progress[0]
        return 200, {**self.job, "status": status}


@pytest.fixture
def api_server() -> Iterator[ApiServer]:
    known = ApiServer()

    class Handler(BaseHTTPRequestHandler):
        def handle_one_request(self) -> None:
            self.raw_requestline = self.rfile.readline()
            if not self.raw_requestline or not self.parse_request():
                return
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            status, answer = known.answer(
                self.command, self.path, body, self.headers["Authorization"]
            )
            data = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        known.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield known
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def program() -> ModuleType:
    spec = importlib.util.spec_from_file_location("small_job", PROGRAM)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _run(program: ModuleType, server: ApiServer, timeout_s: int = 60) -> None:
    api = program.Api(server.url, "team-a", "secret", None)
    program.run(api, program.manifest(NAME, timeout_s), timeout_s, poll_s=0)


def _condition(kind: str, message: str) -> dict[str, Any]:
    return {"type": kind, "status": "True", "reason": "Because", "message": message}


def test_a_job_that_succeeds_is_reported_and_deleted(
    program: ModuleType, api_server: ApiServer, capsys: pytest.CaptureFixture[str]
) -> None:
    api_server.progress = [
        {},
        {"phase": "Running", "conditions": [_condition("Running", "2 workers")]},
        {"phase": "Succeeded", "conditions": [_condition("Succeeded", "3 results")]},
    ]
    _run(program, api_server)
    assert api_server.job is None
    printed = capsys.readouterr().out
    assert "Running=True Because: 2 workers" in printed
    assert "Succeeded=True Because: 3 results" in printed
    assert printed.endswith(f"deleted DiscoJob {NAME}\n")


def test_a_job_that_fails_says_why_and_is_deleted(
    program: ModuleType, api_server: ApiServer
) -> None:
    failed = {"phase": "Failed", "conditions": [_condition("Failed", "no room: quota exceeded")]}
    api_server.progress = [failed]
    with pytest.raises(SystemExit, match="no room: quota exceeded"):
        _run(program, api_server)
    assert api_server.job is None


def test_silence_is_blamed_on_the_operator(program: ModuleType, api_server: ApiServer) -> None:
    with pytest.raises(SystemExit, match="No operator answered in time"):
        _run(program, api_server, timeout_s=0)
    assert api_server.job is None


def test_a_job_that_takes_too_long_shows_where_it_stands(
    program: ModuleType, api_server: ApiServer
) -> None:
    api_server.progress = [{"phase": "Starting", "conditions": [_condition("Accepted", "waits")]}]
    with pytest.raises(SystemExit, match="Accepted=True Because: waits"):
        _run(program, api_server, timeout_s=0)


def test_what_an_earlier_test_left_is_deleted_first(
    program: ModuleType, api_server: ApiServer
) -> None:
    api_server.job = {"metadata": {"name": NAME}}
    api_server.progress = [{"conditions": [_condition("Succeeded", "done")]}]
    _run(program, api_server)
    methods = [method for method, _ in api_server.calls]
    assert methods.index("DELETE") < methods.index("POST")


def test_a_refusal_is_passed_on(program: ModuleType, api_server: ApiServer) -> None:
    api_server.refusal = (403, "discojobs is forbidden")
    with pytest.raises(SystemExit, match="403 discojobs is forbidden"):
        _run(program, api_server)


def test_a_cluster_without_the_definition_is_named_as_such(
    program: ModuleType, api_server: ApiServer
) -> None:
    api_server.refusal = (404, "the server could not find the requested resource")
    with pytest.raises(SystemExit, match="knows no DiscoJob"):
        _run(program, api_server)


def test_the_job_is_a_valid_manifest(program: ModuleType) -> None:
    from disco.manifest import parse_spec

    manifest = program.manifest(NAME, 60, ["registry"])
    spec = parse_spec(manifest["spec"])
    assert spec.job == "small:Small"
    assert [secret.name for secret in spec.image_pull_secrets] == ["registry"]
    compile(manifest["spec"]["code"]["inline"], "small.py", "exec")
