"""Asks a partition service which labels a job's result has, and reads none of it."""

import grpc

from disco.v1 import partition_pb2, partition_pb2_grpc
from disco_engine.core.model import Label
from disco_engine.result_errors import ResultUnreachableError, raise_if_final
from disco_engine.rpc import credentials_of, sync_channel

_PATIENCE_S = 10.0


def labels_of(address: str, token: str, job_uid: str, stage: int) -> dict[int, list[Label]]:
    """Return the labels of the records that each task of a stage left in a service, ascending.

    Args:
        address: host:port of the service.
        token: The job's token.
        job_uid: The job.
        stage: Any of its stages that is complete.

    Raises:
        ResultUnreachableError: It does not answer.
        ResultLostError: It does not have the job.
        ResultDeniedError: It does not accept the token.
    """
    request = partition_pb2.AttachRequest(job_uid=job_uid, tell_sealed=True, only_stage=stage)
    found: dict[int, list[Label]] = {}
    with sync_channel(address) as channel:
        stub = partition_pb2_grpc.PartitionStub(channel)
        call = stub.Attach(
            request,
            metadata=credentials_of(token),
            timeout=_PATIENCE_S,
            wait_for_ready=True,
        )
        try:
            for reply in call:
                for sealed in reply.sealed:
                    labels = sorted(item.label for item in sealed.labels if item.totals.records)
                    found[sealed.attempt.task] = labels
        except grpc.RpcError as error:
            if error.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
                raise ResultUnreachableError(
                    f"the partition service at {address} did not answer for"
                    f" {_PATIENCE_S:g} s; see that it runs, and read again"
                ) from error
            raise_if_final(error, address, 0.0)
            raise
    return found
