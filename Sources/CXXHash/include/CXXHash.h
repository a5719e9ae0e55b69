// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <stddef.h>
#include <stdint.h>

/// A digest, as two big-endian halves.
struct cxxhash_digest {
  uint64_t high;
  uint64_t low;
};

/// The state of an XXH3-128 computation.
struct cxxhash_state;

/// A state of no bytes. Returns NULL if there is no memory.
struct cxxhash_state *cxxhash_create(void);
void cxxhash_free(struct cxxhash_state *state);
void cxxhash_reset(struct cxxhash_state *state);
void cxxhash_update(struct cxxhash_state *state, const void *bytes, size_t count);
struct cxxhash_digest cxxhash_digest(const struct cxxhash_state *state);
