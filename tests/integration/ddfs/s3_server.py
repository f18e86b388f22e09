"""A server that speaks S3: moto, on a free port of the loopback device, which it prints.

With "--host ADDRESS" it is on another device. With "--ignore-conditions" it does as servers do that
do not know If-Match and If-None-Match.

moto looks at a request's conditions first and stores later. Requests are served one at a time, so
that both are one step, as they are with Amazon. Run as a program.
"""

import argparse
import os
import signal
import sys
from typing import Any

from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server


def main() -> None:
    """Serve until terminated, or until whoever started us is gone."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--ignore-conditions", action="store_true")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    application: Any = DomainDispatcherApplication(create_backend_app)
    if options.ignore_conditions:
        application = without_conditions(application)
    server = make_server(options.host, 0, application, threaded=False)
    print(f"http://{options.host}:{server.port}", flush=True)
    parent = os.getppid()
    server.timeout = 1
    while os.getppid() == parent:
        server.handle_request()


def without_conditions(application: Any) -> Any:
    """Return *application*, which does not get to know of conditions."""

    def call(environment: dict[str, Any], start_response: Any) -> Any:
        for header in ("HTTP_IF_MATCH", "HTTP_IF_NONE_MATCH"):
            environment.pop(header, None)
        return application(environment, start_response)

    return call


if __name__ == "__main__":
    main()
