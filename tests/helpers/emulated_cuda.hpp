// Runs CUDA kernels on the CPU, one block after another. Every thread of a block is a coroutine that
// runs until it must wait for others. A missing barrier gives wrong numbers, because the first
// thread then ends before the second begins. Blocks run forwards or backwards, because a device
// guarantees no order.
#include <math.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <ucontext.h>
#include <type_traits>
#include <utility>
#include <vector>

struct dim3 { unsigned x, y, z; };
static dim3 threadIdx, blockIdx, blockDim, gridDim;

namespace emulation {
struct Thread {
    ucontext_t context;  // at its start
    jmp_buf place;       // to resume it: unlike swapcontext, a jump makes no system call
    bool begun = false;
    dim3 index;
    bool done = false;
    unsigned long long exchanged = 0;
};
static std::vector<char> stacks;
static std::vector<Thread> threads;
static jmp_buf scheduler;
static size_t current;

static void give_way() {
    if (!_setjmp(threads[current].place)) _longjmp(scheduler, 1);
}
static void enter(size_t i) {
    current = i;
    threadIdx = threads[i].index;
    if (_setjmp(scheduler)) return;
    if (threads[i].begun) _longjmp(threads[i].place, 1);
    threads[i].begun = true;
    setcontext(&threads[i].context);
}
// A barrier for the threads of a group that have not ended.
struct Barrier {
    size_t members = 0, waiting = 0, meetings = 0;
    void release_if_all() {
        if (waiting < members) return;
        waiting = 0;
        meetings++;
    }
    void meet() {
        const size_t before = meetings;
        waiting++;
        release_if_all();
        while (meetings == before) give_way();
    }
    void leave() {
        members--;
        release_if_all();
    }
};
static Barrier whole_block;
static std::vector<Barrier> warps;
}  // namespace emulation

static void __syncthreads() { emulation::whole_block.meet(); }
template <class V> V __shfl_xor_sync(unsigned, V value, int lane) {
    using namespace emulation;
    const size_t own = current;
    memcpy(&threads[own].exchanged, &value, sizeof(V));
    warps[own / 32].meet();
    V other;
    memcpy(&other, &threads[own / 32 * 32 + ((own % 32) ^ lane)].exchanged, sizeof(V));
    warps[own / 32].meet();
    return other;
}

#define __global__
#define __device__
#define __shared__ static
#define __launch_bounds__(...)

namespace emulation {
static void* body_arguments;
static void (*body)(void*);
static void run_thread() {
    body(body_arguments);
    threads[current].done = true;
    whole_block.leave();
    warps[current / 32].leave();
    give_way();
}
static void run_block(dim3 block) {
    const size_t size = 1 << 14;
    threads.assign((size_t)block.x * block.y * block.z, Thread());
    stacks.resize(threads.size() * size);
    whole_block = Barrier{threads.size()};
    warps.assign((threads.size() + 31) / 32, Barrier());
    for (size_t i = 0; i < threads.size(); i++) {
        Thread& thread = threads[i];
        warps[i / 32].members++;
        thread.index = {unsigned(i % block.x), unsigned(i / block.x % block.y), unsigned(i / block.x / block.y)};
        getcontext(&thread.context);
        thread.context.uc_stack.ss_sp = stacks.data() + i * size;
        thread.context.uc_stack.ss_size = size;
        makecontext(&thread.context, run_thread, 0);
    }
    for (bool going = true; going;) {
        going = false;
        for (size_t i = 0; i < threads.size(); i++) {
            if (threads[i].done) continue;
            going = true;
            enter(i);
        }
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
