# SPDX-License-Identifier: Apache-2.0
"""The writes of the guest: the same for the same seed, in the guest and in the check.

Write n goes to disk a, then to disk b, one after the other. So at any point in time disk a
contains the writes up to some n, and disk b those up to n or n - 1.
"""
import random


def mark(seed):
    """The upper half of each word of a write."""
    return 0xC0DE << 48 | seed << 32


def pattern(seed, number, length):
    return (mark(seed) | number).to_bytes(8, "big") * (length // 8)


def writes(seed, sizes):
    """Yields for n = 1, 2, ... an (offset, length, is_zero) for each disk."""
    rng = random.Random(seed)
    while True:
        step = []
        for size in sizes:
            kind = rng.random()
            length = 512 * (rng.randint(1, 16) if kind < 0.7 else rng.randint(1, 256))
            length = min(length, size)
            # Some are at the very end, where the last cluster is partial.
            start = size - length if kind > 0.98 else 512 * rng.randint(0, (size - length) // 512)
            step.append((start, length, rng.random() < 0.1))
        yield step


def replay(image, disk, seed, sizes, last):
    """Yields n and the content of one disk after n writes, for n = 0 to last."""
    yield 0, image
    for number, step in zip(range(1, last + 1), writes(seed, sizes) if last else []):
        offset, length, is_zero = step[disk]
        image[offset:offset + length] = bytes(length) if is_zero else pattern(seed, number, length)
        yield number, image
