"""The schema of a DiscoJob's status: what the operator writes, bounded for jobs of any size.

What is not here the API server drops, so whoever writes a new field adds it here, too.
"""

from typing import Any

Schema = dict[str, Any]

MAX_STAGES = 100
MAX_FAILURES = 10

UNSEEN = {
    "phase": "Pending",
    "reason": "NotSeenYet",
    "observedMessage": "no operator has looked at the job yet: many jobs may be before it, or none"
    " runs",
}
"""What the API server says of a job that has no status: readers need not wait for an operator."""

_STAGES = (
    "The job's stages, in order. A status stays below 20 kB: if there are many, only how many tasks"
    " are done is told of those that are far from the one that runs, or nothing."
)


def status_schema() -> Schema:
    """Return the schema of ``status``."""
    schema = _object(
        "What has become of the job, as the operator last saw it.",
        {
            **_summary(),
            **_bookkeeping(),
            "conditions": _conditions(),
            "stages": _keyed("name", MAX_STAGES, _stage(), _STAGES),
            "failures": _list(
                MAX_FAILURES,
                _failure(),
                "The newest failures of tasks, newest last. A task that failed may have succeeded"
                " since.",
            ),
            "results": _results(),
        },
    )
    return schema | {"default": dict(UNSEEN)}


def _summary() -> Schema:
    return {
        "phase": _text(
            "One word for people: Pending, Planning, Running, Committing, Suspended, Succeeded,"
            " Failed or Cancelled. Programs look at conditions.",
            63,
        ),
        "reason": _text("Why the job is in this phase, in one word.", 256),
        "observedMessage": _text(
            "Why the job is in this phase, in a sentence; if something is wrong, what to do.", 2000
        ),
        "stage": _text("The stage that runs, or ran last.", 256),
        "progress": _text("Tasks done of all tasks that are known so far: 37/120.", 63),
        "duration": _text("How long the job has been running, or ran: 3m12s.", 63),
        "retries": _count("Attempts at tasks beyond the first of each."),
        "startTime": _time("When the job was started for the first time."),
        "completionTime": _time("When the job ended. Unset: it has not."),
        "workers": _count("Workers that are connected to the coordinator."),
        "slots": _count("Tasks that they can run at the same time."),
        "observedGeneration": _count("The generation of the spec that this status is about."),
    }


def _bookkeeping() -> Schema:
    return {
        "observedRetry": _count("The value of spec.retry that was acted on."),
        "inputsHash": _text(
            "Fingerprint of what the job was started with, to notice changes of spec.inputs.", 64
        ),
        "image": _text(
            "The image of its pods, unless a podTemplate names another: that of spec, or what was"
            " the operator's default when its first pods ran. No upgrade changes it.",
            1024,
        ),
        "runs": _count("How many times the job was started again by spec.retry."),
        "inLineSince": _time(
            "Since when the job has its place among those of the namespace that a quota keeps from"
            " starting: the first tries, the others have no pods."
        ),
        "runSince": _time("Since when the job has been running without a pause."),
        "activeSeconds": _count(
            "How many seconds the job ran before runSince, without the time it was suspended."
        ),
        "stopping": _object(
            "Set while a job that has to end is being ended.",
            {"reason": _text("Why it has to end.", 256), "since": _time("Since when.")},
        ),
        "released": _text("What of a finished job has been let go: Workers or All.", 63),
        "coordinator": _object(
            "What was last heard of the coordinator.",
            {
                "epoch": _count("Grows each time it starts."),
                "lastEvent": _count("The last of its events that became a Kubernetes event."),
            },
        ),
        "memoryFactor": {
            "type": "object",
            "description": "By how much the memory of worker pods was raised because some ran out"
            " of it, by group: a stage's label, or shared.",
            "maxProperties": MAX_STAGES,
            "additionalProperties": {"type": "number"},
        },
    }


def _conditions() -> Schema:
    entry = _object(
        "",
        {
            "type": _text(
                "Accepted, Planned, Running, Suspended, Succeeded, Failed or ResultsAvailable.", 316
            ),
            "status": {
                "type": "string",
                "enum": ["True", "False", "Unknown"],
                "description": "Whether it is so.",
            },
            "reason": _text("Why, for programs: one of those in docs/operating.md.", 1024),
            "message": _text("Why, for people, and what to do.", 32768),
            "observedGeneration": _count("The generation of the spec that it is about."),
            "lastTransitionTime": _time("Since when it has been so."),
        },
        required=("type", "status", "reason", "message", "lastTransitionTime"),
    )
    return _keyed("type", 20, entry, "What programs look at, as in other Kubernetes objects.")


def _stage() -> Schema:
    tasks = {
        "total": "All of the stage's tasks. 0: not known before the stage before it has ended.",
        "waiting": "Tasks that no worker has yet.",
        "running": "Tasks that a worker has.",
        "done": "Tasks whose output is kept.",
    }
    label = {
        "label": _integer("The label."),
        "bytes": _count("Bytes under it, compressed."),
        "records": _count("Records under it."),
    }
    return _object(
        "",
        {
            "name": _text("The stage, as the job's code calls it.", 256),
            "tasks": _object("Its tasks.", {name: _count(text) for name, text in tasks.items()}),
            "retries": _count("Attempts at its tasks beyond the first of each."),
            "recordsIn": _count("Records its finished tasks read."),
            "bytesIn": _count("Bytes they read."),
            "recordsOut": _count("Records they wrote."),
            "bytesOut": _count("Bytes they wrote, compressed."),
            "startTime": _time("When its first task was given to a worker."),
            "completionTime": _time("When its last task was done."),
            "largestLabels": _list(
                5,
                _object("", label),
                "Labels with the most bytes, largest first: one much larger than the others holds"
                " the next stage up.",
            ),
        },
        required=("name",),
    )


def _failure() -> Schema:
    return _object(
        "",
        {
            "stage": _text("The stage.", 256),
            "task": _count("The task's index in its stage, from 0."),
            "attempt": _count("Which attempt at it failed, from 1."),
            "epoch": _count("Of the coordinator that counted the attempts."),
            "kind": _text(
                "Who has to act: User (the job's code), Data (an input), Infrastructure (nobody:"
                " it is tried again) or Fatal (the job can never work).",
                63,
            ),
            "message": _text("What happened, and what to do.", 1000),
            "traceback": _text("The end of the traceback of the job's code.", 4000),
            "record": _text("The record that was being processed.", 1000),
            "input": _text("What was being read.", 4096),
            "worker": _text("The worker's pod.", 253),
            "node": _text("The node it was on.", 253),
            "time": _time("When the operator heard of it."),
        },
    )


def _results() -> Schema:
    pod = {"name": _text("Its name.", 253), "uid": _text("Its uid.", 63)}
    return _object(
        "Where the last stage's records are. Set once the job has succeeded.",
        {
            "url": _text("The output's directory. Unset: the partition services keep them.", 4096),
            "format": _text("The output's format.", 63),
            "stage": _text("The stage that wrote them.", 256),
            "parts": _count("How many parts they have."),
            "records": _count("How many they are."),
            "bytes": _count(
                "How many bytes they have, compressed; unset if they were written to an output."
            ),
            "expiresAt": _time("When they are deleted with the job. Unset: never."),
            "pods": _list(
                100, _object("", pod), "Pods that keep them on their nodes' disks; gone with them."
            ),
        },
    )


def _object(text: str, properties: Schema, required: tuple[str, ...] = ()) -> Schema:
    made: Schema = {"type": "object"}
    if text:
        made["description"] = text
    if required:
        made["required"] = list(required)
    return made | {"properties": properties}


def _list(most: int, items: Schema, text: str) -> Schema:
    return {"type": "array", "description": text, "maxItems": most, "items": items}


def _keyed(key: str, most: int, items: Schema, text: str) -> Schema:
    return _list(most, items, text) | {
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": [key],
    }


def _text(text: str, longest: int) -> Schema:
    return {"type": "string", "description": text, "maxLength": longest}


def _integer(text: str) -> Schema:
    return {"type": "integer", "format": "int64", "description": text}


def _count(text: str) -> Schema:
    return _integer(text) | {"minimum": 0}


def _time(text: str) -> Schema:
    return {"type": "string", "format": "date-time", "description": text}
