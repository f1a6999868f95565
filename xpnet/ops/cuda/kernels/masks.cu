// Dropout masks.

static __device__ inline unsigned hash32(unsigned long long x) {
    unsigned bits = (unsigned)(x ^ (x >> 16)) * 0x7FEB352Du;
    bits = (bits ^ (bits >> 15)) * 0x846CA68Bu;
    return bits ^ (bits >> 16);
}

// The bits of xpnet.random: a mask depends on its key and the position in the batch only, of which
// ``start`` is the first.
extern "C" __global__ void keep_mask(const long long* keys, long long key, long long start,
                                     unsigned limit, T kept, T* mask, long long n) {
    const unsigned long long k = keys ? *keys : key;
    for (long long i = first_index(); i < n; i += stride()) {
        mask[i] = hash32(hash32((start + i) ^ k) + (unsigned)k) >= limit ? kept : T(0);
    }
}
