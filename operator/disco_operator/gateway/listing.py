"""Pages of jobs: the API server's own, looked through for what is wanted."""

from collections.abc import Sequence
from datetime import datetime

from disco.v1 import jobs_pb2
from disco_gateway.backend import ListQuery, Page
from disco_operator.gateway.jobs import JobPage, Jobs
from disco_operator.gateway.view import outline_of, phase_of
from disco_operator.model import Json, read_time

BATCH = 50
"""DiscoJobs in memory at once; each may have a megabyte."""


async def list_jobs(jobs: Jobs, query: ListQuery) -> Page:
    """Return some of the jobs that are asked for."""
    places: Sequence[str] = (query.namespace,)
    if not query.namespace and jobs.namespaces:  # it may not list all at once
        places = sorted(set(jobs.namespaces))
    place, _, after = query.after.partition(" ")
    start = places.index(place) if place in places else 0
    found: list[jobs_pb2.Job] = []
    left = query.limit
    for index in range(start, len(places)):
        while True:
            page = await _page(jobs, places[index], query, min(left, BATCH), after)
            found.extend(outline_of(body) for body in page.items if _wanted(query, body))
            left -= len(page.items)
            after = page.after
            if not after:
                break
            if left <= 0:
                return Page(found, f"{places[index]} {after}")
        if left <= 0 and index + 1 < len(places):
            return Page(found, f"{places[index + 1]} ")
    return Page(found, "")


async def _page(jobs: Jobs, place: str, query: ListQuery, limit: int, after: str) -> JobPage:
    return await jobs.page(place, limit=limit, after=after, labels=query.label_selector)


def _wanted(query: ListQuery, body: Json) -> bool:
    created: datetime = read_time(body["metadata"]["creationTimestamp"])
    return (
        (not query.phases or phase_of(body) in query.phases)
        and (query.created_from is None or created >= query.created_from)
        and (query.created_before is None or created < query.created_before)
    )
