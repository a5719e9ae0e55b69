// SPDX-License-Identifier: Apache-2.0

// The same as xxh3.c, for processors with AVX2.
#include "avx2.h"

#if CXXHASH_AVX2
#include <immintrin.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#pragma clang attribute push(__attribute__((target("avx2"))), apply_to = function)
#define XXH_INLINE_ALL
#define XXH_VECTOR 2  // XXH_AVX2
#include <xxhash.h>

void cxxhash_update_avx2(void *state, const void *bytes, size_t count) {
  XXH3_128bits_update((XXH3_state_t *)state, bytes, count);
}
#pragma clang attribute pop
#endif
