// Runs CUDA kernels on the CPU, one block after another: every thread of a block is a coroutine that
// goes on until it must wait for others. A barrier that is missing shows, for the first thread is
// then through the kernel before the second begins. Blocks run forwards or backwards: a device
// promises no order.
#include <math.h>
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
    ucontext_t context;
    dim3 index;
    bool done = false;
    unsigned long long exchanged = 0;
    long long met = 0;       // how often it has met its whole block
    long long met_warp = 0;  // how often it has met its warp
    char* stack = nullptr;
};
static std::vector<Thread> threads;
static ucontext_t scheduler;
static size_t current;

static void give_way() {
    Thread& own = threads[current];
    swapcontext(&own.context, &scheduler);
}
static void enter(size_t i) {
    current = i;
    threadIdx = threads[i].index;
    swapcontext(&scheduler, &threads[i].context);
}
// Wait until every thread of a range that is not done has met as often as this one.
static void meet(size_t first, size_t last, long long Thread::* count) {
    const long long mine = ++(threads[current].*count);
    for (;;) {
        size_t i = first;
        while (i < last && (threads[i].done || threads[i].*count >= mine)) i++;
        if (i == last) return;
        give_way();
    }
}
static void meet_warp() {
    const size_t first = current / 32 * 32;
    const size_t last = first + 32 < threads.size() ? first + 32 : threads.size();
    meet(first, last, &Thread::met_warp);
}
}  // namespace emulation

static void __syncthreads() {
    emulation::meet(0, emulation::threads.size(), &emulation::Thread::met);
}
template <class V> V __shfl_xor_sync(unsigned, V value, int lane) {
    using namespace emulation;
    const size_t own = current;
    memcpy(&threads[own].exchanged, &value, sizeof(V));
    meet_warp();
    V other;
    memcpy(&other, &threads[own / 32 * 32 + ((own % 32) ^ lane)].exchanged, sizeof(V));
    meet_warp();
    return other;
}

#define __global__
#define __device__
#define __shared__ static

namespace emulation {
static void* body_arguments;
static void (*body)(void*);
static void run_thread() {
    body(body_arguments);
    threads[current].done = true;
    give_way();
}
static void run_block(dim3 block) {
    threads.assign((size_t)block.x * block.y * block.z, Thread());
    for (size_t i = 0; i < threads.size(); i++) {
        Thread& thread = threads[i];
        thread.index = {unsigned(i % block.x), unsigned(i / block.x % block.y), unsigned(i / block.x / block.y)};
        const size_t size = 1 << 15;
        thread.stack = (char*)malloc(size);
        getcontext(&thread.context);
        thread.context.uc_stack.ss_sp = thread.stack;
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
    for (Thread& thread : threads) free(thread.stack);
}
template <class... A, size_t... I>
void call(void (*kernel)(A...), void** arguments, std::index_sequence<I...>) {
    kernel(*(std::remove_reference_t<A>*)arguments[I]...);
}
template <auto kernel, class... A> void unpack(void (*)(A...), void** arguments) {
    call(kernel, arguments, std::index_sequence_for<A...>());
}
}  // namespace emulation

#define EMULATED(kernel)                                                                          \
    extern "C" void emulated(const unsigned* grid, const unsigned* block, void** arguments,       \
                             bool backwards) {                                                    \
        gridDim = {grid[0], grid[1], grid[2]};                                                    \
        blockDim = {block[0], block[1], block[2]};                                                \
        emulation::body_arguments = arguments;                                                    \
        emulation::body = [](void* given) { emulation::unpack<kernel>(kernel, (void**)given); };  \
        const unsigned count = grid[0] * grid[1] * grid[2];                                       \
        for (unsigned k = 0; k < count; k++) {                                                    \
            const unsigned i = backwards ? count - 1 - k : k;                                     \
            blockIdx = {i % grid[0], i / grid[0] % grid[1], i / grid[0] / grid[1]};               \
            emulation::run_block(blockDim);                                                       \
        }                                                                                         \
    }
