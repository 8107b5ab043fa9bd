/*
 * One section of saved state: a header, the fields in the order of their table, a checksum.
 *
 *     u32 magic   u32 size   u16 version   u16 fields   u8 length, name
 *     per field:  u8 length, name   u8 width   u32 count   count * width bytes
 *     u32 CRC-32C of all bytes before it
 *
 * Names and shapes are in the stream although both sides have the table: a reader that disagrees
 * about one field finds out there, instead of reading the next ones from the wrong place.
 */
#include "state/schema.h"

#include "base/bits.h"
#include "base/crc32c.h"
#include "base/memory.h"
#include "port/log.h"

enum {
    SECTION_MAGIC = 0x3153474c, /* "LGS1" */
    HEADER_SIZE = 4 + 4 + 2 + 2,
    FIELD_SIZE = 1 + 4, /* width and count */
    CRC_SIZE = 4,
};

/* Both latch: after the first access beyond the end, all do nothing and give zero. */
struct writer {
    uint8_t *at;
    size_t room;
    bool failed;
};

struct reader {
    const uint8_t *at;
    size_t left;
    bool failed;
};

static uint8_t *writer_take(struct writer *writer, size_t size)
{
    uint8_t *at = writer->at;

    if (writer->failed || size > writer->room) {
        writer->failed = true;
        return NULL;
    }
    writer->at += size;
    writer->room -= size;
    return at;
}

static void put_number(struct writer *writer, size_t size, uint64_t value)
{
    uint8_t *at = writer_take(writer, size);

    if (at)
        store_le(at, size, value);
}

static void put_name(struct writer *writer, const char *name)
{
    size_t length = strlen(name); /* under 256: the tests check every table */
    uint8_t *at;

    put_number(writer, 1, length);
    at = writer_take(writer, length);
    if (at)
        memcpy(at, name, length);
}

static const uint8_t *reader_take(struct reader *reader, size_t size)
{
    const uint8_t *at = reader->at;

    if (reader->failed || size > reader->left) {
        reader->failed = true;
        return NULL;
    }
    reader->at += size;
    reader->left -= size;
    return at;
}

static uint64_t get_number(struct reader *reader, size_t size)
{
    const uint8_t *at = reader_take(reader, size);

    return at ? load_le(at, size) : 0;
}

/* Is the next thing this name? */
static bool expect_name(struct reader *reader, const char *name)
{
    size_t length = strlen(name);
    const uint8_t *at;

    if (get_number(reader, 1) != length)
        return false;
    at = reader_take(reader, length);
    return at && memcmp(at, name, length) == 0;
}

static size_t element_offset(const struct state_field *field, uint32_t index)
{
    return field->offset + (size_t)index * (field->stride ? field->stride : field->width);
}

static uint64_t element_get(const struct state_field *field, const void *state, uint32_t index)
{
    return load_le((const char *)state + element_offset(field, index), field->width);
}

static size_t fields_at_version(const struct state_schema *schema, uint64_t version)
{
    size_t count = 0;

    for (size_t i = 0; i < schema->field_count; i++)
        count += schema->fields[i].since <= version;
    return count;
}

size_t state_encoded_size(const struct state_schema *schema)
{
    size_t size = HEADER_SIZE + 1 + strlen(schema->name) + CRC_SIZE;

    for (size_t i = 0; i < schema->field_count; i++) {
        const struct state_field *field = &schema->fields[i];

        size += 1 + strlen(field->name) + FIELD_SIZE + (size_t)field->count * field->width;
    }
    return size;
}

static void put_field(struct writer *writer, const struct state_field *field, const void *state)
{
    put_name(writer, field->name);
    put_number(writer, 1, field->width);
    put_number(writer, 4, field->count);
    for (uint32_t i = 0; i < field->count; i++)
        put_number(writer, field->width, element_get(field, state, i));
}

enum status state_encode(const struct state_schema *schema, const void *state, void *to, size_t room, size_t *written)
{
    size_t size = state_encoded_size(schema);
    struct writer writer = {.at = to, .room = room};

    put_number(&writer, 4, SECTION_MAGIC);
    put_number(&writer, 4, size);
    put_number(&writer, 2, schema->version);
    put_number(&writer, 2, schema->field_count);
    put_name(&writer, schema->name);
    for (size_t i = 0; i < schema->field_count; i++)
        put_field(&writer, &schema->fields[i], state);
    put_number(&writer, CRC_SIZE, writer.failed ? 0 : crc32c(0, to, size - CRC_SIZE));

    if (writer.failed) {
        log_error("state %s: needs %zu bytes, but there is room for %zu", schema->name, size, room);
        return STATUS_NO_MEMORY;
    }
    *written = size;
    return STATUS_OK;
}

static bool get_field(struct reader *reader, const struct state_field *field, void *scratch)
{
    if (!expect_name(reader, field->name) || get_number(reader, 1) != field->width ||
        get_number(reader, 4) != field->count)
        return false;
    for (uint32_t i = 0; i < field->count; i++)
        store_le((char *)scratch + element_offset(field, i), field->width, get_number(reader, field->width));
    return !reader->failed;
}

static enum status corrupt(const struct state_schema *schema, const char *what)
{
    log_error("state %s: %s; the saved state is damaged or is not Lodge's", schema->name, what);
    return STATUS_CORRUPT;
}

static enum status corrupt_field(const struct state_schema *schema, const struct state_field *field)
{
    log_error("state %s: field %s is missing or has another shape; the saved state is damaged", schema->name,
              field->name);
    return STATUS_CORRUPT;
}

/* Leaves the reader at the first field, with the checksum cut off. */
static enum status get_header(const struct state_schema *schema, struct reader *reader, uint64_t *version)
{
    const uint8_t *start = reader->at;
    size_t size = reader->left;
    uint64_t fields;

    if (get_number(reader, 4) != SECTION_MAGIC || get_number(reader, 4) != size || size < HEADER_SIZE + CRC_SIZE)
        return corrupt(schema, "no section of this size begins here");
    if (load_le(start + size - CRC_SIZE, CRC_SIZE) != crc32c(0, start, size - CRC_SIZE))
        return corrupt(schema, "the checksum is wrong");
    reader->left -= CRC_SIZE;

    *version = get_number(reader, 2);
    fields = get_number(reader, 2);
    if (!expect_name(reader, schema->name))
        return corrupt(schema, "the section belongs to something else");
    if (*version > schema->version) {
        log_error("state %s: saved as version %u, but this Lodge knows versions up to %u; use a newer Lodge",
                  schema->name, (unsigned)*version, schema->version);
        return STATUS_UNSUPPORTED;
    }
    if (*version == 0 || fields != fields_at_version(schema, *version))
        return corrupt(schema, "the number of fields is wrong");
    return STATUS_OK;
}

enum status state_decode(const struct state_schema *schema, void *scratch, const void *from, size_t size)
{
    struct reader reader = {.at = from, .left = size};
    uint64_t version = 0;
    enum status status;

    memset(scratch, 0, schema->size);
    status = get_header(schema, &reader, &version);
    if (status != STATUS_OK)
        return status;
    for (size_t i = 0; i < schema->field_count; i++) {
        const struct state_field *field = &schema->fields[i];

        if (field->since <= version && !get_field(&reader, field, scratch))
            return corrupt_field(schema, field);
    }
    if (reader.left != 0)
        return corrupt(schema, "bytes follow the last field");
    if (schema->valid && !schema->valid(scratch)) {
        log_error("state %s: the values contradict each other; the saved state cannot be used", schema->name);
        return STATUS_INVALID;
    }
    return STATUS_OK;
}

const char *state_compare(const struct state_schema *schema, const void *left, const void *right)
{
    for (size_t i = 0; i < schema->field_count; i++) {
        const struct state_field *field = &schema->fields[i];

        for (uint32_t element = 0; element < field->count; element++) {
            if (element_get(field, left, element) != element_get(field, right, element))
                return field->name;
        }
    }
    return NULL;
}
