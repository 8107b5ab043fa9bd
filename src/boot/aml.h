/*
 * Writes ACPI Machine Language (ACPI 6.4, chapter 20) into a buffer.
 *
 * Packages of the language (devices, methods, ...) are opened and closed; their length is put in
 * front when they are closed, in its shortest form. An error (no room, too deep) latches and is
 * told by aml_finish(), so the caller's code reads like the source it stands for. Private to boot/.
 */
#ifndef LODGE_BOOT_AML_H
#define LODGE_BOOT_AML_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

enum { AML_DEPTH = 12, AML_RESOURCES = 320 };

struct aml {
    uint8_t *bytes; /* borrowed */
    size_t room;
    size_t length;
    size_t open[AML_DEPTH]; /* where the contents of each open package begin */
    unsigned depth;
    bool failed;
};

void aml_init(struct aml *aml, void *bytes, size_t room);

/* Everything closed and nothing lost? *length is what was written. Logged otherwise. */
enum status aml_finish(const struct aml *aml, size_t *length) MUST_CHECK;

/* Each of these is closed by aml_close(). A path is "\\_SB_.PCI0" or "COM1"; names are padded with '_'. */
void aml_open_scope(struct aml *aml, const char *path);
void aml_open_device(struct aml *aml, const char *path);
void aml_open_method(struct aml *aml, const char *path, unsigned arguments, bool serialized);
void aml_open_package(struct aml *aml, unsigned elements);
void aml_open_if(struct aml *aml);   /* the predicate follows */
void aml_open_else(struct aml *aml); /* right after an If was closed */
void aml_close(struct aml *aml);

/* Terms. aml_name() declares an object, whose value is the next term. */
void aml_name(struct aml *aml, const char *path);
void aml_integer(struct aml *aml, uint64_t value);
void aml_string(struct aml *aml, const char *string);
void aml_eisa_id(struct aml *aml, const char *id); /* "PNP0A08" as an integer */
void aml_buffer(struct aml *aml, const void *bytes, size_t size);
void aml_path(struct aml *aml, const char *path); /* a reference */
void aml_raw(struct aml *aml, const void *bytes, size_t size);
void aml_op(struct aml *aml, uint8_t opcode);

/* Name (path, value) in one call. */
void aml_name_integer(struct aml *aml, const char *path, uint64_t value);
void aml_name_eisa_id(struct aml *aml, const char *path, const char *id);
void aml_name_string(struct aml *aml, const char *path, const char *string);

/* Opcodes for aml_op(): operands follow, in the order of section 20.2.5. */
enum {
    AML_ARG0 = 0x68,
    AML_ARG1 = 0x69,
    AML_ARG2 = 0x6a,
    AML_ARG3 = 0x6b,
    AML_STORE = 0x70,              /* source, target */
    AML_AND = 0x7b,                /* operand, operand, target */
    AML_OR = 0x7d,                 /* operand, operand, target */
    AML_CREATE_DWORD_FIELD = 0x8a, /* buffer, byte index, name */
    AML_LOGICAL_NOT = 0x92,        /* operand */
    AML_LOGICAL_EQUAL = 0x93,      /* operand, operand */
    AML_RETURN = 0xa4,             /* value */
};

/* A resource template (ACPI 6.4, section 6.4), collected and then emitted as a buffer. */
struct aml_resources {
    uint8_t bytes[AML_RESOURCES];
    size_t length;
    bool failed;
};

enum aml_window { AML_WINDOW_MEMORY = 0, AML_WINDOW_IO = 1, AML_WINDOW_BUS = 2 };

void aml_resource_io(struct aml_resources *resources, uint16_t base, uint8_t size);
void aml_resource_irq(struct aml_resources *resources, unsigned irq);
void aml_resource_memory_fixed(struct aml_resources *resources, uint32_t base, uint32_t size);

/* What a bridge passes down: [base, base + size), size > 0; 16, 32 or 64 bits wide, whichever is enough. */
void aml_resource_window(struct aml_resources *resources, enum aml_window kind, uint64_t base, uint64_t size);

/* Name (_CRS, ...), with the end tag. */
void aml_name_resources(struct aml *aml, const char *path, struct aml_resources *resources);

#endif
