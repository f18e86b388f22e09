"""The reference of the API in the documentation."""

from pathlib import Path

from disco_gateway.comments import comments
from disco_gateway.reference import PATH, text

REPOSITORY = Path(__file__).parents[3]


def test_the_committed_reference_says_what_the_protos_say() -> None:
    assert (REPOSITORY / PATH).read_text() == text(), "run `make docs`"


def test_comments_are_found_by_name() -> None:
    assert comments()["disco.v1.Jobs.Submit"].startswith("Start a job")
    assert comments()["disco.v1.Job.uid"].startswith("Tells it from")
    assert comments()["disco.v1.Grouping.GROUPING_GROUP_ALL"] == "one task"
    assert "same in front of a cluster" in comments()["disco.v1.Jobs"]
