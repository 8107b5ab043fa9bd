/* What the virtio fuzzer's driver knows of each device. */
#ifndef LODGE_TESTS_FUZZ_FUZZ_VIRTIO_H
#define LODGE_TESTS_FUZZ_FUZZ_VIRTIO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "fuzz.h"

struct bench;
struct bench_buffer;
struct virtio;

struct target {
    const char *name;
    struct virtio *(*make)(void); /* started, not attached */
    /* Makes buffers a request of this device, in memory too; answers how many there are now. NULL: any will do. */
    unsigned (*shape)(unsigned queue, struct bench_buffer *buffers, unsigned count);
    void (*outside)(void); /* something happens outside of the machine; or NULL */
};

extern const struct target fuzz_targets[];
extern const size_t fuzz_target_count;

bool fuzz_one_in(unsigned count);
struct bench *fuzz_bench(void);

#endif
