/* System calls that return to their caller: the null call, a read from the page cache, open and close. */
#include "kernel/programs.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

enum {
    NULL_CALLS = 10000,
    READS = 2000,
    READ_SIZE = 4096,
    OPENS = 500,
};

static char path[] = "/tmp/lodge-bench-XXXXXX";
static int file = -1;

static uint64_t iterate_null(void)
{
    uint64_t checksum = 0;
    long parent = syscall(SYS_getppid);

    for (int i = 0; i < NULL_CALLS; i++) {
        checksum += (uint64_t)(syscall(SYS_getppid) == parent);
    }
    return checksum;
}

static void create_file(void)
{
    static const char page[READ_SIZE];

    file = mkstemp(path);
    if (file < 0) {
        bench_die("mkstemp in /tmp");
    }
    if (write(file, page, sizeof(page)) != (ssize_t)sizeof(page)) {
        bench_die("write to a file in /tmp");
    }
}

static void remove_file(void)
{
    (void)close(file);
    (void)unlink(path);
}

static uint64_t iterate_read(void)
{
    static char page[READ_SIZE];
    uint64_t checksum = 0;

    for (int i = 0; i < READS; i++) {
        checksum += (uint64_t)pread(file, page, sizeof(page), 0);
    }
    return checksum;
}

static uint64_t iterate_open(void)
{
    uint64_t checksum = 0;

    for (int i = 0; i < OPENS; i++) {
        int opened = open(path, O_RDONLY | O_CLOEXEC);

        if (opened < 0 || close(opened) != 0) {
            bench_die("open and close");
        }
        checksum++;
    }
    return checksum;
}

const struct bench_program bench_null = {
    .name = "null",
    .summary = "null system call (getppid)",
    .iterations = 130,
    .operations = NULL_CALLS,
    .iterate = iterate_null,
};

const struct bench_program bench_read = {
    .name = "read",
    .summary = "read 4 KiB of a file in memory",
    .iterations = 270,
    .operations = READS,
    .setup = create_file,
    .iterate = iterate_read,
    .teardown = remove_file,
};

const struct bench_program bench_open = {
    .name = "open",
    .summary = "open and close a file",
    .iterations = 280,
    .operations = OPENS,
    .setup = create_file,
    .iterate = iterate_open,
    .teardown = remove_file,
};
