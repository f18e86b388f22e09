"""Results that are kept in DDFS: which jobs keep them there, and under which tag."""

from disco.ddfs_urls import TAG

TAG_STAGE = "ddfs:tag"
"""Name of the last stage of a job whose results are in DDFS."""


def results_tag(jobname: str) -> str:
    """Return the URL of the tag with a job's saved results."""
    from disco.ddfs.names import job_tag, safe_name  # most jobs save nothing

    return f"{TAG}://{job_tag(safe_name(jobname.replace('/', ':')))}"
