"""An object that is kept in memory, compressed while nobody is expected to read it."""

import json
import zlib

from disco_operator.model import Json


class Entry:
    """One object and its version.

    At rest it is compressed JSON, a tenth or less of what the dictionaries take. Finished jobs and
    what is left of them are kept for days, and read about once a minute.

    Attributes:
        version: Its ``resourceVersion``.
        heard: Whether the watch has told of it, not only a list.
    """

    __slots__ = ("_body", "_packed", "heard", "version")

    def __init__(self, version: int, body: Json, *, heard: bool) -> None:
        self.version = version
        self.heard = heard
        self._body: Json | None = body
        self._packed = b""

    @property
    def bytes_at_rest(self) -> int:
        """How much memory it takes at rest; 0: it is not."""
        return len(self._packed)

    def body(self) -> Json:
        """Return the object, which the caller must not change."""
        if self._body is not None:
            return self._body
        body: Json = json.loads(zlib.decompress(self._packed))
        return body

    def rest(self) -> None:
        """Expect no reader for a while."""
        if self._body is None:
            return
        try:
            text = json.dumps(self._body)
        except RecursionError:
            return  # from Python 3.12 on: what is nested so deeply stays as it is
        self._packed = zlib.compress(text.encode(), level=1)
        self._body = None
