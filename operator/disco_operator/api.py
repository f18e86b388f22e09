"""One HTTP call to the API server: connection, credentials, time-out, and what failures mean.

``kubernetes.aio`` brings the configuration (inside a pod, or a kubeconfig) and the connection
pool. Bodies stay dictionaries: converting every answer into the client's models and back would
cost more than the rest of a reconciliation.
"""

import json
from collections.abc import Mapping
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
JSON_PATCH = "application/json-patch+json"
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
    """A pool of connections to the API server."""

    def __init__(self, configuration: Configuration) -> None:
        self._configuration = configuration
        self._client = ApiClient(configuration)
        self._client.user_agent = "disco-operator"

    @classmethod
    async def connect(cls) -> "Api":
        """Return the API of the cluster this pod runs in, or else of the kubeconfig.

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
        return cls(configuration)

    async def close(self) -> None:
        """Close all connections."""
        await self._client.close()  # type: ignore[no-untyped-call]

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
        timeout_s: float = TIMEOUT_S,
    ) -> Reply:
        """Return the API server's answer.

        Args:
            method: Of HTTP.
            path: Like ``/api/v1/namespaces/default/pods``.
            query: Parameters of the URL.
            body: What JSON can say.
            content_type: Of the body.
            timeout_s: For everything: connecting, sending, the whole answer.

        Raises:
            UnavailableError: There was no answer, or it was "not now".
        """
        url = self._configuration.host + path + (f"?{urlencode(query)}" if query else "")
        headers = await self._headers() | {"Accept": JSON, "Content-Type": content_type}
        timeout = aiohttp.ClientTimeout(
            total=timeout_s, sock_connect=min(CONNECT_TIMEOUT_S, timeout_s)
        )
        try:
            response = await self._client.rest_client.request(  # type: ignore[no-untyped-call]
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
        if (status >= 500 and not hopeless) or status in (401, 408, 429):
            raise UnavailableError(f"{method} {path} was answered {status}: {reply.message}")
        return reply

    async def _headers(self) -> dict[str, str]:
        headers: dict[str, str] = {"User-Agent": self._client.user_agent}
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
