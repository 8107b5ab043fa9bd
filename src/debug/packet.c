#include "debug/packet.h"

#include <string.h>

static int digit_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

/* ---- what comes in ---- */

static void packet_start(struct packet_reader *reader)
{
    reader->state = PACKET_DATA;
    reader->size = 0;
    reader->sum = 0;
    reader->too_long = false;
}

static void packet_keep(struct packet_reader *reader, uint8_t byte)
{
    if (reader->size < PACKET_PAYLOAD)
        reader->data[reader->size++] = (char)byte;
    else
        reader->too_long = true;
}

static enum packet_event take_between(struct packet_reader *reader, uint8_t byte)
{
    switch (byte) {
    case '$':
        packet_start(reader);
        return PACKET_NONE;
    case 0x03:
        return PACKET_INTERRUPT;
    case '-':
        return PACKET_REFUSED;
    default:
        return PACKET_NONE;
    }
}

static enum packet_event take_data(struct packet_reader *reader, uint8_t byte)
{
    if (byte == '$') { /* the one before was cut off */
        packet_start(reader);
        return PACKET_NONE;
    }
    if (byte == '#') {
        reader->state = PACKET_SUM_HIGH;
        return PACKET_NONE;
    }
    reader->sum = (uint8_t)(reader->sum + byte);
    if (byte == '}')
        reader->state = PACKET_ESCAPED;
    else
        packet_keep(reader, byte);
    return PACKET_NONE;
}

static enum packet_event take_sum(struct packet_reader *reader, uint8_t byte)
{
    int value = digit_value((char)byte);

    if (reader->state == PACKET_SUM_HIGH) {
        reader->state = PACKET_SUM_LOW;
        reader->expected = (uint8_t)((unsigned)value << 4);
        reader->too_long |= value < 0;
        return PACKET_NONE;
    }
    reader->state = PACKET_BETWEEN;
    reader->data[reader->size] = '\0';
    if (value < 0 || reader->too_long || (reader->expected | value) != reader->sum)
        return PACKET_BAD;
    return PACKET_COMPLETE;
}

enum packet_event packet_take(struct packet_reader *reader, uint8_t byte)
{
    switch (reader->state) {
    case PACKET_BETWEEN:
        return take_between(reader, byte);
    case PACKET_DATA:
        return take_data(reader, byte);
    case PACKET_ESCAPED:
        reader->sum = (uint8_t)(reader->sum + byte);
        packet_keep(reader, byte ^ 0x20);
        reader->state = PACKET_DATA;
        return PACKET_NONE;
    default:
        return take_sum(reader, byte);
    }
}

/* ---- what goes out ---- */

void packet_begin(struct packet_writer *writer)
{
    writer->size = 1;
    writer->bytes[0] = '$';
    writer->too_long = false;
}

static void put(struct packet_writer *writer, char c)
{
    if (writer->size <= PACKET_PAYLOAD)
        writer->bytes[writer->size++] = c;
    else
        writer->too_long = true;
}

void packet_text(struct packet_writer *writer, const char *text)
{
    while (*text)
        put(writer, *text++);
}

void packet_binary(struct packet_writer *writer, const void *bytes, size_t size)
{
    const char *byte = bytes;

    for (; size > 0; size--, byte++) {
        if (memchr("$#}*", *byte, 4)) {
            put(writer, '}');
            put(writer, (char)(*byte ^ 0x20));
        } else {
            put(writer, *byte);
        }
    }
}

static const char digits[] = "0123456789abcdef";

void packet_hex(struct packet_writer *writer, const void *bytes, size_t size)
{
    const uint8_t *byte = bytes;

    for (; size > 0; size--, byte++) {
        put(writer, digits[*byte >> 4]);
        put(writer, digits[*byte & 15]);
    }
}

void packet_number(struct packet_writer *writer, uint64_t value)
{
    unsigned shift = 60;

    while (shift > 0 && value >> shift == 0)
        shift -= 4;
    for (;; shift -= 4) {
        put(writer, digits[value >> shift & 15]);
        if (shift == 0)
            return;
    }
}

void packet_error(struct packet_writer *writer, unsigned number)
{
    const uint8_t byte = (uint8_t)number;

    put(writer, 'E');
    packet_hex(writer, &byte, 1);
}

void packet_end(struct packet_writer *writer)
{
    uint8_t sum = 0;

    if (writer->too_long)
        writer->size = 1;
    for (size_t i = 1; i < writer->size; i++)
        sum = (uint8_t)(sum + (uint8_t)writer->bytes[i]);
    writer->bytes[writer->size++] = '#';
    writer->bytes[writer->size++] = digits[sum >> 4];
    writer->bytes[writer->size++] = digits[sum & 15];
}

/* ---- what is in it ---- */

bool packet_match(struct packet_text *text, const char *what)
{
    size_t length = strlen(what);

    if (packet_left(text) < length || memcmp(text->at, what, length) != 0)
        return false;
    text->at += length;
    return true;
}

bool packet_take_number(struct packet_text *text, uint64_t *value)
{
    unsigned count = 0;

    *value = 0;
    for (; text->at < text->end && digit_value(*text->at) >= 0; text->at++, count++)
        *value = *value << 4 | (uint64_t)digit_value(*text->at);
    return count > 0 && count <= 16;
}

bool packet_take_hex(struct packet_text *text, void *bytes, size_t size)
{
    uint8_t *byte = bytes;

    if (packet_left(text) / 2 < size)
        return false;
    for (; size > 0; size--, text->at += 2) {
        int high = digit_value(text->at[0]), low = digit_value(text->at[1]);

        if (high < 0 || low < 0)
            return false;
        *byte++ = (uint8_t)(high << 4 | low);
    }
    return true;
}
