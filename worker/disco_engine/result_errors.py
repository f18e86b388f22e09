"""Why a job's result cannot be read from its partition services; knows no frames, runs no code.

ResultError
├── ResultUnreachableError
├── ResultLostError
├── ResultDeniedError
└── ResultTooFineError
"""

import grpc


class ResultError(Exception):
    """A result cannot be read."""


class ResultUnreachableError(ResultError):
    """The service that has the result does not answer: see that it runs, and read again."""


class ResultLostError(ResultError):
    """The service does not have the result, or not all of it: run the job again."""


class ResultDeniedError(ResultError):
    """The service does not accept the token: read with that of the session that ran the job."""


class ResultTooFineError(ResultError):
    """There are too many parts and labels to read each for itself: reduce them, or use files."""


def raise_if_final(error: grpc.RpcError, address: str, waited_s: float | None) -> None:
    """Raise what the caller should know of, unless trying again may help.

    Args:
        error: How a call ended.
        address: host:port of the service.
        waited_s: For how long it has not answered, if that is long enough; None: it is not.

    Raises:
        ResultError: Trying again is of no use.
    """
    code, details = error.code(), error.details()
    at = f"the partition service at {address}"
    match code:
        case grpc.StatusCode.UNAUTHENTICATED:
            raise ResultDeniedError(
                f"{at} does not accept the token; read with that of the session that ran the job"
            ) from error
        case grpc.StatusCode.UNAVAILABLE | grpc.StatusCode.ABORTED | grpc.StatusCode.CANCELLED:
            if waited_s is not None:
                raise ResultUnreachableError(
                    f"{at} did not answer for {waited_s:g} s ({details}); see that it runs, and"
                    " read again"
                ) from error
        case _:
            raise ResultLostError(f"{at} cannot give the result: {details}") from error
