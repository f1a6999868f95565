// Softmax cross-entropy and its gradient. One warp computes a row, in steps of 32 columns.

extern "C" __global__ void cross_entropy(const T* z, const TARGET* target, const T* scales, T scale,
                                         T* losses, T* grad, long long m, long long n) {
    const long long i = (long long)blockIdx.x * blockDim.y + threadIdx.y;
    if (i >= m) return;  // the same for all lanes of a warp
    const T* row = z + i * n;
    T top = -infinity();
    for (long long k = threadIdx.x; k < n; k += 32) top = larger(top, row[k]);
    top = warp_max(top);
    T total = 0;
    for (long long k = threadIdx.x; k < n; k += 32) total += exp(row[k] - top);
    const T log_total = log(warp_sum(total));
    const T factor = scales ? scales[i] : scale;
#if TARGET_IS_INDEX
    const long long label = (long long)target[i];
    const T mass = label == within(label, n) ? T(1) : T(0);  // an invalid class is a row of zeros
#else
    T mass = 0;
    for (long long k = threadIdx.x; k < n; k += 32) mass += target[i * n + k];
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
        const T t = target[i * n + k];
#endif
        // Like the reference, a row with NaN or +∞ has the loss NaN, so that it is visible.
        loss += factor * t * (t == T(0) ? larger(log_p, LOWEST) : log_p);  // 0 * -∞ is 0
        grad[i * n + k] = factor * (exp(log_p) * mass - t);
    }
    loss = warp_sum(loss);
    if (threadIdx.x == 0) losses[i] = -loss;
}
