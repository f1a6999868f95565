extern "C" __global__ void take_rows(const T* x, const long long* order, T* out, long long m,
                                     long long n, long long n_data) {
    gather(Rows{order, m, 0, m, n_data}, x, out, (INDEX)n);
}
