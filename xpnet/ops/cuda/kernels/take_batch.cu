// out[i] = x[order[*start + i]], row by row, converted to T; with limits also scaled. In the place of
// an index that is none the nearest is taken: no other memory is read.
extern "C" __global__ void take_batch(const SOURCE* x, const long long* order,
                                      const long long* start, const T* shift, const T* width,
                                      const T* begin, T* out, long long rows, long long n,
                                      long long n_order, long long n_x) {
    const long long from = start ? *start : 0;
    for (long long i = first_index(); i < rows * n; i += stride()) {
        const long long row = i / n, j = i - row * n;
        const long long source = within(order[within(from + row, n_order)], n_x);
        const T value = T(x[source * n + j]);
        out[i] = shift ? (value - shift[j]) / width[j] + begin[j] : value;
    }
}
