"""The code that travels with a job: what its manifest has, or the ConfigMap that it names.

The operator never looks into it: a file may be a module, a compiled program or data.
"""

import base64
from collections.abc import Mapping

from disco.manifest.message import inline_files
from disco_operator.cluster import Cluster, ForbiddenError, Kind
from disco_operator.model import DiscoJob, Json


async def code_of(job: DiscoJob, cluster: Cluster) -> tuple[Mapping[str, bytes] | None, str]:
    """Return the code that travels with a job, by name, or None and why there is none.

    Raises:
        ClusterError: The API server could not be asked; try again.
    """
    assert job.spec is not None
    if job.spec.code is None or job.spec.code.config_map is None:
        return inline_files(job.spec), ""
    name = job.spec.code.config_map.name
    where = f"ConfigMap {name} in namespace {job.key.namespace}"
    try:
        found = await cluster.get(Kind.CONFIGMAP, job.key.namespace, name)
    except ForbiddenError as error:
        return None, f"{where}, which spec.code.configMap names, cannot be read: {error}"
    if found is None:
        return None, f"there is no {where}, which spec.code.configMap names: create it"
    files = files_of(found)
    module = job.spec.job.partition(":")[0].partition(".")[0]
    if f"{module}.py" not in files:
        listed = ", ".join(sorted(files)) or "nothing"
        return None, (
            f"{where} has no {module}.py, which spec.job names; it has {listed}: create it anew"
            f" with --from-file {module}.py, or correct spec.job"
        )
    return files, ""


def files_of(config_map: Json) -> Mapping[str, bytes]:
    """Return what a ConfigMap has: kubectl puts into binaryData whatever is no text in UTF-8."""
    texts = {name: text.encode() for name, text in (config_map.get("data") or {}).items()}
    binary = config_map.get("binaryData") or {}
    return {**texts, **{name: base64.b64decode(data) for name, data in binary.items()}}
