"""Elementwise mathematics, written once.

A rule is a pure function ``rule(xp, array, ..., scalar, ...)`` of a namespace. It has no branch on
values (``xp.where`` instead), so it runs as it stands on any array library, and on scalars inside
a compiled loop.
"""
