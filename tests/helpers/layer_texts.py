"""Layers as text, as an earlier version wrote it to the expectations of its files."""

from __future__ import annotations

LATER_FIELDS = (", scale_init=Ones()",)
"""Fields with their defaults that a layer has since had, in the order of time."""


def texts_without_later_fields(layers):
    """Return the text of each layer without the later fields that are the default."""
    texts = [repr(layer) for layer in layers]
    for field in LATER_FIELDS:
        texts = [
            text.replace(field, "") if text.startswith("BatchNorm(") else text for text in texts
        ]
    return texts
