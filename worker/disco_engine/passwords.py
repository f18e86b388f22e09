"""Passwords in URLs: which URL has one, and how texts are shown that may.

Whoever may see a job sees its inputs: in its spec, in its status, in errors. So a password in one
of them is refused where a job comes in, and hidden in what failures say, since a URL may also come
from a tag, an index or a task.
"""

import re

_TEXT = "raw://"  # no address follows, but any text
_HIDDEN = "***"
_LONGEST = 1_000  # characters of a password, so that no text takes long to look through

# A port is no password, nor is what follows the name of a file in an archive ("zip://a::s3://b").
# Keys of object stores may have slashes in them.
_PASSWORD = re.compile(
    r"(?<=://)(?<!tag://)(?<!raw://)([^/\s:@\[?#'\"]*:)(?![:@]|\d*(?:[/?#\s'\"]|$))"
    rf"[^\s'\"]{{1,{_LONGEST}}}@",
    re.IGNORECASE,
)
# Names of tags may have "@" and ":" in them; what is before a slash is a token and a host.
_TOKEN = re.compile(r"(?<=tag://)[^/\s@'\"]+@(?=[^/\s'\"]*/)", re.IGNORECASE)


def without_passwords(text: str) -> str:
    """Return *text* with ``***`` for each password, or token of a tag, in a URL."""
    if "://" not in text:
        return text
    return _PASSWORD.sub(rf"\g<1>{_HIDDEN}@", _TOKEN.sub(f"{_HIDDEN}@", text))


def password_problem(url: str) -> str:
    """Return why *url* cannot be part of a job, if it has a password in it; else ""."""
    shown = without_passwords(url)
    if shown == url or url.lower().startswith(_TEXT):
        return ""
    return (
        f"{shown} has a password in it, and everybody who may see the job could read it: leave it"
        " out, and give it to the workers in an environment variable such as AWS_SECRET_ACCESS_KEY"
        " or FSSPEC_FTP_PASSWORD (on a cluster in spec.workers.env, from a Secret)"
    )
