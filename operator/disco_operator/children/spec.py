"""What a job's coordinator is started with: the specification, with a snapshot of the code.

The operator packs the code of ConfigMaps and manifests once, when the job starts, so that all
workers of the job run the same, whatever becomes of the ConfigMap. It never looks into it.
"""

import base64
import io
import zipfile
from collections.abc import Mapping

from disco.manifest import Spec
from disco.packing import LOADER
from disco.payload import Header, join_payload
from disco.v1 import job_pb2
from disco_engine.core.settings import JobSettings
from disco_engine.wire import settings_to_wire
from disco_operator import names
from disco_operator.children.workers import CODE_DIRS
from disco_operator.model import DiscoJob, Json

MAX_BYTES = 900_000
"""A ConfigMap may have 1 MiB, with everything around the data."""
WHERE_FROM = "/job/code"


class SpecTooLargeError(Exception):
    """A job's specification does not fit into a ConfigMap."""

    def __init__(self, size_bytes: int) -> None:
        super().__init__(
            f"spec with code and params has {size_bytes:,} bytes; at most {MAX_BYTES:,} fit into"
            " the cluster: put the code into an image or an archive, or large params into an input"
        )


def spec_config_map(job: DiscoJob, files: Mapping[str, bytes]) -> Json:
    """Return the ConfigMap with the job's specification.

    Args:
        job: The job.
        files: Content by name of the code that travels with it.

    Raises:
        SpecTooLargeError: It does not fit.
    """
    content = job_message(job, files).SerializeToString()
    if len(content) > MAX_BYTES:
        raise SpecTooLargeError(len(content))
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": names.metadata(job, names.spec_config_map(job), names.labels(job)),
        "immutable": True,
        "binaryData": {"job.pb": base64.b64encode(content).decode()},
    }


def job_message(job: DiscoJob, files: Mapping[str, bytes]) -> job_pb2.JobSpec:
    """Return the specification that the coordinator and the workers get."""
    spec = job.spec
    assert spec is not None
    jobargs: Json = {}
    if spec.params:
        jobargs["params"] = dict(spec.params)
    if spec.partitions is not None:
        jobargs["partitions"] = spec.partitions
    origins = {name: f"{WHERE_FROM}/{name}" for name in files}
    header = Header(reference=spec.job, jobargs=jobargs, files=origins)
    message = job_pb2.JobSpec(
        uid=job.uid,
        name=str(job.key),
        code=job_pb2.JobCode(
            loader=LOADER,
            payload=join_payload(header, b""),
            modules_zip=_zipped(files),
            python_path=CODE_DIRS,
        ),
        inputs=[job_pb2.Input(urls=urls) for urls in spec.inputs],
        settings=settings_to_wire(settings_of(spec)),
    )
    if spec.output is not None:
        message.output.CopyFrom(job_pb2.Output(url=spec.output.url, format=spec.output.format))
    return message


def settings_of(spec: Spec) -> JobSettings:
    """Return the engine's settings that a manifest asks for.

    The deadline is not among them: it may change while the job runs, and time in suspension does
    not count, so the operator sees to it.
    """
    return JobSettings(**spec.engine_settings())


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
