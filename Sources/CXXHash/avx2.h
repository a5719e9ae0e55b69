// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <stddef.h>

#if defined(__x86_64__)
#define CXXHASH_AVX2 1
// The state has the same layout, whatever the instructions.
void cxxhash_update_avx2(void *state, const void *bytes, size_t count);
#else
#define CXXHASH_AVX2 0
#endif
