// Clipping by the norm, and the ascent of SAM, in two kernels each. Norms are summed in a fixed
// order, so that results are reproducible. A norm is unit·√total: the unit is at least the largest
// magnitude, so that no square overflows, and at least a least unit above 0.
struct Norm {
    T unit, total;
};

static __device__ inline Norm joined(Norm a, Norm b) {
    const T unit = larger(a.unit, b.unit);
    return {unit, a.total * square_of(a.unit / unit) + b.total * square_of(b.unit / unit)};
}

// The norm of the elements of all threads of a block, returned to all of them.
static __device__ inline Norm norm_of_block(Norm own) {
    __shared__ Norm part[THREADS];
    part[threadIdx.x] = own;
    for (int half = THREADS / 2; half > 0; half /= 2) {
        __syncthreads();
        if (threadIdx.x < half) part[threadIdx.x] = joined(part[threadIdx.x], part[threadIdx.x + half]);
    }
    __syncthreads();
    return part[0];
}

// The norm of the elements of each block; infinity and NaN make it NaN.
extern "C" __global__ void norm_parts(const T* x, T* parts, T least, long long n) {
    Norm own = {least, 0};
    for (long long i = first_index(); i < n; i += stride()) {
        const T size = fabs(x[i]);
        if (!(size <= own.unit)) own = {size, own.total * square_of(own.unit / size)};
        own.total += square_of(size / own.unit);
    }
    own = norm_of_block(own);
    if (threadIdx.x > 0) return;
    parts[2 * blockIdx.x] = own.unit;
    parts[2 * blockIdx.x + 1] = own.total;
}

// The norm of all parts, returned to all threads of a block.
static __device__ inline Norm norm_of(const T* parts, T least, long long n_parts) {
    Norm whole = {least, 0};
    for (long long k = threadIdx.x; k < n_parts; k += THREADS) {
        whole = joined(whole, {parts[2 * k], parts[2 * k + 1]});
    }
    return norm_of_block(whole);
}

extern "C" __global__ void clip_by_norm(T* grad, T limit, const T* parts, T least,
                                        long long n_parts, long long n) {
    const Norm whole = norm_of(parts, least, n_parts);
    const T norm = sqrt(whole.total) + T(1e-6) / whole.unit;
    const T factor = smaller(limit / whole.unit / norm, T(1));
    for (long long i = first_index(); factor != 1 && i < n; i += stride()) grad[i] *= factor;
}

extern "C" __global__ void ascend(const T* theta, const T* grad, T* out, T rho, const T* parts,
                                  T least, long long n_parts, long long n) {
    const Norm whole = norm_of(parts, least, n_parts);
    const T factor = whole.total == 0 ? T(0) : rho / sqrt(whole.total);
    for (long long i = first_index(); i < n; i += stride()) {
        out[i] = theta[i] + grad[i] / whole.unit * factor;
    }
}
