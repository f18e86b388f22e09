"""What a job needs from elsewhere, an archive and packages, and as many workers as it has tasks."""

import hashlib
import io
import zipfile
from collections.abc import Mapping
from textwrap import dedent

from harness.jobs import discojob, results
from harness.namespaces import Namespace
from harness.volumes import Volume
from harness.waiting import wait_for

CODE = dedent(
    """\
    import os
    import time

    from disco import Job
    from greeting import TEXT

    class Greeting(Job):
        @staticmethod
        def map(name, params):
            open(f"/shared/begun/{name}", "w").close()
            while not os.path.exists("/shared/gates/" + ("last" if name == "last" else "first")):
                time.sleep(0.05)
            yield name, TEXT
    """
)
NAMES = ("one", "two", "three", "four", "last")


def _zipped(files: Mapping[str, str]) -> bytes:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as content:
        for name, text in files.items():
            content.writestr(name, text)
    return archive.getvalue()


def _wheel(name: str, version: str, source: str) -> bytes:
    about = f"{name}-{version}.dist-info"
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    wheel = "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    return _zipped(
        {
            f"{name}.py": source,
            f"{about}/METADATA": metadata,
            f"{about}/WHEEL": wheel,
            f"{about}/RECORD": "",
        }
    )


def test_a_job_brings_an_archive_and_packages_and_has_workers_by_its_open_tasks(
    namespace: Namespace, shared_volume: Volume
) -> None:
    archive = _zipped({"shop/__init__.py": "", "shop/greeting_job.py": CODE})
    shared_volume.write("code.zip", archive)
    shared_volume.write(
        "wheels/greeting-1.0-py3-none-any.whl", _wheel("greeting", "1.0", "TEXT = 'hello'")
    )
    for folder in ("begun", "gates"):
        shared_volume.write(f"{folder}/.there", "")
    job = namespace.submit(
        discojob(
            "supplied",
            job="shop.greeting_job:Greeting",
            code={
                "archive": {
                    "url": "/shared/code.zip",
                    "sha256": hashlib.sha256(archive).hexdigest(),
                }
            },
            requirements=["greeting>=1"],
            inputs=[f"raw://{name}" for name in NAMES],
            partitions=1,
            workers={
                "replicas": None,
                "min": 1,
                "max": 3,
                "env": [
                    {"name": "PIP_NO_INDEX", "value": "1"},
                    {"name": "PIP_FIND_LINKS", "value": "/shared/wheels"},
                ],
            },
            output={"url": "/shared/results"},
        )
    )
    wait_for("three tasks to run", lambda: len(shared_volume.names("begun")) == 3, timeout=240)
    assert len(job.pods("worker")) == 3

    shared_volume.write("gates/first", "")
    job.wait_for_pods("worker", 1)
    shared_volume.write("gates/last", "")
    job.wait_until_succeeded()

    assert results(shared_volume) == dict.fromkeys(NAMES, "hello")
