"""A cluster's images: layers and manifests in a folder, from which the nodes take them."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import tarfile
import tempfile
from io import BytesIO
from pathlib import Path
from typing import IO, Any

from .common import BIN, Failure, clean_environment, write
from .images import buildah, full_name, image_id, policy
from .machines import Cluster, Machine

PAUSE_IMAGE = "localhost/pause:1"


def store_image(cluster: Cluster, name: str) -> None:
    """Put a built image into the cluster's image store, from which the nodes take it."""
    reference, identity = full_name(name), image_id(name)
    if not identity:
        raise Failure(f"no image {name}; see `kube image build`")
    if any(i["reference"] == reference and i["id"] == identity for i in stored_images(cluster)):
        return
    with tempfile.TemporaryDirectory(dir=cluster.dir) as folder:
        archive = Path(folder, "image.tar")
        buildah("push", *policy(), "--quiet", name, f"docker-archive:{archive}")
        with tarfile.open(archive) as tar:
            manifest = json.load(member(tar, "manifest.json"))[0]
            config = member(tar, manifest["Config"]).read()
            layers = json.loads(config)["rootfs"]["diff_ids"]
            for file, digest in zip(manifest["Layers"], layers, strict=True):
                if not blob(cluster, digest).exists():
                    with open(blob(cluster, "partial"), "wb") as out:
                        shutil.copyfileobj(member(tar, file), out, 1 << 20)
                    blob(cluster, "partial").rename(blob(cluster, digest))
    register_image(cluster, reference, identity, config)


def member(tar: tarfile.TarFile, name: str) -> IO[bytes]:
    """A file inside an archive."""
    if (file := tar.extractfile(name)) is None:
        raise Failure(f"{name} is not a file")
    return file


def store_pause(cluster: Cluster) -> None:
    """Put the image of every pod's first container into the cluster's image store."""
    buffer, program = BytesIO(), (BIN / "pause").read_bytes()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        info = tarfile.TarInfo("pause")
        info.size, info.mode = len(program), 0o755
        tar.addfile(info, BytesIO(program))
    layer = put_blob(cluster, buffer.getvalue())
    architecture = {"x86_64": "amd64", "aarch64": "arm64"}.get(
        os.uname().machine, os.uname().machine
    )
    register_image(
        cluster,
        PAUSE_IMAGE,
        layer,
        json.dumps(
            {
                "architecture": architecture,
                "os": "linux",
                "config": {"Entrypoint": ["/pause"]},
                "rootfs": {"type": "layers", "diff_ids": [layer]},
            }
        ).encode(),
    )


def blob(cluster: Cluster, digest: str) -> Path:
    """Where the image store has this blob."""
    return cluster.dir / "images" / digest.removeprefix("sha256:")


def put_blob(cluster: Cluster, data: bytes) -> str:
    """Add a blob to the image store."""
    digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
    blob(cluster, digest).parent.mkdir(exist_ok=True)
    blob(cluster, digest).write_bytes(data)
    return digest


def stored_images(cluster: Cluster) -> list[dict[str, Any]]:
    """The images of the cluster: reference, id, manifest, blobs."""
    index = cluster.dir / "images.json"
    return json.loads(index.read_text()) if index.exists() else []


def register_image(cluster: Cluster, reference: str, identity: str, config: bytes) -> None:
    """Name an image whose layers are stored, in place of an older one of this name.

    Blobs that are then of no image are dropped.
    """
    layers = json.loads(config)["rootfs"]["diff_ids"]

    def descriptor(kind: str, digest: str) -> dict[str, Any]:
        return {
            "mediaType": f"application/vnd.oci.image.{kind}",
            "digest": digest,
            "size": blob(cluster, digest).stat().st_size,
        }

    config_digest = put_blob(cluster, config)
    manifest_digest = put_blob(
        cluster,
        json.dumps(
            {
                "schemaVersion": 2,
                "mediaType": "application/vnd.oci.image.manifest.v1+json",
                "config": descriptor("config.v1+json", config_digest),
                "layers": [descriptor("layer.v1.tar", layer) for layer in layers],
            }
        ).encode(),
    )
    images = [i for i in stored_images(cluster) if i["reference"] != reference]
    images.append(
        {
            "reference": reference,
            "id": identity,
            "blobs": [manifest_digest, config_digest, *layers],
            "manifest": descriptor("manifest.v1+json", manifest_digest)
            | {"annotations": {"io.containerd.image.name": reference}},
        }
    )
    write(cluster.dir / "images.json", images)
    used = {blob(cluster, digest) for i in images for digest in i["blobs"]}
    for path in set((cluster.dir / "images").iterdir()) - used:
        path.unlink()


def import_images(node: Machine) -> None:
    """Give a node's containerd the images that it lacks, and of these only the missing layers."""
    record = node.dir / "images.json"
    loaded = json.loads(record.read_text()) if record.exists() else {}
    content = node.dir / "var/lib/containerd/io.containerd.content.v1.content/blobs/sha256"
    for image in stored_images(node.cluster):
        if loaded.get(image["reference"]) == image["blobs"][0]:
            continue
        files = {
            "oci-layout": {"imageLayoutVersion": "1.0.0"},
            "index.json": {"schemaVersion": 2, "manifests": [image["manifest"]]},
        }
        with subprocess.Popen(
            node.command("ctr", "--namespace", "k8s.io", "images", "import", "-"),
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env=clean_environment("/run/bin"),
        ) as ctr:
            assert ctr.stdin is not None
            assert ctr.stderr is not None
            with tarfile.open(  # type: ignore[call-overload]  # the stubs lack copybufsize
                fileobj=ctr.stdin, mode="w|", bufsize=1 << 20, copybufsize=1 << 20
            ) as tar:
                for name, data in files.items():
                    info, raw = tarfile.TarInfo(name), json.dumps(data).encode()
                    info.size = len(raw)
                    tar.addfile(info, BytesIO(raw))
                for number, digest in enumerate(image["blobs"]):
                    if number < 2 or not (content / blob(node.cluster, digest).name).exists():
                        tar.add(
                            blob(node.cluster, digest),
                            f"blobs/sha256/{blob(node.cluster, digest).name}",
                        )
            ctr.stdin.close()
            error = ctr.stderr.read().decode()
        if ctr.returncode:
            raise Failure(f"{node.name} does not take {image['reference']}: {error}")
        loaded[image["reference"]] = image["blobs"][0]
        write(record, loaded)
