"""URLs as Disco's programs take them apart: ``scheme://[token@]host[:port]/path``."""

import urllib.parse
from typing import Any, Self

from disco.error import DiscoError

_NO_HOST = ("", "file", "raw", "url")


class netloc(tuple[str, str]):
    """A host and a port, both texts; either may be empty."""

    __slots__ = ()

    @classmethod
    def parse(cls, netlocstr: str) -> Self:
        """Return the location in a URL, without what is before ``@``; IPv6 hosts have brackets."""
        _, _, location = netlocstr.rpartition("@")
        host, colon, port = location.rpartition(":")
        if not colon or "]" in port:
            host, port = location, ""
        return cls((host, port))

    @property
    def host(self) -> str:
        """The host."""
        return self[0]

    @property
    def port(self) -> str:
        """The port."""
        return self[1]

    def __bool__(self) -> bool:
        return bool(self.host)

    def __str__(self) -> str:
        return f"{self.host}:{self.port}" if self.port else self.host


def schemesplit(url: str) -> tuple[str, str]:
    """Return (scheme, rest) of ``scheme://rest``; the scheme of a plain path is empty."""
    scheme, separator, rest = url.partition("://")
    return (scheme, rest) if separator else ("", url)


def urlsplit(url: str, localhost: Any = None, **places: Any) -> tuple[str, netloc, str]:
    """Return (scheme, (host, port), path) of *url*; the path has no leading slash.

    Args:
        url: Anything that may be an input. A tag without a host is all path.
        localhost: Of which host a ``disco://`` URL is a local file, as ``localize`` finds it; True:
            of any.
        **places: ``ddfs_data`` and ``disco_data`` for ``localize``.
    """
    scheme, rest = schemesplit(url)
    if scheme in _NO_HOST:
        return scheme or "file", netloc(("", "")), rest
    location, slash, path = rest.partition("/")
    if scheme == "tag" and not slash:
        location, path = "", rest
    if scheme == "disco" and localhost is not None and localhost in (True, location):
        return "file", netloc(("", "")), localize(path, **places)
    return scheme, netloc.parse(location), path


def urljoin(parts: tuple[str, Any, str]) -> str:
    """Return the URL of (scheme, location, path); the location is a text or (host, port)."""
    scheme, location, path = parts
    if not isinstance(location, str):
        location = ":".join(str(part) for part in location if part)
    return f"{scheme}://{location}/{path}" if scheme else path


def localize(path: str, ddfs_data: str = "", disco_data: str = "") -> str:
    """Return where the path of a ``disco://`` URL is on a node whose data is in these places."""
    prefix, _, name = path.partition("/")
    return f"{ddfs_data if prefix == 'ddfs' else disco_data}/{name}"


def urltoken(url: str) -> str | None:
    """Return the token in ``scheme://token@host/path``, or ``scheme://user:token@host/path``."""
    location, slash, _ = schemesplit(url)[1].partition("/")
    before, at, _ = location.rpartition("@")
    return before.rpartition(":")[2] if at and slash else None


def assert_url(url: Any) -> str:
    """Return *url*.

    Raises:
        DiscoError: It is no text, or has no scheme.
    """
    if not isinstance(url, str) or not schemesplit(url)[0]:
        raise DiscoError(f"{url!r} is no URL: it has no scheme, such as file://")
    return url


def proxy_url(url: str, proxy: str = "", meth: str = "GET", to_master: bool = True) -> str:
    """Return *url* as it is asked for through a proxy of Disco's; without one as it is."""
    scheme, location, path = urlsplit(url)
    if not proxy or scheme == "tag":
        return url
    return f"{proxy}/{path}" if to_master else f"{proxy}/proxy/{location.host}/{meth}/{path}"


def jobname(url: str) -> str:
    """Return which job made a result.

    That is the unique id in ``disco://host:port/uid/stage/task``, and the name in
    ``disco://host:port/namespace/name/uid/part``, which is what servers know a job by.

    Raises:
        DiscoError: *url* is not such a URL.
    """
    scheme, _, path = urlsplit(url)
    steps = path.split("/")
    uid = steps[1] if len(steps) == 4 else steps[0]
    if scheme != "disco" or not uid:
        raise DiscoError(f"{url!r} is not a result of a job: disco://host:port/uid/stage/task is")
    return urllib.parse.unquote(uid)
