"""One HTTP call to the API server: connection, credentials, time-out, and what failures mean.

``kubernetes.aio`` brings the configuration (inside a pod, or a kubeconfig) and the connection
pool. Bodies stay dictionaries: converting every answer into the client's models and back would
cost more than the rest of a reconciliation.
"""

import copy
import json
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple
from urllib.parse import urlencode

import aiohttp
from kubernetes.aio import config
from kubernetes.aio.client import ApiClient, Configuration

from disco_operator.cluster import (
    ClusterError,
    ForbiddenError,
    InvalidError,
    QuotaError,
    UnavailableError,
)
from disco_operator.model import Json

CONNECT_TIMEOUT_S = 5.0
TIMEOUT_S = 20.0

JSON = "application/json"
METADATA_ONLY = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"
METADATA_LIST_ONLY = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
JSON_PATCH = "application/json-patch+json"
MERGE_PATCH = "application/merge-patch+json"
APPLY_PATCH = "application/apply-patch+yaml"


class Reply(NamedTuple):
    """What the API server answered, whatever the HTTP status.

    Attributes:
        status: The HTTP status.
        body: The object or list; after a failure a ``v1/Status`` that says why.
    """

    status: int
    body: Json

    @property
    def reason(self) -> str:
        """Kubernetes' word for a failure, like ``AlreadyExists``."""
        return str(self.body.get("reason", ""))

    @property
    def message(self) -> str:
        """Kubernetes' sentence about a failure."""
        return str(self.body.get("message", ""))


@dataclass(frozen=True, slots=True)
class Credentials:
    """How this process connects, for whoever has a connection of their own (kopf).

    Attributes:
        server: URL.
        ca_file: Certificates that the API server's must be signed by.
        verify: False: do not look at its certificate.
        authorization: The HTTP header, or empty.
        cert_file: Our client certificate, or empty.
        key_file: Its key, or empty.
    """

    server: str
    ca_file: str
    verify: bool
    authorization: str
    cert_file: str
    key_file: str


class Api:
    """A pool of connections to the API server.

    Args:
        configuration: Of the connection.
        user_agent: What the API server's audit log calls us.
    """

    def __init__(self, configuration: Configuration, *, user_agent: str = "disco-operator") -> None:
        self._configuration = configuration
        self._client = ApiClient(configuration)
        self._client.user_agent = user_agent
        self._anonymous: ApiClient | None = None

    @classmethod
    async def connect(
        cls, *, user_agent: str = "disco-operator", connections: int | None = None
    ) -> "Api":
        """Return the API of the cluster this pod runs in, or else of the kubeconfig.

        Args:
            user_agent: What the API server's audit log calls us.
            connections: At most at once; 0: as many as it takes; None: Kubernetes' default.

        Raises:
            UnavailableError: There is neither.
        """
        configuration = Configuration()
        try:
            config.load_incluster_config(configuration)  # type: ignore[no-untyped-call]
        except config.ConfigException:
            try:
                await config.load_kube_config(  # type: ignore[no-untyped-call]
                    client_configuration=configuration
                )
            except config.ConfigException as error:
                raise UnavailableError(
                    f"no API server is known: this is no pod, and no kubeconfig helps: {error}"
                ) from error
        if connections is not None:
            configuration.connection_pool_maxsize = connections
        return cls(configuration, user_agent=user_agent)

    async def close(self) -> None:
        """Close all connections."""
        await self._client.close()  # type: ignore[no-untyped-call]
        if self._anonymous is not None:
            await self._anonymous.close()  # type: ignore[no-untyped-call]

    async def credentials(self) -> Credentials:
        """Return how to connect; tokens in files are read again when they are a minute old."""
        settings = self._configuration
        return Credentials(
            server=settings.host,
            ca_file=settings.ssl_ca_cert or "",
            verify=bool(settings.verify_ssl),
            authorization=(await self._headers()).get("authorization", ""),
            cert_file=settings.cert_file or "",
            key_file=settings.key_file or "",
        )

    async def call(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Any = None,
        content_type: str = JSON,
        accept: str = JSON,
        token: str | None = None,
        timeout_s: float = TIMEOUT_S,
    ) -> Reply:
        """Return the API server's answer.

        Args:
            method: Of HTTP.
            path: Like ``/api/v1/namespaces/default/pods``.
            query: Parameters of the URL.
            body: What JSON can say.
            content_type: Of the body.
            accept: What the answer should be.
            token: Whose call it is; None: our own. Then 401 is an answer like others: the token is
                not accepted (any more).
            timeout_s: For everything: connecting, sending, the whole answer.

        Raises:
            UnavailableError: There was no answer, or it was "not now".
        """
        url = self._configuration.host + path + (f"?{urlencode(query)}" if query else "")
        headers = await self._headers(token) | {"Accept": accept, "Content-Type": content_type}
        timeout = aiohttp.ClientTimeout(
            total=timeout_s, sock_connect=min(CONNECT_TIMEOUT_S, timeout_s)
        )
        client = self._client if token is None else self._without_certificate()
        try:
            response = await client.rest_client.request(  # type: ignore[no-untyped-call]
                method, url, headers=headers, body=body, _request_timeout=timeout
            )
            status, data = response.status, await response.read()
        except TimeoutError as error:
            raise UnavailableError(f"{method} {path} took more than {timeout_s:.1f} s") from error
        except (aiohttp.ClientError, OSError) as error:
            raise UnavailableError(f"{method} {path} failed: {error}") from error
        reply = Reply(status, _json_object(data))
        # 401: a token was rotated, or its review timed out; the next call reads it again.
        # A manifest with the same key twice is answered 500, and would be the next time, too.
        hopeless = status == 500 and "failed to create typed patch object" in reply.message
        not_now = (408, 429) if token is not None else (401, 408, 429)
        if (status >= 500 and not hopeless) or status in not_now:
            raise UnavailableError(f"{method} {path} was answered {status}: {reply.message}")
        return reply

    async def changes(
        self, path: str, *, query: Mapping[str, str], timeout_s: float
    ) -> AsyncGenerator[Json, None]:
        """Yield the events of a watch until it ends; the server ends each after a while.

        Args:
            path: Of the kind's objects.
            query: Parameters of the URL, beside those that every watch has.
            timeout_s: When the server is to end it.

        Raises:
            UnavailableError: It could not begin, or broke.
        """
        watch = {"watch": "1", "timeoutSeconds": str(int(timeout_s)), **query}
        url = f"{self._configuration.host}{path}?{urlencode(watch)}"
        headers = await self._headers(None) | {"Accept": JSON}
        timeout = aiohttp.ClientTimeout(total=timeout_s + TIMEOUT_S, sock_connect=CONNECT_TIMEOUT_S)
        try:
            response = await self._client.rest_client.request(  # type: ignore[no-untyped-call]
                "GET", url, headers=headers, _request_timeout=timeout
            )
            try:
                if response.status != 200:
                    said = _json_object(await response.read()).get("message", "")
                    raise UnavailableError(f"watch {path} was answered {response.status}: {said}")
                async for line in response.response.content:
                    yield _json_object(line)
            finally:
                response.response.close()
        except TimeoutError as error:
            raise UnavailableError(f"watch {path} did not end in time") from error
        except (aiohttp.ClientError, OSError, ValueError) as error:  # ValueError: a line too long
            raise UnavailableError(f"watch {path} broke: {error}") from error

    def _without_certificate(self) -> ApiClient:
        """Return the client for calls in somebody's name.

        Who shows a certificate is its owner for the API server, whatever token he shows as well.
        """
        if not self._configuration.cert_file:
            return self._client
        if self._anonymous is None:
            bare = copy.copy(self._configuration)
            bare.cert_file = bare.key_file = None
            self._anonymous = ApiClient(bare)
        return self._anonymous

    async def _headers(self, token: str | None = None) -> dict[str, str]:
        headers: dict[str, str] = {"User-Agent": self._client.user_agent}
        if token is not None:
            return headers | {"Authorization": f"Bearer {token}"}
        await self._client.update_params_for_auth(headers, [], ["BearerToken"], "", "", None)
        return headers


def _json_object(data: bytes) -> Json:
    # A proxy or a web hook may answer in HTML: then its beginning is the message.
    try:
        value = json.loads(data)
    except ValueError:
        value = None
    return value if isinstance(value, dict) else {"message": data[:200].decode(errors="replace")}


def refusal(reply: Reply, what: str) -> ClusterError:
    """Return the error for an answer (400 to 499) that nobody took for a normal one.

    Args:
        reply: The answer.
        what: Was asked, for example ``create deployments.apps ns/name``.
    """
    message = f"{what}: {reply.message or f'HTTP status {reply.status}'}"
    if reply.status == 403:
        kind = QuotaError if "exceeded quota" in reply.message else ForbiddenError
        return kind(message)
    # 404: the namespace, or the kind itself, is not there (any more).
    if reply.status in (404, 409, 410):
        return UnavailableError(message)
    return InvalidError(message)
