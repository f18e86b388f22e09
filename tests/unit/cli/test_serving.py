"""The context through which a server is found: it comes and goes with its server."""

from pathlib import Path

import pytest

from disco.cli.serving import _way_in
from disco.client import config
from disco_gateway.local.backend import LocalSettings
from disco_gateway.local.server import ServerSettings
from disco_gateway.local.sharing import Policy
from disco_gateway.local.submission import Capacity
from disco_gateway.local.users import Users
from disco_gateway.serving import Served

SERVED = Served(grpc_port=7070, http_port=0)


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ServerSettings:
    """Those of a server whose user has an empty home."""
    monkeypatch.setenv("DISCO_CONFIG", str(tmp_path / "config.yaml"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("HOME", str(tmp_path))
    return ServerSettings(
        grpc_address="127.0.0.1:7070",
        http_address="",
        tls=None,
        users=Users([]),
        code_url=str(tmp_path / "code"),
        jobs=LocalSettings(
            directory=tmp_path / "jobs",
            capacity=Capacity(workers=1, workers_per_job=1, slots=1),
            policy=Policy.FAIR,
        ),
    )


def _token() -> str:
    return Path(config.load().contexts["serve"].token_file).read_text()


def test_a_context_leads_to_a_server_for_as_long_as_it_runs(settings: ServerSettings) -> None:
    with _way_in("first", settings, SERVED) as way:
        assert (way, _token()) == ("--context serve", "first")
    assert config.load().contexts == {}


def test_a_server_that_ends_slowly_leaves_its_successor_alone(settings: ServerSettings) -> None:
    """The one that followed on the port could not be found any more."""
    first = _way_in("first", settings, SERVED)
    first.__enter__()
    with _way_in("second", settings, SERVED):
        first.__exit__(None, None, None)
        assert _token() == "second"
    assert config.load().contexts == {}
