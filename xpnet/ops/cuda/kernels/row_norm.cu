// Layer norm and RMS norm. One warp computes a row, in steps of 32 columns; `rows` holds the numbers
// mean, rest and factor of each row: x_hat = (x - mean - rest) * factor. Shift and d_shift may be null.

static __device__ inline T normalized(T x, const T* row) { return (x - row[0] - row[1]) * row[2]; }

extern "C" __global__ void __launch_bounds__(32 * ROWS)
row_norm(const T* x, const T* scale, const T* shift, T eps, long long centered, T* y, T* rows,
         long long m, long long n) {
    for (long long i = blockIdx.x * ROWS + threadIdx.y; i < m; i += gridDim.x * ROWS) {
        const T* const row = x + i * n;
        T own[3] = {0, 0, 0};
        if (centered) {
            T total = 0;  // of differences from the first number: no cancellation for a large mean
            for (long long j = threadIdx.x; j < n; j += 32) total += row[j] - row[0];
            own[0] = row[0] + warp_sum(total) / n;
            total = 0;
            for (long long j = threadIdx.x; j < n; j += 32) total += row[j] - own[0];
            own[1] = warp_sum(total) / n;  // what rounding the mean has lost
        }
        T squares = 0;
        for (long long j = threadIdx.x; j < n; j += 32) squares += square_of(row[j] - own[0] - own[1]);
        own[2] = T(1) / sqrt(warp_sum(squares) / n + eps);
        for (long long j = threadIdx.x; j < n; j += 32) {
            const T value = normalized(row[j], own) * scale[j];
            y[i * n + j] = shift ? value + shift[j] : value;
        }
        if (threadIdx.x < 3) rows[3 * i + threadIdx.x] = own[threadIdx.x];
    }
}

extern "C" __global__ void __launch_bounds__(32 * ROWS)
row_norm_backward(const T* dy, const T* x, const T* rows, const T* scale, long long centered, T* dx,
                  long long m, long long n) {
    for (long long i = blockIdx.x * ROWS + threadIdx.y; i < m; i += gridDim.x * ROWS) {
        const T* const row = rows + 3 * i;
        T total = 0, along = 0;
        for (long long j = threadIdx.x; j < n; j += 32) {
            const T u = dy[i * n + j] * scale[j];
            dx[i * n + j] = u;  // a fused u - mean u would not be 0 in a row of one number
            total += u;
            along += u * normalized(x[i * n + j], row);
        }
        along = warp_sum(along) / n;
        total = centered ? warp_sum(total) / n : T(0);
        for (long long j = threadIdx.x; j < n; j += 32) {
            const T u = dx[i * n + j];
            dx[i * n + j] = row[2] * (u - total - normalized(x[i * n + j], row) * along);
        }
    }
}

// The sums over the rows of dy x_hat and dy. The rows of tall arrays are divided among blocks, each of
// which writes one row of the results.
extern "C" __global__ void __launch_bounds__(32 * ROWS)
row_norm_sums(const T* dy, const T* x, const T* rows, T* d_scale, T* d_shift, long long m,
              long long n) {
    const long long j = blockIdx.x * 32LL + threadIdx.x;
    const bool inside = j < n;  // no early return: all threads reach the barriers of a sum
    T total = 0, product = 0;
    const long long last = rows_before(blockIdx.y + 1, m);
    for (long long i = rows_before(blockIdx.y, m) + threadIdx.y; inside && i < last; i += ROWS) {
        total += dy[i * n + j];
        product += dy[i * n + j] * normalized(x[i * n + j], rows + 3 * i);
    }
    product = sum_over_rows(product);
    if (d_shift) total = sum_over_rows(total);
    if (!inside || threadIdx.y > 0) return;
    d_scale[blockIdx.y * n + j] = product;
    if (d_shift) d_shift[blockIdx.y * n + j] = total;
}
