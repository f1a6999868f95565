// out[i] = x[order[*start + i]], row by row, converted to T; with limits also scaled.
extern "C" __global__ void take_batch(const SOURCE* x, const long long* order,
                                      const long long* start, const T* shift, const T* width,
                                      const T* begin, T* out, long long rows, long long n) {
    const long long from = start ? *start : 0;
    for (long long i = first_index(); i < rows * n; i += stride()) {
        const long long row = i / n, j = i - row * n;
        const T value = T(x[order[from + row] * n + j]);
        out[i] = shift ? (value - shift[j]) / width[j] + begin[j] : value;
    }
}
