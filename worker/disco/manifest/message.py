"""Turns the spec of a manifest into the message that a coordinator is started with.

The code that travels with it is never looked into: only workers import it.
"""

import io
import zipfile
from collections.abc import Mapping, Sequence
from typing import Any

from disco.manifest.model import Spec
from disco.payload import LOADER, Header, join_payload
from disco.v1 import job_pb2
from disco_engine.core.settings import JobSettings
from disco_engine.wire import settings_to_wire


def job_message(
    spec: Spec,
    *,
    uid: str,
    name: str,
    files: Mapping[str, bytes],
    origins: Mapping[str, str],
    python_path: Sequence[str] = (),
) -> job_pb2.JobSpec:
    """Return the specification that the coordinator and the workers get.

    The deadline is not among its settings: who sees to it, and from when it counts, differs from
    one place to another.

    Args:
        spec: What to run.
        uid: The job's.
        name: The job's, for people.
        files: Content by name of the modules that travel with it.
        origins: What tracebacks call these files, by their names.
        python_path: Directories where the workers look for other modules.
    """
    jobargs: dict[str, Any] = {}
    if spec.params:
        jobargs["params"] = dict(spec.params)
    if spec.partitions is not None:
        jobargs["partitions"] = spec.partitions
    header = Header(reference=spec.job, jobargs=jobargs, files=origins)
    message = job_pb2.JobSpec(
        uid=uid,
        name=name,
        code=job_pb2.JobCode(
            loader=LOADER,
            payload=join_payload(header, b""),
            modules_zip=_zipped(files),
            python_path=python_path,
        ),
        inputs=[job_pb2.Input(urls=urls) for urls in spec.inputs],
        settings=settings_to_wire(JobSettings(**spec.engine_settings())),
    )
    if spec.output is not None:
        message.output.CopyFrom(job_pb2.Output(url=spec.output.url, format=spec.output.format))
    return message


def inline_files(spec: Spec) -> Mapping[str, bytes]:
    """Return the code that stands in the manifest itself: the module that ``job`` names."""
    if spec.code is None or spec.code.inline is None:
        return {}
    module = spec.job.partition(":")[0]
    return {f"{module.replace('.', '/')}.py": spec.code.inline.encode()}


def _zipped(files: Mapping[str, bytes]) -> bytes:
    """Return a ZIP, the same bytes for the same files; empty if there are none."""
    if not files:
        return b""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as target:
        for name in sorted(files):
            entry = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = 0o644 << 16
            target.writestr(entry, files[name])
    return archive.getvalue()
