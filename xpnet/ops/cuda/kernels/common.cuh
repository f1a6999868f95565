// Precedes every kernel, after the definitions of T, the type of the elements, and ROWS, the rows of
// threads in a block of a column kernel. NVRTC, which CuPy calls, has no standard headers.

// i clipped to the valid indices of n elements.
static __device__ inline long long within(long long i, long long n) {
    return i < 0 ? 0 : i < n ? i : n - 1;
}

// The index of this thread in the grid, and the number of threads.
static __device__ inline long long first_index() {
    return (long long)blockIdx.x * blockDim.x + threadIdx.x;
}
static __device__ inline long long stride() { return (long long)gridDim.x * blockDim.x; }

// The first row of a part, where m rows are divided equally along the second axis of the grid.
static __device__ inline long long rows_before(long long part, long long m) {
    const long long first = part * ((m + gridDim.y - 1) / gridDim.y);
    return first < m ? first : m;
}
