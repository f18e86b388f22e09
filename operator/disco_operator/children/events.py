"""What a job's coordinator had to tell, kept beyond its end in a ConfigMap.

The coordinator's pod goes when the job has ended, and with it what the job's code has printed. The
newest of it stays as long as the job does.
"""

import base64
import binascii

import zstandard
from google.protobuf.message import DecodeError

from disco.v1 import coordinator_pb2
from disco_operator import names
from disco_operator.model import DiscoJob, Json

MAX_BYTES = 700_000
"""Of the compressed events. A ConfigMap may have 1 MiB, and they are written while a job ends."""
MAX_UNPACKED_BYTES = 32 * 1024 * 1024
"""A coordinator keeps 4 Mi characters at most; who may edit the ConfigMap may put a bomb there."""
_ENTRY = "events.pb.zst"


def events_config_map(job: DiscoJob, told: coordinator_pb2.WatchReply, *, run: int) -> Json:
    """Return the ConfigMap with a job's events.

    Args:
        job: The job.
        told: What its coordinator told at the end.
        run: How often the job had been started again: each run has its own events.
    """
    metadata = names.metadata(job, names.events_config_map(job.key, job.uid), names.labels(job))
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {**metadata, "annotations": {names.RUN_ANNOTATION: str(run)}},
        "immutable": True,
        "binaryData": {_ENTRY: base64.b64encode(packed(told)).decode()},
    }


def run_of(config_map: Json) -> int:
    """Return which run of the job a ConfigMap has the events of; -1: it does not say."""
    text = config_map["metadata"].get("annotations", {}).get(names.RUN_ANNOTATION, "")
    return int(text) if text.isdecimal() else -1


def packed(told: coordinator_pb2.WatchReply, *, max_bytes: int = MAX_BYTES) -> bytes:
    """Return as many of the newest events as fit, compressed, with the epoch that numbers them."""
    epoch, last = told.progress.epoch, told.progress.last_event
    events = list(told.events)
    while True:
        kept = coordinator_pb2.WatchReply(
            progress=coordinator_pb2.JobProgress(epoch=epoch, last_event=last), events=events
        )
        data = zstandard.compress(kept.SerializeToString())
        if len(data) <= max_bytes or not events:
            return data
        # A little less than what fits if all events are alike; at least one goes each time.
        fitting = int(len(events) * max_bytes / len(data) * 0.95)
        events = events[-fitting:] if fitting else []


def unpacked(config_map: Json) -> coordinator_pb2.WatchReply | None:
    """Return the events in a ConfigMap, with their epoch; None: it is not one of ours."""
    try:
        data = base64.b64decode(config_map["binaryData"][_ENTRY], validate=True)
        if not 0 < zstandard.frame_content_size(data) <= MAX_UNPACKED_BYTES:
            return None
        return coordinator_pb2.WatchReply.FromString(zstandard.decompress(data))
    except (KeyError, TypeError, binascii.Error, zstandard.ZstdError, DecodeError):
        return None
