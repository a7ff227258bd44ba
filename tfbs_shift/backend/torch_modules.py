"""PyTorch modules, run as they are. PyTorch is imported only where there is one."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np


def is_module(model: Any) -> bool:
    """Whether a model is a ``torch.nn.Module``."""
    return any(
        kind.__module__.startswith("torch.") and kind.__name__ == "Module"
        for kind in type(model).__mro__
    )


def called(module: Any) -> Callable[..., Any]:
    """A function of arrays: the module in eval mode, without gradients, on its own device.

    Each submodule's mode (training or not) is afterwards what it was before.
    """
    import torch

    def call(*arrays: np.ndarray) -> Any:
        first = next(iter([*module.parameters(), *module.buffers()]), None)
        device = "cpu" if first is None else first.device
        kind = torch.float32
        if first is not None and first.dtype.is_floating_point:
            kind = first.dtype
        tensors = (torch.as_tensor(np.ascontiguousarray(a)).to(device) for a in arrays)
        tensors = (t.to(kind) if t.is_floating_point() else t for t in tensors)
        with _eval(module), torch.no_grad():
            return _numbers(module(*tensors))

    return call


@contextlib.contextmanager
def _eval(module: Any) -> Iterator[None]:
    modes = [(part, part.training) for part in module.modules()]
    with contextlib.suppress(NotImplementedError):  # one that was exported is as it is
        module.eval()
    try:
        yield
    finally:
        for part, training in modes:
            part.training = training


def _numbers(predictions: Any) -> Any:
    """Tensors, in lists and dicts, as arrays."""
    if isinstance(predictions, dict):
        return {name: _numbers(value) for name, value in predictions.items()}
    if isinstance(predictions, list | tuple):
        return [_numbers(value) for value in predictions]
    if hasattr(predictions, "detach"):
        return predictions.detach().float().cpu().numpy()
    return predictions


def state(module: Any) -> list[np.ndarray]:
    """Its parameters and buffers."""
    return [_numbers(tensor) for tensor in (*module.parameters(), *module.buffers())]


def last_activation(module: Any) -> str:
    """Of a ``Sequential`` that ends in one: "softmax" over the last axis, "sigmoid"; else ""."""
    import torch

    while isinstance(module, torch.nn.Sequential) and len(module):
        module = module[-1]
    if isinstance(module, torch.nn.Softmax):
        return "softmax" if module.dim in (1, -1) else ""
    return "sigmoid" if isinstance(module, torch.nn.Sigmoid) else ""
