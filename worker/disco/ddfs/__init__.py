"""DDFS: tags and blobs, the data that jobs read and share, in a directory or an object store.

    ddfs = DDFS()
    ddfs.push("data:logs", ["monday.log", "tuesday.log"])
    job = WordCount().run(input=["tag://data:logs"])

What is promised when processes die or race, ``disco.ddfs.stores`` and ``docs/ddfs.md`` say.
"""

from disco.ddfs.client import DDFS
from disco.ddfs.names import (
    InvalidTag,
    canonizetag,
    canonizetags,
    istag,
    relativizetag,
    relativizetags,
    tagname,
)

__all__ = [
    "DDFS",
    "InvalidTag",
    "canonizetag",
    "canonizetags",
    "istag",
    "relativizetag",
    "relativizetags",
    "tagname",
]
