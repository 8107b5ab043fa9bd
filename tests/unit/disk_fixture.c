#define _GNU_SOURCE
#include "disk_fixture.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/bits.h"

static char folder[64];

static void folder_remove(void)
{
    char command[128];

    (void)snprintf(command, sizeof(command), "rm -rf %s", folder);
    if (folder[0] && system(command) != 0)
        (void)fprintf(stderr, "could not remove %s\n", folder);
}

const char *disk_folder(void)
{
    if (folder[0])
        return folder;
    /* In memory if there is some: these tests sync a lot, and what they test is not the host's disk. */
    (void)snprintf(folder, sizeof(folder), "%s/lodge-unit-XXXXXX", access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
    assert_non_null(mkdtemp(folder));
    (void)atexit(folder_remove);
    return folder;
}

const char *disk_path(const char *name)
{
    static char paths[8][256];
    static unsigned next;
    char *path = paths[next++ % ARRAY_LENGTH(paths)];

    (void)snprintf(path, sizeof(paths[0]), "%s/%s", disk_folder(), name);
    return path;
}

/* --- struct block, waited for --- */

struct waiting {
    struct block_request request;
    pthread_mutex_t lock;
    pthread_cond_t over;
    bool is_over;
    enum block_result result;
};

static void waiting_done(struct block_request *request, enum block_result result)
{
    struct waiting *waiting = CONTAINER_OF(request, struct waiting, request);

    pthread_mutex_lock(&waiting->lock);
    waiting->is_over = true;
    waiting->result = result;
    pthread_cond_signal(&waiting->over);
    pthread_mutex_unlock(&waiting->lock);
}

static enum block_result waiting_run(struct block *block, struct waiting *waiting)
{
    pthread_mutex_init(&waiting->lock, NULL);
    pthread_cond_init(&waiting->over, NULL);
    waiting->request.done = waiting_done;
    if (block->submit(block, &waiting->request))
        waiting_done(&waiting->request, BLOCK_DONE);
    pthread_mutex_lock(&waiting->lock);
    while (!waiting->is_over)
        pthread_cond_wait(&waiting->over, &waiting->lock);
    pthread_mutex_unlock(&waiting->lock);
    pthread_cond_destroy(&waiting->over);
    pthread_mutex_destroy(&waiting->lock);
    return waiting->result;
}

enum block_result disk_do(struct block *block, enum block_operation operation, uint64_t offset, void *bytes,
                          size_t size)
{
    /* Three segments where there is enough for three. */
    size_t part = size >= 3 * BLOCK_SECTOR ? align_down(size / 3, BLOCK_SECTOR) : 0;
    struct block_segment segments[3] = {
        {bytes, part ? part : size},
        {(char *)bytes + part, part},
        {(char *)bytes + 2 * part, size - 2 * part},
    };
    struct waiting waiting = {.request = {.operation = operation,
                                          .offset = offset,
                                          .length = size,
                                          .segments = segments,
                                          .segment_count = size == 0 ? 0
                                                           : part    ? 3
                                                                     : 1}};

    return waiting_run(block, &waiting);
}

enum block_result disk_zero(struct block *block, uint64_t offset, uint64_t size, bool unmap)
{
    struct waiting waiting = {
        .request = {.operation = BLOCK_WRITE_ZEROES, .offset = offset, .length = size, .unmap = unmap}};

    return waiting_run(block, &waiting);
}

int disk_shell(const char *format, ...)
{
    char command[1024], line[1280];
    va_list arguments;

    va_start(arguments, format);
    (void)vsnprintf(command, sizeof(command), format, arguments);
    va_end(arguments);
    (void)snprintf(line, sizeof(line), "cd %s && { %s; } >output 2>&1", disk_folder(), command);
    int status = system(line);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

uint64_t disk_random(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

void disk_fill(void *bytes, size_t size, uint64_t seed)
{
    uint64_t state = seed * 0x9e3779b97f4a7c15ull + 1;
    uint8_t *at = bytes;

    for (size_t i = 0; i < size; i++) {
        if (i % 8 == 0)
            (void)disk_random(&state);
        at[i] = (uint8_t)(state >> (8 * (i % 8)));
    }
}
