/* The entropy device. */
#include "unit.h"

#include <string.h>

#include "dev/virtio/rng.h"
#include "virtio_bench.h"

enum { SIZE = 8, DATA = BENCH_DATA };

static struct virtio_rng rng;
static struct bench bench;
static size_t filled;

static void fill(struct entropy *entropy, void *bytes, size_t size)
{
    (void)entropy;
    memset(bytes, 0x5a, size);
    filled += size;
}

static struct entropy entropy = {.fill = fill};

static void make(void)
{
    memset(&rng, 0, sizeof(rng));
    filled = 0;
    virtio_rng_init(&rng, &entropy);
    bench_init(&bench, &rng.virtio);
    bench_start(&bench, 0, SIZE);
}

static uint32_t ask(const struct bench_buffer *buffers, unsigned count)
{
    uint16_t id;
    uint32_t length;

    (void)bench_add(&bench, 0, buffers, count);
    bench_kick(&bench, 0);
    assert_true(bench_used(&bench, 0, &id, &length));
    return length;
}

static void test_fills(void **state)
{
    const struct bench_buffer buffers[] = {{DATA, 3, true}, {DATA + 0x100, 13, true}};
    const uint8_t *data;

    (void)state;
    make();
    data = bench_at(&bench, DATA);
    assert_int_equal(ask(buffers, 2), 16);
    assert_int_equal(filled, 16);
    assert_int_equal(data[2], 0x5a);
    assert_int_equal(data[3], 0);
    assert_int_equal(data[0x10c], 0x5a);
    assert_int_equal(data[0x10d], 0);
}

/* A large buffer is not filled all the way; one to read is given back as it is. */
static void test_limits(void **state)
{
    const struct bench_buffer large = {DATA, 1 << 20, true}, wrong = {DATA, 16, false};

    (void)state;
    make();
    assert_int_equal(ask(&large, 1), VIRTIO_RNG_MOST);
    assert_int_equal(filled, VIRTIO_RNG_MOST);
    assert_int_equal(ask(&wrong, 1), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_fills), cmocka_unit_test(test_limits)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
