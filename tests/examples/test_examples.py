"""Each example runs on the local engine and gives what a few plain lines of Python give."""

import csv
import importlib.util
import json
import lzma
import math
import re
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from disco import Job, result_iterator

EXAMPLES = Path(__file__).parents[2] / "examples"
DATA = EXAMPLES / "data"
Load = Callable[[str], ModuleType]
GOSPELS = sorted((DATA / "kjv").glob("4[0-3]-*.txt.xz"))


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch) -> Load:
    """Import an example as its user would: by name, standing in its folder."""

    def load_example(path: str) -> ModuleType:
        file = EXAMPLES / path
        monkeypatch.syspath_prepend(str(file.parent))
        spec = importlib.util.spec_from_file_location(file.stem, file)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, file.stem, module)
        spec.loader.exec_module(module)
        return module

    return load_example


def verses() -> list[tuple[str, str]]:
    """Return (reference, text) of every verse of the gospels."""
    texts = (lzma.decompress(path.read_bytes()).decode() for path in GOSPELS)
    lines = (line for text in texts for line in text.splitlines())
    return [(reference, verse) for reference, _, verse in (line.partition("\t") for line in lines)]


def table(name: str) -> list[list[str]]:
    """Return the rows of one of the small tables."""
    return list(csv.reader((DATA / name).read_text(encoding="utf-8").splitlines()))


def run(job: Job, **arguments: Any) -> list[tuple[Any, Any]]:
    """Run *job* and return its records; everything it left is removed."""
    running = job.run(**arguments)
    try:
        return list(result_iterator(running.wait()))
    finally:
        running.purge()


def test_word_count_counts_every_word_of_the_gospels(load: Load) -> None:
    job = load("01-wordcount/wordcount.py").WordCount()
    counts = run(job, input=[str(path) for path in GOSPELS])
    words = Counter(
        word for pair in verses() for word in re.findall("[a-z']+", "\t".join(pair).lower())
    )
    assert dict(counts) == dict(words)
    assert len(counts) == len(words)


def test_the_inverted_index_finds_every_verse_of_a_word(load: Load) -> None:
    job = load("02-inverted-index/inverted_index.py").InvertedIndex()
    index = dict(run(job, input=[str(path) for path in GOSPELS]))
    expected = defaultdict(set)
    for reference, text in verses():
        for word in re.findall("[a-z']+", text.lower()):
            expected[word].add(reference)
    assert index == {word: sorted(references) for word, references in expected.items()}


def test_the_join_pairs_rivers_with_the_countries_of_their_cities(load: Load) -> None:
    job = load("03-join/join.py").Join()
    rows = run(job, input=[str(DATA / "cities.csv"), str(DATA / "rivers.csv")])
    countries = {city: country for _, city, country in table("cities.csv")}
    expected = sorted(
        (river, (countries[city], city))
        for _, river, city in table("rivers.csv")
        if city in countries
    )
    assert sorted(rows) == expected


def test_pagerank_over_five_chained_jobs_agrees_with_a_loop(load: Load) -> None:
    ranks = load("04-pagerank/pagerank.py").pagerank([str(DATA / "pages.txt")], rounds=5)
    links = {}
    for line in (DATA / "pages.txt").read_text().splitlines():
        page, _, names = line.partition("\t")
        links[page] = sorted(set(names.split()))
    expected = dict.fromkeys(links, 1.0)
    for _ in range(5):
        share: dict[str, float] = defaultdict(float)
        for page, targets in links.items():
            for target in targets:
                share[target] += expected[page] / len(targets)
        expected = {page: 0.15 + 0.85 * share[page] for page in links}
    assert ranks == pytest.approx(expected)


def test_pi_is_estimated_by_the_same_darts_every_time(load: Load) -> None:
    module = load("05-estimate-pi/estimate_pi.py")
    inputs = [f"raw://{seed}:20000" for seed in range(8)]
    first, second = (dict(run(module.EstimatePi(), input=inputs)) for _ in range(2))
    assert first == second
    assert first["pi"] == pytest.approx(math.pi, abs=0.02)


def test_k_means_finds_the_three_centres(load: Load) -> None:
    module = load("06-k-means/kmeans.py")
    start = [(0.0, 0.0), (5.0, 5.0), (10.0, 0.0)]
    centres = module.kmeans([str(DATA / "points.csv")], start, rounds=4)
    for (x, y), (true_x, true_y) in zip(centres, [(1, 1), (6, 7), (9, 2)], strict=True):
        assert math.dist((x, y), (true_x, true_y)) < 0.2


def test_letters_are_counted_as_a_loop_counts_them(load: Load) -> None:
    module = load("08-letter-frequency/letter_frequency.py")
    counts = dict(run(module.LetterFrequency(), input=[str(GOSPELS[1])]))
    text = lzma.decompress(GOSPELS[1].read_bytes()).decode().lower()
    expected = Counter(filter(str.isalpha, text))
    assert counts == expected
    shares = module.percentages(counts)
    assert next(iter(shares)) == "e"
    assert sum(shares.values()) == pytest.approx(100)


def test_grep_finds_the_lines_and_names_their_files(load: Load) -> None:
    module = load("09-grep/grep.py")
    files = [DATA / "kjv" / "01-genesis.txt.xz", DATA / "kjv" / "66-revelation.txt.xz"]
    pattern = r"\briver (of|Eu)"
    found = run(module.Grep(), input=list(map(str, files)), params=module.Params(pattern=pattern))
    assert sorted(found) == sorted(
        (file.name, line)
        for file in files
        for line in lzma.decompress(file.read_bytes()).decode().splitlines()
        if re.search(pattern, line)
    )
    assert {name for name, _ in found} == {file.name for file in files}


def test_naive_bayes_guesses_most_verses_that_it_has_not_seen(load: Load) -> None:
    module = load("10-naive-bayes/naive_bayes.py")
    books = ["01-genesis", "19-psalms", "41-mark", "45-romans"]
    guesses = module.confusion([str(DATA / "kjv" / f"{book}.txt.xz") for book in books])
    verses: Counter[str] = Counter()
    for (book, _), count in guesses.items():
        verses[book] += count
    assert verses == {"Genesis": 285, "Psalms": 432, "Mark": 130, "Romans": 80}
    right = sum(count for (book, guess), count in guesses.items() if book == guess)
    assert right / verses.total() > 0.85


def test_branch_and_bound_finds_the_shortest_tour_there_is(load: Load) -> None:
    module = load("11-travelling-salesman/salesman.py")
    places = module.read_places(DATA / "capitals.csv")
    total, tour = module.shortest(places)
    assert sorted(tour) == sorted(places)
    assert total == pytest.approx(module.length(tour, places))
    assert total == pytest.approx(shortest_by_dynamic_programming(places, module.distance))
    assert total < module.length(module.greedy(places), places)


def shortest_by_dynamic_programming(
    places: dict[str, Any], distance: Callable[[Any, Any], float]
) -> float:
    """Return the length of the shortest tour, by Held and Karp's method."""
    first, *others = sorted(places)
    best = {(frozenset((city,)), city): distance(places[first], places[city]) for city in others}
    for _ in others[1:]:
        longer: dict[Any, float] = {}
        for (seen, last), so_far in best.items():
            for city in set(others) - seen:
                total = so_far + distance(places[last], places[city])
                key = (seen | {city}, city)
                longer[key] = min(total, longer.get(key, math.inf))
        best = longer
    return min(total + distance(places[last], places[first]) for (_, last), total in best.items())


def test_chained_jobs_read_each_others_results(load: Load, tmp_path: Path) -> None:
    module = load("12-chained-jobs/chained.py")
    text = tmp_path / "text.txt"
    text.write_text("one two two three three three\nfour four four four two\n")
    expected = {1: 1, 3: 2, 4: 1}
    assert module.as_chain([str(text)]) == (expected, "three")
    assert module.by_hand([str(text)]) == expected


def test_a_profile_shows_which_function_is_slow(load: Load) -> None:
    module = load("13-profiling/profiling.py")
    slow, quick = (
        module.profiled(job, [str(GOSPELS[1])]) for job in (module.Slow(), module.Quick())
    )
    assert slow[0] == quick[0]
    text = lzma.decompress(GOSPELS[1].read_bytes()).lower()
    assert slow[0][b"river"] == re.findall(rb"[a-z]+", text).count(b"river")
    for (_, stats), called in ((slow, True), (quick, False)):
        assert ("is_stopword" in {name for _, _, name in stats.stats}) is called
    assert quick[1].total_calls < slow[1].total_calls / 10


def test_the_worker_in_go_counts_what_the_guide_says(
    load: Load, compiled: Callable[[str], Path], tmp_path: Path
) -> None:
    genesis = tmp_path / "genesis.txt"
    genesis.write_bytes(lzma.decompress((DATA / "kjv" / "01-genesis.txt.xz").read_bytes()))
    job = load("14-in-go/wordcount.py").WordCount()
    counts = dict(run(job, input=[str(genesis)], program=str(compiled("wordcount.go"))))
    assert counts == Counter(re.findall("[a-z']+", genesis.read_text().lower()))
    guide = (EXAMPLES.parent / "docs" / "other-languages.md").read_text()
    for word in ("and", "the", "genesis"):
        assert f"{word}\t{counts[word]}\n" in guide


def test_the_manifest_of_the_readme_prints_the_twenty_most_frequent_words() -> None:
    manifest = EXAMPLES / "01-wordcount" / "job.yaml"
    done = subprocess.run(
        [sys.executable, "-m", "disco.cli.main", "run", str(manifest), "--quiet"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    rows = [line.split("\t") for line in done.stdout.splitlines()]
    assert len(rows) == 20
    assert rows[0][0] == "the"
    counts = [int(count) for _, count in rows]
    assert counts == sorted(counts, reverse=True)
    assert json.loads(rows[0][1]) == counts[0]
