// Batch norm, 32 columns a block: a thread goes down its column in steps of ROWS rows.

extern "C" __global__ void batch_norm(const T* x, const T* scale, const T* shift, T eps, T* y,
                                      T* x_hat, T* mean, T* var, long long m, long long n) {
    const long long j = blockIdx.x * 32LL + threadIdx.x;
    const bool inside = j < n;  // every thread stays to the end, for all of them meet in a sum
    T total = 0;
    for (long long i = threadIdx.y; inside && i < m; i += ROWS) total += x[i * n + j];
    const T mu = sum_over_rows(total) / m;
    total = 0;
    for (long long i = threadIdx.y; inside && i < m; i += ROWS) {
        const T centered = x[i * n + j] - mu;
        total += centered * centered;
    }
    const T sigma2 = sum_over_rows(total) / m;
    if (!inside) return;
    const T root = sqrt(sigma2 + eps), gamma = scale[j], beta = shift[j];
    for (long long i = threadIdx.y; i < m; i += ROWS) {
        const T normal = (x[i * n + j] - mu) / root;
        x_hat[i * n + j] = normal;
        y[i * n + j] = normal * gamma + beta;
    }
    if (threadIdx.y == 0) {
        mean[j] = mu;
        var[j] = sigma2;
    }
}

extern "C" __global__ void batch_norm_backward(const T* dy, const T* x_hat, const T* scale,
                                               const T* var, T eps, T* d_scale, T* d_shift, T* dx,
                                               long long m, long long n) {
    const long long j = blockIdx.x * 32LL + threadIdx.x;
    const bool inside = j < n;
    T total = 0, product = 0;
    for (long long i = threadIdx.y; inside && i < m; i += ROWS) {
        total += dy[i * n + j];
        product += dy[i * n + j] * x_hat[i * n + j];
    }
    const T d_beta = sum_over_rows(total), d_gamma = sum_over_rows(product);
    if (!inside) return;
    const T factor = scale[j] / (m * sqrt(var[j] + eps));
    for (long long i = threadIdx.y; i < m; i += ROWS) {
        dx[i * n + j] = factor * (m * dy[i * n + j] - d_beta - x_hat[i * n + j] * d_gamma);
    }
    if (threadIdx.y == 0) {
        d_shift[j] = d_beta;
        d_scale[j] = d_gamma;
    }
}
