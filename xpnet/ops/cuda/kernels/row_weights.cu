// The weights of n rows divided by their sum, by one block of 32 by ROWS threads.
extern "C" __global__ void __launch_bounds__(32 * ROWS)
row_weights(const T* weight, T* share, long long n) {
    const long long first = threadIdx.y * 32LL + threadIdx.x;
    T part = 0;
    for (long long i = first; i < n; i += 32 * ROWS) part += weight[i];
    const T total = warp_sum(sum_over_rows(part)), divisor = total > 0 ? total : T(1);
    for (long long i = first; i < n; i += 32 * ROWS) share[i] = weight[i] / divisor;
}
