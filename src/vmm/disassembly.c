#include "vmm/disassembly.h"

#include <Zydis/Zydis.h>
#include <stdio.h>

#include "base/bits.h"
#include "core/linear.h"
#include "port/log.h"
#include "x86/regs.h"

enum {
    BYTES_BEFORE = 48, /* where a start is looked for */
    LINES_BEFORE = 6,
    LINES_AFTER = 6, /* with the instruction at RIP */
    BYTES_AFTER = LINES_AFTER * ZYDIS_MAX_INSTRUCTION_LENGTH,
    HEX_ROOM = 2 * ZYDIS_MAX_INSTRUCTION_LENGTH + 1,
    TEXT_ROOM = 128,
};

struct code {
    ZydisDecoder decoder;
    ZydisFormatter formatter;
    unsigned bits;
    uint64_t rip;    /* cut to the code size */
    uint64_t linear; /* of RIP */
    uint8_t bytes[BYTES_BEFORE + BYTES_AFTER];
    size_t before; /* bytes[before] is at RIP */
    size_t size;
};

static void code_init(struct code *code, const struct cpu_state *cpu)
{
    const struct segment_state *cs = &cpu->segment[SEG_CS];

    if ((cpu->efer & EFER_LMA) && (cs->attributes & SEGMENT_L)) {
        code->bits = 64;
        code->rip = code->linear = cpu->rip;
        (void)ZydisDecoderInit(&code->decoder, ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64);
        return;
    }
    code->rip = (uint32_t)cpu->rip;
    code->linear = (uint32_t)(cs->base + cpu->rip);
    code->bits = cs->attributes & SEGMENT_DB ? 32 : 16;
    if (code->bits == 32)
        (void)ZydisDecoderInit(&code->decoder, ZYDIS_MACHINE_MODE_LEGACY_32, ZYDIS_STACK_WIDTH_32);
    else
        (void)ZydisDecoderInit(&code->decoder, ZYDIS_MACHINE_MODE_LEGACY_16, ZYDIS_STACK_WIDTH_16);
}

/* The page before RIP's need not be mapped. */
static void code_read(struct code *code, const struct cpu_state *cpu, const struct guest_memory *memory)
{
    size_t in_page = (size_t)(code->linear & (PAGE_SIZE - 1));

    code->before = code->rip < BYTES_BEFORE ? (size_t)code->rip : BYTES_BEFORE;
    if (code->before > in_page &&
        linear_read(cpu, memory, code->linear - code->before, code->bytes, code->before) < code->before)
        code->before = in_page;
    code->size = linear_read(cpu, memory, code->linear - code->before, code->bytes, code->before + BYTES_AFTER);
}

/* The length of the instruction at an offset, or 0. */
static size_t code_length(const struct code *code, size_t at, size_t limit)
{
    ZydisDecodedInstruction instruction;

    if (ZYAN_FAILED(ZydisDecoderDecodeInstruction(&code->decoder, NULL, code->bytes + at, limit - at, &instruction)))
        return 0;
    return instruction.length;
}

/* Where to start so that instructions meet RIP and are no more than LINES_BEFORE. */
static size_t code_start(const struct code *code)
{
    size_t starts[BYTES_BEFORE];

    for (size_t start = 0; start < code->before; start++) {
        size_t at = start, count = 0, length;

        while (at < code->before && (length = code_length(code, at, code->before)) != 0) {
            starts[count++] = at;
            at += length;
        }
        if (at == code->before)
            return starts[count > LINES_BEFORE ? count - LINES_BEFORE : 0];
    }
    return code->before;
}

/* Returns the length of what was printed; 0: the instruction goes on where nothing is mapped. */
static size_t print_line(const struct code *code, size_t at)
{
    uint64_t address = code->rip + at - code->before;
    ZydisDecodedInstruction instruction;
    ZydisDecodedOperand operands[ZYDIS_MAX_OPERAND_COUNT];
    char hex[HEX_ROOM], text[TEXT_ROOM] = "(no instruction)";
    ZyanStatus status =
        ZydisDecoderDecodeFull(&code->decoder, code->bytes + at, code->size - at, &instruction, operands);
    size_t length = 1;

    if (status == ZYDIS_STATUS_NO_MORE_DATA)
        return 0;
    if (ZYAN_SUCCESS(status)) {
        length = instruction.length;
        (void)ZydisFormatterFormatInstruction(&code->formatter, &instruction, operands,
                                              instruction.operand_count_visible, text, sizeof(text), address, NULL);
    }
    for (size_t i = 0; i < length; i++)
        (void)snprintf(hex + 2 * i, 3, "%02x", code->bytes[at + i]);
    log_error("%s %016llx %-20s %s", at == code->before ? ">" : " ", (unsigned long long)address, hex, text);
    return length;
}

/* From the chosen start until there are enough lines, or nothing is left. */
static void print_lines(const struct code *code)
{
    size_t at = code_start(code);

    for (unsigned after = 0; after<LINES_AFTER; after += at> code->before) {
        size_t length = print_line(code, at);

        if (length == 0) {
            log_error("from %016llx on, nothing is mapped",
                      (unsigned long long)(code->rip + code->size - code->before));
            return;
        }
        at += length;
    }
}

void disassembly_print(const struct cpu_state *cpu, const struct guest_memory *memory)
{
    struct code code;

    code_init(&code, cpu);
    code_read(&code, cpu, memory);
    if (code.size <= code.before) {
        log_error("the code at rip is not mapped (linear address %016llx)", (unsigned long long)code.linear);
        return;
    }
    (void)ZydisFormatterInit(&code.formatter, ZYDIS_FORMATTER_STYLE_INTEL);
    (void)ZydisFormatterSetProperty(&code.formatter, ZYDIS_FORMATTER_PROP_HEX_UPPERCASE, ZYAN_FALSE);
    log_error("%u-bit code around rip, at linear address %016llx:", code.bits, (unsigned long long)code.linear);
    print_lines(&code);
}
