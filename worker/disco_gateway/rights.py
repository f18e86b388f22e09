"""Whether a caller may go on hearing: rights and tokens end while streams last."""

from collections.abc import Callable

from disco_gateway.backend import Backend, Caller, Verb


class Rights:
    """What one stream asks before it tells anything.

    A stream that tells nothing is not asked about: whoever has lost his rights learns from it only
    that nothing happens.
    """

    def __init__(
        self,
        backend: Backend,
        caller: Caller,
        verb: Verb,
        namespace: str,
        *,
        every_s: float,
        clock: Callable[[], float],
    ) -> None:
        self._backend = backend
        self._caller = caller
        self._verb = verb
        self._namespace = namespace
        self._every_s = every_s
        self._clock = clock
        self._asked_s: float | None = None

    async def check(self) -> None:
        """Do nothing, if the caller may hear more; the backend is asked now and then only.

        Raises:
            UnauthenticatedError: His token is not accepted any more.
            DeniedError: He may not, or not any more.
        """
        now_s = self._clock()
        if self._asked_s is not None:
            if now_s - self._asked_s < self._every_s:
                return
            self._caller = await self._backend.authenticate(self._caller.token)
        await self._backend.authorize(self._caller, self._verb, self._namespace)
        self._asked_s = now_s
