// Advance the cursor, and copy its row of each table; past the end the last row is repeated. Launch
// one block: every thread reads the cursor before it is written.
extern "C" __global__ void advance(long long* cursor, long long rows, const long long* places,
                                   long long* place, long long n_places, const T* numbers,
                                   T* number, long long n_numbers) {
    const long long next = *cursor + 1, row = within(next, rows);
    __syncthreads();
    for (long long i = threadIdx.x; i < n_places; i += blockDim.x) {
        place[i] = places[row * n_places + i];
    }
    for (long long i = threadIdx.x; i < n_numbers; i += blockDim.x) {
        number[i] = numbers[row * n_numbers + i];
    }
    if (threadIdx.x == 0) *cursor = next;
}

extern "C" __global__ void record(T* log, const long long* cursor, const T* value, long long n) {
    if (*cursor == within(*cursor, n)) log[*cursor] = *value;
}
