// SPDX-License-Identifier: Apache-2.0
// What of the kernel's interface Swift cannot import: variadic calls, and constants behind macros.
#pragma once
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fs.h>
// Not stdlib.h or sys/socket.h: with _GNU_SOURCE, their fd_set differs from that of Swift's Glibc.
#include <malloc.h>
#include <stdint.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

static const int linux_seek_data = 3; // lseek(2), Linux 3.1
static const int linux_seek_hole = 4;
static const int linux_o_tmpfile = 020000000 | O_DIRECTORY; // open(2), Linux 3.11
static const int linux_at_symlink_follow = 0x400;
static const int linux_msg_dontwait = 0x40; // recv(2), send(2)
static const int linux_msg_nosignal = 0x4000;

// Size of a block device in bytes; ioctl(2) is variadic.
static inline int linux_block_device_size(int fd, uint64_t *size) {
  return ioctl(fd, BLKGETSIZE64, size);
}

// Zeros in a range of a block device, by the device itself where it can; Linux 3.7.
static inline int linux_block_device_zero(int fd, uint64_t offset, uint64_t length) {
  uint64_t range[2] = {offset, length};
  return ioctl(fd, BLKZEROOUT, range);
}

// Frees a range of a file, which then reads as zeros.
static inline int linux_punch_hole(int fd, int64_t offset, int64_t length) {
  return (int)syscall(SYS_fallocate, fd, 0x02 | 0x01, offset, length);
}

// Renames without replacing what is there; Linux 3.15.
static inline int linux_rename_new(int directory, const char *from, const char *to) {
  return (int)syscall(SYS_renameat2, directory, from, directory, to, 1 /* RENAME_NOREPLACE */);
}

// Has two names change places; Linux 3.15.
static inline int linux_exchange(int directory, const char *first, const char *second) {
  return (int)syscall(SYS_renameat2, directory, first, directory, second, 2 /* RENAME_EXCHANGE */);
}

// Zeros that take no room in the program's file. They must not be written to.
enum { linux_zeros_size = 1 << 20 };
static inline void *linux_zeros(void) {
  static char zeros[linux_zeros_size] __attribute__((aligned(4096)));
  return zeros;
}

static inline int linux_open_at(int directory, const char *path, int flags, unsigned mode) {
  return openat(directory, path, flags | O_CLOEXEC, mode);
}

// memmem(3) is behind _GNU_SOURCE.
static inline const void *linux_memmem(const void *bytes, size_t count, const void *needle,
                                       size_t needle_count) {
  return memmem(bytes, count, needle, needle_count);
}

// Both ends close on exec; Linux 2.6.27, behind _GNU_SOURCE.
static inline int linux_pipe(int ends[2]) { return pipe2(ends, O_CLOEXEC); }

// The global is in two modules at once.
static inline char **linux_environment(void) { return environ; }

// SIG_IGN is a cast.
static inline int linux_is_ignored(int signal) {
  struct sigaction action;
  return sigaction(signal, NULL, &action) == 0 && action.sa_handler == SIG_IGN;
}

static inline int linux_is_open(int fd) { return fcntl(fd, F_GETFD) >= 0; }

static inline int linux_status_flags(int fd) { return fcntl(fd, F_GETFL); }

static inline int linux_set_pipe_size(int fd, int size) {
  return fcntl(fd, 1031 /* F_SETPIPE_SZ, Linux 2.6.35 */, size);
}

// Sets up one heap for all threads, which keeps what is freed, and 4 MiB of it. mallopt(3) is in a
// header that Swift does not have.
static inline int linux_reserve_heap(void) {
  mallopt(M_ARENA_MAX, 1);
  mallopt(M_MMAP_THRESHOLD, 1 << 20);
  mallopt(M_TRIM_THRESHOLD, 1 << 26);
  // Volatile: a compiler may leave out what is allocated and freed.
  void *volatile pieces[8];
  int failed = 0;
  for (int i = 0; i < 8; i++) failed |= (pieces[i] = malloc(1 << 19)) == NULL;
  for (int i = 0; i < 8; i++) free(pieces[i]);
  return failed ? -1 : 0;
}

// signalfd(2), behind a header that Swift's module of the C library lacks.
static inline int linux_signal_descriptor(const sigset_t *set) {
  return (int)syscall(SYS_signalfd4, -1, set, 8, 0x80000 | 0x800 /* CLOEXEC, NONBLOCK */);
}

static inline int linux_duplicate_above(int fd, int lowest) {
  return fcntl(fd, F_DUPFD_CLOEXEC, lowest);
}

static inline void linux_close_on_exec(int fd) { fcntl(fd, F_SETFD, FD_CLOEXEC); }

// By numbers: the headers of sockets define types that Swift's module of the C library has, too.
static inline int linux_message_pair(int ends[2]) {
  return (int)syscall(SYS_socketpair, 1 /* AF_UNIX */, 5 | 02000000 /* SEQPACKET, CLOEXEC */, 0,
                      ends);
}

// The connection does not block, and closes on exec.
static inline int linux_accept(int fd) {
  return (int)syscall(SYS_accept4, fd, NULL, NULL, 02000000 | 04000);
}

static inline void linux_name_process(const char *name) {
  syscall(SYS_prctl, 15 /* PR_SET_NAME */, name, 0, 0, 0);
}
