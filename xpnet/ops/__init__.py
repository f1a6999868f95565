"""Array operations under the layers: rules, and the few operations that are not elementwise."""

from xpnet.ops.explain import explain
from xpnet.ops.select import new_recorder, operations_for, why_not_recorded

__all__ = ["explain", "new_recorder", "operations_for", "why_not_recorded"]
