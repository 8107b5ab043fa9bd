/*
 * Writes numbered records into a folder until the machine is gone, and says which are durable.
 *
 *     records FOLDER          prints "found N", the last record that is there, then "kept N" whenever N is synced
 *     records FOLDER check    prints "found N" only
 *
 * Record N is the number, little endian, again and again: at N * RECORD_SIZE in the file "log", which grows, and in
 * one of the sectors of "slots", which are overwritten. Another process makes and deletes files meanwhile, so that
 * the file system's tables, and those of a disk image below, change all the time.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

enum { RECORD_SIZE = 1000, SECTOR = 512, SLOTS = 64, SLOT_STRIDE = 4096, CHURN_FILES = 8, CHURN_MOST = 256 << 10 };

static void fail(const char *what)
{
    printf("records: %s: %s\n", what, strerror(errno));
    exit(1);
}

static int open_file(const char *name, int flags)
{
    int fd = open(name, flags, 0600);

    if (fd < 0)
        fail(name);
    return fd;
}

static void write_record(int fd, off_t offset, uint32_t number, size_t size)
{
    uint32_t words[RECORD_SIZE / sizeof(uint32_t)];

    for (size_t i = 0; i < RECORD_SIZE / sizeof(uint32_t); i++)
        words[i] = number;
    if (pwrite(fd, words, size, offset) != (ssize_t)size)
        fail("write");
}

static void write_slot(int slots, uint32_t number)
{
    write_record(slots, (off_t)(number % SLOTS) * SLOT_STRIDE, number, SECTOR);
}

/* How many whole records there are; each must be what was written. */
static uint32_t read_log(int log)
{
    uint32_t words[RECORD_SIZE / sizeof(uint32_t)], count = 0;

    for (; pread(log, words, RECORD_SIZE, (off_t)count * RECORD_SIZE) == RECORD_SIZE; count++)
        for (size_t i = 0; i < RECORD_SIZE / sizeof(uint32_t); i++)
            if (words[i] != count) {
                printf("records: record %u has %u\n", count, words[i]);
                exit(1);
            }
    return count;
}

static void churn(void)
{
    static char bytes[CHURN_MOST];
    char name[32];

    memset(bytes, 0x5a, sizeof(bytes));
    for (unsigned i = (unsigned)getpid();; i = i * 1103515245 + 12345) {
        (void)snprintf(name, sizeof(name), "churn%u", i >> 16 & (CHURN_FILES - 1));
        int fd = open_file(name, O_WRONLY | O_CREAT | O_TRUNC);
        if (write(fd, bytes, i >> 8 & (CHURN_MOST - 1)) < 0 || (i >> 20 & 1 && fsync(fd) != 0))
            fail(name);
        close(fd);
        if (i >> 21 & 1 && unlink(name) != 0)
            fail(name);
        usleep(5000);
    }
}

int main(int argc, char **argv)
{
    if (argc < 2 || chdir(argv[1]) != 0)
        fail("usage: records FOLDER [check]");
    int log = open_file("log", O_RDWR | O_CREAT), slots = open_file("slots", O_RDWR | O_CREAT);
    uint32_t number = read_log(log);

    setlinebuf(stdout);
    printf("found %d\n", (int)number - 1);
    if (argc > 2)
        return 0;
    if (ftruncate(log, (off_t)number * RECORD_SIZE) != 0)
        fail("log");
    if (number > 0) /* the machine may have gone between the two */
        write_slot(slots, number - 1);
    if (fdatasync(slots) != 0)
        fail("slots");
    if (fork() == 0)
        churn();
    for (;; number++) {
        write_record(log, (off_t)number * RECORD_SIZE, number, RECORD_SIZE);
        write_slot(slots, number);
        if (fsync(log) != 0 || fdatasync(slots) != 0)
            fail("sync");
        printf("kept %u\n", number);
    }
}
