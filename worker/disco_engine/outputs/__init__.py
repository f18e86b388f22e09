"""The job's output: one file per part in a directory, complete or not there at all.

While the job runs its directory holds

    _RUNNING                       whose output this will be
    _temporary/JOB_UID/...         one file per attempt

and nobody sees more. The commit moves the winners' files to ``part-00000.txt`` and so on, removes
the temporary files, and renames ``_RUNNING`` to ``_SUCCESS``. On local disks each of these steps
is atomic. On object stores a move is a copy and a delete: a part appears whole, but parts appear
one after the other; ``_SUCCESS`` still comes last, so wait for it.
"""

from disco_engine.outputs.committing import commit, prepare, remove_temporary
from disco_engine.outputs.files import FileWriter, open_writer
from disco_engine.outputs.formats import FORMATS
from disco_engine.outputs.reading import part_urls, read_part, read_records

__all__ = [
    "FORMATS",
    "FileWriter",
    "commit",
    "open_writer",
    "part_urls",
    "prepare",
    "read_part",
    "read_records",
    "remove_temporary",
]
