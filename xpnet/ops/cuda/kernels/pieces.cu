// Maxout: the largest of several pieces of n columns, which lie side by side in a row of z.

// The first largest piece; NaN is the largest.
extern "C" __global__ void largest_piece(const T* z, T* y, T* piece, long long n_pieces, long long size,
                                         long long n) {
    for (INDEX i = first_index(); i < size; i += stride()) {
        const INDEX row = i / (INDEX)n;
        const T* const own = z + (long long)row * n_pieces * n + (i - row * (INDEX)n);
        T largest = own[0], number = 0;
        for (long long k = 1; k < n_pieces; k++) {
            const T other = own[k * n];
            if (other > largest || other != other) {
                largest = other;
                number = k;
            }
        }
        y[i] = largest;
        piece[i] = number;
    }
}

extern "C" __global__ void largest_piece_backward(const T* dy, const T* piece, T* dz, long long n_pieces,
                                                  long long size, long long n) {
    for (INDEX i = first_index(); i < size; i += stride()) {
        const INDEX row = i / (INDEX)n;
        T* const own = dz + (long long)row * n_pieces * n + (i - row * (INDEX)n);
        for (long long k = 0; k < n_pieces; k++) own[k * n] = piece[i] == T(k) ? dy[i] : T(0);
    }
}
