"""Keeps TensorFlow's start-up lines off the terminal.

TensorFlow 2.21 writes six lines about its kernels and a missing GPU to stderr whenever it is imported,
before any of its environment variables is read. Here its import, and nothing else, runs with stderr
caught; what is not one of those lines is written out afterwards.
"""

from __future__ import annotations

import importlib.abc
import importlib.util
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

_NOISE = re.compile(rb"WARNING: All log messages before absl::InitializeLog|[IW]\d{4} \d\d:\d\d:\d+\.\d+ ")


class QuietTensorFlow(importlib.abc.MetaPathFinder):
    """Import hook; put it first in ``sys.meta_path``."""

    def find_spec(self, name: str, path: Any, target: ModuleType | None = None) -> ModuleSpec | None:
        """Find TensorFlow the usual way, and load it quietly; leave all else to others."""
        del path, target
        if name != "tensorflow":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.loader is not None:
            spec.loader = _QuietLoader(spec.loader)
        return spec


class _QuietLoader(importlib.abc.Loader):
    def __init__(self, loader: Any) -> None:
        self._loader = loader

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        found: ModuleType | None = self._loader.create_module(spec)
        return found

    def exec_module(self, module: ModuleType) -> None:
        with _without_noise():
            self._loader.exec_module(module)
        # What it says later is advice to programmers, such as on how often it traces a function.
        module.get_logger().setLevel("ERROR")


@contextmanager
def _without_noise() -> Iterator[None]:
    import tempfile

    sys.stderr.flush()
    terminal = os.dup(2)
    with tempfile.TemporaryFile() as caught:
        os.dup2(caught.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(terminal, 2)
            os.close(terminal)
            caught.seek(0)
            for line in caught:
                if not _NOISE.match(line):
                    os.write(2, line)
