// out[i] = x[order[*start + i]] for rows i, converted to T, and scaled if `shift` is given. Indices
// are clipped to the valid range.
extern "C" __global__ void take_batch(const SOURCE* __restrict__ x,
                                      const long long* __restrict__ order,
                                      const long long* __restrict__ start,
                                      const T* __restrict__ shift, const T* __restrict__ width,
                                      const T* __restrict__ begin, T* __restrict__ out,
                                      long long rows, long long n, long long n_order,
                                      long long n_x) {
    const long long from = start ? *start : 0, size = rows * n;
    for (INDEX i = first_index(); i < size; i += stride()) {
        const INDEX row = i / (INDEX)n, j = i - row * (INDEX)n;
        const long long source = within(order[within(from + row, n_order)], n_x);
        const T value = T(x[source * n + j]);
        out[i] = shift ? (value - shift[j]) / width[j] + begin[j] : value;
    }
}
