// SPDX-License-Identifier: Apache-2.0

// Two files make this a library to the compiler: `main` is libFuzzer's.
