"""Jobs in which pods, processes, nodes, networks and disks fail: their results are the same."""

import pytest
from faults.rounds import Stand, play
from harness.gateway import Gateway
from harness.kubectl import Api
from harness.release import Operator
from harness.settings import Settings


@pytest.mark.parametrize("seed", [1, 2])
def test_whatever_fails_two_jobs_give_every_record_once(
    cluster: Settings, api: Api, operator: Operator, gateway: Gateway, seed: int
) -> None:
    if cluster.local is None:
        pytest.skip("the nodes of this cluster are not ours to break; run `make test-cluster`")
    stand = Stand(
        api=api, cluster=cluster.local, image=cluster.image, operator=operator, gateway=gateway
    )

    outcome = play(stand, seed)

    print("\n".join(outcome.story))
