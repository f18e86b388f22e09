"""Both ends of a slot's socket pair, with each other."""

import asyncio
import socket
from typing import Any

import pytest

from disco.v1 import common_pb2, slot_pb2
from disco_engine.worker.framing import SlotProtocol
from disco_engine.worker.slot.channel import Channel

SIZES = [0, 1, 1_000, 200_000, 262_130, 262_140, 262_144, 300_000, 5_000_000, 7, 262_139]


def to_slot(size: int) -> slot_pb2.ToSlot:
    return slot_pb2.ToSlot(setup=slot_pb2.Setup(scratch_dir="x" * size))


def from_slot(size: int) -> slot_pb2.FromSlot:
    block = common_pb2.Block(label=-1, records=1, frame=b"x" * size)
    return slot_pb2.FromSlot(output=slot_pb2.OutputBlocks(blocks=[block]))


async def connected(
    received: list[slot_pb2.FromSlot], closed: asyncio.Event
) -> tuple[SlotProtocol, Channel, socket.socket]:
    ours, theirs = socket.socketpair()
    _, protocol = await asyncio.get_running_loop().create_unix_connection(
        lambda: SlotProtocol(received.append, lambda _: closed.set()), sock=ours
    )
    return protocol, Channel(theirs), theirs


async def test_messages_of_all_sizes_arrive_whole_and_in_order() -> None:
    received: list[slot_pb2.FromSlot] = []
    closed = asyncio.Event()
    protocol, channel, theirs = await connected(received, closed)
    protocol.send(*map(to_slot, SIZES))

    def slot() -> list[int]:
        with theirs:
            for size in SIZES:
                channel.queue(from_slot(size))
            channel.flush()
            return [len(channel.receive().setup.scratch_dir) for _ in SIZES]

    assert await asyncio.to_thread(slot) == SIZES
    await closed.wait()
    assert [len(message.output.blocks[0].frame) for message in received] == SIZES


async def test_a_message_that_arrives_byte_by_byte_is_one_message() -> None:
    received: list[slot_pb2.FromSlot] = []
    closed = asyncio.Event()
    _, _, theirs = await connected(received, closed)
    data = from_slot(20).SerializeToString()

    def slot() -> None:
        with theirs:
            for byte in len(data).to_bytes(4, "little") + data:
                theirs.sendall(bytes([byte]))

    await asyncio.to_thread(slot)
    await closed.wait()
    assert received == [from_slot(20)]


async def test_a_paused_slot_has_to_wait_and_loses_nothing() -> None:
    received: list[slot_pb2.FromSlot] = []
    closed = asyncio.Event()
    protocol, channel, theirs = await connected(received, closed)
    protocol.pause()

    def slot() -> None:
        with theirs:
            for _ in range(20):
                channel.send(from_slot(1_000_000))

    async with asyncio.TaskGroup() as tasks:
        sending = tasks.create_task(asyncio.to_thread(slot))
        done, _ = await asyncio.wait({sending}, timeout=0.05)
        assert not done
        assert not received
        protocol.resume()
    await closed.wait()
    assert len(received) == 20


async def test_nothing_is_there_to_receive_until_something_was_sent() -> None:
    closed = asyncio.Event()
    protocol, channel, theirs = await connected([], closed)
    with theirs:
        assert channel.receive_ready() is None
        protocol.send(to_slot(3))
        assert channel.receive_ready() == to_slot(3)
        assert channel.receive_ready() is None
    await closed.wait()


async def test_sending_to_a_slot_that_is_gone_does_nothing() -> None:
    closed = asyncio.Event()
    protocol, _, theirs = await connected([], closed)
    theirs.close()
    await closed.wait()
    protocol.send(to_slot(1))
    await protocol.drain()
    protocol.pause()
    protocol.resume()


async def test_what_a_slot_said_last_is_heard_although_sending_to_it_fails_first() -> None:
    received: list[slot_pb2.FromSlot] = []
    closed = asyncio.Event()
    protocol, channel, theirs = await connected(received, closed)
    said = [from_slot(size) for size in (20, 1_000, 70_000)]  # the socket holds no more
    for message in said:
        channel.send(message)
    theirs.close()

    protocol.send(to_slot(1))  # before the loop has read anything

    await closed.wait()
    assert received == said


class Wire(asyncio.Transport):
    """Stands for the connection: what is sent while nobody reads, arrives when somebody does."""

    def __init__(self, protocol: SlotProtocol) -> None:
        super().__init__()
        self._protocol = protocol
        self._reading = True
        self._unread = b""
        protocol.connection_made(self)

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass

    def is_closing(self) -> bool:
        return False

    def is_reading(self) -> bool:
        return self._reading

    def pause_reading(self) -> None:
        self._reading = False

    def resume_reading(self) -> None:
        self._reading = True
        if self._unread:
            data, self._unread = self._unread, b""
            self._protocol.get_buffer(-1)[: len(data)] = data
            self._protocol.buffer_updated(len(data))

    def says(self, **body: Any) -> None:
        data = slot_pb2.FromSlot(**body).SerializeToString()
        self._unread += len(data).to_bytes(4, "little") + data
        if self._reading:
            self.resume_reading()


def attempt(task: int) -> common_pb2.AttemptRef:
    return common_pb2.AttemptRef(stage=1, task=task, epoch=1, attempt=1)


@pytest.mark.looptime
async def test_what_quick_attempts_say_is_read_together() -> None:
    received: list[slot_pb2.FromSlot] = []
    protocol = SlotProtocol(received.append, lambda _: None)
    wire = Wire(protocol)
    wire.says(started=attempt(1))
    for task in (1, 2, 3):
        wire.says(report=slot_pb2.SlotReport())
        wire.says(started=attempt(task + 1))
    assert len(received) == 1

    await asyncio.sleep(1)

    assert len(received) == 7
    assert protocol.received == 2


@pytest.mark.looptime
async def test_attempts_that_ask_for_something_do_not_wait_for_the_answer() -> None:
    received: list[slot_pb2.FromSlot] = []
    wire = Wire(SlotProtocol(received.append, lambda _: None))
    wire.says(started=attempt(1))
    wire.says(open=slot_pb2.OpenSource(index=0))
    await asyncio.sleep(1)
    wire.says(report=slot_pb2.SlotReport())
    wire.says(started=attempt(2))
    wire.says(open=slot_pb2.OpenSource(index=0))
    assert len(received) == 5


@pytest.mark.looptime
async def test_a_slot_that_is_held_is_not_read_when_its_rest_is_over() -> None:
    protocol = SlotProtocol(lambda _: None, lambda _: None)
    wire = Wire(protocol)
    wire.says(started=attempt(1))
    protocol.pause()
    await asyncio.sleep(1)
    assert not wire.is_reading()

    protocol.resume()
    assert wire.is_reading()


@pytest.mark.looptime
async def test_what_a_dead_slot_has_left_is_read_at_once() -> None:
    received: list[slot_pb2.FromSlot] = []
    protocol = SlotProtocol(received.append, lambda _: None)
    wire = Wire(protocol)
    wire.says(started=attempt(1))
    wire.says(report=slot_pb2.SlotReport())
    protocol.pause()

    protocol.read_to_end()

    assert len(received) == 2
