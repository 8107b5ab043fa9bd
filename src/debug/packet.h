/*
 * Packets of GDB's remote serial protocol (GDB manual, appendix E, "Overview"): $payload#checksum, acknowledged by + and
 * - until that is switched off.
 */
#ifndef LODGE_DEBUG_PACKET_H
#define LODGE_DEBUG_PACKET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The largest payload in either direction, in bytes as they are on the wire. */
enum { PACKET_PAYLOAD = 16384 };

enum packet_event {
    PACKET_NONE,      /* more is to come */
    PACKET_COMPLETE,  /* data holds the payload */
    PACKET_BAD,       /* checksum wrong, or too long: to be sent again */
    PACKET_INTERRUPT, /* the byte 0x03 between packets: Ctrl-C */
    PACKET_REFUSED,   /* -: the last reply is to be sent again */
};

struct packet_reader {
    enum { PACKET_BETWEEN, PACKET_DATA, PACKET_ESCAPED, PACKET_SUM_HIGH, PACKET_SUM_LOW } state;
    uint8_t sum, expected;
    bool too_long;
    size_t size;
    char data[PACKET_PAYLOAD + 1]; /* unescaped; a NUL follows */
};

/* A zeroed reader is between packets. */
enum packet_event packet_take(struct packet_reader *reader, uint8_t byte);

/* One reply under construction. What does not fit makes it empty and sets too_long. */
struct packet_writer {
    size_t size; /* of bytes, with the $ */
    bool too_long;
    char bytes[PACKET_PAYLOAD + 4];
};

void packet_begin(struct packet_writer *writer);
void packet_text(struct packet_writer *writer, const char *text);
void packet_binary(struct packet_writer *writer, const void *bytes, size_t size); /* escaped where needed */
void packet_hex(struct packet_writer *writer, const void *bytes, size_t size);    /* two digits each */
void packet_number(struct packet_writer *writer, uint64_t value); /* hexadecimal, as short as it can be */
void packet_error(struct packet_writer *writer, unsigned number); /* Enn */

/* Adds the checksum; bytes and size are then what goes out. */
void packet_end(struct packet_writer *writer);

/* A cursor over a payload. */
struct packet_text {
    const char *at, *end;
};

/* The text at the cursor, which moves behind it. */
bool packet_match(struct packet_text *text, const char *what);
/* Hexadecimal digits, at least one and at most 16. */
bool packet_take_number(struct packet_text *text, uint64_t *value);
/* Pairs of digits: exactly size bytes of them. */
bool packet_take_hex(struct packet_text *text, void *bytes, size_t size);

static inline size_t packet_left(const struct packet_text *text)
{
    return (size_t)(text->end - text->at);
}

#endif
