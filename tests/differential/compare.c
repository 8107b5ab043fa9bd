/*
 * The comparison is exact, but for what cannot be equal:
 *
 * - the x87 instruction and data pointers and the last opcode, which the engine never shows;
 * - where a sequence ends in a fault, arithmetic flags that the code behind would have overwritten
 *   without reading them: the engine knows that they are dead, and does not keep them; nor those of a repeated
 *   comparison, which the manual leaves open;
 * - faults whose order or presence processors choose: see differs_by_nature();
 * - where a page fault was of instructions that have several places for it: see fault_is_vague();
 * - instructions that the machine denies and the processor carries out: the engine must have #UD;
 * - which fault an instruction has that the processor does not know at all (#UD) but the decoder does;
 * - bit 0 of a page fault's error code for addresses of the upper half: the host's kernel sets it so that
 *   programs learn nothing of its mappings.
 */
#include "compare.h"

#include <inttypes.h>
#include <string.h>

#include "generate.h"

enum { STATUS = 0x8d5, FLAGS = 0x8d5 | 0x400 | 0x4000 | 0x40000 | 0x200000, PAGE = 4096 };

struct comparison {
    const struct forms *forms;
    const struct one_case *one;
    FILE *report;
    bool same;
};

static void differs(struct comparison *c, const char *what, uint64_t native, uint64_t engine)
{
    c->same = false;
    if (c->report)
        fprintf(c->report, "  %-10s processor %016" PRIx64 "  engine %016" PRIx64 "\n", what, native, engine);
}

static void check(struct comparison *c, const char *what, uint64_t native, uint64_t engine)
{
    if (native != engine)
        differs(c, what, native, engine);
}

/* ---- flags ---- */

static unsigned index_at(const struct sequence *code, uint64_t rip)
{
    unsigned i = 0;

    while (i <= code->count && code->address + code->offset[i] != rip)
        i++;
    return i;
}

/* Flags that the code from instruction i on overwrites before it reads them. */
static uint32_t dead_flags(const struct comparison *c, unsigned i, unsigned depth)
{
    const struct sequence *code = &c->one->code;
    uint32_t undecided = STATUS, dead = 0;

    for (; i < code->count && undecided; i++) {
        const uint8_t *bytes = code->bytes + code->offset[i];
        ZydisDecodedInstruction z;
        uint32_t read = 0, touched = 0;

        if (ZYAN_FAILED(ZydisDecoderDecodeInstruction(&c->forms->decoder, NULL, bytes, 15, &z)))
            break;
        if (z.cpu_flags) {
            read = z.cpu_flags->tested;
            touched = z.cpu_flags->modified | z.cpu_flags->set_0 | z.cpu_flags->set_1 | z.cpu_flags->undefined;
        }
        undecided &= ~read;
        dead |= touched & undecided;
        undecided &= ~touched;
        if (z.meta.branch_type != ZYDIS_BRANCH_TYPE_NONE) {
            uint64_t next = code->address + code->offset[i] + z.length;
            uint32_t there;

            if (!z.raw.imm[0].is_relative || depth == 0)
                break;
            there = dead_flags(c, index_at(code, next + (uint64_t)z.raw.imm[0].value.s), depth - 1);
            if (z.meta.category != ZYDIS_CATEGORY_UNCOND_BR && z.meta.category != ZYDIS_CATEGORY_CALL)
                there &= dead_flags(c, i + 1, depth - 1);
            return dead | (there & undecided);
        }
    }
    return dead;
}

/* REPE or REPNE SCAS or CMPS: a fault midway leaves the flags of an earlier comparison, or those from before. */
static bool repeats_comparison(const struct comparison *c, unsigned i)
{
    const struct sequence *code = &c->one->code;
    ZydisDecodedInstruction z;

    return i < code->count &&
           ZYAN_SUCCESS(
               ZydisDecoderDecodeInstruction(&c->forms->decoder, NULL, code->bytes + code->offset[i], 15, &z)) &&
           z.meta.category == ZYDIS_CATEGORY_STRINGOP &&
           (z.attributes & (ZYDIS_ATTRIB_HAS_REPE | ZYDIS_ATTRIB_HAS_REPNE));
}

static void check_flags(struct comparison *c, const struct outcome *engine)
{
    const struct outcome *native = &c->one->native;
    uint64_t mask = FLAGS;

    if (native->image.rip != EXIT_PAGE && ((native->image.rflags ^ engine->image.rflags) & STATUS)) {
        unsigned at = index_at(&c->one->code, native->image.rip);

        mask &= ~(uint64_t)(at > c->one->code.count || repeats_comparison(c, at) ? STATUS : dead_flags(c, at, 12));
    }
    check(c, "RFLAGS", native->image.rflags & mask, engine->image.rflags & mask);
}

/* ---- registers ---- */

static void check_general(struct comparison *c, const struct outcome *engine)
{
    static const char *const names[16] = {"RAX", "RCX", "RDX", "RBX", "RSP", "RBP", "RSI", "RDI",
                                          "R8",  "R9",  "R10", "R11", "R12", "R13", "R14", "R15"};
    const struct image *native = &c->one->native.image;

    for (unsigned i = 0; i < 16; i++)
        check(c, names[i], native->gpr[i], engine->image.gpr[i]);
    check(c, "FS base", native->fs_base, engine->image.fs_base);
    check(c, "GS base", native->gs_base, engine->image.gs_base);
}

static uint64_t word(const uint8_t *at, unsigned size)
{
    uint64_t value = 0;

    memcpy(&value, at, size);
    return value;
}

static bool present(const uint8_t *xsave, unsigned component)
{
    return word(xsave + 512, 8) >> component & 1;
}

/* size bytes of a component; those of one that is in its initial configuration are zero. */
static void check_bytes(struct comparison *c, const char *name, unsigned number, unsigned component,
                        const uint8_t *native, const uint8_t *engine, unsigned offset, unsigned size)
{
    static const uint8_t zeros[64];
    const uint8_t *n = present(native, component) ? native + offset : zeros;
    const uint8_t *e = present(engine, component) ? engine + offset : zeros;

    if (memcmp(n, e, size) == 0)
        return;
    for (unsigned i = 0; i < size; i += 8) {
        char what[32];
        unsigned here = size - i < 8 ? size - i : 8;

        snprintf(what, sizeof(what), "%s%u.%u", name, number, i);
        check(c, what, word(n + i, here), word(e + i, here));
    }
}

static void check_x87(struct comparison *c, const uint8_t *native, const uint8_t *engine)
{
    bool n = present(native, 0), e = present(engine, 0);

    check(c, "FCW", n ? word(native, 2) : 0x37f, e ? word(engine, 2) : 0x37f);
    check(c, "FSW", n ? word(native + 2, 2) : 0, e ? word(engine + 2, 2) : 0);
    check(c, "FTW", n ? native[4] : 0, e ? engine[4] : 0);
    for (unsigned i = 0; i < 8; i++)
        check_bytes(c, "ST", i, 0, native, engine, 32 + 16 * i, 10);
}

/*
 * A gather that faults midway may have cleared the upper part of its destination, or not yet. Answers that
 * register's number; 32: none.
 */
static unsigned half_gathered(const struct comparison *c)
{
    const struct sequence *code = &c->one->code;
    unsigned i = index_at(code, c->one->native.image.rip);
    ZydisDecodedInstruction z;
    ZydisDecodedOperand operands[ZYDIS_MAX_OPERAND_COUNT];

    if (i >= code->count ||
        ZYAN_FAILED(ZydisDecoderDecodeFull(&c->forms->decoder, code->bytes + code->offset[i], 15, &z, operands)) ||
        (z.meta.category != ZYDIS_CATEGORY_AVX2GATHER && z.meta.category != ZYDIS_CATEGORY_GATHER))
        return 32;
    return (unsigned)ZydisRegisterGetId(operands[0].reg.value);
}

static void check_vectors(struct comparison *c, const uint8_t *native, const uint8_t *engine)
{
    unsigned except = half_gathered(c);

    check(c, "MXCSR", word(native + 24, 4), word(engine + 24, 4));
    for (unsigned i = 0; i < 16; i++) {
        check_bytes(c, "XMM", i, 1, native, engine, 160 + 16 * i, 16);
        check_bytes(c, "ZMM16+", i, 7, native, engine, generate_component_offset(7) + 64 * i,
                    i + 16 == except ? 16 : 64);
        if (i == except)
            continue;
        check_bytes(c, "YMMhi", i, 2, native, engine, generate_component_offset(2) + 16 * i, 16);
        check_bytes(c, "ZMMhi", i, 6, native, engine, generate_component_offset(6) + 32 * i, 32);
    }
    for (unsigned i = 0; i < 8; i++)
        check_bytes(c, "K", i, 5, native, engine, generate_component_offset(5) + 8 * i, 8);
}

/* ---- memory ---- */

/* Instructions that store the x87 pointers come last; so many bytes of them may differ. */
static unsigned tolerated_bytes(const struct comparison *c)
{
    enum { POINTERS = 8 + 8 + 2 + 2 };
    const struct sequence *code = &c->one->code;
    ZydisDecodedInstruction z;

    if (code->count == 0 || ZYAN_FAILED(ZydisDecoderDecodeInstruction(
                                &c->forms->decoder, NULL, code->bytes + code->offset[code->count - 1], 15, &z)))
        return 0;
    /* What is in use though it is zero, processors see differently, and these store what is in use. */
    if (z.mnemonic == ZYDIS_MNEMONIC_XSAVEC || z.mnemonic == ZYDIS_MNEMONIC_XSAVEC64 ||
        z.mnemonic == ZYDIS_MNEMONIC_XSAVEOPT || z.mnemonic == ZYDIS_MNEMONIC_XSAVEOPT64)
        return CASE_XSAVE_SIZE;
    return forms_stores_pointers(z.mnemonic) ? POINTERS : 0;
}

static void check_memory(struct comparison *c, const struct guest *guest)
{
    unsigned differing = 0;

    for (unsigned i = 0; i < CASE_DATA_PAGES; i++) {
        const uint8_t *native = c->one->native.data + i * PAGE;
        const uint8_t *engine = guest_data(guest, i);

        if (memcmp(native, engine, PAGE) == 0)
            continue;
        for (unsigned at = 0; at < PAGE; at++)
            differing += native[at] != engine[at];
        if (differing <= tolerated_bytes(c))
            continue;
        for (unsigned at = 0; at < PAGE; at += 8) {
            char what[32];

            snprintf(what, sizeof(what), "[%08llx]", DATA_BASE + data_window_page(i) * PAGE + at);
            check(c, what, word(native + at, 8), word(engine + at, 8));
        }
    }
}

/* ---- faults ---- */

/* An extension that the processor lacks: the engine may have met a fault of the operand first. */
static bool undefined_anyway(const struct outcome *native, const struct outcome *engine)
{
    return native->trap == 6 && engine->trap >= 12 && engine->trap <= 17;
}

/* Do processors agree that there is a page fault, but not at which address? */
static bool fault_is_vague(const struct comparison *c)
{
    const struct sequence *code = &c->one->code;
    unsigned i = index_at(code, c->one->native.image.rip);
    ZydisDecodedInstruction z;

    if (i >= code->count ||
        ZYAN_FAILED(ZydisDecoderDecodeInstruction(&c->forms->decoder, NULL, code->bytes + code->offset[i], 15, &z)))
        return false;
    if (forms_stores_pointers(z.mnemonic) || z.meta.isa_ext == ZYDIS_ISA_EXT_XSAVE)
        return true; /* a whole register file: anywhere in it */
    switch (z.mnemonic) {
    case ZYDIS_MNEMONIC_FXRSTOR:
    case ZYDIS_MNEMONIC_FXRSTOR64:
    case ZYDIS_MNEMONIC_FRSTOR:
    case ZYDIS_MNEMONIC_FLDENV:
    case ZYDIS_MNEMONIC_MASKMOVQ:
    case ZYDIS_MNEMONIC_MASKMOVDQU:
    case ZYDIS_MNEMONIC_VMASKMOVDQU:
    case ZYDIS_MNEMONIC_CMPSB: /* two operands */
    case ZYDIS_MNEMONIC_CMPSW:
    case ZYDIS_MNEMONIC_CMPSD:
    case ZYDIS_MNEMONIC_CMPSQ:
        return true;
    default:
        return false;
    }
}

/* Faults whose presence or order processors choose for themselves. */
static bool differs_by_nature(const struct comparison *c, const struct outcome *native, const struct outcome *engine)
{
    const struct sequence *code = &c->one->code;
    unsigned i = index_at(code, native->image.rip);
    ZydisDecodedInstruction z;

    if (native->trap == engine->trap && native->image.rip == engine->image.rip)
        return false;
    if (native->trap == 17 || engine->trap == 17)
        return true; /* which vector and system operands CR0.AM is about */
    if (native->image.rip == engine->image.rip && native->trap >= 12 && native->trap <= 14 && fault_is_vague(c))
        return true;
    if (native->image.rip == engine->image.rip && native->trap == 14 && native->cr2 >> 12 == 0x7ffffffff)
        return true; /* half of it is below the end of canonical addresses */
    if (engine->trap == 14 && engine->cr2 >> 41 == 0x7fffffffffff >> 41)
        return true; /* where the oracle may have memory of its own: its stack, its libraries */
    if (i >= code->count ||
        ZYAN_FAILED(ZydisDecoderDecodeInstruction(&c->forms->decoder, NULL, code->bytes + code->offset[i], 15, &z)))
        return false;
    if (native->trap == 13 && (z.attributes & (ZYDIS_ATTRIB_HAS_SEGMENT_FS | ZYDIS_ATTRIB_HAS_SEGMENT_GS)))
        return true; /* an offset that is not canonical until the base is added */
    if (native->trap == 1 && (z.meta.category == ZYDIS_CATEGORY_AVX2GATHER ||
                              z.meta.category == ZYDIS_CATEGORY_GATHER || z.meta.category == ZYDIS_CATEGORY_SCATTER))
        return true; /* a single step between the elements */
    if (native->trap == 14 && (z.mnemonic == ZYDIS_MNEMONIC_XRSTOR || z.mnemonic == ZYDIS_MNEMONIC_XRSTOR64))
        return true; /* whether what is in its initial configuration is probed */
    switch (z.mnemonic) {
    case ZYDIS_MNEMONIC_MASKMOVQ:
    case ZYDIS_MNEMONIC_MASKMOVDQU:
    case ZYDIS_MNEMONIC_VMASKMOVDQU:
        return native->trap == 14 || native->trap == 13; /* bytes that the mask leaves out */
    case ZYDIS_MNEMONIC_CMPSB:
    case ZYDIS_MNEMONIC_CMPSW:
    case ZYDIS_MNEMONIC_CMPSD:
    case ZYDIS_MNEMONIC_CMPSQ:
    case ZYDIS_MNEMONIC_CALL:
        return native->image.rip == engine->image.rip; /* two bad addresses */
    default:
        return false;
    }
}

/* Did the processor carry out what the machine does not have? The engine must have said #UD. */
static bool is_hidden(const struct comparison *c, const struct outcome *native, const struct outcome *engine)
{
    const struct sequence *code = &c->one->code;
    unsigned i = index_at(code, engine->image.rip);
    ZydisDecodedInstruction z;

    return engine->trap == 6 && (native->trap != 6 || native->image.rip != engine->image.rip) && i < code->count &&
           ZYAN_SUCCESS(
               ZydisDecoderDecodeInstruction(&c->forms->decoder, NULL, code->bytes + code->offset[i], 15, &z)) &&
           forms_hidden(&z);
}

/* With 32-bit addresses, elements beyond 4 GiB may wrap each for itself. */
static uint64_t cr2_mask(const struct comparison *c)
{
    const struct sequence *code = &c->one->code;
    unsigned i = index_at(code, c->one->native.image.rip);
    ZydisDecodedInstruction z;

    if (i < code->count &&
        ZYAN_SUCCESS(ZydisDecoderDecodeInstruction(&c->forms->decoder, NULL, code->bytes + code->offset[i], 15, &z)) &&
        (z.attributes & ZYDIS_ATTRIB_HAS_ADDRESSSIZE))
        return UINT32_MAX;
    return UINT64_MAX;
}

/* ---- all ---- */

bool compare_case(const struct forms *forms, const struct one_case *one, const struct outcome *engine,
                  const struct guest *guest, FILE *report)
{
    struct comparison c = {forms, one, report, true};
    const struct outcome *native = &one->native;
    uint64_t error_mask = UINT64_MAX;

    if (native->trap >= TRAP_HANG || differs_by_nature(&c, native, engine) || is_hidden(&c, native, engine))
        return true; /* the processor has no answer, or more than one */
    if (!undefined_anyway(native, engine))
        check(&c, "vector", native->trap, engine->trap);
    check(&c, "RIP", native->image.rip, engine->image.rip);
    if (native->trap == engine->trap) {
        if (native->trap == 14 && fault_is_vague(&c)) {
            error_mask = 0;
        } else if (native->trap == 14) {
            check(&c, "CR2", native->cr2 & cr2_mask(&c), engine->cr2 & cr2_mask(&c));
            if (native->cr2 >= 0x7ffffffff000)
                error_mask = ~1ull;
        }
        check(&c, "error code", native->error & error_mask, engine->error & error_mask);
    }
    check_general(&c, engine);
    check_flags(&c, engine);
    check_x87(&c, native->image.xsave, engine->image.xsave);
    check_vectors(&c, native->image.xsave, engine->image.xsave);
    check_memory(&c, guest);
    return c.same;
}
