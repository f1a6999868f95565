// Set before every kernel: T is the type of its numbers, and ROWS the rows of threads of a block over
// columns. The compiler that CuPy calls includes no headers.

// The index of n elements that is nearest to i.
static __device__ inline long long within(long long i, long long n) {
    return i < 0 ? 0 : i < n ? i : n - 1;
}

// The index of this thread among all of the grid, and their number.
static __device__ inline long long first_index() {
    return (long long)blockIdx.x * blockDim.x + threadIdx.x;
}
static __device__ inline long long stride() { return (long long)gridDim.x * blockDim.x; }

// The rows before a share, of m that are cut into equal shares along the second axis of the grid.
static __device__ inline long long rows_before(long long share, long long m) {
    const long long first = share * ((m + gridDim.y - 1) / gridDim.y);
    return first < m ? first : m;
}
