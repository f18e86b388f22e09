"""A server that speaks S3: moto, on a free port of the loopback device, which it prints.

moto looks at a request's conditions first and stores later. Requests are served one at a time, so
that both are one step, as they are with Amazon. Run as a program.
"""

import os
import signal
import sys

from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server


def main() -> None:
    """Serve until terminated, or until whoever started us is gone."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    server = make_server(
        "127.0.0.1", 0, DomainDispatcherApplication(create_backend_app), threaded=False
    )
    print(f"http://127.0.0.1:{server.port}", flush=True)
    parent = os.getppid()
    server.timeout = 1
    while os.getppid() == parent:
        server.handle_request()


if __name__ == "__main__":
    main()
