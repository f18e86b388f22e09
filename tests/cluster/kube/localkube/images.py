"""Builds images with buildah, on local stand-ins for the usual base images."""

from __future__ import annotations

import configparser
import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from .common import CACHE, Failure, output, run, say, write

DEBIAN_IMAGE = "docker.io/library/debian:bookworm-slim"
PYTHON_IMAGE = "docker.io/library/python:3.11-slim-bookworm"
IMAGE_ALIASES = {DEBIAN_IMAGE: ("debian:12-slim",), PYTHON_IMAGE: ("python:3.11-slim",)}

PYTHON_DOCKERFILE = f"""\
FROM {DEBIAN_IMAGE}
RUN apt-get update -qq \\
 && apt-get install -qq -y --no-install-recommends python3 python3-pip python3-venv \\
 && rm -rf /var/lib/apt/lists/* /usr/lib/python3.11/EXTERNALLY-MANAGED \\
 && ln -s /usr/bin/python3 /usr/local/bin/python \\
 && ln -s /usr/bin/python3 /usr/local/bin/python3 \\
 && ln -s /usr/bin/pip3 /usr/local/bin/pip
ENV LANG=C.UTF-8
CMD ["python3"]
"""

DPKG_SLIM = "".join(
    f"path-exclude /usr/share/{folder}/*\n"
    for folder in ("doc", "man", "locale", "info", "lintian")
)


def buildah(*argv: str | Path, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run buildah on storage of our own, with no registry to pull from."""
    registries = write(
        CACHE / "containers/registries.conf", 'unqualified-search-registries = ["docker.io"]\n'
    )
    write(CACHE / "containers/policy.json", {"default": [{"type": "insecureAcceptAnything"}]})
    command = [
        "buildah",
        "--root",
        CACHE / "containers/storage",
        "--runroot",
        CACHE / "containers/run",
        "--storage-driver",
        "overlay",
        *argv,
    ]
    result = subprocess.run(
        [str(c) for c in command],
        text=True,
        env=os.environ | {"CONTAINERS_REGISTRIES_CONF": str(registries)},
        **options,
    )
    if result.returncode:
        raise Failure(
            f"buildah {argv[0]} failed{': ' + result.stderr.strip() if result.stderr else ''}"
        )
    return result


def policy() -> tuple[str, str]:
    """The option that keeps buildah independent of the machine's trust policy."""
    return "--signature-policy", str(CACHE / "containers/policy.json")


def image_id(name: str) -> str:
    """The id of a local image, or nothing."""
    try:
        return buildah(
            "inspect", "--type", "image", "--format", "{{.FromImageID}}", name, capture_output=True
        ).stdout.strip()
    except Failure:
        return ""


def base_images(debootstrap: str | None) -> None:
    """Make the local stand-ins for the usual base images, once, from a fresh Debian."""
    if debootstrap or not image_id(DEBIAN_IMAGE):
        CACHE.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=CACHE) as folder:
            root = Path(debootstrap) if debootstrap else Path(folder, "root")
            if not debootstrap:
                say(f"{DEBIAN_IMAGE}: debootstrap")
                run(
                    "debootstrap",
                    "--variant=minbase",
                    "--include=ca-certificates",
                    "bookworm",
                    root,
                    *debian_mirror(),
                    stdout=subprocess.DEVNULL,
                )
                write(root / "etc/dpkg/dpkg.cfg.d/slim", DPKG_SLIM)
                for pattern in (
                    "usr/share/doc/*",
                    "usr/share/man/*",
                    "usr/share/locale/*",
                    "usr/share/info/*",
                    "var/cache/apt/*.bin",
                    "var/cache/apt/archives/*.deb",
                    "var/lib/apt/lists/*",
                    "var/log/*.log",
                ):
                    for path in root.glob(pattern):
                        shutil.rmtree(
                            path
                        ) if path.is_dir() and not path.is_symlink() else path.unlink()
            container = buildah("from", *policy(), "scratch", capture_output=True).stdout.strip()
            buildah("add", "--quiet", container, root, "/", stdout=subprocess.DEVNULL)
            buildah(
                "config",
                "--cmd",
                "bash",
                "--env",
                "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
                container,
            )
            buildah(
                "commit",
                *policy(),
                "--quiet",
                "--rm",
                container,
                DEBIAN_IMAGE,
                stdout=subprocess.DEVNULL,
            )
        say(f"{DEBIAN_IMAGE}: made")
    if debootstrap or not image_id(PYTHON_IMAGE):
        with tempfile.TemporaryDirectory() as folder:
            build_image(
                PYTHON_IMAGE,
                write(Path(folder, "Dockerfile"), PYTHON_DOCKERFILE),
                folder,
                quiet=True,
            )
        say(f"{PYTHON_IMAGE}: made")
    for image, aliases in IMAGE_ALIASES.items():
        for alias in aliases:
            buildah("tag", image, f"docker.io/library/{alias}")


def debian_mirror() -> list[str]:
    """The package mirror this machine uses, if it says so."""
    for file in (
        Path("/etc/apt/sources.list"),
        *sorted(Path("/etc/apt/sources.list.d").glob("debian*")),
    ):
        if file.is_file() and (
            found := re.search(
                r"^(?:URIs:|deb(?: \[.*?\])?)\s+(\S+/debian/?)(?:\s|$)", file.read_text(), re.M
            )
        ):
            return [found[1]]
    return []


def build_settings(folder: Path) -> list[str]:
    """Mounts that let RUN steps reach the package registries as this machine does.

    None of them ends up in the image.
    """
    bundle = Path(os.environ.get("SSL_CERT_FILE") or "/etc/ssl/certs/ca-certificates.crt")
    pip = configparser.RawConfigParser()
    pip.read(["/etc/pip.conf", Path.home() / ".config/pip/pip.conf", Path.home() / ".pip/pip.conf"])
    if not pip.has_section("global"):
        pip.add_section("global")
    for key in (
        "index-url",
        "extra-index-url",
        "trusted-host",
        "proxy",
        "timeout",
        "default-timeout",
    ):
        if value := os.environ.get(f"PIP_{key.upper().replace('-', '_')}"):
            pip.set("global", key, value)
    mounts = []
    if bundle.exists():
        pip.set("global", "cert", "/etc/ssl/certs/ca-certificates.crt")
        mounts.append((bundle.resolve(), "/etc/ssl/certs/ca-certificates.crt"))
    with open(folder / "pip.conf", "w", encoding="utf-8") as file:
        pip.write(file)
    acquire = [
        line for line in output("apt-config", "dump").splitlines() if line.startswith("Acquire::")
    ]
    write(folder / "apt.conf", "\n".join(acquire) + "\n")
    mounts += [
        (folder / "pip.conf", "/etc/pip.conf"),
        (folder / "apt.conf", "/etc/apt/apt.conf.d/99build"),
    ]
    return [option for source, target in mounts for option in ("--volume", f"{source}:{target}:ro")]


def build_image(
    name: str,
    dockerfile: str | Path,
    context: str | Path,
    build_args: list[str] | None = None,
    quiet: bool = False,
) -> None:
    """Build a Dockerfile; FROM finds local images only, RUN has the host's network."""
    bases = {f"docker.io/library/{a}" for aliases in IMAGE_ALIASES.values() for a in aliases} | set(
        IMAGE_ALIASES
    )
    stages: set[str] = set()
    for base, stage in re.findall(
        r"^\s*FROM\s+(?:--\S+\s+)?(\S+)(?:\s+AS\s+(\S+))?\s*$",
        Path(dockerfile).read_text(),
        re.M | re.I,
    ):
        given = "$" in base  # by an argument: buildah will say if there is no such image
        if (
            not given
            and base not in stages | {"scratch"}
            and full_name(base) not in bases
            and not image_id(base)
        ):
            raise Failure(
                f"FROM {base}: there is no such image here;"
                f" the base images are {', '.join(sorted(bases))}, or one of your own"
            )
        stages.add(stage)
    with tempfile.TemporaryDirectory() as folder:
        buildah(
            "build",
            *policy(),
            "--pull-never",
            "--layers",
            "--network",
            "host",
            "--isolation",
            "chroot",
            *build_settings(Path(folder)),
            *(o for a in build_args or [] for o in ("--build-arg", a)),
            *(["--quiet"] if quiet else []),
            "--tag",
            name,
            "--file",
            dockerfile,
            context,
            stdout=subprocess.DEVNULL if quiet else None,
        )


def full_name(name: str) -> str:
    """The name by which kubelet asks for an image."""
    first = name.split("/")[0]
    qualified = "/" in name and ("." in first or ":" in first or first == "localhost")
    reference = (
        name if qualified else f"docker.io/{name}" if "/" in name else f"docker.io/library/{name}"
    )
    return reference if ":" in reference.rpartition("/")[2] else f"{reference}:latest"
