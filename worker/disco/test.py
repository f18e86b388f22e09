r"""For tests of jobs in the style of Disco's own: ``unittest`` cases that run a job and compare.

class CountTest(TestCase):
    def serve(self, path):                     # the content of http://…/PATH
        return b"a b a\n"

    def test_counts(self):
        self.job = Count().run(input=self.test_server.urls(["one", "two"]))
        self.assertResults(self.job, [(b"a", 4), (b"b", 2)])
"""

import unittest
from collections.abc import Callable, Iterable, Iterator
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import zip_longest
from threading import Thread
from typing import TYPE_CHECKING, Any, Self

from disco.core import Disco, result_iterator
from disco.error import CommError, UnsupportedError
from disco.iterables import iterify
from disco.job import Job
from disco.settings import DiscoSettings
from disco.worker.pipeline.worker import Worker as PipelineWorker

if TYPE_CHECKING:
    from disco.ddfs import DDFS

__all__ = ["FailedReply", "TestCase", "TestJob", "TestPipe", "TestRunner", "TestServer"]

_MISSING = object()


class FailedReply(Exception):
    """Raised by ``TestCase.serve``: the server answers with an error (500)."""


class TestServer(ThreadingHTTPServer):
    """Serves what a function returns for a path."""

    __test__ = False  # for pytest: no test itself
    daemon_threads = True

    @classmethod
    def create(cls, server_address: tuple[str, int], data_generator: Callable[[str], Any]) -> Self:
        """Return a server that is not started yet."""
        return cls(server_address, _handler(data_generator))

    @property
    def address(self) -> str:
        """``http://HOST:PORT``."""
        host, port = self.server_address[:2]
        return f"http://{host!s}:{port}"

    def start(self) -> None:
        """Begin to answer."""
        self._thread = Thread(target=self.serve_forever, name="test-server")
        self._thread.start()

    def stop(self) -> None:
        """Answer no more."""
        self.shutdown()
        self._thread.join()
        self.server_close()

    def urls(self, inputs: Iterable[Any]) -> list[list[str]]:
        """Return inputs of a job: for each path, or list of paths with one content, their URLs."""
        return [[f"{self.address}/{path}" for path in iterify(item)] for item in inputs]


def _handler(data_generator: Callable[[str], Any]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer(whole=True)

        def do_HEAD(self) -> None:
            self._answer(whole=False)

        def _answer(self, *, whole: bool) -> None:
            try:
                data = data_generator(self.path.strip("/")) or b""
            except FailedReply as error:
                self.send_error(HTTPStatus.INTERNAL_SERVER_ERROR, str(error))
                return
            content = data.encode() if isinstance(data, str) else data
            self.send_response(HTTPStatus.OK)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if whole:
                self.wfile.write(content)

        def log_request(self, *args: Any) -> None:
            """Say nothing."""

    return Handler


class TestCase(unittest.TestCase):
    """A test with a job (``self.job``, purged afterwards), and perhaps inputs that it serves.

    Attributes:
        settings: Where the master, and the test server's address, come from.
        test_server: While a test runs that has a method ``serve``.
    """

    settings = DiscoSettings()
    test_server: TestServer
    job: Job

    @property
    def ddfs(self) -> "DDFS":
        """Where tags are."""
        from disco.ddfs import DDFS

        return DDFS(settings=self.settings)

    @property
    def disco(self) -> Disco:
        """What runs jobs."""
        return Disco(settings=self.settings)

    @property
    def nodes(self) -> dict[str, int]:
        """How many workers each node has; 1 on the server, if that does not tell."""
        try:
            nodes = self.disco.nodeinfo()
        except UnsupportedError:
            return {self.disco.master: 1}
        return {
            host: info["max_workers"] for host, info in nodes.items() if not info["blacklisted"]
        }

    @property
    def num_workers(self) -> int:
        """How many workers there are."""
        return sum(self.nodes.values())

    @property
    def test_server_address(self) -> tuple[str, int]:
        """Where inputs are served: ``DISCO_TEST_HOST`` and ``DISCO_TEST_PORT`` (0: any)."""
        return str(self.settings["DISCO_TEST_HOST"]), int(self.settings["DISCO_TEST_PORT"])

    def setUp(self) -> None:
        """Serve inputs, if the test has any."""
        if hasattr(self, "serve"):
            self.test_server = TestServer.create(self.test_server_address, self.serve)
            self.test_server.start()

    def tearDown(self) -> None:
        """Stop the server, and purge the job."""
        if hasattr(self, "test_server"):
            self.test_server.stop()
        if hasattr(self, "job") and self.settings["DISCO_TEST_PURGE"]:
            self.job.purge()

    def results(self, job: Any, **options: Any) -> Iterator[Any]:
        """Return the records of a job, when it has ended."""
        return result_iterator(job.wait(), **options)

    def assertResults(self, job: Any, answers: Iterable[Any]) -> None:
        """Require that the job's records are these, in this order."""
        self.assertAllEqual(self.results(job), answers)

    def assertAllEqual(self, results: Iterable[Any], answers: Iterable[Any]) -> None:
        """Require that both have the same items, in the same order."""
        for result, answer in zip_longest(results, answers, fillvalue=_MISSING):
            assert result == answer, f"{result!r} is not {answer!r}"

    def assertCommErrorCode(self, code: int | None, function: Callable[[], Any]) -> None:
        """Require that *function* raises a CommError with this code."""
        found: Any = None
        try:
            function()
        except CommError as error:
            found = error
        assert found is not None, f"no CommError with the code {code}"
        assert found.code == code, f"the code is {found.code}, not {code}"


class TestJob(Job):
    """A job that is profiled if the setting ``DISCO_TEST_PROFILE`` says so."""

    __test__ = False

    @property
    def profile(self) -> bool:
        """Whether to profile it."""
        return bool(DiscoSettings()["DISCO_TEST_PROFILE"])


class TestPipe(TestJob):
    """The same, of the pipeline model."""

    Worker = PipelineWorker


class TestRunner(unittest.TextTestRunner):
    """Runs tests by name: ``TestRunner(settings).run("tests.test_x", "tests.test_y.Case")``."""

    __test__ = False

    def __init__(self, settings: DiscoSettings) -> None:
        levels = {"off": 0, "log": 1, "trace": 2}
        super().__init__(verbosity=levels.get(settings["DISCO_DEBUG"], 1))
        self.settings = settings

    def run(self, *names: Any) -> Any:
        """Run the tests that the names mean, or those of suites."""
        return super().run(unittest.TestSuite(map(_tests, names)))


def _tests(name: Any) -> Any:
    return unittest.defaultTestLoader.loadTestsFromName(name) if isinstance(name, str) else name
