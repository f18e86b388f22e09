"""Whole programs written for Disco run as they are; only ``DISCO_MASTER`` says where."""

from .conftest import Backend


def test_chained_jobs_over_tags(files: Backend) -> None:
    assert files.script("chained_words.py").splitlines() == [
        "1 a 1",
        "2 no 1",
        "3 the 3",
        "ready 12",
        "ready ['map', 'reduce']",
        "purged unknown job",
    ]


def test_a_pipeline_with_a_module_beside_it(backend: Backend) -> None:
    assert backend.script("letter_pipeline.py").splitlines() == [
        "[('a', 6), ('b', 6), ('c', 2)]",
        "True",
    ]


def test_unit_tests_that_serve_their_inputs(files: Backend) -> None:
    assert files.script("words_unittest.py") == "2 0\n"
