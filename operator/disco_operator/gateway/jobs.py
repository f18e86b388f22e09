"""The gateway's calls about DiscoJobs: it reads with its own rights, and writes with its callers'.

So the API server, its audit log and its admission see the person behind each change.
"""

from collections.abc import AsyncGenerator
from typing import NamedTuple

from disco_gateway.backend import Caller, Verb
from disco_gateway.errors import JobNotFoundError, UnavailableError
from disco_operator import names
from disco_operator.api import MERGE_PATCH, Api, Reply
from disco_operator.cluster import Kind
from disco_operator.cluster import UnavailableError as ClusterUnavailableError
from disco_operator.gateway.refusals import error_of_code, error_of_read, error_of_write
from disco_operator.kube import path_of
from disco_operator.model import GATEWAY, JobKey, Json

WATCH_S = 300.0
"""A watch is begun anew so often, whatever happens."""


class JobPage(NamedTuple):
    """Some DiscoJobs, and where to go on; "": that was all."""

    items: list[Json]
    after: str


class Jobs:
    """DiscoJobs, and what belongs to them.

    Args:
        api: With the gateway's own rights.
        namespaces: That it serves; empty: all.
    """

    def __init__(self, api: Api, *, namespaces: tuple[str, ...] = ()) -> None:
        self._api = api
        self.namespaces = namespaces

    # --- reading

    async def get(self, key: JobKey) -> Json:
        """Return a DiscoJob.

        Raises:
            JobNotFoundError: There is none.
        """
        reply = await self._call("GET", path_of(Kind.DISCOJOB, *key))
        if reply.status == 404:
            raise JobNotFoundError(*key)
        return self._read(reply, f"DiscoJobs in namespace {key.namespace!r}")

    async def page(self, namespace: str, *, limit: int, after: str, labels: str) -> JobPage:
        """Return some DiscoJobs, ascending by namespace and name.

        Args:
            namespace: Where; "": everywhere.
            limit: How many, at most.
            after: Where the page before ended; "": at the beginning.
            labels: Which they must have.

        Raises:
            GoneError: *after* is too old.
        """
        query = {"limit": str(limit)}
        if labels:
            query["labelSelector"] = labels
        if after:
            query["continue"] = after
        reply = await self._call("GET", path_of(Kind.DISCOJOB, namespace or None), query=query)
        where = f"namespace {namespace!r}" if namespace else "all namespaces"
        answer = self._read(reply, f"DiscoJobs in {where}")
        return JobPage(answer["items"] or [], answer["metadata"].get("continue", ""))

    async def now_and_then(self, key: JobKey) -> AsyncGenerator[Json | None, None]:
        """Yield a DiscoJob as it is, and whenever it changes; None: it is not there (any more).

        Ends after some minutes, or when the API server has lost track: ask again.

        Raises:
            UnavailableError: The API server does not answer (any more).
        """
        path = path_of(Kind.DISCOJOB, key.namespace)
        which = {"fieldSelector": f"metadata.name={key.name}"}
        reply = await self._call("GET", path, query=which)
        listing = self._read(reply, f"DiscoJobs in namespace {key.namespace!r}")
        yield listing["items"][0] if listing["items"] else None
        since = {"resourceVersion": listing["metadata"]["resourceVersion"]}
        changes = self._api.changes(path, query={**which, **since}, timeout_s=WATCH_S)
        try:
            async for change in changes:
                match change.get("type"):
                    case "ADDED" | "MODIFIED":
                        yield change["object"]
                    case "DELETED":
                        yield None
                    case _:  # ERROR: 410, most likely
                        return
        except ClusterUnavailableError as error:
            raise UnavailableError(str(error)) from error
        finally:
            await changes.aclose()

    async def kept_events(self, key: JobKey, uid: str) -> Json | None:
        """Return the ConfigMap with what was heard of a job that has ended; None: there is none."""
        name = names.events_config_map(key, uid)
        reply = await self._call("GET", path_of(Kind.CONFIGMAP, key.namespace, name))
        if reply.status == 404:
            return None
        return self._read(reply, f"ConfigMaps in namespace {key.namespace!r}")

    # --- writing, in a caller's name

    async def create(self, caller: Caller, manifest: Json, *, dry_run: bool) -> Json | None:
        """Create a DiscoJob and return it; None: there is one of the name.

        Raises:
            InvalidRequestError: The cluster refuses it, and says why.
            NotPossibleError: Its namespace is not there, a quota is used up, or a policy
                is against it.
        """
        metadata = manifest["metadata"]
        key = JobKey(metadata["namespace"], metadata["name"])
        query = {"fieldManager": GATEWAY, "fieldValidation": "Strict"}
        if dry_run:
            query["dryRun"] = "All"
        reply = await self._call(
            "POST", path_of(Kind.DISCOJOB, key.namespace), query=query, body=manifest, caller=caller
        )
        if reply.reason == "AlreadyExists":
            return None
        return _written(reply, caller, Verb.CREATE, key)

    async def patch(
        self, caller: Caller, key: JobKey, patch: Json, *, version: str = ""
    ) -> Json | None:
        """Merge *patch* into a DiscoJob and return it; None: it has changed since *version*.

        Raises:
            JobNotFoundError: There is none.
        """
        if version:
            patch = {**patch, "metadata": {**patch.get("metadata", {}), "resourceVersion": version}}
        reply = await self._call(
            "PATCH", path_of(Kind.DISCOJOB, *key), query={"fieldManager": GATEWAY}, body=patch,
            content_type=MERGE_PATCH, caller=caller,
        )  # fmt: skip
        if reply.status == 404:
            raise JobNotFoundError(*key)
        if reply.status == 409:
            return None
        return _written(reply, caller, Verb.PATCH, key)

    async def delete(self, caller: Caller, key: JobKey, *, uid: str) -> None:
        """Delete a DiscoJob, and in the background what it owns; *uid* not empty: only that one.

        Raises:
            JobNotFoundError: There is none, or another.
        """
        options: Json = {
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "propagationPolicy": "Background",
        }
        if uid:
            options["preconditions"] = {"uid": uid}
        path = path_of(Kind.DISCOJOB, *key)
        reply = await self._call("DELETE", path, body=options, caller=caller)
        if reply.status in (404, 409):
            raise JobNotFoundError(*key)
        _written(reply, caller, Verb.DELETE, key)

    # --- writing, in the gateway's own name

    async def create_secret(self, manifest: Json) -> bool:
        """Create a Secret; False: there is one of the name.

        Raises:
            NotPossibleError: The cluster refuses it.
            OverloadedError: A quota is used up.
        """
        namespace = manifest["metadata"]["namespace"]
        reply = await self._call(
            "POST", path_of(Kind.SECRET, namespace), query={"fieldManager": GATEWAY}, body=manifest
        )
        if reply.reason == "AlreadyExists":
            return False
        if reply.status >= 400:
            raise error_of_code(reply, namespace)
        return True

    # --- inside

    async def _call(
        self,
        method: str,
        path: str,
        *,
        query: dict[str, str] | None = None,
        body: Json | None = None,
        content_type: str = "application/json",
        caller: Caller | None = None,
    ) -> Reply:
        try:
            return await self._api.call(
                method, path, query=query, body=body, content_type=content_type,
                token=None if caller is None else caller.token,
            )  # fmt: skip
        except ClusterUnavailableError as error:
            raise UnavailableError("the API server does not answer now") from error

    def _read(self, reply: Reply, what: str) -> Json:
        if reply.status >= 400:
            raise error_of_read(reply, what, self.namespaces)
        return reply.body


def _written(reply: Reply, caller: Caller, verb: Verb, key: JobKey) -> Json:
    if reply.status >= 400:
        raise error_of_write(reply, caller, verb, key)
    return reply.body
