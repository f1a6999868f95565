// What computes, for T float or double alone: of an integer `log` would be an ambiguous call.

// Without headers there is no INFINITY.
static __device__ inline T infinity() { return -log(T(0)); }

// NaN comes through, as it does in the array API's maximum and minimum.
static __device__ inline T larger(T a, T b) { return a > b || a != a ? a : b; }
static __device__ inline T smaller(T a, T b) { return a < b || a != a ? a : b; }
static __device__ inline T sign_of(T a) { return a != a ? a : T((a > T(0)) - (a < T(0))); }
static __device__ inline T square_of(T a) { return a * a; }

// The sum, or the largest, of a number of each of the 32 lanes of a warp, known to all of them.
static __device__ inline T warp_sum(T x) {
    for (int lane = 16; lane > 0; lane /= 2) x += __shfl_xor_sync(0xffffffffu, x, lane);
    return x;
}
static __device__ inline T warp_max(T x) {
    for (int lane = 16; lane > 0; lane /= 2) x = larger(x, __shfl_xor_sync(0xffffffffu, x, lane));
    return x;
}

// A block of 32 columns by ROWS rows of threads adds up its rows; all of them know the sum.
// Sums are in a fixed order, so that a run gives the same numbers as the one before.
static __device__ inline T sum_over_rows(T x) {
    __shared__ T part[ROWS][33];
    __syncthreads();  // of an earlier sum every thread has taken its number
    part[threadIdx.y][threadIdx.x] = x;
    for (int half = ROWS / 2; half > 0; half /= 2) {
        __syncthreads();
        if (threadIdx.y < half) part[threadIdx.y][threadIdx.x] += part[threadIdx.y + half][threadIdx.x];
    }
    __syncthreads();
    return part[0][threadIdx.x];
}
