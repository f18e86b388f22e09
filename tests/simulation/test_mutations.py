"""Does the simulator see what it is there to see? Bugs are planted, and it must find each."""

from itertools import count, islice
from pathlib import Path

import pytest
from simulator.faults import FAULTS
from simulator.mutations import MUTATIONS, Mutation
from simulator.seeds import Told, run_seed
from simulator.simulation import Simulation
from simulator.standins import replaced


@pytest.mark.timeout(900)  # some take a minute
@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.name)
def test_a_planted_bug_is_found(mutation: Mutation, tmp_path: Path) -> None:
    with replaced(list(mutation.setting)):
        with replaced(list(mutation.changes)):
            seed = first_to_notice(mutation, tmp_path)
        if mutation.setting or mutation.faults is not FAULTS:
            # It is the bug that was noticed, not what was set up to find it.
            run_seed(seed, mutation.faults)


def first_to_notice(mutation: Mutation, directory: Path) -> int:
    fit = (seed for seed in count() if mutation.needs(Simulation(seed, directory)))
    for seed in islice(fit, mutation.seeds):
        try:
            run_seed(seed, mutation.faults)
        except Told:
            return seed
    pytest.fail(f"{mutation.seeds} seeds do not notice: {mutation.name}")
