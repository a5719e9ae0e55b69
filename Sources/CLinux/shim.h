// SPDX-License-Identifier: Apache-2.0
// The parts of the kernel's interface that Swift cannot import: variadic calls, and some macros.
#pragma once
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <linux/stat.h>
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

// Zeros a range of a block device, by the device itself if possible; Linux 3.7.
static inline int linux_block_device_zero(int fd, uint64_t offset, uint64_t length) {
  uint64_t range[2] = {offset, length};
  return ioctl(fd, BLKZEROOUT, range);
}

// Frees a range of a file, which then reads as zeros; also of a block device since Linux 4.9.
static inline int linux_punch_hole(int fd, int64_t offset, int64_t length) {
  return (int)syscall(SYS_fallocate, fd, 0x02 | 0x01, offset, length);
}

// Zeros a range of a file or block device, without freeing it.
static inline int linux_zero_range(int fd, int64_t offset, int64_t length) {
  return (int)syscall(SYS_fallocate, fd, 0x10 | 0x01, offset, length);
}

static inline int linux_logical_block_size(int fd) {
  int size = 0;
  return ioctl(fd, BLKSSZGET, &size) == 0 && size > 0 ? size : 512;
}

// Renames without replacing an existing file; Linux 3.15.
static inline int linux_rename_new(int directory, const char *from, const char *to) {
  return (int)syscall(SYS_renameat2, directory, from, directory, to, 1 /* RENAME_NOREPLACE */);
}

// Zeros that need no space in the executable. They must not be written to.
enum { linux_zeros_size = 1 << 20 };
static inline void *linux_zeros(void) {
  static char zeros[linux_zeros_size] __attribute__((aligned(4096)));
  return zeros;
}

// Attributes of a name from statx(2); 0 if they are unknown; Linux 4.11.
enum {
  linux_attribute_immutable = 0x10,
  linux_attribute_append = 0x20,
  linux_attribute_mount_root = 0x2000,
};
static inline uint64_t linux_attributes(int directory, const char *path) {
  struct statx status;
  if (syscall(SYS_statx, directory, path, 0x100 /* AT_SYMLINK_NOFOLLOW */, 0, &status) != 0) return 0;
  return status.stx_attributes & status.stx_attributes_mask;
}

// The type of a file system, by its magic number, which is the first field of struct statfs.
enum { linux_fuse = 0x65735546, linux_fat = 0x4d44 };
static inline long linux_file_system(int fd) {
  long status[32];
  return syscall(SYS_fstatfs, fd, status) == 0 ? status[0] : 0;
}

// Whether a block device is read-only, which open(2) does not report.
static inline int linux_is_read_only_device(int fd) {
  int is_read_only = 0;
  return ioctl(fd, BLKROGET, &is_read_only) == 0 && is_read_only;
}

static inline int linux_open_at(int directory, const char *path, int flags, unsigned mode) {
  return openat(directory, path, flags | O_CLOEXEC, mode);
}

// Device numbers in glibc's encoding.
static inline unsigned linux_major(uint64_t device) {
  return (device >> 8 & 0xfff) | (device >> 32 & ~0xfffu);
}
static inline unsigned linux_minor(uint64_t device) {
  return (device & 0xff) | (device >> 12 & ~0xffu);
}
static inline uint64_t linux_device(uint64_t major, uint64_t minor) {
  return (major & 0xfff) << 8 | (major & ~0xfffull) << 32 | (minor & 0xff) | (minor & ~0xffull) << 12;
}

static const int linux_o_direct = O_DIRECT;
static const int linux_o_path = O_PATH; // open(2), Linux 3.6

// syncfs(2) requires _GNU_SOURCE; Linux 2.6.39.
static inline int linux_sync_file_system(int fd) { return syncfs(fd); }

// Whether a file in /proc/PID/fd is open for writing, according to its own mode.
static inline int linux_link_is_writable(const char *path) {
  struct statx status;
  return syscall(SYS_statx, -100 /* AT_FDCWD */, path, 0x100, STATX_MODE, &status) == 0
    && status.stx_mode & 0200;
}

// memmem(3) requires _GNU_SOURCE.
static inline const void *linux_memmem(const void *bytes, size_t count, const void *needle,
                                       size_t needle_count) {
  return memmem(bytes, count, needle, needle_count);
}

// Two Swift modules define the global.
static inline char **linux_environment(void) { return environ; }

// Swift cannot import SIG_IGN, which is a cast.
static inline int linux_is_ignored(int signal) {
  struct sigaction action;
  return sigaction(signal, NULL, &action) == 0 && action.sa_handler == SIG_IGN;
}

static inline int linux_is_open(int fd) { return fcntl(fd, F_GETFD) >= 0; }

// Descriptors inherited through exec(3) do not have close-on-exec set; all that are opened here do.
static inline int linux_is_inherited(int fd) { return fcntl(fd, F_GETFD) == 0; }

// Whether another open file description holds a lock on these bytes; Linux 3.15.
static inline int linux_is_locked(int fd, off_t start, off_t length) {
  struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = start, .l_len = length};
  return fcntl(fd, 36 /* F_OFD_GETLK */, &lock) == 0 && lock.l_type != F_UNLCK;
}

static inline int linux_status_flags(int fd) { return fcntl(fd, F_GETFL); }

static inline int linux_set_pipe_size(int fd, int size) {
  return fcntl(fd, 1031 /* F_SETPIPE_SZ, Linux 2.6.35 */, size);
}

// Uses one heap for all threads, and keeps freed memory and 4 MiB in it. Swift does not import the
// header of mallopt(3).
static inline int linux_reserve_heap(void) {
  mallopt(M_ARENA_MAX, 1);
  mallopt(M_MMAP_THRESHOLD, 1 << 20);
  mallopt(M_TRIM_THRESHOLD, 1 << 26);
  // Volatile, so that the compiler does not remove unused allocations.
  void *volatile pieces[8];
  int failed = 0;
  for (int i = 0; i < 8; i++) failed |= (pieces[i] = malloc(1 << 19)) == NULL;
  for (int i = 0; i < 8; i++) free(pieces[i]);
  return failed ? -1 : 0;
}

// Swift's module of the C library does not contain the header of signalfd(2).
static inline int linux_signal_descriptor(const sigset_t *set) {
  return (int)syscall(SYS_signalfd4, -1, set, 8, 0x80000 | 0x800 /* CLOEXEC, NONBLOCK */);
}

static inline int linux_duplicate_above(int fd, int lowest) {
  return fcntl(fd, F_DUPFD_CLOEXEC, lowest);
}

static inline void linux_close_on_exec(int fd) { fcntl(fd, F_SETFD, FD_CLOEXEC); }

// With numbers: the socket headers would redefine types of Swift's module of the C library.
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
