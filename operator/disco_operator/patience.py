"""Waits for an API server that is not there yet."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import TypeVar

from disco_operator.cluster import UnavailableError

log = logging.getLogger(__name__)

_T = TypeVar("_T")

RETRY_S = 2.0


async def patiently(ask: Callable[[], Awaitable[_T]]) -> _T:
    """Return the answer, however often it takes to ask."""
    while True:
        try:
            return await ask()
        except UnavailableError as error:
            log.warning("cluster not readable yet", extra={"error": str(error)})
            await asyncio.sleep(RETRY_S)
