"""Generate the gRPC modules from ``proto/`` whenever the project is built or installed.

``proto/disco/v1/x.proto`` becomes ``worker/disco/v1/x_pb2.py``: the Python module path is the
protobuf package path, so the generated imports need no rewriting. ``descriptors.binpb`` beside them
has all files with their comments.
"""

import sys
from pathlib import Path
from typing import Any

from google.api import http_pb2
from grpc_tools import protoc
from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class ProtoBuildHook(BuildHookInterface[Any]):
    """Run protoc before the files of a wheel, or of an editable install, are collected."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Write the message modules, the service modules, their type stubs and the comments.

        Raises:
            SystemExit: A ``.proto`` file is wrong; protoc has said which and where.
        """
        source, target = Path(self.root, "proto"), Path(self.root, "worker")
        builtin = Path(protoc.__file__).parent / "_proto"  # google/protobuf/*.proto
        common = Path(http_pb2.__file__).parent.parent.parent  # google/api/*.proto
        status = protoc.main(
            [
                "protoc",
                f"-I{source}",
                f"-I{builtin}",
                f"-I{common}",
                f"--python_out={target}",
                f"--grpc_python_out={target}",
                f"--mypy_out=quiet:{target}",
                f"--mypy_grpc_out=quiet:{target}",
                # The modules have no comments: descriptions of the API are made of this.
                f"--descriptor_set_out={target / 'disco/v1/descriptors.binpb'}",
                "--include_source_info",
                *(str(path.relative_to(source)) for path in sorted(source.rglob("*.proto"))),
            ]
        )
        if status:
            sys.exit(f"protoc exited with status {status}")
