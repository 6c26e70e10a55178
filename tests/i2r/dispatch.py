"""What is asked of a device, counted: on a GPU every operation is a launch, and every sync an idle device."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any, Self

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

_READS = (
    "item",
    "cpu",
    "numpy",
    "tolist",
    "__array__",
    "__bool__",
    "__float__",
    "__int__",
    "__index__",
    "__contains__",
)
"""Methods of tensors that hand values to the host."""
_SIZED_BY_VALUES = {"nonzero", "masked_select", "_unique2", "unique_consecutive", "repeat_interleave"}
"""Operations whose result is as large as values of tensors say: the host has to read them first."""
_WAITING = {"_local_scalar_dense", "equal", "lift_fresh"} | _SIZED_BY_VALUES
"""Besides: a scalar, a comparison, and a constant of the host's (``torch.tensor``) that is sent."""
_INDEXING = {"index", "index_put", "index_put_"}


class Dispatched(TorchDispatchMode):
    """Counts, while it is entered, what torch is asked for.

    Attributes:
        operations: how many of each, views included.
        syncs: how often the host would wait for the device, by what it asks of it.
    """

    def __init__(self) -> None:
        super().__init__()
        self.operations: Counter[str] = Counter()
        self.syncs: Counter[str] = Counter()
        self._counts = True
        self._methods: dict[str, Any] = {}

    @contextmanager
    def paused(self) -> Iterator[None]:
        """What happens in here is not counted: networks are what it all is for."""
        before, self._counts = self._counts, False
        try:
            yield
        finally:
            self._counts = before

    def uncounted(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """The same function, not counted."""

        @wraps(function)
        def unseen(*args: Any, **kwargs: Any) -> Any:
            with self.paused():
                return function(*args, **kwargs)

        return unseen

    def __enter__(self) -> Self:
        self._methods = {name: Tensor.__dict__.get(name) for name in _READS}
        for name in _READS:
            setattr(Tensor, name, self._reading(name, getattr(Tensor, name)))
        return super().__enter__()  # type: ignore[no-any-return]

    def __exit__(self, *raised: Any) -> None:
        super().__exit__(*raised)
        for name, method in self._methods.items():
            if method is None:
                delattr(Tensor, name)
            else:
                setattr(Tensor, name, method)

    def _reading(self, name: str, method: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(method)
        def read(*args: Any, **kwargs: Any) -> Any:
            self.syncs[name] += self._counts
            with self.paused():
                return method(*args, **kwargs)

        return read

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if self._counts:
            name = func.overloadpacket.__name__
            self.operations[name] += 1
            masked = name in _INDEXING and any(
                index is not None and index.dtype == torch.bool for index in args[1]
            )
            self.syncs[name] += name in _WAITING or masked
        return func(*args, **(kwargs or {}))
