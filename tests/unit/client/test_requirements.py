"""What of a requirements.txt goes to the workers, and what is refused, with the reason."""

from pathlib import Path

import pytest

from disco.client.errors import CannotTravelError
from disco.client.requirements import requirements_from


def written(place: Path, **files: str) -> Path:
    for name, text in files.items():
        (place / f"{name}.txt").write_text(text)
    return place / "requirements.txt"


def test_comments_and_empty_lines_are_left_out_and_includes_followed(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        requirements="""
            # what we need
            numpy>=2,<3  # numbers
            -r more.txt
            --requirement=last.txt
            pandas[parquet] \\
                == 2.2; python_version >= "3.11"
            thing @ https://example.org/thing-1.0.whl#egg=thing
        """,
        more="scipy\n-r requirements.txt\n",
        last="polars",
    )
    assert requirements_from(path) == [
        "numpy>=2,<3",
        "scipy",
        "polars",
        'pandas[parquet]                 == 2.2; python_version >= "3.11"',
        "thing @ https://example.org/thing-1.0.whl#egg=thing",
    ]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("-e .", "an editable package is a directory of this machine"),
        ("--editable=./lib", "an editable package is a directory of this machine"),
        ("--index-url https://me:pw@pypi.example.org", "options of pip do not travel"),
        ("--extra-index-url=https://x", "PIP_INDEX_URL in spec.workers.env"),
        ("-c constraints.txt", "options of pip do not travel"),
        ("git+https://token@github.com/me/private", "a user or a password in a URL"),
        ("thing @ https://me:pw@example.org/thing.whl", "a user or a password in a URL"),
        ("thing @ https://example.org/${TOKEN}/thing.whl", "an environment variable"),
        ("numpy==2.0 --hash=sha256:abc", "hashes cannot be checked"),
        ("./lib/thing", "a path on this machine"),
        ("/opt/thing", "a path on this machine"),
        ("thing @ file:///opt/thing", "a path on this machine"),
    ],
)
def test_what_makes_no_sense_there_or_is_secret_is_refused(
    tmp_path: Path, line: str, reason: str
) -> None:
    path = written(tmp_path, requirements=f"numpy\n{line}\n")
    with pytest.raises(CannotTravelError, match=reason) as caught:
        requirements_from(path)
    assert str(caught.value).startswith(f"{path}:2: ")
    assert "pw" not in str(caught.value)


def test_all_lines_that_are_refused_are_told(tmp_path: Path) -> None:
    path = written(tmp_path, requirements="-e .\nnumpy\n-r more.txt\n", more="--pre\n")
    with pytest.raises(CannotTravelError) as caught:
        requirements_from(path)
    places = [line.partition(": ")[0] for line in str(caught.value).splitlines()]
    assert places == [f"{path}:1", f"{tmp_path}/more.txt:1"]


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(CannotTravelError, match=r"none\.txt cannot be read"):
        requirements_from(written(tmp_path, requirements="-r none.txt"))
