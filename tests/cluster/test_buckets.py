"""Pods that read and write a bucket, and DDFS on it, as docs/ddfs.md says."""

import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent

import pytest
import s3fs
from harness import programs
from harness.guide import Guide, Reader
from harness.jobs import RunningJob, discojob
from harness.kubectl import own_address
from harness.namespaces import Namespace
from harness.settings import Settings

SERVER = Path(__file__).parents[1] / "integration" / "ddfs" / "s3_server.py"
GUIDE = Guide("ddfs.md", "On a cluster")
GARBAGE = Guide("ddfs.md", "Garbage")
MONDAY, TUESDAY, OLDER = "one two\n" * 400, "two three three\n" * 300, "three four\n" * 200
SAVING = programs.WORDCOUNT + dedent(
    """\

    class Saved(WordCount):
        save_results = True
    """
)


@pytest.fixture(scope="module")
def s3_address(cluster: Settings) -> Iterator[str]:
    """Run a server that speaks S3, for pods to reach, and give its address."""
    if cluster.local is None:
        pytest.skip("pods of this cluster do not reach this machine; run `make test-cluster`")
    with subprocess.Popen(
        [sys.executable, str(SERVER), "--host", own_address()],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as server:
        assert server.stdout is not None
        yield server.stdout.readline().strip()  # which it prints when it listens
        server.terminate()


@pytest.fixture
def bucket(s3_address: str) -> s3fs.S3FileSystem:
    """Give the way to a server that has an empty bucket called "bucket"."""
    store = s3fs.S3FileSystem(
        key="anybody", secret="anything", endpoint_url=s3_address, skip_instance_cache=True
    )
    store.mkdir("bucket")
    return store


@pytest.fixture
def reader(
    namespace: Namespace, bucket: s3fs.S3FileSystem, s3_address: str, tmp_path: Path
) -> Reader:
    """Give a reader of the guide who has its files, and older ones in the bucket."""
    files = {
        "monday.log": MONDAY,
        "tuesday.log": TUESDAY,
        "words.yaml": GUIDE.block("yaml", "kind: DiscoJob"),
        "s3.env": dedent(
            f"""\
            DISCO_DDFS=s3://bucket/ddfs
            AWS_ENDPOINT_URL={s3_address}
            AWS_ACCESS_KEY_ID=anybody
            AWS_SECRET_ACCESS_KEY=anything
            AWS_DEFAULT_REGION=us-east-1
            """
        ),
    }
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    bucket.pipe("bucket/older/sunday.log", OLDER.encode())
    namespace.config_map("words-code", {"words.py": SAVING})
    return Reader(tmp_path, namespace)


def counted(*texts: str) -> list[str]:
    """Return a line for each word with how often it occurs."""
    return sorted(f"{word}\t{count}" for word, count in Counter(" ".join(texts).split()).items())


def test_pods_read_tags_and_buckets_write_to_them_and_collect_garbage(
    reader: Reader, namespace: Namespace, bucket: s3fs.S3FileSystem, image: str
) -> None:
    reader.types(*GUIDE.commands())
    words = RunningJob(namespace.api, namespace.name, "words")
    words.wait_until_succeeded()

    assert bucket.exists("bucket/counts/_SUCCESS")
    parts = [bucket.cat_file(name).decode() for name in bucket.glob("bucket/counts/[!_]*")]
    lines = "".join(parts).splitlines()
    assert sorted(lines) == counted(MONDAY, TUESDAY, OLDER)

    saved = namespace.submit(
        discojob(
            "saved",
            job="words:Saved",
            code={"configMap": {"name": "words-code"}},
            inputs=["tag://data:logs"],
            shared=False,
            workers={"envFrom": [{"secretRef": {"name": "s3"}}]},
        )
    )
    saved.wait_until_succeeded()

    here = "set -a && source s3.env && set +a"
    (tag,) = reader.types(here, "ddfs ls disco:results:").split()
    records = reader.types(here, f"ddfs xcat {tag}")
    assert sorted(records.splitlines()) == counted(MONDAY, TUESDAY)

    cron = GARBAGE.block("yaml", "kind: CronJob")
    (reader.folder / "gc.yaml").write_text(re.sub(r"image: .*", f"image: {image}", cron))
    reader.types(
        "kubectl apply -f gc.yaml",
        "kubectl create job collected --from cronjob/ddfs-gc",
        "kubectl wait job collected --for condition=Complete --timeout 2m",
    )
    assert reader.types(here, f"ddfs xcat {tag}") == records
