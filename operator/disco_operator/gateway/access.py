"""Who is asking, and whether he may: the API server's own answers, rights remembered for a moment.

TokenReview says whose token it is, SubjectAccessReview whether its owner may do that with DiscoJobs
there, so that nobody can do through the gateway what ``kubectl`` would not let him.
"""

import time
from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

from disco_gateway.backend import Caller, Verb
from disco_gateway.errors import DeniedError, UnauthenticatedError, UnavailableError
from disco_gateway.remembering import Remembered
from disco_operator.api import Api
from disco_operator.cluster import Kind
from disco_operator.cluster import UnavailableError as ClusterUnavailableError
from disco_operator.model import GROUP, Json

TOKEN_REVIEWS = "/apis/authentication.k8s.io/v1/tokenreviews"
ACCESS_REVIEWS = "/apis/authorization.k8s.io/v1/subjectaccessreviews"

PERMISSION_COUNTS_S = 5.0
MAX_REMEMBERED = 2_000
MAX_TOKEN_BYTES = 16 * 1024
"""API servers refuse larger headers; tokens of service accounts have about 1 kB."""

_NOT_ACCEPTED = "the token is not accepted: expired, or not of this cluster"


class _Question(NamedTuple):
    user: str
    uid: str
    groups: tuple[str, ...]
    extra: tuple[tuple[str, tuple[str, ...]], ...]
    verb: Verb
    namespace: str


class Access:
    """Asks the API server about callers.

    Args:
        api: With the gateway's own rights.
        clock: Monotonic seconds.
    """

    def __init__(self, api: Api, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._api = api
        self._permissions: Remembered[_Question, None] = Remembered(
            for_s=PERMISSION_COUNTS_S, most=MAX_REMEMBERED, clock=clock
        )

    async def caller_of(self, token: str) -> Caller:
        """Return whose token it is; who calls this remembers it for as long as that may count.

        Raises:
            UnauthenticatedError: It is nobody's, or not any more.
            UnavailableError: The API server does not say.
        """
        data = token.encode(errors="replace")
        if not token or len(data) > MAX_TOKEN_BYTES or not token.isascii():
            raise UnauthenticatedError(_NOT_ACCEPTED)
        return replace(await self._review(token), token=token)

    async def check(self, caller: Caller, verb: Verb, namespace: str) -> None:
        """Do nothing, if the caller may do this with DiscoJobs there; *namespace* "": in all.

        Raises:
            DeniedError: He may not.
            UnavailableError: The API server does not say.
        """
        question = _Question(
            user=caller.name,
            uid=caller.uid,
            groups=caller.groups,
            extra=tuple(sorted(caller.extra.items())),
            verb=verb,
            namespace=namespace,
        )
        await self._permissions.of(question, lambda: self._ask(question))

    async def _review(self, token: str) -> Caller:
        body = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenReview",
            "spec": {"token": token},
        }
        status = await self._post(TOKEN_REVIEWS, body, "whose token it is")
        user = status.get("user", {})
        if not status.get("authenticated") or not user.get("username"):
            raise UnauthenticatedError(_NOT_ACCEPTED)
        return Caller(
            name=user["username"],
            uid=user.get("uid", ""),
            groups=tuple(user.get("groups", ())),
            extra={name: tuple(values) for name, values in user.get("extra", {}).items()},
        )

    async def _ask(self, question: _Question) -> None:
        body = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SubjectAccessReview",
            "spec": {
                "user": question.user,
                "uid": question.uid,
                "groups": list(question.groups),
                "extra": {name: list(values) for name, values in question.extra},
                "resourceAttributes": {
                    "group": GROUP,
                    "resource": Kind.DISCOJOB.plural,
                    "verb": question.verb.value,
                    "namespace": question.namespace,
                },
            },
        }
        status = await self._post(ACCESS_REVIEWS, body, "what callers may do")
        if not status.get("allowed") or status.get("denied"):
            raise DeniedError(question.user, question.verb.value, question.namespace)

    async def _post(self, path: str, body: Json, what: str) -> Json:
        try:
            reply = await self._api.call("POST", path, body=body)
        except ClusterUnavailableError as error:
            raise UnavailableError(f"the API server does not say {what} now") from error
        if reply.status >= 400:
            # Ours is the mistake: rights that the gateway lacks are nobody else's business.
            raise UnavailableError(f"the gateway cannot find out {what}") from RuntimeError(
                f"{path} was answered {reply.status}: {reply.message}"
            )
        status: Json = reply.body.get("status", {})
        return status
