"""config and completion: what a user sets up once."""

import asyncio
import shutil
import stat

import pytest
import yaml

from disco_gateway.fake import TOKEN, FakeBackend

from .conftest import Shell


async def test_a_context_names_a_server_and_whom_to_be_there(
    server: FakeBackend, shell: Shell
) -> None:
    server.add("team-a", "one")
    address = shell.environment.pop("DISCO_SERVER")
    del shell.environment["DISCO_TOKEN"]
    shell.write("token", TOKEN + "\n")

    made = await shell.disco(
        *("config", "set-context", "here", "--server", address),
        *("--namespace", "team-a", "--token-file", "token"),
    )

    path = shell.directory / "config.yaml"
    assert made.out == f"Wrote context here to {path}; it is the current one.\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert (await shell.disco("config", "path")).out == f"{path}\n"
    assert (await shell.disco("ls", "-o", "name")).out == "one\n"
    assert (await shell.disco("ls", "-n", "default", "-o", "name")).out == ""


async def test_contexts_are_listed_chosen_changed_and_deleted(shell: Shell) -> None:
    for name in ("one", "two"):
        await shell.disco("config", "set-context", name, "--server", f"disco://{name}:7070")
    await shell.disco("config", "set-context", "two", "--namespace", "team-a")

    listed = (await shell.disco("config", "get-contexts")).out.splitlines()
    assert [line.split() for line in listed] == [
        ["CURRENT", "NAME", "SERVER", "NAMESPACE"],
        ["*", "one", "disco://one:7070", "-"],
        ["two", "disco://two:7070", "team-a"],
    ]
    assert (await shell.disco("config", "use-context", "two")).out == "Commands now talk to two.\n"
    assert (await shell.disco("config", "delete-context", "one")).out == "Deleted context one.\n"
    told = yaml.safe_load((await shell.disco("config", "view")).out)
    assert told == {
        "current_context": "two",
        "contexts": {"two": {"server": "disco://two:7070", "namespace": "team-a"}},
    }


async def test_a_token_comes_on_standard_input_and_is_never_shown(shell: Shell) -> None:
    done = await shell.disco(
        *("config", "set-context", "one", "--server", "disco://h:1", "--token-stdin"),
        stdin="secret-token\n",
    )

    assert done.status == 0, done.err
    assert "secret-token" in (shell.directory / "config.yaml").read_text()
    assert "secret-token" not in (await shell.disco("config", "view")).out


async def test_a_cluster_is_reached_through_kubectl(shell: Shell) -> None:
    await shell.disco(
        *("config", "set-context", "one", "--kubectl-context", "staging"),
        *("--service-account", "team-a/robot", "-n", "team-a"),
    )

    told = yaml.safe_load((await shell.disco("config", "view")).out)["contexts"]["one"]
    assert told["kubectl"]["context"] == "staging"
    assert told["kubectl"]["service_account"] == "team-a/robot"
    assert "server" not in told


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("use-context", "nothere"), "there is no context 'nothere'"),
        (("delete-context", "nothere"), "there is no context 'nothere'"),
        (("set-context", "one"), "has no server"),
        (("set-context", "a b", "--server", "disco://h:1"), "a name has letters"),
        (("set-context", "one", "--token-stdin"), "standard input is empty"),
    ],
)
async def test_what_makes_no_sense_is_wrong_use(
    shell: Shell, arguments: tuple[str, ...], expected: str
) -> None:
    done = await shell.disco("config", *arguments)

    assert (done.status, done.out) == (2, "")
    assert expected in done.err


async def test_a_broken_settings_file_is_told_with_its_line(shell: Shell) -> None:
    shell.write("config.yaml", "contexts:\n  one: {sever: x}\n")

    done = await shell.disco("ls")

    assert done.status == 2
    assert "config.yaml:2: contexts.one.sever: unknown" in done.err


@pytest.mark.parametrize("name", ["bash", "zsh", "fish"])
async def test_the_completion_script_is_one_that_the_shell_understands(
    shell: Shell, name: str
) -> None:
    done = await shell.disco("completion", name)

    assert done.status == 0, done.err
    assert "_DISCO_COMPLETE" in done.out
    if shutil.which(name):
        script = shell.write("script", done.out)
        check = await asyncio.create_subprocess_exec(name, "-n", str(script))
        assert await check.wait() == 0


async def test_commands_flags_and_contexts_are_completed(shell: Shell) -> None:
    await shell.disco("config", "set-context", "prod", "--server", "disco://h:1")
    shell.environment["_DISCO_COMPLETE"] = "bash_complete"

    async def completed(words: str, at: int) -> list[str]:
        shell.environment.update(COMP_WORDS=words, COMP_CWORD=str(at))
        return [line.partition(",")[2] for line in (await shell.disco()).out.split()]

    assert await completed("disco su", 1) == ["submit"]
    assert await completed("disco ls --all", 2) == ["--all-namespaces"]
    assert await completed("disco ls --context p", 3) == ["prod"]
    assert await completed("disco config use-context ", 3) == ["prod"]


async def test_a_context_for_what_is_no_server_is_not_made(shell: Shell) -> None:
    done = await shell.disco("config", "set-context", "one", "--server", "http://a b")

    assert done.status == 2
    assert "'http://a b' is no server: expected disco://host:port" in done.err
    assert (await shell.disco("config", "get-contexts", "-o", "name")).out == ""
