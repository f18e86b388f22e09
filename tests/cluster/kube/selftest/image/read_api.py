"""Reads the API as this pod's service account, checking the API server's certificate."""

import json
import ssl
import urllib.request
from pathlib import Path

ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
request = urllib.request.Request(
    "https://kubernetes.default.svc/api/v1/namespaces/default/pods",
    headers={"Authorization": f"Bearer {(ACCOUNT / 'token').read_text()}"},
)
context = ssl.create_default_context(cafile=str(ACCOUNT / "ca.crt"))
context.verify_flags |= ssl.VERIFY_X509_STRICT  # what Python 3.13 does by default
with urllib.request.urlopen(request, context=context) as reply:
    print(len(json.load(reply)["items"]), "pods")
