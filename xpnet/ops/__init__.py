"""Array operations under the layers: rules, and the few operations that are not elementwise."""

from xpnet.ops.explain import explain
from xpnet.ops.select import operations_for

__all__ = ["explain", "operations_for"]
