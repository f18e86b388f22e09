"""A job whose processes a test starts and stops."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio

from .process import Job


@pytest_asyncio.fixture
async def job(tmp_path: Path) -> AsyncIterator[Job]:
    made = Job(tmp_path)
    try:
        yield made
    finally:
        await made.close()


@pytest_asyncio.fixture
async def running(job: Job) -> Job:
    """Give a job whose partition services and coordinator serve."""
    for number in range(len(job.services)):
        await job.serve_partition(number)
    await job.coordinator.serve(*job.coordinator_flags())
    return job
