"""A strict stand-in for CuPy on machines without a CUDA device.

Its arrays live in memory of two imagined devices. Names and signatures are those of a real CuPy
(`table`), numbers are NumPy's, and kernels run as C++ (`helpers.emulated_cuda`). It refuses what
CuPy refuses: implicit conversion, host arrays in functions of the device, unknown names and
keywords, arrays of another device, reads and copies of the host during a capture. Memory is
poisoned before use and when it is freed, and pools reuse it at once. A captured stream does its
work only when the graph is launched, and a launch fails if memory of the graph was freed.

What it cannot show: data races, because one block runs after another and all work is done as soon
as it is enqueued; times; and the rounding of a device.

>>> from helpers.strict_cupy import counted, installed
>>> with installed(), counted() as counts:
...     import cupy
...
...     total = float(cupy.ones(3).sum())
>>> total, counts["kernel:sum"], counts["sync:float"], counts.reads
(3.0, 1, 1, 1)

Counts are by name: ``raw:NAME`` is a launch of a kernel of the project, ``kernel:NAME`` of one of
CuPy, ``lt:EPILOGUE`` a product by cublasLt; ``sync:`` and ``h2d:`` are reads and copies of the
host, ``graph`` is the launch of a graph. ``counts.kernels`` holds the distinct kernels that a
device would have to compile. The attribute ``nodes`` of a captured graph names its work likewise.
"""

from helpers.strict_cupy.install import installed, why_not
from helpers.strict_cupy.state import Counts, state

counted = state.counted

__all__ = ["Counts", "counted", "installed", "why_not"]
