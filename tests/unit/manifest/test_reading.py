from pathlib import Path
from textwrap import dedent

import pytest

from disco.manifest import Manifest, ManifestError, read_manifest

HEAD = """\
apiVersion: discoproject.org/v1alpha1
kind: DiscoJob
metadata:
  name: count
spec:
  job: words:Count
"""


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return Path("job.yaml")


def read(path: Path, text: str) -> Manifest:
    path.write_text(text)
    return read_manifest(path)


def problems(path: Path, text: str) -> list[str]:
    with pytest.raises(ManifestError) as caught:
        read(path, text)
    assert str(caught.value) == "\n".join(caught.value.problems)
    return list(caught.value.problems)


def test_the_smallest_manifest_is_a_name_and_a_job(path: Path) -> None:
    manifest = read(path, HEAD)

    assert manifest.job.metadata.name == "count"
    assert manifest.job.spec.job == "words:Count"
    assert manifest.job.spec.output is None
    assert manifest.cluster_only == ()


def test_sizes_durations_and_inputs_become_values(path: Path) -> None:
    spec = read(
        path,
        HEAD
        + """\
  inputs: [a.txt, [s3://one/b, s3://two/b]]
  params: {since: 2024-01-31, ratio: 1e-3, clock: 10:30}
  memoryLimit: 512Mi
  taskTimeout: 90s
  sortMemory: 1000000
  output: {url: out, format: csv}
  partitionService: {replicas: 2, storage: {emptyDir: {sizeLimit: 2Gi}}}
""",
    ).job.spec

    assert spec.inputs == (("a.txt",), ("s3://one/b", "s3://two/b"))
    assert spec.params == {"since": "2024-01-31", "ratio": 0.001, "clock": "10:30"}
    assert (spec.memory_limit, spec.task_timeout, spec.sort_memory) == (2**29, 90.0, 1_000_000)
    assert spec.output is not None
    assert (spec.output.url, spec.output.format) == ("out", "csv")
    assert spec.partition_service.storage is not None
    assert spec.partition_service.storage.empty_dir is not None
    assert spec.partition_service.storage.empty_dir.size_limit == 2 * 2**30


def test_every_part_of_a_pod_that_a_cluster_needs_can_be_said(path: Path) -> None:
    manifest = read(
        path,
        HEAD
        + """\
  image: example.org/count:1
  imagePullPolicy: IfNotPresent
  imagePullSecrets: [{name: registry}]
  code: {archive: {url: https://example.org/code.zip, sha256: %s}}
  requirements: [numpy>=2]
  workers:
    min: 1
    max: 5
    slots: 2
    resources: {requests: {cpu: 500m, memory: 1Gi}, limits: {memory: 2Gi}}
    env: [{name: A, value: "1"}, {name: B, valueFrom: {secretKeyRef: {name: s, key: k}}}]
    envFrom: [{configMapRef: {name: c}}]
    volumes: [{name: v, emptyDir: {}}]
    volumeMounts: [{name: v, mountPath: /v}]
    nodeSelector: {disk: ssd}
    tolerations: [{key: spot, operator: Exists}]
    affinity: {nodeAffinity: {}}
    topologySpreadConstraints: [{maxSkew: 1}]
    priorityClassName: low
    serviceAccountName: reader
    podTemplate: {spec: {schedulerName: other}}
  stages: {map: {workers: {replicas: 3}}}
  coordinator: {resources: {limits: {memory: 1Gi}}}
  retries: {maxAttempts: 2, exclusion: {afterFailures: 0}}
  speculation: {enabled: true, quantile: 0.9, multiplier: 2}
  activeDeadlineSeconds: 3600
  ttlSecondsAfterFinished: 0
  suspend: true
  cancel: false
  retry: 3
"""
        % ("a" * 64),
    )

    assert manifest.job.spec.workers.max == 5
    assert manifest.job.spec.stages["map"].workers.replicas == 3
    assert "spec.image" in manifest.cluster_only
    assert "spec.workers.env" in manifest.cluster_only
    assert "spec.workers.max" not in manifest.cluster_only
    assert "spec.retries" not in manifest.cluster_only
    assert "spec.speculation" not in manifest.cluster_only


@pytest.mark.parametrize(
    ("asked", "settings"),
    [
        ("{}", {}),
        ("{enabled: false, multiplier: 3}", {}),
        ("{enabled: true}", {"speculation_multiplier": 2.0}),
        (
            "{enabled: true, quantile: 0, multiplier: 1.5}",
            {"speculation_multiplier": 1.5, "speculation_quantile": 0.0},
        ),
    ],
)
def test_slow_tasks_get_rivals_only_if_that_is_asked_for(
    asked: str, settings: dict[str, float], path: Path
) -> None:
    manifest = read(path, f"{HEAD}  speculation: {asked}\n")
    assert manifest.job.spec.engine_settings() == settings


@pytest.mark.parametrize(
    ("asked", "settings"), [("{replicas: 2}", {}), ("{replicas: 2, copies: 2}", {"copies": 2})]
)
def test_the_engine_is_told_how_often_each_output_is_kept(
    asked: str, settings: dict[str, int], path: Path
) -> None:
    manifest = read(path, f"{HEAD}  partitionService: {asked}\n")
    assert manifest.job.spec.engine_settings() == settings


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ("partition: 3", "partition: unknown field; did you mean partitions?"),
        ("colour: red", "colour: unknown field; known are activeDeadlineSeconds, cancel, code,"),
        ("partitions: 0", "partitions: expected an integer of at least 1, found 0"),
        ("partitions: true", "partitions: expected an integer of at least 1, found true"),
        ("partitions: 2.5", "partitions: expected an integer of at least 1, found 2.5"),
        ('workers: {slots: "2"}', 'workers.slots: expected an integer of at least 1, found "2"'),
        ("workers: 3", "workers: expected a mapping, found 3"),
        ("workers: {slot: 2}", "workers.slot: unknown field; did you mean slots?"),
        (
            "workers: {replicas: 2, max: 3}",
            "workers: expected replicas, or min and max, but not both",
        ),
        (
            "workers: {min: 3, max: 2}",
            "workers: expected min to be at most max, found min 3 and max 2",
        ),
        (
            "workers: {env: [{name: A, value: 1}]}",
            "workers.env[0].value: expected a text (numbers need quotes here), found 1",
        ),
        ("workers: {env: [{}]}", "workers.env[0].name: is required and missing"),
        ("stages: {map: {worker: {}}}", "stages.map.worker: unknown field; did you mean workers?"),
        ("inputs: a.txt", 'inputs: expected a list, found "a.txt"'),
        (
            "inputs: [a, {b: 1}]",
            "inputs[1]: expected a URL, or a list of URLs of the same content, found a mapping (b)",
        ),
        ("inputs: [[]]", "inputs[0]: expected a URL, or a list of URLs of the same content, found"),
        ("params: {1: x}", "params: expected keys that are texts, found 1"),
        ("taskTimeout: soon", "taskTimeout: expected a duration such as 90s, 10m, 1h30m or 600"),
        ("memoryLimit: 2Gigs", "memoryLimit: expected a size such as 512Mi, 2Gi or 1000000"),
        ("output: out", 'output: expected a mapping, found "out"'),
        ("output: {format: csv}", "output.url: is required and missing"),
        (
            "output: {url: o, format: xml}",
            'output.format: expected text, jsonl, csv, parquet or pickle, found "xml"',
        ),
        (
            "code: {inline: x, configMap: {name: c}}",
            "code: expected exactly one of configMap, inline, archive and secret,"
            " found configMap and inline",
        ),
        ("code: {}", "code: expected exactly one of configMap, inline, archive and secret"),
        (
            "code: {archive: {url: u, sha256: abc}}",
            "code.archive.sha256: expected 64 lower-case hexadecimal digits",
        ),
        ("suspend: maybe", 'suspend: expected true or false, found "maybe"'),
        ("suspend:", "suspend: expected true or false, found nothing"),
        ("partitions: 1\n  partitions: 2", "partitions: is there twice; remove one"),
    ],
)
def test_a_mistake_is_named_with_its_field_what_was_expected_and_what_was_found(
    path: Path, lines: str, expected: str
) -> None:
    (problem,) = problems(path, f"{HEAD}  {lines}\n")

    line = HEAD.count("\n") + 1 + lines.count("\n")
    assert problem.startswith(f"job.yaml:{line}: spec.{expected}")


def test_all_mistakes_are_told_at_once_in_the_order_of_the_file(path: Path) -> None:
    assert problems(
        path,
        dedent("""\
            apiVersion: discoproject.org/v1
            kind: Job
            metadata:
              name: Word_Count
            spec:
              job: words
              workers:
                slots: two
                resources: {limits: {memory: lots}}
              retries: {maxAttempts: 0}
            """),
    ) == [
        'job.yaml:1: apiVersion: expected "discoproject.org/v1alpha1", found "discoproject.org/v1"',
        'job.yaml:2: kind: expected "DiscoJob", found "Job"',
        "job.yaml:4: metadata.name: expected a letter and at most 44 more lower-case letters,"
        ' digits and dashes, found "Word_Count"',
        'job.yaml:6: spec.job: expected "module:attribute", such as "wordcount:WordCount", found'
        ' "words"',
        'job.yaml:8: spec.workers.slots: expected an integer of at least 1, found "two"',
        "job.yaml:9: spec.workers.resources.limits.memory: expected a quantity such as 500m, 2 or"
        ' 512Mi (fractions in quotes: "0.5"), found "lots"',
        "job.yaml:10: spec.retries.maxAttempts: expected an integer of at least 1, found 0",
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "job.yaml: expected a DiscoJob, found an empty file"),
        ("# nothing\n---\n", "job.yaml: expected a DiscoJob, found an empty file"),
        ("- a\n- b\n", "job.yaml:1: the document: expected a mapping, found a list of 2"),
        ("{}", "job.yaml:1: apiVersion: is required and missing"),
        (HEAD + "---\n" + HEAD, "job.yaml: expected one YAML document, found 2 (on lines 1, 8);"),
        ("spec: [1\n", "job.yaml:2:1: not valid YAML: expected ',' or ']'"),
        ("a:\tb: c\n", "job.yaml:1:3: not valid YAML: found character '\\t' that cannot start"),
        ("a: !!python/name:os.system\n", "job.yaml:1:4: not valid YAML: could not determine a"),
    ],
)
def test_what_is_not_one_yaml_mapping_is_told_with_line_and_column(
    path: Path, text: str, expected: str
) -> None:
    assert problems(path, text)[0].startswith(expected)


def test_a_file_that_cannot_be_read_is_named(path: Path) -> None:
    with pytest.raises(ManifestError, match=r"^job.yaml: cannot be read: No such file"):
        read_manifest(path)
    path.write_bytes(b"name: \xff\n")
    with pytest.raises(ManifestError, match=r"^job.yaml: is not UTF-8 text \(byte 6\)"):
        read_manifest(path)


def test_a_list_that_contains_itself_does_not_hang(path: Path) -> None:
    (problem,) = problems(path, "&a [*a]")
    assert problem.startswith("job.yaml: its aliases (*name) stand for")
    assert "for themselves" in problem


def test_aliases_that_stand_for_too_much_are_refused_before_they_are_written_out(
    path: Path,
) -> None:
    """Nine lists, each of nine times the one before: 400 million values in some hundred bytes."""
    lists = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    for number in range(1, 9):
        before = ", ".join([f"*a{number - 1}"] * 9)
        lists.append(f"a{number}: &a{number} [{before}]")
    (problem,) = problems(path, HEAD + "".join(f"  {line}\n" for line in lists))
    assert problem.startswith("job.yaml: its aliases (*name) stand for more than 1,000,000 values")


def test_what_is_nested_too_deeply_is_told(path: Path) -> None:
    (problem,) = problems(path, HEAD + "  params: " + "[" * 5000 + "]" * 5000)
    assert problem == "job.yaml: lists and mappings are nested too deeply"
