// Runs CUDA kernels on the CPU, one block after another, and one thread after another until it must
// wait for others. A missing barrier gives wrong numbers, because the first
// thread then ends before the second begins. Blocks run forwards or backwards, because a device
// guarantees no order.
#include <math.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <ucontext.h>
#include <algorithm>
#include <deque>
#include <type_traits>
#include <utility>
#include <vector>

struct dim3 { unsigned x, y, z; };
static dim3 threadIdx, blockIdx, blockDim, gridDim;

namespace emulation {
// A stack on which threads run, one after another, until one of them has to wait.
struct Fiber {
    char stack[1 << 14];
    jmp_buf place;       // to resume it: unlike swapcontext, a jump makes no system call
    ucontext_t context;  // at its start
};
struct Barrier;
struct Thread {
    dim3 index;
    Fiber* fiber = nullptr;      // on which it waits
    Barrier* barrier = nullptr;  // for which it waits
    size_t meetings = 0;         // of the barrier before
    bool begun = false, done = false;
    unsigned long long exchanged[2] = {0, 0}, exchanges = 0;
    bool may_run() const;
};
static std::deque<Fiber> fibers;
static std::vector<Fiber*> unused;  // those on which no thread runs
static std::vector<Thread> threads;
static jmp_buf scheduler;
static size_t current;
static Fiber* running;

// Goes on with the next thread of the warp, or in the loop over all.
static void go_on() {
    const size_t end = std::min(threads.size(), current / 32 * 32 + 32);
    for (size_t i = current + 1; i < end; i++) {
        if (!threads[i].begun || !threads[i].may_run()) continue;
        current = i;
        threadIdx = threads[i].index;
        running = threads[i].fiber;
        _longjmp(running->place, 1);
    }
    _longjmp(scheduler, 1);
}
static void leave_fiber() {
    if (!_setjmp(running->place)) go_on();
}
[[gnu::always_inline]] static inline void give_way() {
    threads[current].fiber = running;
    leave_fiber();
}
static void run_threads();
static void enter(size_t i) {
    current = i;
    threadIdx = threads[i].index;
    if (_setjmp(scheduler)) return;
    if (threads[i].begun || !unused.empty()) {
        running = threads[i].fiber;
        if (!threads[i].begun) {
            running = unused.back();
            unused.pop_back();
        }
        _longjmp(running->place, 1);
    }
    running = &fibers.emplace_back();
    getcontext(&running->context);
    running->context.uc_stack.ss_sp = running->stack;
    running->context.uc_stack.ss_size = sizeof(running->stack);
    makecontext(&running->context, run_threads, 0);
    setcontext(&running->context);
}
// A barrier for the threads of a group that have not ended.
struct Barrier {
    size_t members = 0, waiting = 0, meetings = 0;
    void release_if_all() {
        if (waiting < members) return;
        waiting = 0;
        meetings++;
    }
    [[gnu::always_inline]] void meet() {
        threads[current].barrier = this;
        threads[current].meetings = meetings;
        waiting++;
        release_if_all();
        if (!threads[current].may_run()) give_way();
    }
    void leave() {
        members--;
        release_if_all();
    }
};
inline bool Thread::may_run() const { return !done && (!barrier || barrier->meetings != meetings); }
static Barrier whole_block;
static std::vector<Barrier> warps;
}  // namespace emulation

[[gnu::always_inline]] static inline void __syncthreads() { emulation::whole_block.meet(); }
template <class V> V __shfl_xor_sync(unsigned, V value, int lane) {
    using namespace emulation;
    // Two places in turn: nobody writes to one before all have read it.
    const size_t own = current, place = threads[own].exchanges++ % 2;
    memcpy(&threads[own].exchanged[place], &value, sizeof(V));
    warps[own / 32].meet();
    V other;
    memcpy(&other, &threads[own / 32 * 32 + ((own % 32) ^ lane)].exchanged[place], sizeof(V));
    return other;
}

#define __global__
#define __device__
#define __shared__ static
#define __launch_bounds__(...)

namespace emulation {
static void* body_arguments;
static void (*body)(void*);
static void run_threads() {
    while (true) {
        threads[current].begun = true;
        body(body_arguments);
        threads[current].done = true;
        whole_block.leave();
        warps[current / 32].leave();
        if (current + 1 < threads.size() && !threads[current + 1].begun) {
            threadIdx = threads[++current].index;
        } else {
            unused.push_back(running);
            leave_fiber();
        }
    }
}
static void run_block(dim3 block) {
    threads.assign((size_t)block.x * block.y * block.z, Thread());
    whole_block = Barrier{threads.size()};
    warps.assign((threads.size() + 31) / 32, Barrier());
    for (size_t i = 0; i < threads.size(); i++) {
        warps[i / 32].members++;
        threads[i].index = {unsigned(i % block.x), unsigned(i / block.x % block.y), unsigned(i / block.x / block.y)};
    }
    // Warp by warp: its threads wait for one another more often than for those of other warps.
    for (bool going = true; going;) {
        going = false;
        for (size_t first = 0; first < threads.size(); first += 32) {
            const size_t end = std::min(first + 32, threads.size());
            for (bool moved = true; moved; going |= moved) {
                moved = false;
                for (size_t i = first; i < end; i++) {
                    if (threads[i].may_run()) enter(i), moved = true;
                }
            }
        }
    }
    for (const Thread& thread : threads) {
        if (!thread.done) fputs("threads wait for a barrier that others do not reach\n", stderr), abort();
    }
}
template <class... A, size_t... I>
void call(void (*kernel)(A...), void** arguments, std::index_sequence<I...>) {
    kernel(*(std::remove_reference_t<A>*)arguments[I]...);
}
template <auto kernel, class... A> void unpack(void (*)(A...), void** arguments) {
    call(kernel, arguments, std::index_sequence_for<A...>());
}
}  // namespace emulation

namespace emulation {
static void run(const unsigned* grid, const unsigned* block, void** arguments, bool backwards,
                void (*kernel)(void*)) {
    gridDim = {grid[0], grid[1], grid[2]};
    blockDim = {block[0], block[1], block[2]};
    body_arguments = arguments;
    body = kernel;
    const unsigned count = grid[0] * grid[1] * grid[2];
    for (unsigned k = 0; k < count; k++) {
        const unsigned i = backwards ? count - 1 - k : k;
        blockIdx = {i % grid[0], i / grid[0] % grid[1], i / grid[0] / grid[1]};
        run_block(blockDim);
    }
}
}  // namespace emulation

// An entry point of a kernel.
#define EMULATED(kernel, name)                                                                    \
    extern "C" void name(const unsigned* grid, const unsigned* block, void** arguments,           \
                         bool backwards) {                                                        \
        emulation::run(grid, block, arguments, backwards, [](void* given) {                       \
            emulation::unpack<kernel>(kernel, (void**)given);                                     \
        });                                                                                       \
    }
