#include "debug/description.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/bits.h"

struct text {
    char *bytes;
    size_t used;
};

static void __attribute__((format(printf, 2, 3))) add(struct text *text, const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    int size = vsnprintf(text->bytes + text->used, DESCRIPTION_SIZE - text->used, format, arguments);
    va_end(arguments);
    if (size > 0 && (size_t)size < DESCRIPTION_SIZE - text->used)
        text->used += (size_t)size;
}

/* Bits by name, so that GDB prints [ PE PG ]. */
struct flag {
    const char *name;
    unsigned bit;
};

static const struct flag eflags[] = {{"CF", 0},  {"", 1},    {"PF", 2},   {"AF", 4},   {"ZF", 6},  {"SF", 7},
                                     {"TF", 8},  {"IF", 9},  {"DF", 10},  {"OF", 11},  {"NT", 14}, {"RF", 16},
                                     {"VM", 17}, {"AC", 18}, {"VIF", 19}, {"VIP", 20}, {"ID", 21}};
static const struct flag mxcsr_flags[] = {{"IE", 0},  {"DE", 1},  {"ZE", 2},  {"OE", 3}, {"UE", 4},
                                          {"PE", 5},  {"DAZ", 6}, {"IM", 7},  {"DM", 8}, {"ZM", 9},
                                          {"OM", 10}, {"UM", 11}, {"PM", 12}, {"FZ", 15}};
static const struct flag cr0_flags[] = {{"PE", 0},  {"MP", 1},  {"EM", 2},  {"TS", 3},  {"ET", 4}, {"NE", 5},
                                        {"WP", 16}, {"AM", 18}, {"NW", 29}, {"CD", 30}, {"PG", 31}};
static const struct flag cr4_flags[] = {{"VME", 0},         {"PVI", 1},    {"TSD", 2},      {"DE", 3},    {"PSE", 4},
                                        {"PAE", 5},         {"MCE", 6},    {"PGE", 7},      {"PCE", 8},   {"OSFXSR", 9},
                                        {"OSXMMEXCPT", 10}, {"UMIP", 11},  {"LA57", 12},    {"VMXE", 13}, {"SMXE", 14},
                                        {"FSGSBASE", 16},   {"PCIDE", 17}, {"OSXSAVE", 18}, {"SMEP", 20}, {"SMAP", 21},
                                        {"PKE", 22},        {"CET", 23},   {"PKS", 24}};
static const struct flag efer_flags[] = {{"SCE", 0},   {"LME", 8},    {"LMA", 10},   {"NXE", 11},
                                         {"SVME", 12}, {"LMSLE", 13}, {"FFXSR", 14}, {"TCE", 15}};

static void add_flags(struct text *text, const char *id, unsigned size, const struct flag *flags, size_t count)
{
    add(text, "<flags id=\"%s\" size=\"%u\">", id, size);
    for (size_t i = 0; i < count; i++)
        add(text, "<field name=\"%s\" start=\"%u\" end=\"%u\"/>", flags[i].name, flags[i].bit, flags[i].bit);
    add(text, "</flags>\n");
}

#define ADD_FLAGS(text, id, size, flags) add_flags(text, id, size, flags, ARRAY_LENGTH(flags))

static const char vector_types[] =
    "<vector id=\"v4f\" type=\"ieee_single\" count=\"4\"/><vector id=\"v2d\" type=\"ieee_double\" count=\"2\"/>\n"
    "<vector id=\"v16i8\" type=\"int8\" count=\"16\"/><vector id=\"v8i16\" type=\"int16\" count=\"8\"/>\n"
    "<vector id=\"v4i32\" type=\"int32\" count=\"4\"/><vector id=\"v2i64\" type=\"int64\" count=\"2\"/>\n"
    "<union id=\"vec128\"><field name=\"v4_float\" type=\"v4f\"/><field name=\"v2_double\" type=\"v2d\"/>"
    "<field name=\"v16_int8\" type=\"v16i8\"/><field name=\"v8_int16\" type=\"v8i16\"/>"
    "<field name=\"v4_int32\" type=\"v4i32\"/><field name=\"v2_int64\" type=\"v2i64\"/>"
    "<field name=\"uint128\" type=\"uint128\"/></union>\n";

/* The types that the registers of a feature need. */
static void add_types(struct text *text, const char *feature)
{
    if (strstr(feature, ".core")) {
        ADD_FLAGS(text, "i386_eflags", 4, eflags);
    } else if (strstr(feature, ".sse")) {
        add(text, "%s", vector_types);
        ADD_FLAGS(text, "i386_mxcsr", 4, mxcsr_flags);
    } else if (strstr(feature, ".control")) {
        ADD_FLAGS(text, "x86_cr0", 8, cr0_flags);
        ADD_FLAGS(text, "x86_cr4", 8, cr4_flags);
        ADD_FLAGS(text, "x86_efer", 8, efer_flags);
    }
}

static void add_register(struct text *text, const struct register_info *info)
{
    add(text, "<reg name=\"%s\" bitsize=\"%u\" type=\"%s\"", info->name, 8u * info->size, info->type);
    if (info->group)
        add(text, " group=\"%s\"", info->group);
    add(text, "/>\n");
}

size_t description_write(struct register_view view, char bytes[DESCRIPTION_SIZE])
{
    struct text text = {.bytes = bytes};
    struct register_info info;
    const char *feature = NULL;

    add(&text, "<?xml version=\"1.0\"?>\n<!DOCTYPE target SYSTEM \"gdb-target.dtd\">\n<target version=\"1.0\">\n");
    add(&text, "<architecture>%s</architecture>\n", view.wide ? "i386:x86-64" : "i386");
    for (unsigned number = 0; register_describe(view, number, &info); number++) {
        if (!feature || strcmp(feature, info.feature) != 0) {
            add(&text, "%s<feature name=\"%s\">\n", feature ? "</feature>\n" : "", info.feature);
            add_types(&text, info.feature);
            feature = info.feature;
        }
        add_register(&text, &info);
    }
    add(&text, "</feature>\n</target>\n");
    return text.used;
}
