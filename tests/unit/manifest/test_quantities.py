import pytest

from disco.manifest.quantities import count_text, duration_s, duration_text, size_bytes, size_text


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0),
        ("1000000", 1_000_000),
        ("512Mi", 512 * 2**20),
        ("2Gi", 2 * 2**30),
        ("1.5G", 1_500_000_000),
        ("10k", 10_000),
        ("1e6", 1_000_000),
        ("2000m", 2),
    ],
)
def test_sizes_are_read_as_kubernetes_reads_them(text: str, size: int) -> None:
    assert size_bytes(text) == size


@pytest.mark.parametrize("text", ["", "Mi", "2Gigs", "-1", "1,5G", "500m", "1e", "0x10"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not"):
        size_bytes(text)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s", 90), ("10m", 600), ("1h30m", 5400), ("250ms", 0.25), ("600", 600), ("1.5", 1.5)],
)
def test_durations_are_numbers_with_units_or_seconds(text: str, seconds: float) -> None:
    assert duration_s(text) == seconds


@pytest.mark.parametrize("text", ["", "ten", "10 minutes", "-5s", "s", "1h30"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a duration"):
        duration_s(text)


def test_numbers_are_rounded_for_people() -> None:
    assert [size_text(n) for n in (0, 999, 1000, 4_647_000, 128_000_000_000)] == [
        "0 B",
        "999 B",
        "1.0 kB",
        "4.6 MB",
        "128 GB",
    ]
    assert [count_text(n) for n in (7, 31_102, 4_600_000, 2.5e9)] == [
        "7",
        "31,102",
        "4.6 M",
        "2.5 G",
    ]
    assert [duration_text(s) for s in (0.04, 9.94, 42.4, 185, 7800)] == [
        "0.0 s",
        "9.9 s",
        "42 s",
        "3 min 05 s",
        "2 h 10 min",
    ]
