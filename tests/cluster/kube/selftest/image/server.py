"""Answers every GET on port 8080 with this pod's name."""

import http.server
import signal
import socket
import sys


class Handler(http.server.BaseHTTPRequestHandler):
    """Says who it is."""

    def do_GET(self) -> None:
        """Say who it is."""
        self.send_response(200)
        self.end_headers()
        self.wfile.write(socket.gethostname().encode())

    def log_message(self, format: str, *args: object) -> None:
        """Log to stdout, so that `kubectl logs` shows it."""
        print("request", format % args, flush=True)


signal.signal(signal.SIGTERM, lambda *_: sys.exit())
print("serving", flush=True)
http.server.ThreadingHTTPServer(("0.0.0.0", 8080), Handler).serve_forever()
