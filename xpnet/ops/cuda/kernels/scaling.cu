// Divide by the scale, a power of two, and set `found` if an element is not finite.
extern "C" __global__ void unscale(T* x, const T* scale, T* found, long long n) {
    const T factor = T(1) / *scale;
    bool finite = true;
    for (long long i = first_index(); i < n; i += stride()) {
        const T value = x[i];
        finite = finite && fabs(value) < infinity();
        x[i] = value * factor;
    }
    if (!finite) *found = 1;  // a benign race: all threads write 1
}
