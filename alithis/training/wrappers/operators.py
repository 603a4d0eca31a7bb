"""Operators and attributes of arrays and tensors: which of them read rows, and which write.

The names are listed once for both NumPy's arrays (`arrays`) and PyTorch's tensors (`tensors`).
"""

from __future__ import annotations

from typing import Any

IN_PLACE = (
    *("add", "sub", "mul", "matmul", "truediv", "floordiv", "mod", "pow"),
    *("lshift", "rshift", "and", "xor", "or"),
)
"""Binary operators that also have an in-place form: ``+`` and ``+=``."""

BINARY = (*IN_PLACE, "divmod")
"""Binary operators that have a reflected form: ``2 - array`` calls ``__rsub__``."""

OTHERS = ("lt", "le", "gt", "ge", "eq", "ne", "neg", "pos", "abs", "invert")
"""Operators without a reflected form."""

WRITING = tuple(f"__{name}__" for name in ("setitem", *(f"i{each}" for each in IN_PLACE)))
"""Methods that would write to a wrapped array or tensor."""

DESCRIBING = frozenset(
    (
        *("shape", "dtype", "ndim", "size", "nbytes", "itemsize", "strides", "flags", "device"),
        *("is_cuda", "layout", "names", "dim", "numel", "requires_grad", "is_sparse"),
        *("is_floating_point", "element_size"),
    )
)
"""Attributes of arrays and tensors that describe them: reading one reads no rows."""

DESCRIBING_TENSOR = DESCRIBING | {
    *("__len__", "__hash__", "__repr__", "__str__", "__format__", "__dir__", "name"),
    *("is_contiguous", "stride", "storage_offset", "get_device", "output_nr", "dense_dim"),
    *("is_leaf", "grad", "grad_fn", "retains_grad", "requires_grad_", "share_memory_"),
    *("is_meta", "is_cpu", "is_mps", "is_mkldnn", "is_quantized", "is_nested", "is_complex"),
    *("is_sparse_csr", "is_shared", "is_pinned", "is_conj", "is_neg", "is_inference"),
}
"""Functions and attributes of PyTorch's tensors that read no rows."""


def refuse_write(*_: Any) -> None:
    """Replace the methods that write: recorded rows must not change after they were hashed.

    Raises:
        TypeError: always.
    """
    raise TypeError("recorded data cannot be written to: compute a new array, as in x = x / 255")
