"""A kopf operator: a Greeting gets a ConfigMap that greets, and its status says so."""

from typing import Any

import kopf


@kopf.on.create("test.kube", "v1", "greetings")  # type: ignore[arg-type]
def created(spec: dict[str, Any], **_: object) -> dict[str, str]:
    """React to a new Greeting."""
    return {"text": f"hello {spec['who']}"}
