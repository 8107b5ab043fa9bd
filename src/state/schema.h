/*
 * State tables: how a device or a CPU describes what the guest can see of it.
 *
 * All guest-visible state of a model is one plain struct. A const table names each field; a
 * validator judges a decoded candidate without side effects. From the table come the encoder, the
 * decoder and the comparison, so a field is enumerated once.
 *
 * On the wire (little-endian, fixed width): see docs/formats.md.
 */
#ifndef LODGE_STATE_SCHEMA_H
#define LODGE_STATE_SCHEMA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

struct state_field {
    const char *name;
    uint16_t offset;       /* in the struct */
    uint8_t width;         /* of one element: 1, 2, 4 or 8 bytes */
    uint16_t since;        /* first schema version that has it; older streams leave it zero */
    uint32_t count;        /* elements; 1 for a scalar. Struct arrays are flattened to one field per member: */
    uint16_t stride;       /* bytes from one element to the next; 0 means width */
};

struct state_schema {
    const char *name;                      /* "uart16550" */
    uint16_t version;                      /* of the newest field */
    const struct state_field *fields;
    size_t field_count;
    size_t size;                           /* sizeof the struct */
    bool (*valid)(const void *candidate);  /* NULL: every value is valid */
};

/* A scalar, an array, and a member of an array of structs. */
#define STATE_SCALAR(type, member, version) \
    {#member, offsetof(type, member), sizeof(((type *)0)->member), (version), 1, 0}
#define STATE_ARRAY(type, member, version)                                                         \
    {#member, offsetof(type, member), sizeof(((type *)0)->member[0]), (version),                   \
     sizeof(((type *)0)->member) / sizeof(((type *)0)->member[0]), 0}
#define STATE_MEMBERS(type, array, member, version)                                                \
    {#array "." #member, offsetof(type, array[0].member), sizeof(((type *)0)->array[0].member),    \
     (version), sizeof(((type *)0)->array) / sizeof(((type *)0)->array[0]),                        \
     sizeof(((type *)0)->array[0])}

/* Bytes that state_encode() will write. */
size_t state_encoded_size(const struct state_schema *schema);

/* Writes schema name, version, fields and a CRC-32C. room >= state_encoded_size(). */
enum status state_encode(const struct state_schema *schema, const void *state, void *to, size_t room,
                         size_t *written) MUST_CHECK;

/*
 * Decodes into scratch (schema->size bytes, zeroed first) and validates; nothing else is touched.
 * STATUS_CORRUPT for damage, STATUS_UNSUPPORTED for a newer version, STATUS_INVALID when valid()
 * says no.
 */
enum status state_decode(const struct state_schema *schema, void *scratch, const void *from, size_t size) MUST_CHECK;

/* The name of the first field that differs, or NULL. */
const char *state_compare(const struct state_schema *schema, const void *left, const void *right);

#endif
