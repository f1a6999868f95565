// Arithmetic for T float or double only: `log` of an integer is an ambiguous call. LOWEST is the
// lowest finite number of T.

// INFINITY is defined in a header.
static __device__ inline T infinity() { return -log(T(0)); }

// NaN propagates, as in maximum and minimum of the array API.
static __device__ inline T larger(T a, T b) { return a > b || a != a ? a : b; }
static __device__ inline T smaller(T a, T b) { return a < b || a != a ? a : b; }
static __device__ inline T sign_of(T a) { return a != a ? a : T((a > T(0)) - (a < T(0))); }
static __device__ inline T square_of(T a) { return a * a; }

// The sum or maximum over the 32 lanes of a warp, returned to all of them.
static __device__ inline T warp_sum(T x) {
    for (int lane = 16; lane > 0; lane /= 2) x += __shfl_xor_sync(0xffffffffu, x, lane);
    return x;
}
static __device__ inline T warp_max(T x) {
    for (int lane = 16; lane > 0; lane /= 2) x = larger(x, __shfl_xor_sync(0xffffffffu, x, lane));
    return x;
}

// The sums over the ROWS rows of threads of a block with 32 columns, returned to all threads. The
// order of the additions is fixed, so that results are reproducible.
static __device__ inline T sum_over_rows(T x) {
    __shared__ T part[ROWS][33];
    __syncthreads();  // every thread has read the result of an earlier sum
    part[threadIdx.y][threadIdx.x] = x;
    for (int half = ROWS / 2; half > 0; half /= 2) {
        __syncthreads();
        if (threadIdx.y < half) part[threadIdx.y][threadIdx.x] += part[threadIdx.y + half][threadIdx.x];
    }
    __syncthreads();
    return part[0][threadIdx.x];
}
