"""The worker protocol: what a program may say, in which pieces, and what it is answered."""

import json
from typing import Any

import pytest

from disco.worker.executable.dialogue import Answer, Dialogue, Ending, ProgramInput, ProgramOutput
from disco.worker.executable.frames import (
    MAX_MESSAGE_BYTES,
    Frame,
    FrameReader,
    NotAFrameError,
    encoded,
)
from disco.worker.throttling import MessageLimit

TASK = {"taskid": 3, "stage": "map", "group": [0, ""]}
HELLO = Frame("WORKER", {"version": "1.1", "pid": 7})
OK = Answer(Frame("OK", "ok"))


def frames_of(*pieces: bytes) -> list[Frame]:
    reader = FrameReader()
    found: list[Frame] = []
    for piece in pieces:
        reader.add(piece)
        found += reader.frames()
    return found


# --- frames -------------------------------------------------------------------------------------


def test_a_frame_is_its_name_the_length_of_its_json_and_a_newline() -> None:
    assert encoded(Frame("DONE")) == b'DONE 2 ""\n'
    assert encoded(Frame("RETRY", [[1, "http://x"]])) == b'RETRY 17 [[1, "http://x"]]\n'


def test_frames_are_found_in_whatever_pieces_they_arrive() -> None:
    sent = [Frame("MSG", "zw\u00f6lf\n"), Frame("INPUT", ["exclude", [1, 2]]), Frame("DONE")]
    data = b"".join(map(encoded, sent))
    assert frames_of(data) == sent
    assert frames_of(*(data[i : i + 1] for i in range(len(data)))) == sent


def test_a_payload_may_have_newlines_and_what_looks_like_frames() -> None:
    payload = json.dumps({"text": 'DONE 2 ""'}, indent=1).encode()
    data = b"MSG %d %s\n" % (len(payload), payload)
    assert frames_of(data) == [Frame("MSG", {"text": 'DONE 2 ""'})]


@pytest.mark.parametrize(
    "data",
    [
        b"Segmentation fault\n",
        b"Traceback (most recent call last):\n",
        b"done 2 ",
        b"ELEVENCHARS 2 ",
        b"MSG -1 ",
        b"MSG  2 ",
        b"MSG two ",
        b"MSG 1234567890 ",
        b'MSG 3 "ab"\n ',
        b"MSG 3 {]}\n",
        b"MSG 99999 " + b"[" * 99_999 + b"\n",
        b"MSG 2 \xff\xff\n",
        b"MSG %d " % (MAX_MESSAGE_BYTES + 1),
    ],
)
def test_what_is_no_frame_is_found_out_and_kept_for_the_last_words(data: bytes) -> None:
    reader = FrameReader()
    reader.add(encoded(HELLO) + data)
    found = reader.frames()
    assert next(found) == HELLO
    with pytest.raises(NotAFrameError):
        next(found)
    assert reader.rest == data


def test_a_frame_that_has_begun_is_waited_for() -> None:
    for data in (b"M", b"MSG", b"MSG ", b"MSG 12", b"MSG 12 ", b'MSG 4 "ab', b'MSG 4 "ab"'):
        reader = FrameReader()
        reader.add(data)
        assert list(reader.frames()) == []
        assert reader.is_amid_frame


# --- answers ------------------------------------------------------------------------------------


class Given:
    """Inputs of which each request brings one more."""

    def __init__(self, *urls: tuple[str, ...], label: int = 0) -> None:
        self._all = [
            ProgramInput(id=number, label=label, urls=each) for number, each in enumerate(urls)
        ]
        self.here: list[ProgramInput] = []

    @property
    def are_complete(self) -> bool:
        return len(self.here) == len(self._all)

    def bring_more(self) -> None:
        self.here = self._all[: len(self.here) + 1]


def dialogue(*urls: tuple[str, ...], greeted: bool = True, **options: Any) -> Dialogue:
    made = Dialogue(TASK, Given(*(urls or (("a",),)), **options), said.append)
    said.clear()
    if greeted:
        assert made.answer(HELLO) == OK
    return made


said: list[str] = []


def input_of(one: Dialogue, payload: Any = "") -> Any:
    reply = one.answer(Frame("INPUT", payload)).reply
    assert reply is not None
    assert reply.name == "INPUT"
    return reply.payload


def test_the_task_is_told_once_the_program_has_said_which_version_it_speaks() -> None:
    one = dialogue(greeted=False)
    early = one.answer(Frame("TASK"))
    assert early.ending is Ending.ERROR
    assert "WORKER" in early.message
    assert one.answer(HELLO) == OK
    assert one.answer(Frame("TASK")) == Answer(Frame("TASK", TASK))


def test_another_version_ends_the_job() -> None:
    answer = dialogue(greeted=False).answer(Frame("WORKER", {"version": "1.0", "pid": 1}))
    assert answer.ending is Ending.FATAL
    assert "'1.0'" in answer.message


def test_ping_and_messages_are_answered() -> None:
    one = dialogue()
    assert one.answer(Frame("PING", 1)) == Answer(Frame("OK", "pong"))
    assert one.answer(Frame("MSG", "half way")) == OK
    assert said == ["half way"]


def test_messages_are_limited_as_in_disco_if_the_job_says_so() -> None:
    limited = Dialogue(TASK, Given(("a",)), said.append, MessageLimit(lambda: 0.0))
    limited.answer(HELLO)
    answers = [limited.answer(Frame("MSG", "one")) for _ in range(10)]
    assert [answer.delay_s for answer in answers] == [0.0] * 5 + [0.2] * 4 + [0.0]
    assert all(answer.reply == OK.reply for answer in answers[:-1])
    assert answers[-1].ending is Ending.FATAL
    assert limited.answer(Frame("PING")).delay_s == 0.0


def test_inputs_come_with_label_and_replicas_and_with_more_until_all_have_been_told() -> None:
    one = dialogue(("a", "b"), ("c",), ("d",), label=4)
    first = [0, "ok", 4, [[0, "a"], [1, "b"]]]
    assert input_of(one) == ["more", [first]]
    assert input_of(one, ["exclude", [0]]) == ["more", [[1, "ok", 4, [[0, "c"]]]]]
    assert input_of(one, ["include", [0]]) == ["more", [first]]
    assert input_of(one) == ["done", [first, [1, "ok", 4, [[0, "c"]]], [2, "ok", 4, [[0, "d"]]]]]
    assert input_of(one, ["exclude", [0, 1, 2]]) == ["done", []]


def test_replicas_that_failed_come_last_and_a_program_without_any_left_is_told_so() -> None:
    one = dialogue(("a", "b", "c"))
    input_of(one)
    retry = one.answer(Frame("INPUT_ERR", [0, [0]]))
    assert retry == Answer(Frame("RETRY", [[1, "b"], [2, "c"]]))
    retry = one.answer(Frame("INPUT_ERR", [0, [0, 1]]))
    assert retry == Answer(Frame("RETRY", [[2, "c"]]))
    order = [[2, "c"], [1, "b"], [0, "a"]]
    assert input_of(one, ["include", [0]]) == ["done", [[0, "ok", 0, order]]]
    assert one.answer(Frame("INPUT_ERR", [0, [0, 1, 2]])) == Answer(Frame("FAIL"))
    assert one.answer(Frame("INPUT_ERR", [9, [0]])).ending is Ending.ERROR
    assert input_of(one, ["exclude", [{}, [0], "0"]]) == ["done", [[0, "ok", 0, order]]]


def test_outputs_are_paths_in_the_job_home() -> None:
    one = dialogue()
    assert one.answer(Frame("OUTPUT", [3, "out/part", 17])) == OK
    assert one.outputs == [ProgramOutput(3, "out/part", 17)]
    for path in ("/etc/passwd", "http://elsewhere/out"):
        refused = one.answer(Frame("OUTPUT", [0, path, 1]))
        assert refused.ending is Ending.ERROR
        assert path in refused.message


def test_a_program_says_itself_how_its_task_ended() -> None:
    assert dialogue().answer(Frame("DONE")) == Answer(ending=Ending.DONE)
    assert dialogue().answer(Frame("ERROR", "no")) == Answer(ending=Ending.ERROR, message="no")
    assert dialogue().answer(Frame("FATAL", "no")) == Answer(ending=Ending.FATAL, message="no")
    assert len(dialogue().answer(Frame("ERROR", "no" * 1_000_000)).message) == 2_000


def test_done_before_the_last_input_was_told_ends_the_job_rather_than_lose_records() -> None:
    one = dialogue(("a",), ("b",))
    input_of(one)
    ended = one.answer(Frame("DONE"))
    assert ended.ending is Ending.FATAL
    assert "'more'" in ended.message


def test_what_nobody_knows_ends_the_job_and_a_wrong_payload_the_attempt() -> None:
    assert dialogue().answer(Frame("STATUS", "")).ending is Ending.FATAL
    for frame in (
        Frame("INPUT", ["only", [1]]),
        Frame("INPUT", 3),
        Frame("INPUT_ERR", 0),
        Frame("OUTPUT", ["zero", "path", 1]),
        Frame("MSG", 3),
        Frame("WORKER", ""),
    ):
        answer = dialogue().answer(frame)
        assert answer.ending is Ending.ERROR
        assert frame.name in answer.message
