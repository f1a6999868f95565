// Batch norm: a block has 32 columns, and its threads iterate over the rows in steps of ROWS. The rows
// of a tall batch are divided among the blocks of a column: a first kernel writes their partial
// results to `parts`, and every block of the second kernel combines these. Without `parts` a block
// reduces all rows. Launch bounds: blocks of 1024 threads need at most 64 registers per thread.

struct Moments {
    T mean, squares;  // the mean of x - base, and the sum of the squared deviations from it
};

// Subtracting the first row avoids cancellation if the mean is large.
static __device__ inline Moments moments_of_rows(const T* x, T base, bool inside, long long first,
                                                 long long last, long long n) {
    T total = 0;
    for (long long i = first + threadIdx.y; inside && i < last; i += ROWS) total += x[i * n] - base;
    const T mean = sum_over_rows(total) / (first < last ? last - first : 1);
    total = 0;
    for (long long i = first + threadIdx.y; inside && i < last; i += ROWS) {
        total += square_of(x[i * n] - base - mean);
    }
    return {mean, sum_over_rows(total)};
}

// Chan, Golub and LeVeque, 1979: combine the moments of the parts.
static __device__ inline Moments moments_of_parts(const T* means, const T* squares, bool inside,
                                                   long long m, long long n) {
    T total = 0;
    for (long long k = threadIdx.y; inside && k < gridDim.y; k += ROWS) {
        total += (rows_before(k + 1, m) - rows_before(k, m)) * means[k * n];
    }
    const T mean = sum_over_rows(total) / m;
    total = 0;
    for (long long k = threadIdx.y; inside && k < gridDim.y; k += ROWS) {
        const long long rows = rows_before(k + 1, m) - rows_before(k, m);
        total += squares[k * n] + rows * square_of(means[k * n] - mean);
    }
    return {mean, sum_over_rows(total)};
}

extern "C" __global__ void __launch_bounds__(32 * ROWS)
batch_norm_parts(const T* x, T* parts, long long m, long long n) {
    const long long j = blockIdx.x * 32LL + threadIdx.x;
    const bool inside = j < n;  // no early return: all threads reach the barriers of a sum
    const long long first = rows_before(blockIdx.y, m), last = rows_before(blockIdx.y + 1, m);
    const Moments own = moments_of_rows(x + j, inside ? x[j] : T(0), inside, first, last, n);
    if (!inside || threadIdx.y > 0) return;
    parts[blockIdx.y * n + j] = own.mean;
    parts[(gridDim.y + blockIdx.y) * n + j] = own.squares;
}

// Update the running statistics of one column by those of m rows, as Operations._update_running does.
// Cumulative statistics, those with `fresh` = 0, weight the batch by its share of the rows.
static __device__ inline void update_running(T* mean, T* rest, T* var, T seen, T keep, T fresh,
                                             T batch_mean, T batch_rest, T sigma2, T m) {
    const T total = seen + m, step = fresh > 0 ? fresh : m / total;
    const T high = step * (batch_mean - *mean), low = *rest + step * (batch_rest - *rest);
    const T updated = *mean + (high + low);
    if (fresh > 0) {
        *var = keep * *var + fresh * (m / (m - 1)) * sigma2;
    } else {  // Chan et al., 1979, equation 2.1
        const T delta = (batch_mean - *mean) + (batch_rest - *rest);
        const T squares = larger(seen - 1, T(0)) * *var + m * sigma2;
        *var = (squares + square_of(delta) * (seen * m / total)) / (total - 1);
    }
    *rest = (high - (updated - *mean)) + low;
    *mean = updated;
}

// The first thread updates the count, unless statistics are cumulative: other blocks may not have
// read it yet.
extern "C" __global__ void __launch_bounds__(32 * ROWS)
batch_norm(const T* x, const T* parts, const T* scale, const T* shift, T eps, T* y, T* x_hat,
           T* mean, T* var, T* rest, T* running_mean, T* running_rest, T* running_var, T* count,
           T keep, T fresh, long long m, long long n) {
    const long long j = blockIdx.x * 32LL + threadIdx.x;
    const bool inside = j < n;
    const T base = inside ? x[j] : T(0);
    const Moments whole = parts ? moments_of_parts(parts + j, parts + gridDim.y * n + j, inside, m, n)
                                : moments_of_rows(x + j, base, inside, 0, m, n);
    if (!inside) return;
    const T sigma2 = whole.squares / m, root = sqrt(sigma2 + eps), gamma = scale[j], beta = shift[j];
    const long long last = rows_before(blockIdx.y + 1, m);
    for (long long i = rows_before(blockIdx.y, m) + threadIdx.y; i < last; i += ROWS) {
        const T normal = (x[i * n + j] - base - whole.mean) / root;
        x_hat[i * n + j] = normal;
        y[i * n + j] = normal * gamma + beta;
    }
    if (blockIdx.y > 0 || threadIdx.y > 0) return;
    mean[j] = base + whole.mean;
    var[j] = sigma2;
    rest[j] = base - mean[j] + whole.mean;  // what rounding the mean has lost
    if (!running_mean) return;
    update_running(running_mean + j, running_rest + j, running_var + j, fresh > 0 ? T(0) : *count,
                   keep, fresh, mean[j], rest[j], sigma2, m);
    if (j == 0 && fresh > 0) *count += m;
}

struct Sums {
    T shift, scale;  // the sums of dy and of dy x_hat
};

static __device__ inline Sums sums_of_rows(const T* dy, const T* x_hat, bool inside,
                                           long long first, long long last, long long n) {
    T total = 0, product = 0;
    for (long long i = first + threadIdx.y; inside && i < last; i += ROWS) {
        total += dy[i * n];
        product += dy[i * n] * x_hat[i * n];
    }
    total = sum_over_rows(total);
    return {total, sum_over_rows(product)};
}

extern "C" __global__ void __launch_bounds__(32 * ROWS)
batch_norm_backward_parts(const T* dy, const T* x_hat, T* parts, long long m, long long n) {
    const long long j = blockIdx.x * 32LL + threadIdx.x;
    const bool inside = j < n;
    const long long first = rows_before(blockIdx.y, m), last = rows_before(blockIdx.y + 1, m);
    const Sums own = sums_of_rows(dy + j, x_hat + j, inside, first, last, n);
    if (!inside || threadIdx.y > 0) return;
    parts[blockIdx.y * n + j] = own.shift;
    parts[(gridDim.y + blockIdx.y) * n + j] = own.scale;
}

extern "C" __global__ void __launch_bounds__(32 * ROWS)
batch_norm_backward(const T* dy, const T* x_hat, const T* parts, const T* scale, const T* var, T eps,
                    T* d_scale, T* d_shift, T* dx, long long m, long long n) {
    const long long j = blockIdx.x * 32LL + threadIdx.x;
    const bool inside = j < n;
    T d_beta = 0, d_gamma = 0;
    if (parts) {
        for (long long k = threadIdx.y; inside && k < gridDim.y; k += ROWS) {
            d_beta += parts[k * n + j];
            d_gamma += parts[(gridDim.y + k) * n + j];
        }
        d_beta = sum_over_rows(d_beta);
        d_gamma = sum_over_rows(d_gamma);
    } else {
        const Sums whole = sums_of_rows(dy + j, x_hat + j, inside, 0, m, n);
        d_beta = whole.shift;
        d_gamma = whole.scale;
    }
    if (!inside) return;
    const T factor = scale[j] / (m * sqrt(var[j] + eps));
    const long long last = rows_before(blockIdx.y + 1, m);
    for (long long i = rows_before(blockIdx.y, m) + threadIdx.y; i < last; i += ROWS) {
        dx[i * n + j] = factor * (m * dy[i * n + j] - d_beta - x_hat[i * n + j] * d_gamma);
    }
    if (blockIdx.y > 0 || threadIdx.y > 0) return;
    d_shift[j] = d_beta;
    d_scale[j] = d_gamma;
}
