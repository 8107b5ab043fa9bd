#include "lib/console.h"

#include <stdatomic.h>
#include <stdbool.h>

#include "lib/cpu.h"

enum { SERIAL_LINE_STATUS = PORT_SERIAL + 5, LINE_STATUS_THRE = 0x20, SERIAL_PATIENCE = 100000 };

static unsigned console_sinks = CONSOLE_SERIAL | CONSOLE_DEBUG;
static atomic_uint console_lock;

void console_select(unsigned sinks)
{
    console_sinks = sinks;
}

static void serial_put(char byte)
{
    for (unsigned i = 0; i < SERIAL_PATIENCE; i++) {
        if (in8(SERIAL_LINE_STATUS) & LINE_STATUS_THRE)
            break;
    }
    out8(PORT_SERIAL, (uint8_t)byte);
}

static void put(char byte)
{
    if (console_sinks & CONSOLE_SERIAL)
        serial_put(byte);
    if (console_sinks & CONSOLE_DEBUG)
        out8(PORT_DEBUG_CONSOLE, (uint8_t)byte);
}

static void put_number(uint64_t value, unsigned base, unsigned width, char pad)
{
    char digits[20];
    unsigned count = 0;

    do {
        digits[count++] = "0123456789abcdef"[value % base];
        value /= base;
    } while (value != 0);
    for (unsigned i = count; i < width; i++)
        put(pad);
    while (count > 0)
        put(digits[--count]);
}

static uint64_t take_number(va_list *arguments, bool is_long, bool is_signed)
{
    if (is_long)
        return va_arg(*arguments, uint64_t);
    if (is_signed)
        return (uint64_t)(int64_t)va_arg(*arguments, int);
    return va_arg(*arguments, unsigned);
}

/* One conversion, format just behind its '%'. Returns where the text goes on. */
static const char *put_conversion(const char *format, va_list *arguments)
{
    char pad = ' ';
    unsigned width = 0;
    bool is_long = false;
    uint64_t value;

    if (*format == '0')
        pad = '0';
    while (*format >= '0' && *format <= '9')
        width = width * 10 + (unsigned)(*format++ - '0');
    while (*format == 'l') {
        is_long = true;
        format++;
    }
    switch (*format) {
    case 'c':
        put((char)va_arg(*arguments, int));
        break;
    case 's':
        for (const char *text = va_arg(*arguments, const char *); *text != 0; text++)
            put(*text);
        break;
    case 'd':
        value = take_number(arguments, is_long, true);
        if ((int64_t)value < 0) {
            put('-');
            value = -value;
        }
        put_number(value, 10, width, pad);
        break;
    case 'u':
        put_number(take_number(arguments, is_long, false), 10, width, pad);
        break;
    case 'x':
        put_number(take_number(arguments, is_long, false), 16, width, pad);
        break;
    case 0:
        return format;
    default:
        put(*format);
    }
    return format + 1;
}

void print_list(const char *format, va_list arguments)
{
    va_list copy;

    va_copy(copy, arguments);
    while (atomic_exchange(&console_lock, 1) != 0)
        cpu_pause();
    while (*format != 0) {
        if (*format == '%')
            format = put_conversion(format + 1, &copy);
        else
            put(*format++);
    }
    atomic_store(&console_lock, 0);
    va_end(copy);
}

void print(const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    print_list(format, arguments);
    va_end(arguments);
}

void guest_exit(uint32_t value)
{
    out32(PORT_EXIT, value);
    for (;;)
        __asm__ volatile("cli; hlt");
}
