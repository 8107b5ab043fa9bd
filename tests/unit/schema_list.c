/*
 * Prints every state schema of a machine in which everything is plugged in, in the form of
 * schema.lock, and checks that each table is sound. tools/schema-lock compares.
 */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bits.h"
#include "board/q35.h"
#include "dev/virtio/balloon.h"
#include "dev/virtio/block.h"
#include "dev/virtio/console.h"
#include "dev/virtio/net.h"
#include "dev/virtio/rng.h"
#include "dev/virtio/vsock.h"
#include "fake_machine.h"

enum { SCHEMAS = 64, NAME_LIMIT = 255 };

static struct fake_machine fake;
static struct q35 board;

/* One virtio device of each kind, and what they want to be connected to. */
static struct virtio_balloon balloon;
static struct virtio_block disk;
static struct virtio_console console;
static struct virtio_net net;
static struct virtio_rng rng;
static struct virtio_vsock vsock;
static struct virtio *const virtio[] = {&balloon.virtio, &disk.virtio, &console.virtio,
                                        &net.virtio,     &rng.virtio,  &vsock.virtio};

static void ignore_configuration(struct network *network, unsigned abilities, unsigned pairs)
{
    (void)network;
    (void)abilities;
    (void)pairs;
}

static void make_virtio(void)
{
    static struct block block;
    static struct entropy entropy;
    static struct network network = {.pairs = 1, .configure = ignore_configuration};
    static struct vsock_world world;
    static const uint8_t mac[PACKET_MAC] = {2, 0, 0, 0, 0, 1};

    virtio_balloon_init(&balloon);
    virtio_block_init(&disk, &block, "", 1);
    virtio_console_init(&console, NULL);
    virtio_net_init(&net, &network, mac, 1);
    virtio_rng_init(&rng, &entropy);
    virtio_vsock_init(&vsock, &world, VIRTIO_VSOCK_FIRST_GUEST);
}

static void die(const struct state_schema *schema, const char *field, const char *what)
{
    (void)fprintf(stderr, "schema %s, %s: %s\n", schema->name, field, what);
    exit(1);
}

static bool is_width(unsigned width)
{
    return width == 1 || width == 2 || width == 4 || width == 8;
}

/* Marks the bytes of the struct that the field covers; no two fields may cover the same. */
static void cover(const struct state_schema *schema, const struct state_field *field, bool *covered)
{
    size_t stride = field->stride ? field->stride : field->width;

    for (uint32_t i = 0; i < field->count; i++) {
        for (size_t byte = 0; byte < field->width; byte++) {
            size_t at = field->offset + i * stride + byte;

            if (at >= schema->size)
                die(schema, field->name, "reaches beyond the struct");
            if (covered[at])
                die(schema, field->name, "overlaps another field");
            covered[at] = true;
        }
    }
}

static void check(const struct state_schema *schema)
{
    bool *covered = calloc(schema->size, sizeof(*covered));
    unsigned newest = 0;

    if (covered == NULL)
        die(schema, "all fields", "no memory to check them");
    for (size_t i = 0; i < schema->field_count; i++) {
        const struct state_field *field = &schema->fields[i];

        if (!is_width(field->width) || field->count == 0 || strlen(field->name) > NAME_LIMIT)
            die(schema, field->name, "its width, count or name is not possible");
        if (field->since == 0 || field->since > schema->version)
            die(schema, field->name, "its version is not between 1 and the schema's");
        for (size_t j = 0; j < i; j++) {
            if (strcmp(schema->fields[j].name, field->name) == 0)
                die(schema, field->name, "is there twice");
        }
        newest = field->since > newest ? field->since : newest;
        cover(schema, field, covered);
    }
    if (newest != schema->version && schema->field_count != 0)
        die(schema, "all fields", "none is as new as the schema");
    free(covered);
}

static void print(const struct state_schema *schema)
{
    printf("schema %s version %u\n", schema->name, schema->version);
    for (size_t i = 0; i < schema->field_count; i++) {
        const struct state_field *field = &schema->fields[i];

        printf("    %s: %u bytes * %u since %u\n", field->name, field->width, field->count, field->since);
    }
}

static void list(const struct state_schema *schema)
{
    static const struct state_schema *seen[SCHEMAS];
    static unsigned count;

    for (unsigned i = 0; i < count; i++) {
        if (seen[i] == schema)
            return;
        if (strcmp(seen[i]->name, schema->name) == 0)
            die(schema, "its name", "is another schema's too");
    }
    if (count == SCHEMAS)
        die(schema, "all fields", "too many schemas for this program");
    seen[count++] = schema;
    check(schema);
    print(schema);
}

int main(void)
{
    static uint8_t backing[(1 << 20) + 2 * PAGE_SIZE] __attribute__((aligned(PAGE_SIZE)));
    struct q35_config config = {
        .firmware = true,
        .flash = true,
        .second_serial = true,
        .debug_exit = true,
        .virtio = virtio,
        .virtio_count = ARRAY_LENGTH(virtio),
        .tsc = {.now = fake_machine_tsc, .source = &fake, .khz = FAKE_TSC_KHZ},
    };

    fake_machine_init(&fake, 2);
    make_virtio();
    if (memory_init(&fake.machine.memory, backing, -1, 1 << 20) != STATUS_OK ||
        memory_add_rom(&fake.machine.memory, Q35_FLASH_END - PAGE_SIZE, PAGE_SIZE, &config.flash_range) != STATUS_OK ||
        memory_add_rom(&fake.machine.memory, Q35_FLASH_BASE, PAGE_SIZE, &config.flash_range) != STATUS_OK)
        return 1;
    if (q35_init(&board, &fake.machine, &config) != STATUS_OK)
        return 1;
    list(&cpu_state_schema);
    for (const struct device *device = fake.machine.devices; device; device = device->next) {
        if (device->type->schema)
            list(device->type->schema);
    }
    return 0;
}
