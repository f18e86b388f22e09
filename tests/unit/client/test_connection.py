"""Which server is meant, and what is shown to it: who has the last word."""

from pathlib import Path
from typing import Any

import pytest

from disco.client import connection as module
from disco.client.config import Config, Context, Kubectl, save, set_context
from disco.client.connection import Connection, resolve
from disco.client.credentials import token_in, warn_if_open
from disco.client.errors import SettingsError

PROD = Context(
    server="disco://prod.example.org:443",
    namespace="analytics",
    token_file="token",
    ca_file="certs/ca.crt",
)
NEAR = Context(server="127.0.0.1:7179", token="near")


@pytest.fixture(autouse=True)
def contexts(home: Path) -> None:
    """Make a config file with the contexts "prod", the current one, and "near"."""
    save(set_context(set_context(Config(), "prod", PROD), "near", NEAR))


def found(environment: dict[str, str] | None = None, **arguments: Any) -> Connection:
    return resolve(environment=environment or {}, **arguments)


def test_the_current_context_is_the_default(home: Path) -> None:
    assert found() == Connection(
        server="prod.example.org:443",
        address="prod.example.org:443",
        namespace="analytics",
        token_file=home / "token",
        ca_file=home / "certs/ca.crt",
    )


def test_a_context_is_chosen_by_argument_or_environment() -> None:
    assert found(context="near").token == "near"
    assert found({"DISCO_CONTEXT": "near"}).token == "near"
    assert found({"DISCO_CONTEXT": "near"}, context="prod").namespace == "analytics"
    with pytest.raises(SettingsError, match="no context 'none'"):
        found(context="none")


def test_arguments_come_before_the_environment_and_that_before_the_context() -> None:
    environment = {"DISCO_NAMESPACE": "from-env", "DISCO_TOKEN": "env-token"}
    connection = found(environment)
    assert (connection.namespace, connection.token, connection.token_file) == (
        "from-env",
        "env-token",
        None,
    )
    connection = found(environment, namespace="from-arg", token_file="file")
    assert (connection.namespace, connection.token, connection.token_file) == (
        "from-arg",
        "",
        Path("file"),
    )


def test_a_context_that_is_named_comes_before_the_environment() -> None:
    environment = {"DISCO_SERVER": "other:1", "DISCO_TOKEN": "for-other"}
    assert found(environment, context="near").token == "near"


def test_no_token_goes_to_a_server_that_it_is_not_for() -> None:
    for connection in (found(server="other:1"), found({"DISCO_SERVER": "other:1"})):
        assert (connection.token, connection.token_file, connection.namespace) == ("", None, "")
        assert connection.ca_file is None


def test_the_current_context_counts_for_its_own_server_however_it_is_named(home: Path) -> None:
    assert found(server="prod.example.org:443").token_file == home / "token"


@pytest.mark.parametrize(
    ("server", "address", "plaintext"),
    [
        ("disco://h.example:1234", "h.example:1234", False),
        ("h.example", "h.example:7070", False),
        ("disco://127.0.0.1:9", "127.0.0.1:9", True),
        ("localhost", "localhost:7070", True),
        ("disco://[::1]:80/", "[::1]:80", True),
        ("10.0.0.1:80", "10.0.0.1:80", False),
    ],
)
def test_only_this_machine_is_spoken_to_without_tls(
    server: str, address: str, plaintext: bool
) -> None:
    connection = found(server=server)
    assert (connection.address, connection.plaintext) == (address, plaintext)


def test_tls_can_be_demanded_here_and_left_out_elsewhere() -> None:
    assert not found(server="localhost", insecure=False).plaintext
    assert not found(server="localhost", ca_file="ca.crt").plaintext
    assert found(server="10.0.0.1:80", insecure=True).plaintext
    assert found({"DISCO_INSECURE": "true"}, server="10.0.0.1:80").plaintext
    with pytest.raises(SettingsError, match="remove one of the two"):
        found(server="localhost", ca_file="ca.crt", insecure=True)
    with pytest.raises(SettingsError, match="DISCO_INSECURE is 'perhaps'"):
        found({"DISCO_INSECURE": "perhaps"})


@pytest.mark.parametrize(
    "server",
    ["http://h:1", "disco://user:pw@h:1", "h:0", "h:99999", "h:x", "disco://h/path", " ", "a b"],
)
def test_what_is_no_server_is_refused(server: str) -> None:
    with pytest.raises(SettingsError, match="is no server: expected disco://host:port"):
        found(server=server)


def test_nothing_at_all_is_told_with_the_remedy(home: Path) -> None:
    (home / "config.yaml").unlink()
    with pytest.raises(SettingsError, match="disco config set-context"):
        found()


def test_a_context_may_lead_through_kubectl() -> None:
    save(set_context(Config(), "far", Context(kubectl=Kubectl(context="c"), namespace="n")))
    connection = found()
    assert connection == Connection(
        server="far", address="", namespace="n", kubectl=Kubectl(context="c")
    )


def test_a_file_that_makes_no_sense_is_not_read_if_all_is_said(home: Path) -> None:
    (home / "config.yaml").write_text("nonsense: [")
    assert found(server="h:1", token="t").token == "t"
    with pytest.raises(SettingsError, match=r"config\.yaml"):
        found(server="h:1")


def test_a_pod_is_its_service_account(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (home / "config.yaml").unlink()
    account = tmp_path / "serviceaccount"
    account.mkdir()
    (account / "token").write_text("pod-token\n")
    (account / "namespace").write_text("pod-namespace")
    monkeypatch.setattr(module, "_SERVICE_ACCOUNT", account)
    in_pod = {"KUBERNETES_SERVICE_HOST": "10.0.0.1"}
    connection = found(in_pod)
    assert connection.address == "disco-gateway.disco-system.svc:7070"
    assert (connection.namespace, connection.token_file) == ("pod-namespace", account / "token")
    elsewhere = found({**in_pod, "DISCO_SERVER": "gw:1", "DISCO_NAMESPACE": "mine"})
    assert (elsewhere.address, elsewhere.namespace) == ("gw:1", "mine")
    assert elsewhere.token_file == account / "token"
    with pytest.raises(SettingsError, match="which server"):
        found()  # no pod


def test_no_token_is_shown_by_accident() -> None:
    assert "near" not in repr(found(context="near")).replace("server='near'", "")


def test_a_token_is_one_line_of_printable_characters(tmp_path: Path) -> None:
    assert found(server="h:1", token=" abc\n").token == "abc"
    with pytest.raises(SettingsError, match="characters that no token has"):
        found(server="h:1", token="a b")
    file = tmp_path / "token"
    for content in (b"", b"two\nlines", b"\xff", b"x" * 100_000):
        file.write_bytes(content)
        with pytest.raises(SettingsError, match="does not hold a token"):
            token_in(file)
    with pytest.raises(SettingsError, match=r"No such file.*or start disco serve again"):
        token_in(tmp_path / "none")


def test_a_token_file_that_others_can_read_is_warned_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "token"
    file.write_text("t")
    file.chmod(0o600)
    warn_if_open(file)
    assert caplog.records == []
    file.chmod(0o644)
    warn_if_open(file)
    (record,) = caplog.records
    assert record.getMessage().startswith(f"others can read {file}, which holds a token")
