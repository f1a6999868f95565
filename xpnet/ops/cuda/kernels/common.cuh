// Precedes every kernel, after the definitions of T, the type of the elements, and ROWS, the rows of
// threads in a block of a column kernel. NVRTC, which CuPy calls, has no standard headers.

// i clipped to the valid indices of n elements.
static __device__ inline long long within(long long i, long long n) {
    return i < 0 ? 0 : i < n ? i : n - 1;
}

// The index of this thread in the grid, and the number of threads.
static __device__ inline long long first_index() {
    return (long long)blockIdx.x * blockDim.x + threadIdx.x;
}
static __device__ inline long long stride() { return (long long)gridDim.x * blockDim.x; }

// The first row of a part, where m rows are divided equally along the second axis of the grid.
static __device__ inline long long rows_before(long long part, long long m) {
    const long long first = part * ((m + gridDim.y - 1) / gridDim.y);
    return first < m ? first : m;
}

// Append a value to the log of an epoch, whose cursor is the number of values before it.
static __device__ inline void append(T* log, long long* cursor, long long n, T value) {
    if (*cursor == within(*cursor, n)) log[*cursor] = value;
    *cursor += 1;
}

struct Rows {
    const long long* order;
    long long n_order, first, m, n_data;  // the m rows at order[first], …, of an array of n_data rows
};

// out[i] = x[order[first + i]] for rows of n numbers, converted to the type of out, and scaled if
// `shift` is given. Indices are clipped to the valid range.
template <class Index, class From, class To>
static __device__ inline void gather(Rows rows, const From* __restrict__ x, To* __restrict__ out,
                                     Index n, const To* shift = nullptr, const To* width = nullptr,
                                     const To* begin = nullptr) {
    const Index size = (Index)rows.m * n;
    for (Index i = first_index(); i < size; i += stride()) {
        const Index row = i / n, j = i - row * n;
        const long long index = rows.order[within(rows.first + row, rows.n_order)];
        const To value = To(x[within(index, rows.n_data) * n + j]);
        out[i] = shift ? (value - shift[j]) / width[j] + begin[j] : value;
    }
}
