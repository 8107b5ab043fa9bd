/*
 * Fuzzes the kernel loaders of src/boot: whatever the file, boot_load() either refuses it with a
 * line in the log and leaves the processor alone, or leaves a state that can run, with everything
 * it points to in RAM. The sanitizers watch the rest.
 *
 *     fuzz_boot [RUNS [SEED]]    mutates made-up kernels; prints the seed of the run that fails
 *     fuzz_boot -f FILE...       replays files
 *
 * With clang -fsanitize=fuzzer -DFUZZ_LIBFUZZER it has no main().
 */
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../unit/boot_images.h"
#include "base/bits.h"
#include "boot/image.h"
#include "core/memory.h"
#include "fuzz.h"
#include "port/log.h"
#include "x86/cpu_state.h"
#include "x86/regs.h"

enum { RAM = 20 << 20, HEAD = 4, FILE_MAX = 20000 };

static unsigned log_lines;

const char *fuzz_command = "fuzz_boot";

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

void log_emit(enum log_level level, const char *format, ...)
{
    char line[512];
    va_list arguments;

    va_start(arguments, format);
    (void)vsnprintf(line, sizeof(line), format, arguments);
    va_end(arguments);
    log_lines += level == LOG_ERROR;
}

static uint64_t get(const struct guest_memory *memory, uint64_t address, unsigned size)
{
    const void *host = memory_at(memory, address, size, false);

    fuzz_check(host != NULL, "a pointer leads out of RAM");
    return load_le(host, size);
}

static void check_string(const struct guest_memory *memory, uint64_t address)
{
    while (get(memory, address, 1) != 0)
        address++;
}

static void check_linux(const struct guest_memory *memory, const struct cpu_state *cpu)
{
    uint64_t params = cpu->gpr[GPR_RSI];

    check_string(memory, get(memory, params + 0x228, 4));
    if (get(memory, params + 0x21c, 4) != 0)
        (void)get(memory, get(memory, params + 0x218, 4) + get(memory, params + 0x21c, 4) - 1, 1);
    fuzz_check(get(memory, params + 0x214, 4) + 0x200 == cpu->rip, "code32_start is not where the kernel is");
    fuzz_check(get(memory, cpu->cr3, 8) != 0, "no page tables");
}

static void check_pvh(const struct guest_memory *memory, const struct cpu_state *cpu)
{
    uint64_t info = cpu->gpr[GPR_RBX], modules = get(memory, info + 16, 8);

    fuzz_check(get(memory, info, 4) == 0x336ec578, "the start info was overwritten");
    check_string(memory, get(memory, info + 24, 8));
    for (uint64_t i = 0; i < get(memory, info + 12, 4); i++)
        check_string(memory, get(memory, modules + 32 * i + 16, 8));
}

static void check_multiboot(const struct guest_memory *memory, const struct cpu_state *cpu)
{
    uint64_t info = cpu->gpr[GPR_RBX], modules = get(memory, info + 24, 4);

    fuzz_check((get(memory, info, 4) & ~0x24full) == 0, "the information was overwritten");
    check_string(memory, get(memory, info + 16, 4));
    for (uint64_t i = 0; i < get(memory, info + 20, 4); i++)
        check_string(memory, get(memory, modules + 16 * i + 8, 4));
}

static void check_loaded(enum boot_kind kind, const struct guest_memory *memory, const struct cpu_state *cpu)
{
    fuzz_check(cpu_state_schema.valid(cpu), "the processor's state is not valid");
    (void)get(memory, cpu->rip, 1);
    fuzz_check(get(memory, cpu->gdt_base + cpu->segment[SEG_CS].selector, 8) != 0, "no code segment");
    switch (kind) {
    case BOOT_KIND_LINUX:
        check_linux(memory, cpu);
        break;
    case BOOT_KIND_PVH:
        check_pvh(memory, cpu);
        break;
    default:
        check_multiboot(memory, cpu);
        break;
    }
}

/* The first bytes choose memory size and modules, the rest is the kernel. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static uint8_t host[RAM];
    struct boot_file modules[2] = {{.name = "one", .bytes = host, .size = 5}, {.name = "two", .bytes = host}};
    struct boot_request request = {.modules = modules, .physical_bits = 46};
    struct guest_memory memory;
    struct cpu_state cpu, before;

    if (size < HEAD)
        return 0;
    uint64_t ram = RAM - ((uint64_t)data[0] % 20 << 20);
    modules[1].size = (size_t)load_le(data + 2, 2) * 16;
    request.module_count = data[1] % 3;
    request.command_line = data[1] & 0x80 ? "console=ttyS0" : NULL;
    request.kernel = (struct boot_file){.name = "kernel", .bytes = data + HEAD, .size = size - HEAD};
    acpi_machine_init(&request.machine, 1 + data[1] % 7);
    fuzz_check(memory_init(&memory, host, -1, ram) == STATUS_OK, "no memory");
    cpu_state_reset(&cpu, 0);
    before = cpu;

    log_lines = 0;
    enum boot_kind kind = boot_image_kind(&request.kernel);
    fuzz_check((kind == BOOT_KIND_NONE) == (log_lines == 1), "a refusal without its line, or a line without a refusal");
    log_lines = 0;
    if (boot_load(&request, &memory, &cpu) != STATUS_OK) {
        fuzz_check(log_lines == 1, "a refusal has not one line");
        fuzz_check(state_compare(&cpu_state_schema, &cpu, &before) == NULL, "a refusal changed the processor");
        return 0;
    }
    fuzz_check(kind != BOOT_KIND_NONE && log_lines == 0, "loaded, but not without complaint");
    check_loaded(kind, &memory, &cpu);
    return 0;
}

#ifndef FUZZ_LIBFUZZER

static size_t make_flat(uint8_t *image)
{
    static const uint32_t addresses[] = {0x200010, 0x200000, 0x200300, 0x200400, 0x200040};

    memset(image, 0x90, 0x300);
    boot_image_add_multiboot(image, 0x10, 0x10003);
    for (size_t i = 0; i < ARRAY_LENGTH(addresses); i++)
        store_le(image + 0x1c + 4 * i, 4, addresses[i]);
    return 0x300;
}

/* One of the kernels that load as they are. */
static size_t make_kernel(uint8_t *image)
{
    int bits = fuzz_below(2) ? 64 : 32;

    switch (fuzz_below(4)) {
    case 0:
        boot_image_make_bzimage(image);
        return BZIMAGE_SIZE;
    case 1:
        boot_image_make_elf(image, bits, 1);
        return ELF_SIZE;
    case 2:
        boot_image_make_elf(image, bits, 0);
        boot_image_add_multiboot(image, ELF_MULTIBOOT, (uint32_t)fuzz_below(8));
        return ELF_SIZE;
    default:
        return make_flat(image);
    }
}

/* Bytes 0 to 0x400 hold every header; most changes go there. */
static void mutate(uint8_t *image, size_t *size)
{
    static const uint64_t edges[] = {0,
                                     1,
                                     0x7f,
                                     0x80,
                                     0xff,
                                     0xfff,
                                     0x1000,
                                     0x7fff,
                                     0xffff,
                                     0x9fc00,
                                     0xa0000,
                                     0x100000,
                                     0x7fffffff,
                                     0x80000000,
                                     0xffffffff,
                                     0x100000000,
                                     0x7fffffffffffffff,
                                     UINT64_MAX};
    size_t at = (size_t)fuzz_below(fuzz_below(4) && *size > 0x440 ? 0x440 : *size);
    size_t width = (size_t)1 << fuzz_below(4);

    if (width > *size - at)
        width = 1;
    switch (fuzz_below(6)) {
    case 0:
        image[at] ^= (uint8_t)(1 << fuzz_below(8));
        break;
    case 1:
        image[at] = (uint8_t)fuzz_next();
        break;
    case 2:
        store_le(image + at, width, edges[fuzz_below(ARRAY_LENGTH(edges))]);
        break;
    case 3:
        store_le(image + at, width, load_le(image + at, width) + fuzz_below(33) - 16);
        break;
    case 4:
        memmove(image + at, image + fuzz_below(*size - width + 1), width);
        break;
    default:
        if (fuzz_below(8) == 0)
            *size = 1 + (size_t)fuzz_below(*size);
        break;
    }
}

static void run_one(void)
{
    static uint8_t image[FILE_MAX];

    size_t size = make_kernel(image);
    for (uint64_t changes = fuzz_below(12); changes > 0; changes--)
        mutate(image, &size);

    /* A copy of the exact size, so that the sanitizer sees one byte too many. */
    uint8_t *input = malloc(size + HEAD);
    fuzz_check(input != NULL, "out of memory");
    store_le(input, HEAD, fuzz_next());
    memcpy(input + HEAD, image, size);
    (void)LLVMFuzzerTestOneInput(input, size + HEAD);
    free(input);
}

int main(int argc, char **argv)
{
    return fuzz_main(argc, argv, run_one, LLVMFuzzerTestOneInput);
}

#endif
