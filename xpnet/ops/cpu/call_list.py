"""The loop that calls the compiled functions of a table, one after another."""

from __future__ import annotations

from typing import Any

from xpnet.ops.cpu.jit.definition import Kind, Kit, Source

FLUSH = 0x8040
"""The bits of an x86 processor's control word by which numbers below the normal ones are 0.

It computes with them many times slower, and they are not rare: the momentum of a unit that is never
active again shrinks to such a number, and stays at one, since less than half of the least is lost.
"""


def replay(kit: Kit) -> Source:
    """Call the compiled functions of a table, one after another."""
    called, mode, set_mode = kit.called, kit.mode, kit.set_mode

    def loop(table: Any) -> None:
        before, status = mode(), 0
        set_mode(before | FLUSH)
        for i in range(table.shape[0]):
            status = called(table[i, 0], table[i, 1])
            if status != 0:
                break
        set_mode(before)
        if status != 0:
            raise TypeError

    return Source(loop, (Kind("int64", 2),))
