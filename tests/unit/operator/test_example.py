"""The example for clusters is what its parts say they are."""

from pathlib import Path

import yaml

from disco.manifest import read_manifest

EXAMPLES = Path(__file__).parents[3] / "examples"


def test_the_code_in_the_config_map_is_that_of_the_example_for_laptops() -> None:
    """It is a copy, since a manifest cannot include a file; only the line length may differ."""
    config = yaml.safe_load((EXAMPLES / "07-on-a-cluster/code.yaml").read_text())
    there = config["data"]["estimate_pi.py"].split()
    here = (EXAMPLES / "05-estimate-pi/estimate_pi.py").read_text().split("\n\n\nif __name__")[0]
    assert there == here.split()


def test_the_manifest_names_what_its_neighbours_make() -> None:
    folder = EXAMPLES / "07-on-a-cluster"
    spec = read_manifest(folder / "job.yaml").job.spec
    made = [
        document["metadata"]["name"]
        for name in ("code.yaml", "results.yaml")
        for document in yaml.safe_load_all((folder / name).read_text())
    ]
    assert spec.code is not None
    assert spec.code.config_map is not None
    assert spec.code.config_map.name in made
    assert spec.workers.volumes[0]["persistentVolumeClaim"]["claimName"] in made
