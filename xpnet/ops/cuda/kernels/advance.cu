// The one place where a captured step moves on: the next row of every table becomes the current one.
// One block: every thread must have read the cursor before it is moved. Behind the last row of the
// tables comes the last again.
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
