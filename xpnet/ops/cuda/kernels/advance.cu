// The one place where a captured step moves on: the next row of every table becomes the current one.
// One block: every thread must have read the cursor before it is moved.
extern "C" __global__ void advance(long long* cursor, const long long* places, long long* place,
                                   long long n_places, const T* numbers, T* number,
                                   long long n_numbers) {
    const long long row = *cursor + 1;
    __syncthreads();
    for (long long i = threadIdx.x; i < n_places; i += blockDim.x) {
        place[i] = places[row * n_places + i];
    }
    for (long long i = threadIdx.x; i < n_numbers; i += blockDim.x) {
        number[i] = numbers[row * n_numbers + i];
    }
    if (threadIdx.x == 0) *cursor = row;
}

extern "C" __global__ void record(T* log, const long long* cursor, const T* value) {
    log[*cursor] = *value;
}
