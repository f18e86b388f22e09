from disco.v1 import coordinator_pb2
from disco_engine.core.model import AttemptId
from disco_engine.worker.reports import ReportBook


def book_of(*tasks: int) -> ReportBook:
    book = ReportBook()
    for task in tasks:
        attempt = AttemptId(1, task, 1, 1)
        book.add(attempt, coordinator_pb2.AttemptReport(output=str(task)))
    return book


def sent(book: ReportBook) -> list[int]:
    return [int(report.output) for report in book.next_message().reports]


def test_reports_are_sent_together_and_kept_until_they_are_confirmed() -> None:
    book = book_of(1, 2, 3)
    assert sent(book) == [1, 2, 3]
    assert not book.unsent
    book.confirm(2)
    assert [attempt.task for attempt in book.attempts()] == [3]
    book.confirm(1)
    assert not len(book)


def test_after_a_reconnect_the_unconfirmed_ones_are_sent_again_and_first() -> None:
    book = book_of(1, 2, 3)
    assert sent(book) == [1, 2, 3]
    book.confirm(1)
    book.add(AttemptId(1, 4, 1, 1), coordinator_pb2.AttemptReport(output="4"))
    book.resend()
    assert [attempt.task for attempt in book.attempts()] == [2, 3, 4]
    assert sent(book) == [2, 3, 4]


def test_more_confirmations_than_reports_are_no_harm() -> None:
    """A confirmation that was on its way when the connection broke counts for the new one."""
    book = book_of(1)
    book.confirm(5)
    assert sent(book) == [1]


def test_one_message_holds_a_limited_number_of_reports() -> None:
    book = book_of(*range(1_200))
    assert [len(sent(book)) for _ in range(3)] == [500, 500, 200]


def test_one_message_holds_a_limited_number_of_bytes() -> None:
    book = ReportBook()
    for task in range(4):
        report = coordinator_pb2.AttemptReport(output="x" * 3_000_000)
        book.add(AttemptId(1, task, 1, 1), report)
    assert [len(book.next_message().reports) for _ in range(2)] == [2, 2]
