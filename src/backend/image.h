/*
 * A disk image: a format over a file, perhaps over another image (its backing).
 *
 * Threads: an image belongs to one thread at a time, its owner, which makes every call except for map() and
 * needs_flush(): these any thread may make meanwhile. What only waits for the host (map() cannot) is the
 * owner's; a disk has a thread for it (disk.h), a tool calls from main().
 */
#ifndef LODGE_BACKEND_IMAGE_H
#define LODGE_BACKEND_IMAGE_H

#include "backend/file.h"

enum extent_kind {
    EXTENT_UNKNOWN, /* what is in memory does not tell; the owner has to see to it */
    EXTENT_DATA,    /* at file and offset */
    EXTENT_ZERO,    /* reads as zeroes */
};

struct extent {
    enum extent_kind kind;
    struct file *file;
    uint64_t offset;
    uint64_t length; /* bytes, at least 1; the next extent may be of the same kind */
};

struct image;

/* Offsets and lengths are bytes of the disk, inside image->size; for reads and writes of any alignment. */
struct image_type {
    const char *name;

    /*
     * Any thread. Where the bytes from offset on are, at most length of them. write: only what can be
     * written in place is DATA.
     */
    void (*map)(struct image *image, uint64_t offset, uint64_t length, bool write, struct extent *extent);

    /* Any thread. Has the format anything to write before a sync of its file makes all writes durable? */
    bool (*needs_flush)(struct image *image);

    /* Brings into memory what map() needs to know of the range. */
    enum block_result (*load)(struct image *image, uint64_t offset, uint64_t length);

    enum block_result (*read)(struct image *image, uint64_t offset, uint64_t length, struct buffer buffer);
    enum block_result (*write)(struct image *image, uint64_t offset, uint64_t length, struct buffer buffer);
    enum block_result (*write_zeroes)(struct image *image, uint64_t offset, uint64_t length, bool unmap);
    enum block_result (*discard)(struct image *image, uint64_t offset, uint64_t length);
    enum block_result (*flush)(struct image *image);

    /*
     * From offset on, at most length bytes, without the backing: is it in this image? `zero`: it is known to
     * read as zeroes, and `unallocated`: the backing, or zeroes without one, shows through.
     */
    enum block_result (*status)(struct image *image, uint64_t offset, uint64_t length, enum extent_kind *kind,
                                bool *unallocated, uint64_t *known);

    /* Writes all that waits, and frees the image's own memory; the file and the backing are closed by image_close(). */
    enum block_result (*close)(struct image *image);
};

struct image {
    const struct image_type *type;
    struct file file;
    uint64_t size; /* of the disk, bytes */
    uint32_t cluster_size;
    struct image *backing; /* owned; NULL: none */
    bool read_only;
    bool guards_header; /* raw by default: nobody may write what the next start would take for another format */

    /* Waits until every operation on what map() has told so far is over. NULL where nobody maps. */
    void (*barrier)(void *context);
    void *barrier_context;
};

enum image_format { IMAGE_AUTO, IMAGE_RAW, IMAGE_QCOW2 };

enum backing_rule {
    BACKING_BESIDE, /* a plain file in the image's own folder or below it, reached without a way out */
    BACKING_ALLOW,  /* whatever the image names */
    BACKING_DENY,
};

struct image_options {
    enum image_format format;
    bool read_only;
    bool direct;          /* past the page cache where alignment allows */
    bool unlocked;        /* the user vouches that nobody else uses it */
    bool keep_damaged;    /* for check: damaged images are opened as far as possible, nothing is repaired */
    bool without_backing; /* for tools that look at one file only: what it does not hold reads as zeroes */
    enum backing_rule backing;
};

/* With its whole chain. Logged. The format names: "raw", "qcow2". */
enum status image_open(const char *path, const struct image_options *options, struct image **image) MUST_CHECK;

/* The same for a file that is open; takes it over, also on failure. Takes no lock on it. */
enum status image_open_adopted(struct file *file, const struct image_options *options, struct image **image) MUST_CHECK;

/* NULL is accepted. The result is that of writing what waited. */
enum block_result image_close(struct image *image);

/* Is it the name of a format? "raw", "qcow2". */
bool image_format_parse(const char *name, enum image_format *format);
/* Of a rule? "beside", "allow", "deny". */
bool backing_rule_parse(const char *name, enum backing_rule *rule);

/* Checked calls: a range beyond the end is an error, length 0 is nothing. */
enum block_result image_read(struct image *image, uint64_t offset, void *bytes, size_t size) MUST_CHECK;
enum block_result image_write(struct image *image, uint64_t offset, const void *bytes, size_t size) MUST_CHECK;

#endif
