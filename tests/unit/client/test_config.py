"""The config file: what may stand in it, what is told of mistakes, how it is written."""

import stat
from pathlib import Path

import pytest
import yaml

from disco.client.config import (
    Config,
    Context,
    Kubectl,
    config_path,
    delete_context,
    load,
    save,
    set_context,
    use_context,
    view,
)
from disco.client.errors import SettingsError

PROD = Context(server="disco://gateway.example.org:443", namespace="team", token="very-secret")
STAGING = Context(kubectl=Kubectl(context="staging", service_account="team/robot"))


def both() -> Config:
    return set_context(set_context(Config(), "prod", PROD), "staging", STAGING)


def test_without_a_file_there_are_no_contexts(home: Path) -> None:
    assert load() == Config()
    assert config_path() == home / "config.yaml"


def test_the_file_is_in_the_user_s_config_directory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DISCO_CONFIG")
    monkeypatch.setenv("XDG_CONFIG_HOME", "/home/somebody/.config")
    assert str(config_path()).endswith("disco/config.yaml")


@pytest.mark.parametrize("text", ["", "\n# nothing yet\n\n"])
def test_a_file_that_says_nothing_is_an_empty_config(home: Path, text: str) -> None:
    home.mkdir()
    config_path().write_text(text)
    assert load() == Config()


def test_what_is_saved_is_loaded_again(home: Path) -> None:
    save(both())
    assert load() == both()
    assert load().current_context == "prod"


def test_the_file_is_its_owner_s_alone(home: Path) -> None:
    home.mkdir()
    config_path().write_text("contexts: {}\n")
    config_path().chmod(0o644)
    save(both())
    assert stat.S_IMODE(config_path().stat().st_mode) == 0o600
    assert [path.name for path in home.iterdir()] == ["config.yaml"]


def test_a_file_with_a_token_that_others_can_read_is_warned_of(
    caplog: pytest.LogCaptureFixture,
) -> None:
    save(both())
    load()
    assert caplog.records == []
    config_path().chmod(0o640)
    load()
    assert ["chmod 600" in record.getMessage() for record in caplog.records] == [True]


def test_a_link_to_the_file_stays_a_link(home: Path, tmp_path: Path) -> None:
    home.mkdir()
    real = tmp_path / "elsewhere.yaml"
    config_path().symlink_to(real)
    save(both())
    assert config_path().is_symlink()
    assert yaml.safe_load(real.read_text())["current_context"] == "prod"


def test_a_file_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SettingsError, match="cannot be written"):
        save(Config(), tmp_path / "file" / "config.yaml")


def test_contexts_are_used_and_deleted() -> None:
    config = use_context(both(), "staging")
    assert config.current_context == "staging"
    assert delete_context(config, "staging") == Config(contexts={"prod": PROD})
    assert delete_context(config, "prod").current_context == "staging"
    for change in (use_context, delete_context):
        with pytest.raises(
            SettingsError, match=r"no context 'none' in .* there are: prod, staging"
        ):
            change(config, "none")


def test_tokens_are_not_shown() -> None:
    assert view(both()) == {
        "current_context": "prod",
        "contexts": {
            "prod": {
                "server": "disco://gateway.example.org:443",
                "namespace": "team",
                "token": "REDACTED",
            },
            "staging": {
                "kubectl": {
                    "context": "staging",
                    "namespace": "disco-system",
                    "service": "disco-gateway",
                    "service_account": "team/robot",
                }
            },
        },
    }
    assert "very-secret" not in repr(both())


@pytest.mark.parametrize(
    ("name", "context", "message"),
    [
        ("local", PROD, "that is the engine on this machine"),
        ("", PROD, "a name has letters"),
        ("a/b", PROD, "a name has letters"),
        ("x", Context(), "has no server"),
        ("x", Context(server="a:1", kubectl=Kubectl()), "has a server, and kubectl"),
        ("x", Context(server="a:1", token="t", token_file="f"), "a token and a token_file"),
    ],
)
def test_a_context_that_makes_no_sense_is_refused(
    name: str, context: Context, message: str
) -> None:
    with pytest.raises(SettingsError, match=message):
        set_context(Config(), name, context)


def test_all_mistakes_of_a_file_are_told_with_their_lines(home: Path) -> None:
    home.mkdir()
    config_path().write_text(
        """\
current_context: gone
contexst: {}
contexts:
  prod:
    sever: disco://a:1
    server: disco://a:1
    namespace: 7
    insecure: maybe
    kubectl: [a]
  empty: {}
  twice:
    server: a:1
    server: b:1
"""
    )
    with pytest.raises(SettingsError) as caught:
        load()
    told = [line.removeprefix(f"{config_path()}:") for line in str(caught.value).splitlines()]
    assert told == [
        "1: current_context: there is no context 'gone'",
        "2: contexst: unknown field; known are contexts, current_context",
        "5: contexts.prod.sever: unknown field; known are server, namespace, token, token_file,"
        " ca_file, server_name, insecure, kubectl",
        "7: contexts.prod.namespace: expected one line of text (in quotes, if it is a number)",
        "8: contexts.prod.insecure: expected true or false, found 'maybe'",
        "9: contexts.prod.kubectl: expected a mapping, found list",
        "10: contexts.empty: has no server: give server (disco://host:port), or kubectl",
        "13: contexts.twice.server: is there twice; remove one",
    ]


@pytest.mark.parametrize("content", [b"contexts: [", b"\xff\xfe", b"- a\n- b\n"])
def test_a_file_that_is_none_is_told_by_its_name(home: Path, content: bytes) -> None:
    home.mkdir()
    config_path().write_bytes(content)
    with pytest.raises(SettingsError, match=r"config\.yaml"):
        load()
