"""The token that all local jobs of one Python process share."""

import functools
import secrets


@functools.cache
def session_token() -> str:
    """Return this Python process's token.

    Shared, so that a job may read the results that an earlier one left in its partition services.
    """
    return secrets.token_urlsafe(32)
