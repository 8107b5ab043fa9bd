/*
 * The file of a disk image: opened and locked, read and written by whoever can wait. Nothing here is
 * mapped, so a file that shrinks under us is an error and not a signal.
 */
#ifndef LODGE_BACKEND_FILE_H
#define LODGE_BACKEND_FILE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "backend/buffer.h"
#include "base/status.h"
#include "port/block.h"
#include "port/log.h"

/*
 * Sees each change of a file before it is made, for tests that cut the power in between. A size of
 * SIZE_MAX is never given. Called by the thread that makes the change.
 */
struct file_observer {
    void (*wrote)(struct file_observer *observer, uint64_t offset, struct buffer buffer, size_t size);
    void (*zeroed)(struct file_observer *observer, uint64_t offset, uint64_t size, bool unmapped);
    void (*resized)(struct file_observer *observer, uint64_t size);
    void (*synced)(struct file_observer *observer);
};

enum file_flags {
    FILE_WRITE = 1,    /* open for reading and writing */
    FILE_DIRECT = 2,   /* also past the page cache, for what is aligned */
    FILE_UNLOCKED = 4, /* the user vouches that nobody else uses it */
    FILE_SCRATCH = 8,  /* nothing of it has to survive: syncs are not done */
};

struct file {
    int fd;
    int direct_fd; /* the same with O_DIRECT, or -1 */
    uint32_t direct_alignment;
    bool is_block_device;
    bool is_writable;
    bool is_scratch;
    bool has_lost_writes; /* atomic; see file_sync_failed() */
    uint64_t size;        /* bytes; as it was opened, or as we made it since; atomic */
    dev_t device;
    ino_t inode;
    char *path; /* for messages; owned */
    struct file_observer *observer;
    struct log_limit complaints;
};

/* Opens and locks; plain files and block devices only. Logged. */
enum status file_open(struct file *file, const char *path, unsigned flags) MUST_CHECK;

/* Takes over a descriptor, with the flags FILE_WRITE and FILE_SCRATCH; takes no lock. The name is for messages. */
enum status file_adopt(struct file *file, int fd, const char *name, unsigned flags) MUST_CHECK;

/* The same file once more, over another descriptor of the same lock. */
enum status file_copy(const struct file *file, struct file *copy) MUST_CHECK;

/* Looks again how large it is, after somebody of ours has written it through a copy. */
enum status file_refresh(struct file *file) MUST_CHECK;

void file_close(struct file *file); /* accepts a zeroed one */

/* Is it the same file on the host? */
bool file_is_same(const struct file *left, const struct file *right);

uint64_t file_size(const struct file *file);

/*
 * Each waits until it is done, and logs why it failed (a limited number of times, for a guest can make it
 * fail). Bytes behind the end of the file that we know are read as zeroes; if it ends before, somebody has
 * cut it, and that is an error.
 */
enum block_result file_read(struct file *file, void *bytes, size_t size, uint64_t offset) MUST_CHECK;
enum block_result file_read_buffer(struct file *file, struct buffer buffer, size_t size, uint64_t offset) MUST_CHECK;
enum block_result file_write(struct file *file, const void *bytes, size_t size, uint64_t offset) MUST_CHECK;
enum block_result file_write_buffer(struct file *file, struct buffer buffer, size_t size, uint64_t offset) MUST_CHECK;

/* The range reads as zeroes; its space is given back with unmap, and kept or taken without. */
enum block_result file_zero(struct file *file, uint64_t offset, uint64_t size, bool unmap) MUST_CHECK;

/* Gives the space back, if the host can; what the range reads as afterwards is open. Never fails. */
void file_discard(struct file *file, uint64_t offset, uint64_t size);

enum block_result file_resize(struct file *file, uint64_t size) MUST_CHECK;
enum block_result file_sync(struct file *file) MUST_CHECK;

/*
 * The host could not sync. It says so once and forgets what it could not write, so no sync of this file
 * succeeds from now on. Logged. Any thread.
 */
enum block_result file_sync_failed(struct file *file, int error);

/* Has somebody cut the file below `end`? Logged. A quick look, for writes that would silently mend it. */
bool file_was_cut(struct file *file, uint64_t end);

/* What an errno of an operation on an image means for the guest; logged. */
enum block_result file_failed(struct file *file, const char *what, int error);

/* A range of the file that holds data or is a hole, from `offset` on. False: all is data up to the end. */
bool file_next_extent(const struct file *file, uint64_t offset, bool *is_data, uint64_t *end);

#endif
