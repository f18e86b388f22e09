"""Asks a partition service what a job's stages have left there, and reads none of it."""

from collections.abc import Iterator

import grpc

from disco.v1 import job_pb2, partition_pb2, partition_pb2_grpc
from disco_engine.core import label_table
from disco_engine.core.model import Label
from disco_engine.result_errors import ResultUnreachableError, raise_if_final
from disco_engine.rpc import credentials_of, sync_channel

_PATIENCE_S = 10.0


def labels_of(address: str, token: str, job_uid: str, stage: int) -> dict[int, dict[Label, int]]:
    """Return how many records of which label each task of a stage left in a service.

    Labels are ascending, and those without records are left out.

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
    return {
        sealed.attempt.task: {
            label: records
            for label, _, records, _ in label_table.rows(sealed.label_table)
            if records
        }
        for reply in _attached(address, token, request)
        for sealed in reply.sealed
    }


def is_by_label(address: str, token: str, job_uid: str, stage: int) -> bool:
    """Return whether what a stage left is read by label, or else by task.

    Arguments and errors are those of ``labels_of``.
    """
    replies = _attached(address, token, partition_pb2.AttachRequest(job_uid=job_uid))
    plan = job_pb2.Plan.FromString(next(replies).state.plan)
    following = plan.stages[stage : stage + 1]  # stage 0 is the plan's own
    return any(stage.grouping != job_pb2.GROUPING_SPLIT for stage in following)


def _attached(
    address: str, token: str, request: partition_pb2.AttachRequest
) -> Iterator[partition_pb2.AttachReply]:
    with sync_channel(address) as channel:
        call = partition_pb2_grpc.PartitionStub(channel).Attach(
            request, metadata=credentials_of(token), timeout=_PATIENCE_S, wait_for_ready=True
        )
        try:
            yield from call
        except grpc.RpcError as error:
            if error.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
                raise ResultUnreachableError(
                    f"the partition service at {address} did not answer for {_PATIENCE_S:g} s; see"
                    " that it runs, and read again"
                ) from error
            raise_if_final(error, address, 0.0)
            raise
        finally:
            call.cancel()
