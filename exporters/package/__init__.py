"""What leaves edgecnn: a Triton model repository, or a folder for an application. Needs neither torch nor onnx."""

from __future__ import annotations

from edgecnn.exporters.package.app import AppFolder, check_app, package_app
from edgecnn.exporters.package.checkrepository import CheckedModel, check_repository
from edgecnn.exporters.package.manifest import PackagedFile
from edgecnn.exporters.package.triton import ServedModel, package_triton
from edgecnn.exporters.package.tritonoptions import Instances, TritonOptions, parse_instances

__all__ = [
    "AppFolder",
    "CheckedModel",
    "Instances",
    "PackagedFile",
    "ServedModel",
    "TritonOptions",
    "check_app",
    "check_repository",
    "package_app",
    "package_triton",
    "parse_instances",
]
