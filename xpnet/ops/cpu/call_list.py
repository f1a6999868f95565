"""A loop that calls the compiled functions of a table one after another."""

from __future__ import annotations

from typing import Any

from xpnet.ops.cpu.jit import ArgumentType, CompilerApi, LoopDefinition, NotCompiled

FLUSH_SUBNORMALS = 0x8040
"""The bits of the control word (MXCSR) of an x86 processor that make it treat subnormals as zero.

It computes with them many times slower, and they are not rare: the momentum of a unit that is never
active again decays to one and stays there, since less than half of the smallest is lost at a step.
"""


def replay(api: CompilerApi) -> LoopDefinition:
    """Call the functions of a table: in each row the addresses of code and packed arguments."""
    call, get_mode = api.call_address, api.floating_point_mode
    set_mode = api.set_floating_point_mode

    def loop(table: Any) -> None:
        mode, status = get_mode(), 0
        set_mode(mode | FLUSH_SUBNORMALS)
        for i in range(table.shape[0]):
            status = call(table[i, 0], table[i, 1])
            if status != 0:
                break
        set_mode(mode)
        if status != 0:
            raise NotCompiled

    return LoopDefinition(loop, (ArgumentType("int64", 2),))
