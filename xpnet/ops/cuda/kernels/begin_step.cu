// Copy row *cursor of both tables, and gather the rows of the batch, whose offset in `order` is the
// first integer of that row. X_out and weight_out may be null.
extern "C" __global__ void begin_step(
    const long long* cursor, long long n_steps, const long long* integers, long long* integers_now,
    long long n_integers, const T* scalars, T* scalars_now, long long n_scalars,
    const long long* order, long long n_order, long long n_data, long long m, const SOURCE* X,
    T* X_out, long long n_X, const T* shift, const T* width, const T* begin, const TARGET* y,
    TARGET* y_out, long long n_y, const T* weight, T* weight_out) {
    const long long step = within(*cursor, n_steps);
    const Rows rows = {order, n_order, integers[step * n_integers], m, n_data};
    if (X_out) gather(rows, X, X_out, (INDEX)n_X, shift, width, begin);
    if (y_out) gather(rows, y, y_out, (INDEX)n_y);
    if (weight_out) gather(rows, weight, weight_out, (INDEX)1);
    if (blockIdx.x > 0) return;
    for (long long i = threadIdx.x; i < n_integers; i += blockDim.x) {
        integers_now[i] = integers[step * n_integers + i];
    }
    for (long long i = threadIdx.x; i < n_scalars; i += blockDim.x) {
        scalars_now[i] = scalars[step * n_scalars + i];
    }
}
