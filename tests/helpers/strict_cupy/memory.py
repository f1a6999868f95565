"""Device memory: allocations, pools that reuse what is freed, and the memory at an address.

Memory is poisoned before its first use and whenever it is freed, so that what is read too early or
too late is NaN. NumPy's views keep the bytes themselves alive: a late access is never a crash.
"""

from __future__ import annotations

import ctypes
import itertools
import sys
import weakref
from bisect import bisect_right, insort
from contextlib import contextmanager

import numpy as np

from helpers.strict_cupy.state import CUDARuntimeError, state

UNIT = 512
"""The alignment and the unit of every allocation, in bytes."""

POISON = np.uint16(0xFFF7)
"""NaN in every floating dtype, and an odd integer in the others."""

TOTAL = 140 << 30
"""Bytes of each device."""

N_DEVICES = 2

used = [0] * N_DEVICES
"""Bytes that are allocated on each device."""

serials = itertools.count(1)


class Memory:
    """An allocation of a device, as ``cudaMalloc`` makes it."""

    def __init__(self, size):
        self.size, self.device_id, self.serial = size, state.current.device, next(serials)
        self.room = np.empty(size + UNIT if size else 0, "u1")
        start = -self.room.ctypes.data % UNIT
        self.bytes = self.room[start : start + size]
        self.ptr = self.bytes.ctypes.data if size else 0
        self.user, self.freed = None, False  # the pool's block that holds it
        self.poison()
        used[self.device_id] += size
        enter(self)

    def poison(self):
        n = self.size // 2
        self.bytes[: 2 * n].view(np.uint16).fill(POISON)

    @property
    def root(self):
        """The allocation itself."""
        return self

    @property
    def device(self):
        from helpers.strict_cupy.cuda import Device  # noqa: PLC0415  it needs this module

        return Device(self.device_id)

    def __int__(self):
        return self.ptr

    def __del__(self, ending=sys.is_finalizing):
        if self.size and not ending():
            self.freed = True
            used[self.device_id] -= self.size
            leave(self)


class PooledMemory:
    """A block of a pool; the pool takes it back when nothing holds it."""

    def __init__(self, root, arena):
        self.root, self._arena, self.serial = root, arena, next(serials)
        self.size, self.device_id = root.size, root.device_id
        self.ptr, self.bytes, self.room = root.ptr, root.bytes, root.room
        self.captured = state.tape is not None  # whether a graph may write there any time
        root.user = weakref.ref(self)
        enter(self)

    device = Memory.device
    __int__ = Memory.__int__

    def __del__(self, ending=sys.is_finalizing):
        if ending() or self.root.freed:  # which a cycle of references ends in any order
            return
        leave(self)
        self.root.poison()
        arena = self._arena()
        if arena is not None:
            arena.put(self.root)


class Arena:
    """The free blocks of a pool on one stream of a device, by size."""

    def __init__(self):
        self.free = {}

    def put(self, memory):
        self.free.setdefault(memory.size, []).append(memory)

    def take(self, size):
        """A free block of the size, the last that was freed; ``None`` if there is none."""
        blocks = self.free.get(size)
        return blocks.pop() if blocks else None


class MemoryPointer:
    """A place in memory."""

    def __init__(self, mem, offset):
        self.mem, self.ptr, self.device_id = mem, mem.ptr + offset, mem.device_id

    device = Memory.device
    __int__ = Memory.__int__


class MemoryPool:
    """Blocks of memory, which are reused on the stream on which they were allocated."""

    def __init__(self, allocator=None):
        self._allocate = allocator or (lambda size: MemoryPointer(Memory(size), 0))
        self._arenas = {}

    def malloc(self, size):
        if size == 0:
            return MemoryPointer(Memory(0), 0)
        size = -(-size // UNIT) * UNIT
        key = state.current.device, state.stream.ptr
        arena = self._arenas.setdefault(key, Arena())
        root = arena.take(size) or self._allocate(size).mem
        return MemoryPointer(PooledMemory(root, weakref.ref(arena)), 0)

    def free_all_blocks(self, stream=None):
        """Return the free blocks to the device."""
        for (device, address), arena in list(self._arenas.items()):
            if device == state.current.device and stream in (None, address):
                arena.free.clear()

    def _sizes(self, device):
        arenas = [arena for (own, _), arena in self._arenas.items() if own == device]
        return [size * len(b) for arena in arenas for size, b in arena.free.items()]

    def free_bytes(self):
        return sum(self._sizes(state.current.device))

    def n_free_blocks(self):
        arenas = [arena for (own, _), arena in self._arenas.items() if own == state.current.device]
        return sum(len(blocks) for arena in arenas for blocks in arena.free.values())


POOL = MemoryPool()


def alloc(size):
    """Memory of the current allocator on the current device."""
    return (state.current.allocator or POOL.malloc)(size)


@contextmanager
def using_allocator(allocator=None):
    """Allocate by ``allocator`` in this thread."""
    before, state.current.allocator = state.current.allocator, allocator
    try:
        yield
    finally:
        state.current.allocator = before


# --- the memory at an address ---------------------------------------------------------------------

starts: list[int] = []
"""The addresses of all memory that is in use, in order."""

holders: dict[int, weakref.ref] = {}
"""What holds the memory that starts at an address; the newest, if a pool holds it too."""


def enter(block):
    """Note the memory as in use."""
    if block.size:
        with state.lock:
            if block.ptr not in holders:
                insort(starts, block.ptr)
            holders[block.ptr] = weakref.ref(block)


def leave(block):
    """Forget memory that was freed; a block of a pool stays allocated."""
    with state.lock:
        if block is not block.root:
            holders[block.ptr] = weakref.ref(block.root)
        elif holders.pop(block.ptr, None) is not None:
            del starts[bisect_right(starts, block.ptr) - 1]


def holder(address):
    """What holds the memory at an address; ``None`` if no device has it."""
    with state.lock:
        i = bisect_right(starts, address) - 1
        block = holders[starts[i]]() if i >= 0 else None
    inside = block is not None and address < block.ptr + block.size
    return block if inside else None


def memory_at(address, size):
    """The bytes at an address and what holds them, as work on the current device finds them.

    Raises:
        CUDARuntimeError: if they are not on the current device, or are free.
    """
    block = holder(address)
    here = block is not None and block.device_id == state.current.device
    free = here and block is block.root and block.user is not None
    if not here or free or address + size > block.ptr + block.size:
        raise CUDARuntimeError(
            f"cudaErrorIllegalAddress: {size} bytes at {address:#x} are "
            + ("free memory of a pool" if free else "no memory of the current device")
        )
    start = address - block.ptr
    return block.bytes[start : start + size], block


def host_bytes(address, size):
    """The bytes at an address of the host."""
    assert address, "a null pointer"
    assert holder(address) is None, "an address of a device where one of the host is needed"
    return np.frombuffer((ctypes.c_char * size).from_address(address), "u1")
