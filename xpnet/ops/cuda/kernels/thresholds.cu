// Ordered thresholds: b_1 = first, b_(k+1) = b_k + softplus(gaps_k).

// z_ik = x_i - b_k for n thresholds; each thread computes rows.
extern "C" __global__ void ordered_thresholds(const T* x, const T* first, const T* gaps, T* z,
                                              long long m, long long n) {
    for (long long i = first_index(); i < m; i += stride()) {
        T threshold = *first;
        for (long long k = 0; k < n; k++) {
            if (k > 0) {
                const T gap = gaps[k - 1];
                threshold += larger(gap, T(0)) + log1p(exp(-fabs(gap)));
            }
            z[i * n + k] = x[i] - threshold;
        }
    }
}

// dx_i = sum_k dz_ik. The first thread computes the gradients of `first` and of the gaps: every later
// threshold moves with a gap. `sums` are those of the columns of dz.
extern "C" __global__ void ordered_thresholds_backward(const T* dz, const T* sums, const T* gaps,
                                                       T* d_first, T* d_gaps, T* dx, long long m,
                                                       long long n) {
    for (long long i = first_index(); i < m; i += stride()) {
        T total = 0;
        for (long long k = 0; k < n; k++) total += dz[i * n + k];
        dx[i] = total;
    }
    if (first_index() > 0) return;
    T later = 0;
    for (long long k = n - 1; k > 0; k--) {
        later -= sums[k];
        const T e = exp(-fabs(gaps[k - 1]));
        d_gaps[k - 1] = later * ((gaps[k - 1] > 0 ? T(1) : e) / (1 + e));
    }
    *d_first = later - sums[0];
}
