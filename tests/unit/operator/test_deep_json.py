"""A DiscoJob that is nested as deep as the API server allows harms nobody but itself."""

import subprocess
import sys

PROGRAM = """
import json
from disco_operator.deep_json import bear_deep_json
from disco_operator.cache import Cache
from disco_operator.cluster import Kind
from disco_operator.model import DiscoJob, JobKey

bear_deep_json()
depth = 10_000
params = '{"a":' * depth + "1" + "}" * depth
text = '''{
    "metadata": {
        "namespace": "ns", "name": "j", "uid": "u", "resourceVersion": "1",
        "creationTimestamp": "2026-01-01T00:00:00Z"
    },
    "spec": {"job": "a:B", "inputs": ["x"], "params": PARAMS},
    "status": {"completionTime": "2026-01-01T00:00:00Z"}
}'''
cache = Cache()
cache.heard(Kind.DISCOJOB, "ADDED", json.loads(text.replace("PARAMS", params)))
job = DiscoJob.from_body(cache.job(JobKey("ns", "j")))
print(job.problem)
"""


def test_it_is_decoded_kept_and_refused_with_a_reason() -> None:
    """In a process of its own, since it changes how deep this one may go."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert "levels of nesting" in done.stdout
