"""Helpers that programs use beside their jobs do what Disco's do."""

import functools
import io
import json
import os
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from disco import compat, dPickle, sysutil, util
from disco.ddfs import DDFS
from disco.error import CommError, DataError, DiscoError, JobError, UnsupportedError
from disco.eventmonitor import EventMonitor, OutputStream
from disco.job import Job
from disco.settings import DiscoSettings
from disco.worker import InputIter, MergedInput, SerialInput
from disco.worker.classic.func import default_partition, make_range_partition
from disco.worker.modutil import ModUtilImportError, find_modules, locate_modules, parse_function

# --- disco.util --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("http://h:1/a/b", ("http", ("h", "1"), "a/b")),
        ("tag://name", ("tag", ("", ""), "name")),
        ("tag://secret@h/name", ("tag", ("h", ""), "name")),
        ("/a/b", ("file", ("", ""), "/a/b")),
        ("raw://a/b", ("raw", ("", ""), "a/b")),
    ],
)
def test_urlsplit_gives_scheme_location_and_path(given: str, expected: Any) -> None:
    assert util.urlsplit(given) == expected


def test_a_disco_url_is_a_file_where_its_host_is() -> None:
    places = {"disco_data": "/data", "ddfs_data": "/ddfs"}
    assert util.urlsplit("disco://h/disco/x", localhost="h", **places)[::2] == ("file", "/data/x")
    assert util.urlsplit("disco://h/ddfs/x", localhost=True, **places)[2] == "/ddfs/x"
    assert util.urlsplit("disco://h/ddfs/x", localhost="other", **places)[0] == "disco"


def test_netloc_is_a_host_and_perhaps_a_port() -> None:
    both = util.netloc.parse("user@host:8989")
    assert (both.host, both.port, str(both), bool(both)) == ("host", "8989", "host:8989", True)
    assert str(util.netloc.parse("host")) == "host"
    assert not util.netloc.parse("")


def test_urltoken_is_what_stands_before_the_host() -> None:
    assert util.urltoken("tag://user:secret@host/name") == "secret"
    assert util.urltoken("tag://secret@host/name") == "secret"
    assert util.urltoken("http://host/na@me") is None


def test_other_functions_on_urls() -> None:
    assert util.urlresolve("http://h/a") == "http://h/a"
    assert util.proxy_url("http://h:1/a") == "http://h:1/a"
    assert (
        util.proxy_url("http://h:1/a", proxy="http://p", to_master=False)
        == "http://p/proxy/h/GET/a"
    )
    assert util.assert_url("raw://x") == "raw://x"
    with pytest.raises(DiscoError, match="is no URL"):
        util.assert_url("x")


@pytest.fixture
def index(tmp_path: Path) -> str:
    path = tmp_path / "index"
    path.write_text("2 raw://two 3\n0 raw://zero 4\n2 raw://deux 4\n")
    return f"dir://{path}"


def test_an_index_is_read_by_label(index: str) -> None:
    assert util.ispartitioned(index)
    assert util.ispartitioned([[index], index])
    assert not util.ispartitioned([])
    assert not util.ispartitioned([index, "raw://x"])
    assert next(iter(util.read_index([index]))) == (2, "raw://two", 3)
    assert util.parse_dir(index) == ["raw://zero", "raw://deux", "raw://two"]
    assert util.parse_dir(index, 2) == ["raw://deux", "raw://two"]


def test_inputs_are_expanded(index: str, tmp_path: Path) -> None:
    settings = DiscoSettings(DISCO_DDFS=str(tmp_path / "ddfs"))
    DDFS(settings=settings).push("mine", [(io.BytesIO(b"x"), "one")])
    given = ["raw://a", ["raw://b", "raw://c"], index]
    assert util.inputlist(given)[:2] == ["raw://a", ["raw://b", "raw://c"]]
    assert util.inputlist(given, label=2)[2:] == [["raw://deux"], ["raw://two"]]
    assert util.inputlist([index], label=False) == [index]
    ((blob,),) = util.inputlist(["tag://mine"], settings=settings)
    assert Path(blob.removeprefix("file://")).read_bytes() == b"x"
    assert list(util.deref(["raw://a"], resolve=True)) == [["raw://a"]]


def test_sorting_on_disk_is_by_the_bytes_of_keys(tmp_path: Path) -> None:
    pairs = [(b"b", {"x": 1}), (b"a\xfe", None), (b"a", b"\0\xff"), (b"B", 4), (b"a", 2)]
    path = str(tmp_path / "sorted")
    assert [key for key, _ in util.disk_sort(None, pairs, path)] == [
        b"B",
        b"a",
        b"a",
        b"a\xfe",
        b"b",
    ]
    assert dict(util.disk_sort(None, pairs[:3], path)) == dict(pairs[:3])
    with pytest.raises(ValueError, match="must be bytes"):
        list(util.disk_sort(None, [("a", 1)], path))  # type: ignore[list-item]
    with pytest.raises(ValueError, match="no 0xff and no 0x00"):
        list(util.disk_sort(None, [(b"a\xff", 1)], path))
    with pytest.raises(DataError, match="no such file"):
        util.unix_sort(str(tmp_path / "none"))
    assert list(util.dsorted([3, 1, 2], buffer_size=2, tempdir=str(tmp_path))) == [1, 2, 3]


def test_only_tasks_put_values_beside_records() -> None:
    with pytest.raises(UnsupportedError, match=r"only be put by a task of job@1:2:3"):
        util.save_oob(None, "job@1:2:3", "key", b"value")
    with pytest.raises(DiscoError, match="job@1:2:3"):
        util.load_oob("local", "job@1:2:3", "key")


def test_old_ways_to_say_something(capsys: pytest.CaptureFixture[str]) -> None:
    util.msg("hello")
    assert capsys.readouterr().out == "hello\n"
    with pytest.raises(DiscoError, match="no"):
        util.err("no")
    with pytest.raises(DataError, match="no"):
        util.data_err("no", "raw://x")


# --- disco.compat, disco.dPickle, disco.sysutil ------------------------------------------------


def test_the_names_of_both_pythons() -> None:
    assert compat.bytes_of_int(65) == b"A"
    assert compat.int_of_byte(b"A"[0]) == compat.int_of_byte(b"A") == 65
    assert compat.urlencode({"a": "b c"}) == "a=b+c"
    assert compat.httplib.OK == 200
    assert compat.http_server.HTTPServer
    assert compat.socket_server.ThreadingMixIn
    command, by_shell = compat.sort_cmd("file", "10%")
    assert command[0] == "sort"
    assert not by_shell


def test_functions_are_pickled_with_closures_and_defaults() -> None:
    extra = 3

    def add(number: int, more: int = 1) -> int:
        return number + more + extra

    assert dPickle.loads(dPickle.dumps(add))(1) == 5
    stream = io.BytesIO()
    dPickle.dump(functools.partial(add, more=2), stream)
    stream.seek(0)
    assert dPickle.load(stream)(1) == 6


def test_a_limit_of_memory_is_a_share_or_a_number() -> None:
    sysutil.set_mem_limit("")
    assert sysutil.available_memory() > 0
    with pytest.raises(DiscoError, match="'80%' or a number of bytes, not 'much'"):
        sysutil.set_mem_limit("much")


# --- disco.error -------------------------------------------------------------------------------


def test_errors_are_a_tree_and_know_what_they_are_about() -> None:
    assert issubclass(CommError, DataError)
    assert issubclass(DataError, DiscoError)
    assert issubclass(JobError, DiscoError)
    error = CommError("gone", "http://h/x", 404)
    assert (error.msg, error.url, error.code) == ("gone", "http://h/x", 404)
    assert pickle.loads(pickle.dumps(error)).code == 404
    assert JobError(Job("j"), "no luck").message == "no luck"


# --- disco.settings ----------------------------------------------------------------------------


def test_settings_come_from_arguments_environment_file_and_defaults(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "settings.py"
    file.write_text(
        "DISCO_JOB_OWNER = 'file'\nDISCO_EVENTS = 'json'\nDISCO_ROOT = os.path.join('/srv', 'd')\n"
    )
    monkeypatch.setenv("DISCO_JOB_OWNER", "environment")
    settings = DiscoSettings(str(file), DISCO_TEST_PURGE="")
    assert settings["DISCO_TEST_PURGE"] == ""
    assert settings["DISCO_JOB_OWNER"] == "environment"
    assert (settings["DISCO_EVENTS"], settings["DISCO_ROOT"]) == ("json", "/srv/d")
    assert settings["DISCO_MASTER"] == os.environ.get("DISCO_MASTER", "local")
    assert settings.env["DISCO_EVENTS"] == "json"
    (tmp_path / "broken.py").write_text("1/0")
    with pytest.raises(DiscoError, match="ZeroDivisionError"):
        DiscoSettings(str(tmp_path / "broken.py"))["DISCO_EVENTS"]


@pytest.mark.parametrize(
    ("name", "default"),
    [
        ("DISCO_DEBUG", "off"),
        ("DISCO_EVENTS", ""),
        ("DISCO_FLAGS", ""),
        ("DISCO_PORT", 8989),
        ("DISCO_NAME", "disco_8989"),
        ("DISCO_SCHEDULER", "fair"),
        ("DISCO_SCHEDULER_ALPHA", 0.001),
        ("DISCO_TEST_PORT", 9444),
        ("DISCO_TEST_PURGE", "purge"),
        ("DISCO_WORKER_MAX_MEM", "80%"),
        ("DDFS_PUT_PORT", 8990),
        ("DDFS_TAG_REPLICAS", 1),
        ("DDFS_GC_BALANCE_THRESHOLD", 0.1),
        ("DISCO_GC_AFTER", 3_153_600_000),
        ("GRAPHITE_HOST", "localhost"),
        ("SYSTEMD_ENABLED", False),
    ],
)
def test_settings_have_disco_s_defaults(name: str, default: Any) -> None:
    assert DiscoSettings(DISCO_SETTINGS_FILE="")[name] == default


def test_a_setting_that_is_none_is_refused() -> None:
    with pytest.raises(DiscoError, match="no setting 'DISCO_PROT'"):
        DiscoSettings()["DISCO_PROT"]


# --- disco.worker.modutil ----------------------------------------------------------------------


def uses(entry: Any) -> Any:
    import colorsys

    return [random.random() for _ in json.loads(entry)], colorsys  # type: ignore[name-defined]  # noqa: F821


def test_modules_that_functions_use_are_found() -> None:
    assert sorted(parse_function(functools.partial(uses, 1))) == ["colorsys", "json", "random"]
    found = find_modules([uses], exclude=["json"])
    assert sorted(map(str, found)) == ["colorsys", "random"]
    assert sorted(map(str, find_modules([uses], send_modules=False))) == [
        "colorsys",
        "json",
        "random",
    ]
    with pytest.raises(ImportError, match="no_such_module"):
        locate_modules(["no_such_module"])

    def imports(entry: Any) -> None:
        import no_such_module  # type: ignore[import-not-found]  # noqa: F401

    with pytest.raises(ModUtilImportError, match="imports uses a module that is not here"):
        find_modules([imports])


def test_modules_of_the_user_s_own_are_found_with_their_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine_a.py").write_text("import mine_b\n")
    (tmp_path / "mine_b.py").write_text("")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert sorted(locate_modules(["mine_a"])) == [
        ("mine_a", str(tmp_path / "mine_a.py")),
        ("mine_b", str(tmp_path / "mine_b.py")),
    ]
    assert locate_modules(["mine_a"], recurse=False) == [("mine_a", str(tmp_path / "mine_a.py"))]
    assert locate_modules(["json"], include_sys=True) == [("json", None)]


# --- disco.worker, disco.worker.classic.func ---------------------------------------------------


def test_inputs_of_a_worker_go_on_with_another_replica() -> None:
    def opened(url: str) -> Iterator[str]:
        yield from ("1", "2")
        if url == "bad":
            raise DataError("broken", url)
        yield "3"

    assert list(InputIter(["bad", "good"], open=opened)) == ["1", "2", "3"]
    assert list(InputIter("good", open=opened, start=2)) == ["3"]
    with pytest.raises(DataError, match=r"exhausted all replicas.*broken"):
        list(InputIter(["bad"], open=opened))
    assert list(SerialInput([["bad", "good"], "good"], open=opened)) == ["1", "2", "3"] * 2
    assert list(MergedInput(["good", "good"], open=opened)) == ["1", "1", "2", "2", "3", "3"]


def test_partition_functions_are_the_same_everywhere() -> None:
    assert [default_partition(key, 7, None) for key in ("a", b"a", 1, (1, "x"), None)] == [
        default_partition(key, 7, None) for key in ("a", b"a", 1, (1, "x"), None)
    ]
    in_range = make_range_partition(0, 99)
    assert [in_range(key, 10, None) for key in (0, 9, 10, 55, 99, "42")] == [0, 0, 1, 5, 9, 4]


# --- disco.eventmonitor ------------------------------------------------------------------------


class Watched:
    """Stands for a job that has two events."""

    name = "job"

    def events(self, offset: int = 0) -> Iterator[Any]:
        told = [(1, ("t1", "h", "one")), (2, ("t2", "h", "two"))]
        return iter(told[offset:])

    def jobinfo(self) -> dict[str, Any]:
        return {
            "pipeline": [["map", 0, 0, 0, 4, 0], ["reduce", 0, 1, 2, 0, 0], ["end", 0, 0, 0, 0, 0]]
        }


def test_an_event_monitor_tells_events_once_and_the_newest_stage() -> None:
    monitor = EventMonitor(Watched(), format="text", poll_interval=0)  # type: ignore[arg-type]
    told = io.StringIO()
    monitor.output = OutputStream("nocolor", told)
    monitor.refresh()
    monitor.refresh()
    assert told.getvalue().splitlines() == [
        "t1 h one",
        "t2 h two",
        "Status: [reduce] 0 pending, 1 waiting, 2 running, 0 done, 0 failed",
    ]
    told = io.StringIO()
    OutputStream("json", told).write(timestamp="t", host="h", message="é")
    assert json.loads(told.getvalue()) == ["t", "h", "é"]
    assert not OutputStream("").isenabled
