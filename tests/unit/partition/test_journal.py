from pathlib import Path

import pytest

from disco_engine import wire
from disco_engine.core.model import AttemptId, Group, SealedAttempt, Totals
from disco_engine.partition.journal import (
    DirectoryInUseError,
    Entry,
    Journal,
    JournalDamagedError,
    Kind,
    dropped_entry,
    dropped_of,
    epoch_entry,
    epoch_of,
    job_entry,
    sealed_entry,
)

SEALED = SealedAttempt(
    id=AttemptId(1, 2, 3, 4),
    group=Group(label=0),
    labels={-1: Totals(1, 2, 3)},
    output_file="part-0",
    output_records=5,
    records_in=6,
    bytes_in=7,
    values=(("k", b"v"),),
)
ENTRIES = [
    job_entry("job-1"),
    epoch_entry(2**40),
    Entry(Kind.PLAN, bytes(3_000_000)),
    sealed_entry(SEALED),
    dropped_entry(SEALED.id),
    Entry(Kind.EMPTIED, b""),
]


def commit(journal: Journal) -> None:
    entries = list(journal.pending)
    journal.write(entries)
    journal.written(len(entries))


def test_entries_read_alike_whether_they_wait_or_are_on_disk(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal")
    for entry in ENTRIES:
        journal.add(entry)
    assert list(journal.entries()) == ENTRIES
    as_of_now = journal.entries()
    commit(journal)
    journal.add(job_entry("later"))
    assert list(as_of_now) == ENTRIES
    assert list(journal.entries()) == [*ENTRIES, job_entry("later")]
    journal.close()
    journal = Journal(tmp_path / "journal")
    assert list(journal.entries()) == ENTRIES
    (sealed,) = journal.sealed()
    assert wire.sealed_from_wire(sealed) == SEALED
    journal.close()


def test_what_entries_say_can_be_had_back() -> None:
    assert epoch_of(epoch_entry(2**40).payload) == 2**40
    assert dropped_of(dropped_entry(SEALED.id).payload) == SEALED.id


def test_a_torn_or_damaged_end_is_cut_off(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal")
    for entry in ENTRIES[:2]:
        journal.add(entry)
    commit(journal)
    journal.close()
    whole = (tmp_path / "journal").read_bytes()
    first = len(ENTRIES[0].pack())
    flipped = bytearray(whole)
    flipped[-1] ^= 1
    for content in (*(whole[:end] for end in range(first, len(whole))), bytes(flipped)):
        (tmp_path / "journal").write_bytes(content)
        journal = Journal(tmp_path / "journal")
        assert journal.cut_damage() == len(content) - first
        assert list(journal.entries()) == ENTRIES[:1]
        journal.add(ENTRIES[3])
        commit(journal)
        assert list(journal.entries()) == [ENTRIES[0], ENTRIES[3]]
        journal.close()


def test_a_journal_has_one_owner(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal")
    with pytest.raises(DirectoryInUseError, match="another --data-dir"):
        Journal(tmp_path / "journal")
    journal.close()
    Journal(tmp_path / "journal").close()


def test_zeros_at_the_end_are_damage_and_not_an_entry_without_content(tmp_path: Path) -> None:
    """A machine lost its power: the file had its new length, but not yet its content.

    Nine zeros are the header of an entry of no kind, with no payload and the right checksum, so
    the service failed on it at every start, and the job with it.
    """
    journal = Journal(tmp_path / "journal")
    for entry in ENTRIES:
        journal.add(entry)
    commit(journal)
    journal.close()
    with (tmp_path / "journal").open("ab") as file:
        file.write(bytes(30))
    journal = Journal(tmp_path / "journal")
    assert journal.cut_damage() == 30
    assert list(journal.entries()) == ENTRIES
    journal.close()


def test_damage_in_what_this_process_has_written_is_no_short_list(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal")
    for entry in ENTRIES[:2]:
        journal.add(entry)
    commit(journal)
    journal.add(ENTRIES[3])
    with (tmp_path / "journal").open("r+b") as file:
        file.seek(-1, 2)
        file.write(b"x")
    entries = journal.entries()
    assert next(entries) == ENTRIES[0]
    damaged = f"journal is damaged from byte {len(ENTRIES[0].pack())} on"
    with pytest.raises(JournalDamagedError, match=damaged):
        next(entries)
    journal.close()
