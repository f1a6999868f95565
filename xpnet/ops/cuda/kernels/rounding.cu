// Round float32 to 16 bits, ties to even: to bfloat16 if BFLOAT, otherwise to half precision. The
// kernel works on bits, because NVRTC has neither type without headers.

// m/2^shift, rounded to an integer.
static __device__ inline unsigned nearest(unsigned m, unsigned shift) {
    return (m + (1u << (shift - 1)) - 1 + (m >> shift & 1)) >> shift;
}

static __device__ inline unsigned short in_16_bits(unsigned bits) {
    const unsigned size = bits & 0x7FFFFFFF, exponent = size >> 23;
#if BFLOAT
    return size > 0x7F800000 ? bits >> 16 | 0x40 : nearest(bits, 16);  // NaN stays NaN
#else
    unsigned half;
    if (size > 0x7F800000) {
        half = 0x7E00;  // NaN
    } else if (exponent > 142) {
        half = 0x7C00;  // overflow
    } else if (exponent > 112) {
        half = nearest(size - (112u << 23), 13);  // may round up to infinity
    } else {  // subnormals are multiples of 2^-24
        half = nearest((size & 0x7FFFFF) | 0x800000, exponent > 101 ? 126 - exponent : 25);
    }
    return bits >> 16 & 0x8000 | half;
#endif
}

// n elements in rows of `width` elements, `leading` apart in x and contiguous in out.
extern "C" __global__ void to_16_bits(const unsigned* __restrict__ x,
                                      unsigned short* __restrict__ out, long long n,
                                      long long width, long long leading) {
    const long long gap = leading - width;
    for (INDEX i = first_index(); i < n; i += stride()) {
        out[i] = in_16_bits(x[gap ? i + i / (INDEX)width * gap : i]);
    }
}
