/* The encoding of terms and packages. Resource descriptors are in aml_resource.c. */
#include "boot/aml.h"

#include "base/bits.h"
#include "base/memory.h"
#include "port/log.h"

enum {
    ZERO_OP = 0x00,
    ONE_OP = 0x01,
    NAME_OP = 0x08,
    BYTE_PREFIX = 0x0a,
    WORD_PREFIX = 0x0b,
    DWORD_PREFIX = 0x0c,
    STRING_PREFIX = 0x0d,
    QWORD_PREFIX = 0x0e,
    SCOPE_OP = 0x10,
    BUFFER_OP = 0x11,
    PACKAGE_OP = 0x12,
    METHOD_OP = 0x14,
    DUAL_NAME_PREFIX = 0x2e,
    MULTI_NAME_PREFIX = 0x2f,
    EXT_OP_PREFIX = 0x5b,
    DEVICE_OP = 0x82,
    IF_OP = 0xa0,
    ELSE_OP = 0xa1,
};

enum { NAME_SEGMENT = 4, PKG_LENGTH_MAX = 4, METHOD_SERIALIZED = BIT(3) };

void aml_init(struct aml *aml, void *bytes, size_t room)
{
    *aml = (struct aml){.bytes = bytes, .room = room};
}

enum status aml_finish(const struct aml *aml, size_t *length)
{
    if (aml->failed || aml->depth != 0) {
        log_error("boot: the ACPI description of the machine does not fit %zu bytes", aml->room);
        return STATUS_NO_MEMORY;
    }
    *length = aml->length;
    return STATUS_OK;
}

void aml_raw(struct aml *aml, const void *bytes, size_t size)
{
    if (aml->failed || !range_inside(aml->length, size, aml->room)) {
        aml->failed = true;
        return;
    }
    memcpy(aml->bytes + aml->length, bytes, size);
    aml->length += size;
}

void aml_op(struct aml *aml, uint8_t opcode)
{
    aml_raw(aml, &opcode, 1);
}

static void aml_number(struct aml *aml, uint64_t value, size_t size)
{
    uint8_t bytes[8];

    store_le(bytes, size, value);
    aml_raw(aml, bytes, size);
}

static size_t aml_segment_length(const char *path)
{
    size_t length = 0;

    while (path[length] && path[length] != '.')
        length++;
    return length;
}

/* NameString (section 20.2.2): root, then one segment, two, or a count and segments. */
void aml_path(struct aml *aml, const char *path)
{
    unsigned segments = 1;

    if (*path == '\\')
        aml_op(aml, (uint8_t)*path++);
    for (const char *at = path; *at; at++)
        segments += *at == '.';
    if (segments == 2) {
        aml_op(aml, DUAL_NAME_PREFIX);
    } else if (segments > 2) {
        aml_op(aml, MULTI_NAME_PREFIX);
        aml_op(aml, (uint8_t)segments);
    }
    for (; segments > 0; segments--) {
        char padded[NAME_SEGMENT] = {'_', '_', '_', '_'};
        size_t length = aml_segment_length(path);

        memcpy(padded, path, length < NAME_SEGMENT ? length : NAME_SEGMENT);
        aml_raw(aml, padded, NAME_SEGMENT);
        path += length + (path[length] == '.');
    }
}

static void aml_open(struct aml *aml)
{
    if (aml->failed || aml->depth == AML_DEPTH) {
        aml->failed = true;
        return;
    }
    aml->open[aml->depth++] = aml->length;
}

/*
 * PkgLength (section 20.2.4) counts itself. One byte holds 6 bits of it; otherwise the first byte
 * says how many follow, and holds the lowest 4 bits.
 */
static size_t aml_encode_length(uint8_t *encoded, size_t contents)
{
    if (contents + 1 < BIT(6)) {
        encoded[0] = (uint8_t)(contents + 1);
        return 1;
    }
    for (unsigned size = 2; size <= PKG_LENGTH_MAX; size++) {
        size_t length = contents + size;

        if (length >> (8 * size - 4) == 0) {
            encoded[0] = (uint8_t)((size - 1) << 6 | (length & 0xf));
            store_le(encoded + 1, size - 1, length >> 4);
            return size;
        }
    }
    return 0;
}

void aml_close(struct aml *aml)
{
    uint8_t encoded[PKG_LENGTH_MAX];

    if (aml->failed || aml->depth == 0) {
        aml->failed = true;
        return;
    }
    size_t start = aml->open[--aml->depth];
    size_t contents = aml->length - start;
    size_t size = aml_encode_length(encoded, contents);

    if (size == 0 || !range_inside(aml->length, size, aml->room)) {
        aml->failed = true;
        return;
    }
    memmove(aml->bytes + start + size, aml->bytes + start, contents);
    memcpy(aml->bytes + start, encoded, size);
    aml->length += size;
}

void aml_open_scope(struct aml *aml, const char *path)
{
    aml_op(aml, SCOPE_OP);
    aml_open(aml);
    aml_path(aml, path);
}

void aml_open_device(struct aml *aml, const char *path)
{
    aml_op(aml, EXT_OP_PREFIX);
    aml_op(aml, DEVICE_OP);
    aml_open(aml);
    aml_path(aml, path);
}

void aml_open_method(struct aml *aml, const char *path, unsigned arguments, bool serialized)
{
    aml_op(aml, METHOD_OP);
    aml_open(aml);
    aml_path(aml, path);
    aml_op(aml, (uint8_t)((arguments & 7) | (serialized ? METHOD_SERIALIZED : 0)));
}

void aml_open_package(struct aml *aml, unsigned elements)
{
    if (elements > UINT8_MAX)
        aml->failed = true;
    aml_op(aml, PACKAGE_OP);
    aml_open(aml);
    aml_op(aml, (uint8_t)elements);
}

void aml_open_if(struct aml *aml)
{
    aml_op(aml, IF_OP);
    aml_open(aml);
}

void aml_open_else(struct aml *aml)
{
    aml_op(aml, ELSE_OP);
    aml_open(aml);
}

void aml_name(struct aml *aml, const char *path)
{
    aml_op(aml, NAME_OP);
    aml_path(aml, path);
}

void aml_integer(struct aml *aml, uint64_t value)
{
    if (value <= 1) {
        aml_op(aml, value ? ONE_OP : ZERO_OP);
    } else if (value <= UINT8_MAX) {
        aml_op(aml, BYTE_PREFIX);
        aml_number(aml, value, 1);
    } else if (value <= UINT16_MAX) {
        aml_op(aml, WORD_PREFIX);
        aml_number(aml, value, 2);
    } else if (value <= UINT32_MAX) {
        aml_op(aml, DWORD_PREFIX);
        aml_number(aml, value, 4);
    } else {
        aml_op(aml, QWORD_PREFIX);
        aml_number(aml, value, 8);
    }
}

void aml_string(struct aml *aml, const char *string)
{
    aml_op(aml, STRING_PREFIX);
    aml_raw(aml, string, strlen(string) + 1);
}

static unsigned aml_hex_digit(char digit)
{
    return (unsigned)(digit <= '9' ? digit - '0' : digit - 'A' + 10);
}

/* Three letters of five bits, four hexadecimal digits, most significant byte first (section 19.3.4). */
void aml_eisa_id(struct aml *aml, const char *id)
{
    uint32_t value = 0;

    for (unsigned i = 0; i < 3; i++)
        value = value << 5 | ((uint32_t)(id[i] - '@') & 0x1f);
    for (unsigned i = 3; i < 7; i++)
        value = value << 4 | aml_hex_digit(id[i]);
    aml_integer(aml, __builtin_bswap32(value));
}

void aml_buffer(struct aml *aml, const void *bytes, size_t size)
{
    aml_op(aml, BUFFER_OP);
    aml_open(aml);
    aml_integer(aml, size);
    aml_raw(aml, bytes, size);
    aml_close(aml);
}

void aml_name_integer(struct aml *aml, const char *path, uint64_t value)
{
    aml_name(aml, path);
    aml_integer(aml, value);
}

void aml_name_eisa_id(struct aml *aml, const char *path, const char *id)
{
    aml_name(aml, path);
    aml_eisa_id(aml, id);
}

void aml_name_string(struct aml *aml, const char *path, const char *string)
{
    aml_name(aml, path);
    aml_string(aml, string);
}
