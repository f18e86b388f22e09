"""The ``ddfs`` command, with Disco's names and flags."""

import io
import json
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from disco.ddfs_cli.main import main


class Said(NamedTuple):
    """How a command ended, and what it printed."""

    status: int
    out: str
    err: str


Command = Callable[..., Said]


@pytest.fixture
def ddfs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Command:
    """Give a function that runs the command in a directory with two files."""
    monkeypatch.setenv("DISCO_DDFS", str(tmp_path / "root"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.txt").write_text("one\ntwo\n")
    (tmp_path / "b.txt").write_text("three\n")

    def run(*arguments: str) -> Said:
        monkeypatch.setattr(sys, "argv", ["ddfs", *arguments])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        out, err = capsys.readouterr()
        return Said(int(str(ended.value.code or 0)), out, err)

    return run


def names(said: Said) -> list[str]:
    """Return the names of the blobs in the lines that were printed."""
    return [line.rpartition("/")[2].partition("$")[0] for line in said.out.splitlines()]


# --- storing and reading ----------------------------------------------------------------------


def test_files_are_pushed_and_printed(ddfs: Command) -> None:
    assert names(ddfs("push", "t", "a.txt", "./b.txt")) == ["a_txt", "b_txt"]

    assert ddfs("cat", "t").out == "one\ntwo\nthree\n"
    assert ddfs("cat", "./b.txt", "tag://t").out == "three\none\ntwo\nthree\n"
    assert names(ddfs("blobs", "t")) == names(ddfs("urls", "t")) == ["a_txt", "b_txt"]


def test_a_directory_is_pushed_if_that_is_wanted(ddfs: Command, tmp_path: Path) -> None:
    (tmp_path / "dir/below").mkdir(parents=True)
    (tmp_path / "dir/x").write_text("x")
    (tmp_path / "dir/below/y").write_text("y")

    said = ddfs("push", "t", "dir")
    assert (said.status, "-r pushes" in said.err) == (2, True)
    assert names(ddfs("push", "-r", "-E", "below", "t", "dir")) == ["x"]
    assert names(ddfs("push", "--recursive", "--include", "y", "t", "dir")) == ["y"]


def test_what_is_in_an_archive_is_pushed_compressed_or_not(ddfs: Command, tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "all.tar", "w") as tar:
        tar.add("a.txt")
        tar.add("b.txt")

    assert names(ddfs("push", "-x", "-I", "a", "t", "all.tar")) == ["a_txt"]
    assert names(ddfs("push", "-x", "-z", "-I", "b", "t", "all.tar")) == ["b_txt_gz"]
    assert ddfs("xcat", "-R", "disco.readers.text_lines", "t").out == "three\none\ntwo\n"


def test_lines_are_chunked_and_printed(ddfs: Command) -> None:
    assert names(ddfs("chunk", "t", "./a.txt", "./b.txt")) == ["a_txt-0", "b_txt-0"]

    assert ddfs("xcat", "t").out == "one\ntwo\nthree\n"
    assert names(ddfs("chunk", "-u", "t", "./a.txt")) == []


def test_sizes_of_chunks_and_records_are_given_in_megabytes(ddfs: Command) -> None:
    said = ddfs("chunk", "-Z", "0.00001", "-S", "1", "t", "./a.txt")

    assert said.status == 1
    assert "more than 10" in said.err


def test_standard_input_is_chunked(tmp_path: Path, ddfs: Command) -> None:
    subprocess.run(
        [sys.executable, "-m", "disco.ddfs_cli.main", "chunk", "t", "-"],
        input=b"from\na pipe\n",
        check=True,
        stdout=subprocess.DEVNULL,
        timeout=60,
    )

    assert ddfs("xcat", "t").out == "from\na pipe\n"


def test_a_damaged_copy_is_told_with_its_name_and_what_is_wrong(
    tmp_path: Path, ddfs: Command
) -> None:
    ddfs("push", "t", "a.txt")
    (blob,) = (tmp_path / "root/blob").rglob("a_txt*")
    blob.write_bytes(b"one\ntwo?")

    done = subprocess.run(
        [sys.executable, "-m", "disco.ddfs_cli.main", "gc", "--verify"],
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert done.returncode == 1
    said, lost = done.stderr.splitlines()
    assert said.startswith("damaged copy: blob ddfs://")
    assert f"{blob.name}, error Unable to access resource" in said
    assert "corrupt data: " in said
    assert lost.startswith("Lost: ddfs://")


def test_records_are_read_with_a_reader_and_streams_of_ones_own(
    ddfs: Command, tmp_path: Path
) -> None:
    (tmp_path / "mine.py").write_text(
        "def upper(fd, size, url):\n"
        "    return (line.upper() for line in fd)\n"
        "def pairs(fd, size, url):\n"
        "    return ((line.decode().strip(), 1) for line in fd)\n"
    )
    stream = ("-T", "disco.worker.classic.func.default_stream")

    said = ddfs("xcat", *stream, "-T", "mine.upper", "-R", "mine.pairs", "./a.txt")

    assert said.out == "ONE\t1\nTWO\t1\n"
    assert "expected module.function" in ddfs("xcat", "-R", "mine.none", "./a.txt").err


def test_saved_results_are_read_by_the_name_of_their_job(ddfs: Command) -> None:
    ddfs("chunk", "disco:results:Job@1:2:3", "./a.txt")

    assert ddfs("xcat", "-j", "Job@1:2:3").out == "one\ntwo\n"


def test_a_file_that_was_taken_for_a_tag_is_explained(ddfs: Command) -> None:
    assert "for the file, say ./a.txt" in ddfs("cat", "a.txt").err


# --- tags -------------------------------------------------------------------------------------


def test_tags_are_made_copied_linked_and_removed(ddfs: Command) -> None:
    ddfs("touch", "empty", "other")
    ddfs("tag", "t", "http://a/1", "http://a/2")
    ddfs("put", "u", "http://b/1")
    ddfs("cp", "t", "copy")
    ddfs("untag", "copy", "http://a/1")
    assert ddfs("ls").out.split() == ["copy", "empty", "other", "t", "u"]
    assert ddfs("urls", "copy", "u").out.split() == ["http://a/2", "http://b/1"]

    ddfs("rm", "copy", "u")
    ddfs("rm", "-p", "e")
    assert ddfs("ls").out.split() == ["other", "t"]


def test_tags_are_listed_by_prefix_and_with_what_they_have(ddfs: Command) -> None:
    ddfs("push", "data:a", "a.txt")
    ddfs("tag", "data:all", "tag://data:a")
    ddfs("touch", "other")

    assert ddfs("ls", "data:").out.split() == ["data:a", "data:all"]
    lines = ddfs("ls", "-r", "data:all").out.splitlines()
    assert lines[:2] == ["data:all", "  tag://data:a"]
    assert "/a_txt$" in lines[2]
    assert names(ddfs("blobs", "-p", "data:")) == ["a_txt", "a_txt"]


def test_tags_are_found_and_missing_ones_are_told(ddfs: Command) -> None:
    ddfs("tag", "a", "tag://b", "tag://gone")
    ddfs("tag", "b", "tag://a")

    assert ddfs("find", "-i", "a").out.split() == ["tag://a", "tag://b"]
    warned = ddfs("find", "--warn-missing", "a")
    assert warned.out.split() == ["tag://a", "tag://b"]
    assert warned.err == "Tag not found: tag://gone\n"
    assert "no tag 'gone'" in ddfs("find", "a").err


def test_a_tag_is_printed_as_json_and_in_short(ddfs: Command) -> None:
    ddfs("tag", "t", "http://a/1")

    assert json.loads(ddfs("get", "t").out)["urls"] == [["http://a/1"]]
    assert "\t1 links\t{}" in ddfs("stat", "t").out
    assert ddfs("exists", "t") == (0, "True\n", "")
    assert ddfs("exists", "none") == (1, "False\n", "")


def test_attributes_are_set_printed_and_removed(ddfs: Command) -> None:
    ddfs("touch", "t")
    ddfs("setattr", "t", "color", "blue")

    assert ddfs("attrs", "t").out == "color\tblue\n"
    assert ddfs("getattr", "t", "color").out == "blue\n"
    ddfs("delattr", "t", "color")
    assert ddfs("getattr", "t", "color").status == 1


def test_tokens_are_given_before_or_after_the_command_and_by_environment(
    ddfs: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    ddfs("touch", "t")
    assert "-r for readers" in ddfs("chtok", "t", "secret").err
    monkeypatch.setattr(sys, "stdin", io.StringIO("secret\n"))
    assert ddfs("chtok", "-r", "-w", "t", "-").status == 0

    denied = ddfs("get", "t")
    assert (denied.status, "needs a token" in denied.err) == (1, True)
    assert ddfs("-t", "secret", "get", "t").status == 0
    assert ddfs("get", "--token", "secret", "t").status == 0
    monkeypatch.setenv("DDFS_READ_TOKEN", "secret")
    assert ddfs("get", "t").status == 0


# --- where, and how it ends -------------------------------------------------------------------


def test_another_root_is_given_by_flag_or_in_a_settings_file(
    ddfs: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ddfs("-M", str(tmp_path / "second"), "touch", "there")
    (tmp_path / "settings.py").write_text(
        f"DISCO_DDFS = {str(tmp_path / 'second')!r}\nDDFS_WRITE_TOKEN = 'x' * 8\n"
    )

    assert ddfs("ls").out == ""
    monkeypatch.delenv("DISCO_DDFS")
    said = ddfs("ls", "-s", "settings.py", "--verbose")
    assert said.out == "there\n"
    assert f"DISCO_DDFS = {tmp_path / 'second'}" in said.err
    assert "DDFS_WRITE_TOKEN = (set)" in said.err


def test_garbage_is_collected_after_a_time_that_is_given(ddfs: Command) -> None:
    ddfs("push", "t", "a.txt")
    ddfs("rm", "t")

    assert "blobs without a tag\t1" in ddfs("gc").out
    assert "blobs removed\t1\t8 B" in ddfs("gc", "--grace", "0s", "--dry-run").out
    assert "blobs removed\t1\t8 B" in ddfs("gc", "--grace", "0s").out
    assert "expected a number" in ddfs("gc", "--grace", "soon").err


def test_lost_blobs_are_told_and_in_the_status(ddfs: Command) -> None:
    link = ddfs("push", "t", "a.txt").out.split()[-1]
    Path(link).unlink()

    said = ddfs("gc")

    assert (said.status, "of the tag t" in said.err) == (1, True)


def test_an_error_is_one_line_with_what_to_do(ddfs: Command) -> None:
    said = ddfs("urls", "none")

    assert said.status == 1
    assert said.err.startswith("Error: ")
    assert "`ddfs ls` lists those there are" in said.err
    assert "Traceback" not in said.err
