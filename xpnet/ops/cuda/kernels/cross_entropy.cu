// Softmax cross-entropy and its gradient. One warp computes a row, in steps of 32 columns. The losses
// of the rows are summed by the kernel itself if it is one block, which then keeps them in shared
// memory, otherwise by `total`: in the same order.

static __device__ inline void sum_losses(const T* losses, long long m, T* loss, T* log,
                                         long long* cursor, long long n_log) {
    T part = 0;
    for (long long i = threadIdx.y * 32LL + threadIdx.x; i < m; i += 32 * ROWS) part += losses[i];
    part = warp_sum(sum_over_rows(part));
    if (threadIdx.x > 0 || threadIdx.y > 0) return;
    *loss = part;
    if (log) append(log, cursor, n_log, part);
}

extern "C" __global__ void __launch_bounds__(32 * ROWS)
total(const T* losses, long long m, T* loss, T* log, long long* cursor, long long n_log) {
    sum_losses(losses, m, loss, log, cursor, n_log);
}

// The loss of a row, returned to all lanes.
static __device__ inline T row_loss(const T* row, const TARGET* target, T factor, T* grad,
                                    long long n) {
    T top = -infinity();
    for (long long k = threadIdx.x; k < n; k += 32) top = larger(top, row[k]);
    top = warp_max(top);
    T total = 0;
    for (long long k = threadIdx.x; k < n; k += 32) total += exp(row[k] - top);
    const T log_total = log(warp_sum(total));
#if TARGET_IS_INDEX
    const long long label = (long long)*target;
    const T mass = label == within(label, n) ? T(1) : T(0);  // an invalid class is a row of zeros
#else
    T mass = 0;
    for (long long k = threadIdx.x; k < n; k += 32) mass += target[k];
    mass = warp_sum(mass);
#endif
    T loss = 0;
    for (long long k = threadIdx.x; k < n; k += 32) {
        const T difference = row[k] - top;  // of two large logits it overflows
        const bool overflows = difference < LOWEST && row[k] >= LOWEST;
        const T log_p = (overflows ? LOWEST : difference) - log_total;
#if TARGET_IS_INDEX
        const T t = label == k ? T(1) : T(0);
#else
        const T t = target[k];
#endif
        // Like the reference, a row with NaN or +∞ has the loss NaN, so that it is visible.
        loss += factor * t * (t == T(0) ? larger(log_p, LOWEST) : log_p);  // 0 * -∞ is 0
        grad[k] = factor * (exp(log_p) * mass - t);
    }
    return -warp_sum(loss);
}

extern "C" __global__ void __launch_bounds__(32 * ROWS)
cross_entropy(const T* z, const TARGET* target, const T* scales, T scale, T* losses, T* grad,
              long long m, long long n, T* loss, T* log, long long* cursor, long long n_log) {
    __shared__ T own[32 * ROWS];
    const long long width = TARGET_IS_INDEX ? 1 : n;
    for (long long i = blockIdx.x * ROWS + threadIdx.y; i < m; i += gridDim.x * ROWS) {
        const T factor = scales ? scales[i] : scale;
        const T value = row_loss(z + i * n, target + i * width, factor, grad + i * n, n);
        if (threadIdx.x == 0) (losses ? losses : own)[i] = value;
    }
    if (losses) return;
    __syncthreads();
    sum_losses(own, m, loss, log, cursor, n_log);
}
