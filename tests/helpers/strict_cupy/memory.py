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
from collections import defaultdict
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
    """An allocation of a device, as ``cudaMalloc`` makes it.

    Attributes:
        user: refers to the block of a pool that holds it; ``None`` if no pool ever did.
        freed: whether it was freed.
    """

    def __init__(self, size):
        self.size, self.device_id, self.serial = size, state.current.device, next(serials)
        self.room = np.empty(size + UNIT if size else 0, "u1")
        start = -self.room.ctypes.data % UNIT
        self.bytes = self.room[start : start + size]
        self.ptr = self.bytes.ctypes.data if size else 0
        self._words = self.bytes[: size // 2 * 2].view(np.uint16)
        self.user, self.freed = None, False
        self.poison()
        used[self.device_id] += size
        enter(self)

    def poison(self):
        self._words.fill(POISON)

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
    """A block of a pool; the pool takes it back when nothing holds it.

    Attributes:
        root: the allocation.
        captured: whether a captured stream allocated it, so that a graph may write there any time.
    """

    __slots__ = "__weakref__", "_arena", "bytes", "captured", "device_id", "ptr", "root", "serial"

    def __init__(self, root, arena, captured):
        self.root, self._arena, self.serial = root, arena, next(serials)
        self.ptr, self.bytes, self.device_id = root.ptr, root.bytes, root.device_id
        self.captured = captured
        root.user = weakref.ref(self)

    size = property(lambda self: self.root.size)
    room = property(lambda self: self.root.room)
    device = Memory.device
    __int__ = Memory.__int__

    def __del__(self, ending=sys.is_finalizing):
        root = self.root
        if ending() or root.freed:  # which a cycle of references ends in any order
            return
        root.poison()
        arena = self._arena()
        if arena is not None:
            arena.free[root.size].append(root)


class Arena:
    """The free blocks of a pool on one stream of a device, by size.

    Attributes:
        reference: a weak reference to it.
    """

    def __init__(self):
        self.free, self.reference = defaultdict(list), weakref.ref(self)


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
        self._arenas, self._roots = defaultdict(Arena), weakref.WeakSet()

    def malloc(self, size):
        if size == 0:
            return MemoryPointer(Memory(0), 0)
        size = -(-size // UNIT) * UNIT
        current = state.current
        stream = current.stream
        arena = self._arenas[current.device, stream.ptr]
        free = arena.free[size]
        while free and free[-1].freed:  # the end of a cycle of references put it there first
            free.pop()
        root = free.pop() if free else self._new_root(size)
        return MemoryPointer(PooledMemory(root, arena.reference, stream.tape is not None), 0)

    def _new_root(self, size):
        root = self._allocate(size).mem
        self._roots.add(root)
        return root

    def free_all_blocks(self, stream=None):
        """Return the free blocks to the device."""
        for (device, address), arena in list(self._arenas.items()):
            if device == state.current.device and (stream is None or stream.ptr == address):
                arena.free.clear()

    def _free(self):
        """The free blocks on the current device."""
        here = [a for (own, _), a in self._arenas.items() if own == state.current.device]
        return [root for arena in here for blocks in arena.free.values() for root in blocks]

    def free_bytes(self):
        return sum(root.size for root in self._free())

    def total_bytes(self):
        return sum(root.size for root in self._roots if root.device_id == state.current.device)

    def n_free_blocks(self):
        return len(self._free())


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
"""The addresses of all allocations, in order."""

allocations: dict[int, weakref.ref] = {}
"""The allocation that starts at an address."""


def enter(memory):
    """Note an allocation."""
    if memory.size:
        with state.lock:
            insort(starts, memory.ptr)
            allocations[memory.ptr] = weakref.ref(memory)


def leave(memory):
    """Forget an allocation."""
    with state.lock:
        del allocations[memory.ptr], starts[bisect_right(starts, memory.ptr) - 1]


def allocation_at(address):
    """The allocation that has an address; ``None`` if no device has it."""
    with state.lock:
        i = bisect_right(starts, address) - 1
        memory = allocations[starts[i]]() if i >= 0 else None
    inside = memory is not None and address < memory.ptr + memory.size
    return memory if inside else None


def memory_at(address, size):
    """The block of memory that has some bytes, and their offset in it.

    Raises:
        CUDARuntimeError: if they are not in use on the current device.
    """
    memory = allocation_at(address)
    here = memory is not None and memory.device_id == state.current.device
    if not here or address + size > memory.ptr + memory.size:
        where = "no memory of the current device"
        raise CUDARuntimeError(f"cudaErrorIllegalAddress: {size} bytes at {address:#x}: {where}")
    block = memory if memory.user is None else memory.user()
    if block is None:
        where = "free memory of a pool"
        raise CUDARuntimeError(f"cudaErrorIllegalAddress: {size} bytes at {address:#x}: {where}")
    return block, address - block.ptr


def host_bytes(address, size):
    """The bytes at an address of the host."""
    assert address, "a null pointer"
    assert allocation_at(address) is None, "an address of a device where one of the host is needed"
    return np.frombuffer((ctypes.c_char * size).from_address(address), "u1")
