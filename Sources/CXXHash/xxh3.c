// SPDX-License-Identifier: Apache-2.0

// libxxhash, compiled into the program: its functions are inline, because the library of a distribution
// may be built without vector instructions, and is then ten times slower.
#define XXH_INLINE_ALL
#include <xxhash.h>

#include "CXXHash.h"
#include "avx2.h"

#define STATE(state) ((XXH3_state_t *)(state))

struct cxxhash_state *cxxhash_create(void) {
  XXH3_state_t *state = XXH3_createState();
  if (state) XXH3_128bits_reset(state);
  return (struct cxxhash_state *)state;
}

void cxxhash_free(struct cxxhash_state *state) { XXH3_freeState(STATE(state)); }

void cxxhash_reset(struct cxxhash_state *state) { XXH3_128bits_reset(STATE(state)); }

void cxxhash_update(struct cxxhash_state *state, const void *bytes, size_t count) {
#if CXXHASH_AVX2
  if (__builtin_cpu_supports("avx2")) {
    cxxhash_update_avx2(state, bytes, count);
    return;
  }
#endif
  XXH3_128bits_update(STATE(state), bytes, count);
}

struct cxxhash_digest cxxhash_digest(const struct cxxhash_state *state) {
  XXH128_hash_t hash = XXH3_128bits_digest((const XXH3_state_t *)state);
  return (struct cxxhash_digest){hash.high64, hash.low64};
}
