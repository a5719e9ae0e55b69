// SPDX-License-Identifier: Apache-2.0
// The interface of nbdkit's plugins. nbdkit itself provides the functions when it loads a plugin.
#pragma once
#define NBDKIT_API_VERSION 2
#include <nbdkit-plugin.h>

// The API is variadic.
static inline void nbdkit_report_error(const char *message) { nbdkit_error("%s", message); }
