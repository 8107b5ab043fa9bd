/* Packets, registers and the target description, without a machine. */
#include "debug/packet.h"

#include <stdio.h>
#include <string.h>

#include "unit.h"

#include "base/bits.h"
#include "debug/description.h"
#include "debug/registers.h"
#include "x86/regs.h"

static struct packet_reader reader;
static struct packet_writer writer;
static struct cpu_state cpu;

static enum packet_event feed(const char *bytes, size_t size)
{
    enum packet_event event = PACKET_NONE;

    for (size_t i = 0; i < size; i++) {
        assert_int_equal(event, PACKET_NONE);
        event = packet_take(&reader, (uint8_t)bytes[i]);
    }
    return event;
}

#define FEED(text) feed(text, sizeof(text) - 1)

static void reads_packets(void **state)
{
    (void)state;
    memset(&reader, 0, sizeof(reader));
    assert_int_equal(FEED("+$g#67"), PACKET_COMPLETE);
    assert_string_equal(reader.data, "g");
    assert_int_equal(FEED("junk$#00"), PACKET_COMPLETE);
    assert_int_equal(reader.size, 0);
    assert_int_equal(FEED("$X}\x03}]#b2"), PACKET_COMPLETE);
    assert_string_equal(reader.data, "X#}");
    assert_int_equal(FEED("\x03"), PACKET_INTERRUPT);
    assert_int_equal(FEED("-"), PACKET_REFUSED);
    /* Wrong sums, digits that are none, a packet that is cut off by the next. */
    assert_int_equal(FEED("$g#68"), PACKET_BAD);
    assert_int_equal(FEED("$g#6z"), PACKET_BAD);
    assert_int_equal(FEED("$g#z7"), PACKET_BAD);
    assert_int_equal(FEED("$m12$g#67"), PACKET_COMPLETE);
    /* A 0x03 in a packet is a byte of it. */
    assert_int_equal(FEED("$\x03#03"), PACKET_COMPLETE);
}

static void limits_packets(void **state)
{
    static char bytes[PACKET_PAYLOAD + 8];
    uint8_t sum = (uint8_t)((PACKET_PAYLOAD + 1) * 'a');

    (void)state;
    memset(&reader, 0, sizeof(reader));
    bytes[0] = '$';
    memset(bytes + 1, 'a', PACKET_PAYLOAD + 1);
    (void)snprintf(bytes + PACKET_PAYLOAD + 2, 5, "#%02x", sum);
    assert_int_equal(feed(bytes, PACKET_PAYLOAD + 5), PACKET_BAD);
    (void)snprintf(bytes + PACKET_PAYLOAD + 1, 5, "#%02x", (uint8_t)(sum - 'a'));
    assert_int_equal(feed(bytes, PACKET_PAYLOAD + 4), PACKET_COMPLETE);
    assert_int_equal(reader.size, PACKET_PAYLOAD);

    packet_begin(&writer);
    packet_binary(&writer, bytes + 1, PACKET_PAYLOAD);
    packet_end(&writer);
    assert_int_equal(writer.size, PACKET_PAYLOAD + 4);
    packet_begin(&writer);
    packet_binary(&writer, bytes, PACKET_PAYLOAD); /* its $ needs an escape */
    packet_end(&writer);
    assert_int_equal(writer.size, 4);
    assert_memory_equal(writer.bytes, "$#00", 4);
}

static void writes_packets(void **state)
{
    (void)state;
    packet_begin(&writer);
    packet_text(&writer, "T");
    packet_number(&writer, 0);
    packet_number(&writer, 0xfedcba9876543210);
    packet_hex(&writer, "\x01\xff", 2);
    packet_binary(&writer, "a$#}*", 5);
    packet_error(&writer, 14);
    packet_end(&writer);
    assert_int_equal(writer.size, 38);
    assert_memory_equal(writer.bytes, "$T0fedcba987654321001ffa}\x04}\x03}]}\nE0e#", 36);
}

static void takes_texts_apart(void **state)
{
    static const char payload[] = "m12aF,zz0g12345678901234567";
    struct packet_text text = {payload, payload + sizeof(payload) - 1};
    uint8_t bytes[2];
    uint64_t value;

    (void)state;
    assert_false(packet_match(&text, "M"));
    assert_true(packet_match(&text, "m"));
    assert_true(packet_take_number(&text, &value));
    assert_int_equal(value, 0x12af);
    assert_false(packet_take_number(&text, &value));
    assert_true(packet_match(&text, ",zz"));
    assert_false(packet_take_hex(&text, bytes, 1));
    assert_true(packet_match(&text, "0g"));
    assert_false(packet_take_hex(&text, bytes, 9));
    assert_false(packet_take_number(&text, &value)); /* 17 digits */
}

/* ---- registers ---- */

static struct register_info named(bool wide, const char *name)
{
    struct register_info info;
    struct register_view view = {wide, true};

    for (unsigned number = 0; register_describe(view, number, &info); number++)
        if (strcmp(info.name, name) == 0)
            return info;
    fail_msg("no register %s", name);
    return info;
}

static uint64_t get(const char *name)
{
    struct register_info info = named(true, name);
    uint8_t bytes[REGISTER_SIZE_MAX];

    register_get(&cpu, &info, bytes);
    return load_le(bytes, info.size < 8 ? info.size : 8);
}

static bool set(const char *name, uint64_t value)
{
    struct register_info info = named(true, name);
    uint8_t bytes[REGISTER_SIZE_MAX] = {0};

    store_le(bytes, 8, value);
    return register_set(&cpu, &info, bytes);
}

/* GDB's own numbers for x86-64, which it also uses where it has not read the description. */
static void numbers_registers(void **state)
{
    static const struct {
        unsigned number;
        const char *name;
    } known[] = {{0, "rax"}, {1, "rbx"},  {6, "rbp"},    {7, "rsp"},   {16, "rip"},  {17, "eflags"},
                 {18, "cs"}, {24, "st0"}, {32, "fctrl"}, {40, "xmm0"}, {56, "mxcsr"}};
    struct register_view view = {.wide = true, .avx = false};
    struct register_info info;

    (void)state;
    for (size_t i = 0; i < ARRAY_LENGTH(known); i++) {
        assert_true(register_describe(view, known[i].number, &info));
        assert_string_equal(info.name, known[i].name);
    }
    assert_true(register_describe(view, 57, &info));
    assert_string_equal(info.name, "fs_base");
    assert_false(register_describe(view, 57 + 2 + 7, &info));
    view.wide = false;
    assert_true(register_describe(view, 8, &info));
    assert_string_equal(info.name, "eip");
    assert_false(register_describe(view, 16 + 8 + 8 + 8 + 1 + 4, &info));
}

static void general_registers(void **state)
{
    (void)state;
    cpu_state_reset(&cpu, 0);
    assert_true(set("rbx", 0x1122334455667788));
    assert_int_equal(cpu.gpr[GPR_RBX], 0x1122334455667788);
    assert_int_equal(get("rbx"), 0x1122334455667788);
    assert_true(set("cr3", 0x5000));
    assert_int_equal(cpu.cr3, 0x5000);
    assert_true(set("gs_base", 0xffff888000000000));
    assert_int_equal(get("gs_base"), 0xffff888000000000);
    assert_true(set("eflags", RFLAGS_CF));
    assert_int_equal(cpu.rflags, RFLAGS_CF | RFLAGS_FIXED);
    assert_int_equal(get("rip"), cpu.rip);
}

/* A selector is a base in real mode, and otherwise not ours to load. */
static void selectors(void **state)
{
    (void)state;
    cpu_state_reset(&cpu, 0);
    assert_true(set("ds", 0x1234));
    assert_int_equal(cpu.segment[SEG_DS].base, 0x12340);
    cpu.cr0 |= CR0_PE;
    assert_true(set("ds", 0x1234));
    assert_false(set("ds", 0x10));
    assert_int_equal(get("ds"), 0x1234);
}

/* What is in its initial state reads as that, whatever the bytes are, and a write brings only its component to life. */
static void vector_registers(void **state)
{
    (void)state;
    cpu_state_reset(&cpu, 0);
    memset(cpu.xsave, 0x5a, 512);
    memset(cpu.xsave + 576, 0x5a, 256);
    store_le(cpu.xsave + 512, 8, 0);
    assert_int_equal(get("fctrl"), 0x37f);
    assert_int_equal(get("ftag"), 0xffff);
    assert_int_equal(get("st0"), 0);
    assert_int_equal(get("xmm3"), 0);
    assert_int_equal(get("mxcsr"), MXCSR_RESET);
    assert_int_equal(get("ymm3h"), 0);
    assert_true(set("xmm3", 7));
    assert_int_equal(get("xmm3"), 7);
    assert_int_equal(get("xmm4"), 0);
    assert_int_equal(get("ymm3h"), 0);
    assert_int_equal(get("mxcsr"), MXCSR_RESET);
    assert_int_equal(load_le(cpu.xsave + 512, 8), XCR0_SSE);
    assert_true(set("ymm15h", 9));
    assert_int_equal(get("ymm15h"), 9);
    assert_int_equal(get("ymm3h"), 0);
    assert_true(set("mxcsr", 0x1f00));
    assert_int_equal(get("mxcsr"), 0x1f00);
    assert_false(set("mxcsr", 0x10000));
}

static void x87_registers(void **state)
{
    (void)state;
    cpu_state_reset(&cpu, 0);
    store_le(cpu.xsave + 512, 8, XCR0_X87);
    store_le(cpu.xsave + 2, 2, 6u << 11); /* TOP 6: st0 is register 6 */
    cpu.xsave[4] = 0xc0;                  /* 6 and 7 are used */
    memset(cpu.xsave + 32, 0, 128);
    store_le(cpu.xsave + 32, 8, 0x8000000000000000);
    store_le(cpu.xsave + 40, 2, 0x3fff);
    assert_int_equal(get("ftag"), 0x4fff); /* st0 1.0: valid, st1 0.0: zero */
    store_le(cpu.xsave + 40, 2, 0x7fff);
    assert_int_equal(get("ftag"), 0x6fff);
    assert_true(set("ftag", 0xfff0));
    assert_int_equal(cpu.xsave[4], 3);
    assert_true(set("fctrl", 0x27f));
    assert_int_equal(get("fctrl"), 0x27f);
    assert_true(set("st7", 0x123456789abcdef0));
    assert_int_equal(load_le(cpu.xsave + 32 + 7 * 16, 8), 0x123456789abcdef0);
}

static unsigned count(const char *text, const char *what)
{
    unsigned found = 0;

    for (const char *at = strstr(text, what); at; at = strstr(at + 1, what))
        found++;
    return found;
}

static void describes_itself(void **state)
{
    static char text[DESCRIPTION_SIZE];
    struct register_view view = {.wide = true, .avx = true};

    (void)state;
    size_t size = description_write(view, text);
    assert_int_equal(size, strlen(text));
    assert_true(strlen(text) < DESCRIPTION_SIZE - 1);
    assert_non_null(strstr(text, "<architecture>i386:x86-64</architecture>"));
    assert_int_equal(count(text, "<reg "), 24 + 8 + 8 + 16 + 1 + 16 + 2 + 7);
    assert_int_equal(count(text, "<feature "), count(text, "</feature>"));
    assert_int_equal(count(text, "<feature "), 5);
    assert_string_equal(text + strlen(text) - 21, "</feature>\n</target>\n");
    view = (struct register_view){.wide = false, .avx = false};
    (void)description_write(view, text);
    assert_non_null(strstr(text, "<architecture>i386</architecture>"));
    assert_int_equal(count(text, "<reg "), 16 + 8 + 8 + 8 + 1 + 4);
    assert_null(strstr(text, "i386.avx"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_packets),     cmocka_unit_test(limits_packets),    cmocka_unit_test(writes_packets),
        cmocka_unit_test(takes_texts_apart), cmocka_unit_test(numbers_registers), cmocka_unit_test(general_registers),
        cmocka_unit_test(selectors),         cmocka_unit_test(vector_registers),  cmocka_unit_test(x87_registers),
        cmocka_unit_test(describes_itself),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
