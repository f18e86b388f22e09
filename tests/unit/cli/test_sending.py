from disco.cli.connection_options import Where
from disco.cli.sending import next_lines, sent_lines
from disco.cli.submission import Outgoing
from disco.client.submitting import Submission, Travelling
from disco.v1 import jobs_pb2


def outgoing(*sizes: int, **more: object) -> Outgoing:
    travels = [Travelling(f"f{number}.py", size) for number, size in enumerate(sizes)]
    return Outgoing(submission=Submission(spec={}, travels=travels, **more))  # type: ignore[arg-type]


def test_one_file_is_a_sentence() -> None:
    assert list(sent_lines(outgoing(1500))) == ["Sending f0.py, 1.5 kB."]


def test_several_files_are_listed_the_largest_first() -> None:
    assert list(sent_lines(outgoing(100, 1500))) == [
        "Sending 1.6 kB:",
        "  f1.py    1.5 kB",
        "  f0.py     100 B",
    ]


def test_of_many_files_the_largest_are_listed() -> None:
    lines = list(sent_lines(outgoing(*range(1, 101))))

    assert len(lines) == 10
    assert lines[1] == "  f99.py     100 B"
    assert lines[-1] == "  and 92 more, 4.3 kB"


def test_what_stays_here_is_said() -> None:
    assert list(sent_lines(outgoing(left_out=["secret.py"]))) == [
        "Left out, as .discoignore says: secret.py"
    ]


def test_what_the_server_does_not_do_is_said_before_what_to_type() -> None:
    job = jobs_pb2.Job(namespace="ns", name="one", warnings=["spec.image: there are no pods here"])

    assert list(next_lines(job, "-n ns one"))[:3] == [
        "Submitted one to namespace ns.",
        "Warning: spec.image: there are no pods here",
        "  watch it:     disco watch -n ns one",
    ]


def test_the_next_command_has_the_flags_that_find_the_same_server() -> None:
    said = Where(context="my prod", server=None, namespace="a", token_file="t")

    assert said.again("one") == "--context 'my prod' --token-file t -n a one"
    assert said.again("one", "b") == "--context 'my prod' --token-file t -n b one"
    assert Where().again("one") == "one"
