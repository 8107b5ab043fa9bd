/* A recursive-descent parser for JSON (RFC 8259) over a generated document. */
#include "user/programs.h"

#include <stdio.h>
#include <string.h>

enum {
    ROOM = 128 << 10,
    ENTRIES = 900,
    DEEPEST = 32,
};

struct parser {
    const char *at;
    uint64_t checksum; /* of everything that was understood */
    int depth;
};

static char document[ROOM];

static int parse_value(struct parser *parser);

static void skip_space(struct parser *parser)
{
    while (*parser->at == ' ' || *parser->at == '\n' || *parser->at == '\t' || *parser->at == '\r') {
        parser->at++;
    }
}

static int accept(struct parser *parser, char wanted)
{
    skip_space(parser);
    if (*parser->at != wanted) {
        return 0;
    }
    parser->at++;
    return 1;
}

static int parse_word(struct parser *parser, const char *word)
{
    size_t length = strlen(word);

    if (strncmp(parser->at, word, length) != 0) {
        return 0;
    }
    parser->at += length;
    parser->checksum = bench_mix(parser->checksum, (unsigned char)*word);
    return 1;
}

static int parse_string(struct parser *parser)
{
    if (!accept(parser, '"')) {
        return 0;
    }
    for (; *parser->at != '"'; parser->at++) {
        if (*parser->at == '\0') {
            return 0;
        }
        if (*parser->at == '\\' && *++parser->at == '\0') {
            return 0;
        }
        parser->checksum = bench_mix(parser->checksum, (unsigned char)*parser->at);
    }
    parser->at++;
    return 1;
}

static int parse_number(struct parser *parser)
{
    int negative = *parser->at == '-';
    int64_t mantissa = 0;
    int scale = 0;

    parser->at += negative;
    if (*parser->at < '0' || *parser->at > '9') {
        return 0;
    }
    for (; *parser->at >= '0' && *parser->at <= '9'; parser->at++) {
        mantissa = mantissa * 10 + (*parser->at - '0');
    }
    if (*parser->at == '.') {
        for (parser->at++; *parser->at >= '0' && *parser->at <= '9'; parser->at++, scale++) {
            mantissa = mantissa * 10 + (*parser->at - '0');
        }
    }
    parser->checksum = bench_mix(parser->checksum, (uint64_t)(negative ? -mantissa : mantissa) + (uint64_t)scale);
    return 1;
}

static int parse_array(struct parser *parser)
{
    parser->at++;
    if (accept(parser, ']')) {
        return 1;
    }
    do {
        if (!parse_value(parser)) {
            return 0;
        }
    } while (accept(parser, ','));
    return accept(parser, ']');
}

static int parse_object(struct parser *parser)
{
    parser->at++;
    if (accept(parser, '}')) {
        return 1;
    }
    do {
        if (!parse_string(parser) || !accept(parser, ':') || !parse_value(parser)) {
            return 0;
        }
    } while (accept(parser, ','));
    return accept(parser, '}');
}

static int parse_value(struct parser *parser)
{
    int understood;

    if (++parser->depth > DEEPEST) {
        return 0;
    }
    skip_space(parser);
    switch (*parser->at) {
    case '{':
        understood = parse_object(parser);
        break;
    case '[':
        understood = parse_array(parser);
        break;
    case '"':
        understood = parse_string(parser);
        break;
    case 't':
        understood = parse_word(parser, "true");
        break;
    case 'f':
        understood = parse_word(parser, "false");
        break;
    case 'n':
        understood = parse_word(parser, "null");
        break;
    default:
        understood = parse_number(parser);
        break;
    }
    parser->depth--;
    return understood;
}

static void setup(void)
{
    uint64_t state = 9;
    size_t used = 0;

    used += (size_t)snprintf(document, ROOM, "{\"machines\": [\n");
    for (int i = 0; i < ENTRIES; i++) {
        uint64_t r = bench_random(&state);

        used += (size_t)snprintf(document + used, ROOM - used,
                                 "%s  {\"name\": \"guest-%d\", \"memory\": %u, \"load\": -%u.%02u, \"running\": %s,"
                                 " \"note\": \"a \\\"quoted\\\" word\\n\", \"disks\": [%u, [null, {}], %u]}",
                                 i == 0 ? "" : ",\n", i, (unsigned int)(r % 65536), (unsigned int)(r >> 20) % 100,
                                 (unsigned int)(r >> 30) % 100, (r >> 40 & 1) != 0 ? "true" : "false",
                                 (unsigned int)(r >> 41) % 10, (unsigned int)(r >> 50));
    }
    (void)snprintf(document + used, ROOM - used, "\n]}\n");
}

static uint64_t iterate(void)
{
    struct parser parser = {.at = document};

    if (!parse_value(&parser)) {
        bench_die("the document does not parse");
    }
    return bench_mix(parser.checksum, (uint64_t)(parser.at - document));
}

const struct bench_program bench_json = {
    .name = "json",
    .summary = "parsing 110 KiB of JSON",
    .iterations = 1400,
    .operations = 1,
    .setup = setup,
    .iterate = iterate,
};
