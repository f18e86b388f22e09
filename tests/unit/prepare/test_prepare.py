"""The program that brings code and packages to a worker, as its init container runs it."""

import hashlib
import io
import os
import re
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any, NamedTuple

import pytest

from disco_engine.prepare.__main__ import main
from disco_engine.prepare.telling import size_text, without_secrets
from disco_engine.rpc import TOKEN_VARIABLE

FILES = {"count.py": "print('counting')\n", "lib/words.py": "WORDS = 1\n"}
Told = Callable[[], tuple[str, str]]


class Archive(NamedTuple):
    path: Path
    sha256: str


def sha256_of(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def zip_of(directory: Path, files: dict[str, str]) -> Archive:
    path = directory / "code.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return Archive(path, sha256_of(path))


def tar_of(
    directory: Path, files: dict[str, str], *members: tarfile.TarInfo, mode: str = "w:gz"
) -> Archive:
    path = directory / "code.tar.gz"
    with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
        for name, text in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(text)
            archive.addfile(info, io.BytesIO(text.encode()))
        for member in members:
            archive.addfile(member)
    return Archive(path, sha256_of(path))


def unpacked(directory: Path) -> dict[str, str]:
    return {
        str(path.relative_to(directory)): path.read_text()
        for path in directory.rglob("*")
        if path.is_file()
    }


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "job" / "prepared"


@pytest.fixture
def told(capfd: pytest.CaptureFixture[str]) -> Told:
    """Give a function that returns what went to standard output and error since the last time."""

    def take() -> tuple[str, str]:
        said = capfd.readouterr()
        return said.out, said.err

    return take


@pytest.fixture
def served(tmp_path: Path) -> Iterator[str]:
    """Serve the temporary directory and give its address."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(tmp_path)))
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    thread.join()
    server.server_close()


# --- archives ---------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [zip_of, tar_of, partial(tar_of, mode="w")])
def test_an_archive_is_checked_and_unpacked(
    tmp_path: Path, target: Path, told: Told, make: Callable[..., Archive]
) -> None:
    archive = make(tmp_path, FILES)
    flags = ["--archive", str(archive.path), "--sha256", archive.sha256.upper()]
    assert main(["--target", str(target), *flags]) == 0
    assert unpacked(target / "code") == FILES
    out, err = told()
    assert f"fetched {archive.path}: " in out
    assert archive.sha256 in out
    assert "2 files, 28 bytes; at the top: count.py, lib/" in out
    assert not err


def test_what_an_earlier_try_left_is_replaced(tmp_path: Path, target: Path) -> None:
    (target / "code").mkdir(parents=True)
    (target / "code" / "half").write_text("old")
    assert main(["--target", str(target), "--archive", str(zip_of(tmp_path, FILES).path)]) == 0
    assert unpacked(target / "code") == FILES


def test_another_file_than_was_meant_is_not_even_opened(
    tmp_path: Path, target: Path, told: Told
) -> None:
    archive = zip_of(tmp_path, FILES)
    flags = ["--archive", str(archive.path), "--sha256", "0" * 64]
    assert main(["--target", str(target), *flags]) == 1
    assert not (target / "code").exists()
    assert told()[1] == (
        f"The job's code is not ready: {archive.path} is not the file that was meant: its SHA-256"
        f" is {archive.sha256}, and not {'0' * 64}\n"
    )


def test_an_archive_comes_over_http_and_no_password_is_shown(
    tmp_path: Path, target: Path, served: str, told: Told
) -> None:
    zip_of(tmp_path, FILES)
    assert main(["--target", str(target), "--archive", f"http://{served}/code.zip?sig=secret"]) == 0
    assert unpacked(target / "code") == FILES
    out, err = told()
    assert f"fetched http://{served}/code.zip?…: " in out
    assert "secret" not in out + err


@pytest.mark.parametrize("path", ["missing.zip?sig=secret", "missing.zip"])
def test_a_missing_archive_is_named_without_its_password(
    target: Path, served: str, told: Told, path: str
) -> None:
    url = f"http://user:secret@{served}/{path}"
    assert main(["--target", str(target), "--archive", url]) == 1
    out, err = told()
    assert err.startswith("The job's code is not ready: the archive cannot be fetched: ")
    assert f"http://{served}/missing.zip" in err
    assert "404" in err or "no such file" in err
    assert "secret" not in out + err
    assert err.count("\n") == 1


def test_a_missing_local_archive_is_named(target: Path, told: Told) -> None:
    assert main(["--target", str(target), "--archive", "/nowhere/code.zip"]) == 1
    assert told()[1].endswith("/nowhere/code.zip: No such file or directory\n")


def test_a_scheme_that_nobody_knows_is_named(target: Path, told: Told) -> None:
    assert main(["--target", str(target), "--archive", "htp://host/code.zip"]) == 1
    assert "htp:// is not known; did you mean http://" in told()[1]


def test_what_is_no_archive_is_said_to_be_none(tmp_path: Path, target: Path, told: Told) -> None:
    (tmp_path / "page.zip").write_text("<html>please log in</html>")
    assert main(["--target", str(target), "--archive", str(tmp_path / "page.zip")]) == 1
    assert told()[1].endswith("page.zip cannot be unpacked: it is neither a ZIP nor a tar file\n")


def test_an_archive_that_breaks_off_is_refused(tmp_path: Path, target: Path, told: Told) -> None:
    archive = tar_of(tmp_path, {"data": os.urandom(50_000).hex()})
    archive.path.write_bytes(archive.path.read_bytes()[:30_000])
    assert main(["--target", str(target), "--archive", str(archive.path)]) == 1
    assert "code.tar.gz cannot be unpacked: " in told()[1]


@pytest.mark.parametrize("make", [zip_of, tar_of])
@pytest.mark.parametrize("name", ["../escaped", "lib/../../escaped", "/escaped"])
def test_nothing_is_written_outside_of_the_directory(
    tmp_path: Path, target: Path, told: Told, make: Callable[..., Archive], name: str
) -> None:
    archive = make(tmp_path, {name: "gotcha"})
    assert main(["--target", str(target), "--archive", str(archive.path)]) == 1
    assert f"its member {name!r} would be outside of the directory" in told()[1]
    assert not list(tmp_path.rglob("escaped"))
    assert not Path("/escaped").exists()


def link(name: str, to: str) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = tarfile.SYMTYPE, to
    return info


def test_links_and_devices_that_lead_outside_are_refused(
    tmp_path: Path, target: Path, told: Told
) -> None:
    device = tarfile.TarInfo("null")
    device.type = tarfile.CHRTYPE
    for member in (link("out", "../../.."), link("etc", "/etc"), device):
        archive = tar_of(tmp_path, {}, member)
        assert main(["--target", str(target), "--archive", str(archive.path)]) == 1
        assert "code.tar.gz cannot be unpacked: " in told()[1]
        assert not list((target / "code").iterdir())


def test_a_disk_that_takes_nothing_is_named(tmp_path: Path, told: Told) -> None:
    (tmp_path / "file").touch()
    target = tmp_path / "file" / "below"
    assert main(["--target", str(target), "--archive", str(zip_of(tmp_path, FILES).path)]) == 1
    assert told()[1].endswith(f"nothing can be written to {target}: Not a directory\n")


# --- packages ---------------------------------------------------------------------------------


def wheel(directory: Path, name: str, version: str, requires: str = "") -> None:
    """Write a wheel of one module that knows its version."""
    info = f"{name}-{version}.dist-info"
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    if requires:
        metadata += f"Requires-Dist: {requires}\n"
    tags = "Wheel-Version: 1.0\nGenerator: t\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    directory.mkdir(exist_ok=True)
    with zipfile.ZipFile(directory / f"{name}-{version}-py3-none-any.whl", "w") as archive:
        archive.writestr(f"{name}.py", f"VERSION = {version!r}\n")
        archive.writestr(f"{info}/METADATA", metadata)
        archive.writestr(f"{info}/WHEEL", tags)
        archive.writestr(f"{info}/RECORD", f"{name}.py,,\n{info}/METADATA,,\n{info}/WHEEL,,\n")


@pytest.fixture
def wheels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Have pip look for packages in a directory, and nowhere else."""
    directory = tmp_path / "wheels"
    directory.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(directory))
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    return directory


def test_packages_are_installed_where_a_worker_finds_them(wheels: Path, target: Path) -> None:
    for version in ("1.0", "1.5", "2.0"):
        wheel(wheels, "discotest", version, requires="discotest-base")
    wheel(wheels, "discotest_base", "1.0")
    assert main(["--target", str(target), "--requirement", "discotest<2"]) == 0
    ended = subprocess.run(
        [sys.executable, "-c", "import discotest, discotest_base; print(discotest.VERSION)"],
        env={**os.environ, "PYTHONPATH": str(target / "packages")},
        capture_output=True,
        text=True,
        check=True,
    )
    assert ended.stdout == "1.5\n"


def test_what_an_earlier_try_installed_is_replaced(wheels: Path, target: Path) -> None:
    (target / "packages").mkdir(parents=True)
    (target / "packages" / "discotest.py").write_text("VERSION = 'half'\n")
    wheel(wheels, "discotest", "1.0")
    assert main(["--target", str(target), "--requirement", "discotest"]) == 0
    assert (target / "packages" / "discotest.py").read_text() == "VERSION = '1.0'\n"


def test_a_package_that_is_nowhere_is_told_with_what_pip_says(
    wheels: Path, target: Path, told: Told
) -> None:
    wheel(wheels, "discotest", "1.0")
    flags = ["--requirement", "discotest", "--requirement", "discotest-missing>=3"]
    assert main(["--target", str(target), *flags]) == 1
    out, err = told()
    assert err.startswith(
        "The job's code is not ready: pip ended with status 1 when it should install discotest,"
        " discotest-missing>=3; it said:\n"
    )
    assert "No matching distribution found for discotest-missing>=3" in err.splitlines()[-1]
    assert "Looking in links" in out  # all that pip said


def test_packages_that_the_engine_needs_stay_as_they_are(
    wheels: Path, target: Path, told: Told
) -> None:
    """They would come first on the path of the worker itself."""
    wheel(wheels, "discotest", "1.0", requires="protobuf<4")
    wheel(wheels, "protobuf", "3.0")
    assert main(["--target", str(target), "--requirement", "discotest"]) == 1
    assert re.search(r"protobuf(<4|==)", told()[1])


def test_no_password_is_shown_of_where_packages_come_from(
    wheels: Path, target: Path, told: Told, served: str
) -> None:
    requirement = f"discotest @ http://user:secret@{served}/discotest-1.0-py3-none-any.whl"
    assert main(["--target", str(target), "--requirement", requirement]) == 1
    out, err = told()
    assert f"discotest @ http://{served}/discotest-1.0" in err
    assert "secret" not in out + err


def test_builds_do_not_see_the_job_s_token(
    tmp_path: Path, wheels: Path, target: Path, monkeypatch: pytest.MonkeyPatch, told: Told
) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / "backend.py").write_text(
        f"import os\nraise SystemExit('token' if {TOKEN_VARIABLE!r} in os.environ else 'no way')\n"
    )
    (source / "pyproject.toml").write_text(
        '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
    )
    monkeypatch.setenv(TOKEN_VARIABLE, "token")
    assert main(["--target", str(target), "--requirement", str(source)]) == 1
    assert "no way" in told()[0]


# --- flags and words --------------------------------------------------------------------------


def test_nothing_to_prepare_is_no_error(target: Path, told: Told) -> None:
    assert main(["--target", str(target)]) == 0
    assert told() == ("", "")


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--archive", "x", "--sha256", "abc"), "'abc' is not 64 hexadecimal digits"),
        (("--sha256", "0" * 64), "--sha256 says which --archive is meant"),
    ],
)
def test_wrong_flags_are_explained(told: Told, flags: tuple[str, ...], message: str) -> None:
    with pytest.raises(SystemExit):
        main(["--target", "/nowhere", *flags])
    assert message in told()[1]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("http://me:pw@host/a", "http://host/a"),
        ("git+https://token@host/a.git@main", "git+https://host/a.git@main"),
        ("http://host/a?X-Signature=1&b=2#frag", "http://host/a?…"),
        ("cannot open 's3://k:s@bucket/a': no", "cannot open 's3://bucket/a': no"),
        ("count.py: what? nobody@home", "count.py: what? nobody@home"),
    ],
)
def test_secrets_in_urls_are_not_shown(text: str, shown: str) -> None:
    assert without_secrets(text) == shown


def test_sizes_are_readable() -> None:
    sizes = [0, 1023, 1024, 5 * 1024 * 1024, 3 * 1024**4]
    shown = ["0 bytes", "1,023 bytes", "1.0 KiB", "5.0 MiB", "3,072.0 GiB"]
    assert [size_text(size) for size in sizes] == shown
