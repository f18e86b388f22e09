"""What a job's inputs become, and what is said about those that cannot be read."""

import gzip
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from disco_engine.core.model import FailureKind, TaskInput
from disco_engine.inputs.expand import expand
from disco_engine.program import ProgramError

Store = Callable[[str, bytes], str]
FlakyStore = Callable[[str, bytes, int], str]

MIB = 1024 * 1024


def urls(*inputs: str | tuple[str, ...], split: int = 32 * MIB) -> list[tuple[str, ...]]:
    given = [item if isinstance(item, tuple) else (item,) for item in inputs]
    return [item.urls for item in expand(given, split_size_bytes=split, splittable=True)]


def message_of(*inputs: str | tuple[str, ...], kind: FailureKind = FailureKind.FATAL) -> str:
    with pytest.raises(ProgramError) as caught:
        urls(*inputs, split=4)
    assert caught.value.failure.kind is kind
    return caught.value.failure.message


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name in ("b.txt", "a.txt", "sub/c.txt", "sub/deep/d.log", "_SUCCESS", ".hidden"):
        path = tmp_path / "tree" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    (tmp_path / "tree/_temporary").mkdir()
    (tmp_path / "tree/_temporary/part").write_text("half")
    return tmp_path / "tree"


def test_a_directory_is_all_files_below_it_sorted_without_hidden_ones(tree: Path) -> None:
    names = ("a.txt", "b.txt", "sub/c.txt", "sub/deep/d.log")
    expected = [(str(tree / name),) for name in names]
    assert urls(str(tree)) == urls(f"{tree}/") == urls(f"file://{tree}") == expected


def test_patterns_match_files_and_directories_without_hidden_ones(tree: Path) -> None:
    def matched(pattern: str) -> list[str]:
        return [os.path.relpath(url, tree) for (url,) in urls(f"{tree}/{pattern}")]

    assert matched("*.txt") == ["a.txt", "b.txt"]
    assert matched("*") == ["a.txt", "b.txt", "sub/c.txt", "sub/deep/d.log"]
    assert matched("**/*.txt") == ["a.txt", "b.txt", "sub/c.txt"]
    assert matched("?.txt") == matched("[ab].txt") == ["a.txt", "b.txt"]
    assert matched("_S*") == ["_SUCCESS"], "a pattern may ask for what is hidden"


def test_a_file_whose_name_looks_like_a_pattern_is_that_file(tmp_path: Path) -> None:
    path = tmp_path / "a[1]*.txt"
    path.touch()
    (tmp_path / "a1.txt").touch()
    assert urls(str(path)) == [(str(path),)]


def test_links_to_directories_are_followed_but_not_in_circles(tree: Path) -> None:
    (tree / "sub/up").symlink_to(tree)
    (tree / "again").symlink_to(tree / "sub/deep")
    assert (str(tree / "again/d.log"),) in urls(str(tree))
    assert len(urls(str(tree))) == 5


def test_relative_paths_become_absolute(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tree)
    monkeypatch.setenv("HOME", str(tree))
    assert urls("a.txt", "sub/../b.txt", "~/a.txt") == [
        (str(tree / name),) for name in ("a.txt", "b.txt", "a.txt")
    ]


def test_large_files_are_cut_into_even_ranges(tmp_path: Path) -> None:
    path = tmp_path / "text"
    path.write_bytes(b"x" * 25)
    items = expand([(str(path),)], split_size_bytes=10, splittable=True)
    assert [(item.offset, item.length) for item in items] == [(0, 9), (9, 9), (18, 7)]
    for uncut in (
        expand([(str(path),)], split_size_bytes=25, splittable=True),
        expand([(str(path),)], split_size_bytes=10, splittable=False),
    ):
        assert uncut == (TaskInput(urls=(str(path),)),)


def test_compressed_files_are_not_cut_whether_the_name_says_so_or_the_content(
    tmp_path: Path,
) -> None:
    for name, data in (
        ("text.gz", gzip.compress(b"x" * 25)),
        ("text", gzip.compress(b"x" * 25)),
        ("text.zst", b"not compressed at all, which its reader will say"),
    ):
        (tmp_path / name).write_bytes(data)
        assert urls(str(tmp_path / name), split=10) == [(str(tmp_path / name),)]


def test_an_empty_file_is_a_task(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    assert urls(str(tmp_path / "empty")) == [(str(tmp_path / "empty"),)]


def test_texts_and_results_stay_as_they_are() -> None:
    given = ("raw://some words", "disco://host:1/uid/1/0")
    assert urls(*given, split=1) == [(url,) for url in given]


def test_no_inputs_are_no_tasks() -> None:
    assert urls() == []


def test_an_index_gives_a_task_per_line_with_its_label(tmp_path: Path) -> None:
    index = tmp_path / "index"
    index.write_text("2 disco://h:1/u/1/0 10\n0 part b 5\n0 /abs/a 7\n")
    items = expand([(f"dir://{index}",)], split_size_bytes=1, splittable=True)
    assert items == (
        TaskInput(urls=("/abs/a",), label=0),
        TaskInput(urls=(str(tmp_path / "part b"),), label=0),
        TaskInput(urls=("disco://h:1/u/1/0",), label=2),
    )


def test_a_broken_index_is_named_with_the_line(tmp_path: Path) -> None:
    index = tmp_path / "index"
    for broken in ("one /x 3", "1 3", "1 /x three", ""):
        index.write_text(f"0 /a 1\n{broken}\n")
        assert message_of(f"dir://{index}") == (
            f"dir://{index}, line 2: expected 'label url size', found {broken.encode()!r}"
        )
    assert message_of("dir:///no/index") == (
        "no such file: /no/index (given as input 'dir:///no/index')"
    )


def test_a_missing_file_is_named_as_the_user_wrote_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert message_of("x/y") == (
        f"no such file: {tmp_path}/x/y (given as input 'x/y'); "
        f"relative paths are resolved against {tmp_path}"
    )
    assert message_of("/no/such/file") == "no such file: /no/such/file"
    assert message_of("memory://no/such") == "no such file: memory://no/such"


def test_a_pattern_without_matches_and_a_directory_without_files_are_errors(
    tmp_path: Path, memory: Store
) -> None:
    assert message_of(f"{tmp_path}/*.txt") == f"no file matches {tmp_path}/*.txt"
    (tmp_path / "_SUCCESS").touch()
    (tmp_path / "sub").mkdir()
    assert message_of(str(tmp_path)) == (
        f'no files in the directory {tmp_path}; names that begin with "." or "_" do not count'
    )
    memory("/d/_SUCCESS", b"")
    assert message_of("memory://d/*.txt") == "no file matches memory://d/*.txt"
    assert message_of("memory://d").startswith("no files below memory://d;")


def test_a_file_in_the_place_of_a_directory_is_an_error(tree: Path) -> None:
    assert message_of(f"{tree}/a.txt/b") == f"no such file: {tree}/a.txt/b"


def test_a_link_to_nowhere_in_a_directory_is_an_error_not_a_file_less(tree: Path) -> None:
    (tree / "gone").symlink_to("/no/where")
    assert message_of(str(tree)) == f"no such file: {tree}/gone (given as input '{tree}')"


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for given in (str(tmp_path), str(tmp_path / "pipe")):
        assert message_of(given) == (
            f"cannot read {tmp_path}/pipe: it is a pipe, socket or device, not a file"
        )


@contextmanager
def _nobody() -> Iterator[None]:
    """Be a user whom permissions apply to."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


def test_files_and_directories_without_permission_are_named() -> None:
    # Not in tmp_path, which other users cannot even look into.
    with TemporaryDirectory() as directory:
        os.chmod(directory, 0o755)
        file, closed = Path(directory, "secret"), Path(directory, "closed")
        file.write_text("x")
        closed.mkdir()
        (closed / "inside").write_text("x")
        file.chmod(0)
        closed.chmod(0)
        with _nobody():
            assert message_of(str(file)) == f"cannot read {file}: Permission denied"
            assert message_of(str(closed)) == f"cannot read {closed}: Permission denied"
            assert message_of(f"{closed}/inside") == (
                f"cannot read {closed}/inside: Permission denied"
            )
        closed.chmod(0o755)


def test_replicas_that_do_not_exist_are_left_out_if_one_does(tree: Path, memory: Store) -> None:
    there = memory("/copy", b"a.txt")
    assert urls((f"{tree}/gone", f"{tree}/a.txt", there)) == [(f"{tree}/a.txt", there)]
    assert message_of((f"{tree}/gone", "memory://gone")) == (
        f"none of the 2 replicas can be read: no such file: {tree}/gone; "
        "no such file: memory://gone"
    )


def test_replicas_that_are_cut_must_have_the_same_size(tree: Path, memory: Store) -> None:
    other = memory("/other", b"1234567")
    assert message_of((f"{tree}/a.txt", other)) == (
        f"replicas differ: {tree}/a.txt has 5 bytes, memory:///other has 7; "
        "replicas of one input must have the same content"
    )
    assert urls((f"{tree}/a.txt", other), split=100) == [(f"{tree}/a.txt", other)], "may be packed"


def test_a_directory_is_no_index(tree: Path) -> None:
    assert f"dir://{tree} is a directory, but dir:// is for an index" in message_of(f"dir://{tree}")
    assert message_of(f"dir://{tree}").endswith(f"to read the files of the directory, give {tree}")


def test_a_file_whose_name_no_message_can_hold_is_named(tmp_path: Path) -> None:
    (tmp_path / "caf\udce9").touch()
    assert message_of(f"{tmp_path}/*") == (
        f"the file name '{tmp_path}/caf\\udce9' is not UTF-8: rename the file"
    )


def test_a_scheme_that_nobody_knows_is_answered_with_some_that_are_known() -> None:
    assert message_of("foo://x") == (
        "cannot open foo://x: foo:// is not known; there are, for instance,"
        " file://, http://, https://, s3://, gs://, raw://"
    )
    assert "htps:// is not known; did you mean https://" in message_of("htps://host/x")


def test_directories_and_indexes_are_no_replicas(tree: Path) -> None:
    assert "has 4 files: a replica must be one file" in message_of((str(tree), f"{tree}/a.txt"))
    assert "cannot be a replica" in message_of((f"dir://{tree}/a.txt", f"{tree}/a.txt"))


def test_an_input_without_a_url_and_a_split_size_of_nothing_are_errors() -> None:
    assert message_of(()) == "an input has no URL: give at least one for each"
    with pytest.raises(ProgramError, match="the split size is 0 bytes: it must be at least 1"):
        expand([], split_size_bytes=0, splittable=True)


def test_remote_files_directories_and_patterns_are_found(memory: Store) -> None:
    for name in ("/d/a.txt", "/d/sub/b.txt", "/d/_SUCCESS", "/d/_temporary/x.txt"):
        memory(name, b"12345678")
    assert urls("memory://d/a.txt") == [("memory://d/a.txt",)]
    both = [("memory:///d/a.txt",), ("memory:///d/sub/b.txt",)]
    assert urls("memory://d") == both
    assert urls("memory://d/*") == both
    assert urls("memory://d/**/b.txt") == both[1:]
    items = expand([("memory://d/a.txt",)], split_size_bytes=5, splittable=True)
    assert [(item.offset, item.length) for item in items] == [(0, 4), (4, 4)]


def test_storage_that_fails_now_is_no_reason_to_give_up_the_job(
    flaky: FlakyStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = flaky("text", b"x" * 10, 0)
    message = message_of(url, kind=FailureKind.DATA)
    assert message == f"cannot read {url}: Connection reset by peer"


def test_a_directory_of_many_files_is_listed_with_one_look_at_each(tmp_path: Path) -> None:
    for number in range(2_000):
        (tmp_path / f"{number:05}").touch()
    assert len(urls(str(tmp_path))) == len(urls(f"{tmp_path}/*")) == 2_000


def test_a_scheme_that_needs_a_package_says_how_to_install_it() -> None:
    assert re.search(r"gcsfs: pip install 'disco-k8s\[gcs\]'", message_of("gs://bucket/*.txt"))
