// SPDX-License-Identifier: Apache-2.0
#include <sys/types.h>
#include <md5.h>
#include <sha1.h>
