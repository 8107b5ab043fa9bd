/*
 * Instructions: mostly from the table of forms, some as random bytes that happen to decode, some as
 * short idioms (calls and returns, jump tables, loops over a counter are what they need more than one
 * instruction for). Branches lead forward, to another instruction of the sequence or its end.
 *
 * Registers have a class for the whole sequence: pointer into the data pages, small number, anything.
 * Memory operands prefer pointers for bases and small numbers for indices, so that most accesses land in
 * or near the pages.
 */
#include "generate.h"

#include <string.h>

#include "host.h"
#include "random.h"

enum { POINTER, SMALL, ANYTHING };

struct context {
    const struct forms *forms;
    struct random *r;
    struct sequence *code;
    uint8_t class[16];
    uint64_t at;     /* address of the instruction being made */
    bool ends;       /* it must be the last one */
    unsigned aimed;  /* bit i: instruction i is a branch that has its target */
    unsigned inside; /* bit i: branches may not lead to instruction i */
};

/* ---- numbers ---- */

static uint64_t near(struct random *r, uint64_t boundary)
{
    return boundary + random_below(r, 129) - 64;
}

/* Somewhere in the data pages, or just beside them. */
static uint64_t random_pointer(struct random *r)
{
    uint64_t offset;

    switch (random_below(r, 24)) {
    case 0:
    case 1:
    case 2:
    case 3:
        offset = near(r, 0x1000);
        break;
    case 4:
        offset = near(r, 0x2000);
        break;
    case 5:
        offset = 0x2000 + random_below(r, 0x1000);
        break;
    case 6:
        offset = near(r, 0x3000);
        break;
    case 7:
        offset = near(r, 0x4000);
        break;
    case 8:
        offset = 0x4000 + random_below(r, 0x1000);
        break;
    case 9:
        offset = near(r, 0x5000);
        break;
    case 10:
        offset = near(r, 0);
        break;
    default:
        offset = random_below(r, 0x2000);
        break;
    }
    if (random_percent(r, 60))
        offset &= random_percent(r, 50) ? ~63ull : ~15ull;
    return DATA_BASE + offset;
}

static uint64_t interesting(struct random *r)
{
    static const uint64_t values[] = {
        0,
        1,
        2,
        3,
        7,
        8,
        15,
        16,
        31,
        32,
        33,
        63,
        64,
        65,
        127,
        128,
        255,
        256,
        0x7fff,
        0x8000,
        0xffff,
        0x10000,
        0x7fffffff,
        0x80000000,
        0xffffffff,
        0x100000000,
        0x7fffffffffffffff,
        0x8000000000000000,
        UINT64_MAX,
        UINT64_MAX - 1,
        0xffffffff80000000,
        0x00007fffffffffff,
        0x0000800000000000,
        0xffff800000000000,
        0x5555555555555555,
        0xaaaaaaaaaaaaaaaa,
        0x0123456789abcdef,
    };

    switch (random_below(r, 4)) {
    case 0:
        return values[random_below(r, sizeof(values) / sizeof(values[0]))];
    case 1:
        return random_next(r) >> random_below(r, 64);
    case 2:
        return 0 - (random_next(r) >> random_below(r, 64));
    default:
        return random_next(r);
    }
}

static uint64_t small_number(struct random *r)
{
    uint64_t value = random_below(r, random_percent(r, 70) ? 9 : 200);

    return random_percent(r, 25) ? 0 - value : value;
}

static unsigned register_of(const struct context *c, unsigned class)
{
    unsigned reg = random_below(c->r, 16);

    for (unsigned i = 0; i < 16 && c->class[reg] != class; i++)
        reg = (reg + 1) & 15;
    return reg;
}

/* ---- memory operands ---- */

struct memory {
    uint8_t modrm, sib; /* ModRM without reg */
    bool has_sib;
    bool rip_relative;
    uint8_t x, b, v; /* the fourth bits of index and base, the fifth of a vector index */
    uint8_t displacement_size;
    uint32_t displacement;
};

static uint32_t short_displacement(struct random *r)
{
    return random_percent(r, 85) ? random_below(r, 33) - 16 : random_below(r, 256);
}

static void with_base(struct memory *m, struct random *r, unsigned base, bool displaced)
{
    m->b = base >> 3 & 1;
    if (displaced || (base & 7) == 5) {
        m->displacement_size = random_percent(r, 85) ? 1 : 4;
        m->displacement = short_displacement(r);
        m->modrm = m->displacement_size == 1 ? 0x40 : 0x80;
    }
    if ((base & 7) == 4) {
        m->has_sib = true;
        m->sib = 0x24;
    }
    m->modrm |= base & 7;
}

static void with_index(struct memory *m, struct random *r, unsigned index)
{
    if (!m->has_sib) {
        m->sib = m->modrm & 7;
        m->modrm = (m->modrm & 0xc0) | 4;
        m->has_sib = true;
    }
    m->x = index >> 3 & 1;
    m->v = index >> 4 & 1;
    m->sib = (uint8_t)((m->sib & 7) | (index & 7) << 3 | random_below(r, 4) << 6);
}

static void absolute(struct memory *m, struct random *r)
{
    m->modrm = 4;
    m->has_sib = true;
    m->sib = 0x25;
    m->displacement_size = 4;
    m->displacement = (uint32_t)random_pointer(r);
}

static struct memory choose_memory(const struct context *c, const struct form *f)
{
    struct random *r = c->r;
    struct memory m = {0};
    unsigned kind = random_below(r, 100);

    if (f->vsib) {
        unsigned index = random_below(r, f->encoding == FORM_EVEX ? 32 : 16);

        with_base(&m, r, register_of(c, POINTER), random_percent(r, 50));
        with_index(&m, r, random_percent(r, 80) ? (index & ~3u) | 2 : index);
    } else if (kind < 35) {
        with_base(&m, r, register_of(c, POINTER), true);
    } else if (kind < 60) {
        unsigned index = register_of(c, SMALL);

        with_base(&m, r, register_of(c, POINTER), random_percent(r, 50));
        if (index != 4)
            with_index(&m, r, index);
    } else if (kind < 66) {
        absolute(&m, r);
    } else if (kind < 72) {
        unsigned index = register_of(c, SMALL);

        absolute(&m, r);
        if (index != 4)
            with_index(&m, r, index);
    } else if (kind < 84) {
        m.modrm = 5;
        m.rip_relative = true;
        m.displacement_size = 4;
    } else if (kind < 97) {
        with_base(&m, r, register_of(c, POINTER), false);
    } else {
        with_base(&m, r, random_below(r, 16), true);
        if (random_percent(r, 50)) {
            unsigned index = random_below(r, 16);

            if (index != 4)
                with_index(&m, r, index);
        }
    }
    return m;
}

/* ---- one instruction from a form ---- */

struct fields {
    uint8_t modrm;
    uint8_t reg_high, rm_high, vvvv, mask;
    struct memory memory;
};

static const uint8_t prefix_byte[4] = {0, 0x66, 0xf3, 0xf2};

/* careful: only the fields that the form was found with. */
static struct fields choose_fields(const struct context *c, const struct form *f, unsigned careful)
{
    struct random *r = c->r;
    struct fields x = {.modrm = f->modrm};
    bool memory = f->modrm < 0xc0;

    if (careful < 2)
        x.modrm = (uint8_t)((f->modrm & 0xc7) | random_below(r, 8) << 3);
    if (careful < 1 && !memory)
        x.modrm = (uint8_t)((x.modrm & 0xf8) | random_below(r, 8));
    x.reg_high = (uint8_t)random_below(r, f->encoding == FORM_EVEX && random_percent(r, 50) ? 4 : 2);
    x.rm_high = (uint8_t)random_below(r, f->encoding == FORM_EVEX && random_percent(r, 50) ? 4 : 2);
    x.vvvv = careful & 1 ? 0 : (uint8_t)random_below(r, f->encoding == FORM_EVEX ? 32 : 16);
    x.mask = careful < 2 || f->vsib ? (uint8_t)(random_percent(r, 45) && !f->vsib ? 0 : 1 + random_below(r, 7)) : 0;
    if (careful < 3 && x.mask && random_percent(r, 40))
        x.mask |= 0x80;
    if (memory && f->has_modrm) {
        x.memory = choose_memory(c, f);
        x.modrm = (uint8_t)((x.modrm & 0x38) | x.memory.modrm);
        x.rm_high = 0;
    }
    return x;
}

static unsigned put_prefixes(const struct context *c, const struct form *f, uint8_t *to)
{
    struct random *r = c->r;
    unsigned n = 0;

    if (random_percent(r, 5))
        to[n++] = 0x67;
    if (random_percent(r, 6)) {
        static const uint8_t segments[6] = {0x64, 0x65, 0x64, 0x65, 0x2e, 0x36};

        to[n++] = segments[random_below(r, 6)];
    }
    if (f->encoding != FORM_LEGACY)
        return n;
    if (f->prefix != 1 && random_percent(r, 8))
        to[n++] = 0x66;
    if (f->modrm < 0xc0 && f->has_modrm && random_percent(r, 15))
        to[n++] = 0xf0;
    if (f->prefix)
        to[n++] = prefix_byte[f->prefix];
    return n;
}

static unsigned put_opcode(const struct context *c, const struct form *f, const struct fields *x, uint8_t *to)
{
    const struct memory *m = &x->memory;
    unsigned r = x->reg_high & 1, b = m->modrm || m->has_sib ? m->b : x->rm_high & 1u;
    unsigned n = 0;

    switch (f->encoding) {
    case FORM_VEX:
        to[n++] = 0xc4;
        to[n++] = (uint8_t)((r ? 0 : 0x80) | (m->x ? 0 : 0x40) | (b ? 0 : 0x20) | f->map);
        to[n++] = (uint8_t)(f->wide << 7 | (~x->vvvv & 15) << 3 | f->length << 2 | f->prefix);
        break;
    case FORM_EVEX:
        to[n++] = 0x62;
        to[n++] = (uint8_t)((r ? 0 : 0x80) | (m->x || (x->rm_high & 2) ? 0 : 0x40) | (b ? 0 : 0x20) |
                            (x->reg_high & 2 ? 0 : 0x10) | f->map);
        to[n++] = (uint8_t)(f->wide << 7 | (~x->vvvv & 15) << 3 | 4 | f->prefix);
        to[n++] = (uint8_t)((x->mask & 0x80) | f->length << 5 | f->broadcast << 4 |
                            ((f->vsib ? m->v : x->vvvv & 16) ? 0 : 8) | (x->mask & 7));
        break;
    default:
        if (f->wide || r || b || m->x || random_percent(c->r, 15))
            to[n++] = (uint8_t)(0x40 | f->wide << 3 | r << 2 | m->x << 1 | b);
        if (f->map)
            to[n++] = 0x0f;
        if (f->map > 1)
            to[n++] = f->map == 2 ? 0x38 : 0x3a;
        break;
    }
    to[n++] = f->opcode;
    return n;
}

static unsigned put_operands(const struct context *c, const struct form *f, const struct fields *x, uint8_t *to)
{
    const struct memory *m = &x->memory;
    uint64_t immediate = interesting(c->r);
    unsigned n = 0;

    if (f->has_modrm) {
        to[n++] = x->modrm;
        if (m->has_sib)
            to[n++] = m->sib;
        memcpy(to + n, &m->displacement, m->displacement_size);
        n += m->displacement_size;
    } else if (f->encoding == FORM_LEGACY && f->map == 0 && f->opcode >= 0xa0 && f->opcode <= 0xa3) {
        immediate = random_pointer(c->r);
    }
    memcpy(to + n, &immediate, sizeof(immediate));
    return n + 8;
}

static bool usable(struct context *c, const ZydisDecodedInstruction *z, const ZydisDecodedOperand *operands)
{
    if (!forms_allowed(z, operands))
        return false;
    c->ends = forms_stores_pointers(z->mnemonic);
    if (z->meta.branch_type != ZYDIS_BRANCH_TYPE_NONE && !z->raw.imm[0].is_relative && !random_percent(c->r, 10))
        return false;
    return true;
}

static bool decode(const struct context *c, const uint8_t *bytes, ZydisDecodedInstruction *z,
                   ZydisDecodedOperand *operands)
{
    return ZYAN_SUCCESS(ZydisDecoderDecodeFull(&c->forms->decoder, bytes, 15, z, operands));
}

/* Lead a RIP-relative operand to the data pages. */
static void aim(const struct context *c, const ZydisDecodedInstruction *z, uint8_t *bytes)
{
    uint32_t displacement = (uint32_t)(random_pointer(c->r) - (c->at + z->length));

    memcpy(bytes + z->raw.disp.offset, &displacement, sizeof(displacement));
}

static unsigned from_form(struct context *c, const struct form *f, uint8_t *to)
{
    for (unsigned attempt = 0; attempt < 8; attempt++) {
        const struct fields x = choose_fields(c, f, attempt / 2);
        ZydisDecodedInstruction z;
        ZydisDecodedOperand operands[ZYDIS_MAX_OPERAND_COUNT];
        uint8_t bytes[40] = {0};
        unsigned n = attempt < 6 ? put_prefixes(c, f, bytes) : 0;

        if (attempt >= 6 && f->encoding == FORM_LEGACY && f->prefix)
            bytes[n++] = prefix_byte[f->prefix];
        n += put_opcode(c, f, &x, bytes + n);
        put_operands(c, f, &x, bytes + n);
        if (!decode(c, bytes, &z, operands) || z.mnemonic != f->mnemonic || !usable(c, &z, operands))
            continue;
        if (x.memory.rip_relative && z.raw.disp.size == 32)
            aim(c, &z, bytes);
        memcpy(to, bytes, z.length);
        return z.length;
    }
    return 0;
}

static unsigned from_table(struct context *c, uint8_t *to)
{
    const struct forms *forms = c->forms;
    unsigned kind = random_below(c->r, 100);
    unsigned mnemonic;

    if (kind < 50)
        mnemonic = forms->core[random_below(c->r, forms->core_count)];
    else if (kind < 58)
        mnemonic = forms->x87[random_below(c->r, forms->x87_count)];
    else
        mnemonic = forms->mnemonics[random_below(c->r, forms->mnemonic_count)];
    return from_form(c, &forms->list[mnemonic][random_below(c->r, forms->count[mnemonic])], to);
}

/* Random bytes that decode. */
static unsigned from_chaos(struct context *c, uint8_t *to)
{
    static const uint8_t starts[] = {0x0f, 0x0f, 0x0f, 0x66, 0xf2, 0xf3, 0x48, 0x41,
                                     0x4c, 0xc4, 0xc5, 0x62, 0x62, 0xf0, 0x67, 0x64};
    ZydisDecodedInstruction z;
    ZydisDecodedOperand operands[ZYDIS_MAX_OPERAND_COUNT];
    uint8_t bytes[16];

    for (unsigned attempt = 0; attempt < 20; attempt++) {
        const uint64_t halves[2] = {random_next(c->r), random_next(c->r)};

        memcpy(bytes, halves, sizeof(bytes));
        for (unsigned i = 0; i < 3 && random_percent(c->r, 60); i++)
            bytes[i] = starts[random_below(c->r, sizeof(starts))];
        if (!decode(c, bytes, &z, operands) || !usable(c, &z, operands))
            continue;
        if (z.raw.modrm.mod == 0 && z.raw.modrm.rm == 5 && z.raw.disp.size == 32)
            aim(c, &z, bytes);
        memcpy(to, bytes, z.length);
        return z.length;
    }
    return 0;
}

static unsigned make(struct context *c, uint8_t *to)
{
    unsigned length = 0;

    while (length == 0)
        length = random_percent(c->r, 88) ? from_table(c, to) : from_chaos(c, to);
    return length;
}

/* ---- sequences ---- */

static void append(struct context *c, const uint8_t *bytes, unsigned length)
{
    struct sequence *code = c->code;

    code->offset[code->count++] = code->length;
    memcpy(code->bytes + code->length, bytes, length);
    code->length = (uint16_t)(code->length + length);
    c->at = code->address + code->length;
}

static void append_made(struct context *c)
{
    uint8_t bytes[15];
    unsigned length = make(c, bytes);

    append(c, bytes, length);
}

/* call L; jmp end; L: something; ret */
static void append_call(struct context *c)
{
    static const uint8_t call[5] = {0xe8}, jump[5] = {0xe9}, ret[1] = {0xc3};
    unsigned first = c->code->count, length;
    uint8_t bytes[15];
    int32_t over = 5;

    c->aimed |= 1u << first;
    append(c, call, 5);
    memcpy(c->code->bytes + c->code->offset[first] + 1, &over, 4);
    append(c, jump, 5); /* aimed at what comes behind, later */
    do
        length = make(c, bytes);
    while (c->ends);
    append(c, bytes, length);
    append(c, ret, 1);
}

/* mov ecx, n; L: something; loop L (or dec ecx; jnz L) */
static void append_loop(struct context *c)
{
    uint8_t bytes[15] = {0xb9, (uint8_t)(1 + random_below(c->r, 5))};
    ZydisDecodedInstruction z;
    ZydisDecodedOperand operands[ZYDIS_MAX_OPERAND_COUNT];
    unsigned start, length, first;
    bool spoils;

    append(c, bytes, 5);
    start = c->code->length;
    do {
        length = make(c, bytes);
        spoils = !decode(c, bytes, &z, operands) || z.meta.branch_type != ZYDIS_BRANCH_TYPE_NONE;
        for (unsigned i = 0; !spoils && i < z.operand_count; i++)
            spoils = operands[i].type == ZYDIS_OPERAND_TYPE_REGISTER &&
                     ZydisRegisterGetLargestEnclosing(ZYDIS_MACHINE_MODE_LONG_64, operands[i].reg.value) ==
                         ZYDIS_REGISTER_RCX;
    } while (spoils || c->ends);
    first = c->code->count;
    append(c, bytes, length);
    if (random_percent(c->r, 50)) {
        append(c, (const uint8_t[]){0xff, 0xc9}, 2);
        bytes[0] = 0x75;
    } else {
        bytes[0] = 0xe2;
    }
    bytes[1] = (uint8_t)(start - c->code->length - 2u);
    c->aimed |= 1u << c->code->count;
    append(c, bytes, 2);
    for (unsigned i = first; i < c->code->count; i++)
        c->inside |= 1u << i; /* without a count it would go round for long */
}

/* lea r, [rip + L]; jmp r, or call r; something; L: */
static void append_indirect(struct context *c)
{
    unsigned reg = random_below(c->r, 16);
    uint8_t lea[7] = {(uint8_t)(0x48 | (reg >> 3) << 2), 0x8d, (uint8_t)(5 | (reg & 7) << 3)};
    const uint8_t go[3] = {(uint8_t)(0x40 | reg >> 3), 0xff,
                           (uint8_t)((random_percent(c->r, 50) ? 0xe0 : 0xd0) | (reg & 7))};
    uint8_t skipped[15];
    unsigned length;

    c->at += 10;
    do
        length = make(c, skipped);
    while (c->ends);
    lea[3] = (uint8_t)(3 + length);
    append(c, lea, 7);
    append(c, go, 3);
    append(c, skipped, length);
}

/* Relative branches get their targets: any later instruction, or the end. */
static void aim_branches(struct context *c)
{
    struct sequence *code = c->code;

    for (unsigned i = 0; i < code->count; i++) {
        uint8_t *bytes = code->bytes + code->offset[i];
        unsigned end = i + 1 < code->count ? code->offset[i + 1] : code->length,
                 to = i + 1 + random_below(c->r, code->count - i);
        int32_t distance;
        ZydisDecodedInstruction z;

        while (c->inside >> to & 1)
            to++;
        distance = (int32_t)(to < code->count ? code->offset[to] : code->length) - (int32_t)end;

        if (ZYAN_FAILED(ZydisDecoderDecodeInstruction(&c->forms->decoder, NULL, bytes, end - code->offset[i], &z)) ||
            z.meta.branch_type == ZYDIS_BRANCH_TYPE_NONE || !z.raw.imm[0].is_relative || (c->aimed >> i & 1))
            continue;
        if (z.raw.imm[0].size == 8)
            bytes[z.raw.imm[0].offset] = (uint8_t)(distance > 127 ? 0 : distance);
        else if (z.raw.imm[0].size == 32)
            memcpy(bytes + z.raw.imm[0].offset, &distance, 4);
    }
}

static void append_exit(struct sequence *code)
{
    int32_t distance = (int32_t)(EXIT_PAGE - (code->address + code->length + 5));

    code->offset[code->count] = code->length;
    code->bytes[code->length] = 0xe9;
    memcpy(code->bytes + code->length + 1, &distance, 4);
    code->length += 5;
}

static void generate_sequence(struct context *c)
{
    unsigned wanted = 1 + random_below(c->r, 8);

    c->ends = false;
    c->at = c->code->address;
    while (c->code->count < wanted && !c->ends) {
        unsigned kind = c->code->count + 4 <= CASE_INSNS ? random_below(c->r, 100) : 99;

        if (kind < 2)
            append_call(c);
        else if (kind < 4)
            append_loop(c);
        else if (kind < 6)
            append_indirect(c);
        else
            append_made(c);
    }
    aim_branches(c);
    append_exit(c->code);
}

void generate_drop(struct sequence *code, unsigned which)
{
    unsigned start = code->offset[which], length = code->offset[which + 1] - start;

    code->length = code->offset[code->count];
    memmove(code->bytes + start, code->bytes + start + length, code->length - start - length);
    code->length = (uint16_t)(code->length - length);
    for (unsigned i = which + 1; i < code->count; i++)
        code->offset[i] = (uint16_t)(code->offset[i + 1] - length);
    code->count--;
    append_exit(code);
}

/* ---- states ---- */

unsigned generate_component_offset(unsigned index)
{
    static uint32_t offsets[8];
    uint32_t a, b, c, d;

    if (offsets[index] == 0) {
        __asm__("cpuid" : "=a"(a), "=b"(b), "=c"(c), "=d"(d) : "a"(0xd), "c"(index));
        offsets[index] = b;
    }
    return offsets[index];
}

static void random_float(struct random *r, uint8_t *to, bool wide)
{
    static const uint32_t singles[] = {0,          0x80000000, 0x3f800000, 0xbf800000, 0x7f800000,
                                       0xff800000, 0x7fc00000, 0x7f800001, 0x00000001, 0x007fffff,
                                       0x00800000, 0x7f7fffff, 0x4f000000, 0xcf000000, 0x3f000000};
    static const uint64_t doubles[] = {0,
                                       0x8000000000000000,
                                       0x3ff0000000000000,
                                       0xbff0000000000000,
                                       0x7ff0000000000000,
                                       0xfff0000000000000,
                                       0x7ff8000000000000,
                                       0x7ff0000000000001,
                                       1,
                                       0x000fffffffffffff,
                                       0x0010000000000000,
                                       0x7fefffffffffffff,
                                       0x43e0000000000000,
                                       0xc3e0000000000000,
                                       0x3fe0000000000000};
    uint64_t any = random_next(r);

    if (wide) {
        if (random_percent(r, 50))
            any = doubles[random_below(r, sizeof(doubles) / sizeof(doubles[0]))];
        else if (random_percent(r, 50))
            any = (any & 0x800fffffffffffff) | (uint64_t)(1000 + random_below(r, 50)) << 52;
        memcpy(to, &any, 8);
    } else {
        uint32_t single = (uint32_t)any;

        if (random_percent(r, 50))
            single = singles[random_below(r, sizeof(singles) / sizeof(singles[0]))];
        else if (random_percent(r, 50))
            single = (single & 0x807fffff) | (110 + random_below(r, 40)) << 23;
        memcpy(to, &single, 4);
    }
}

/* size bytes of one kind of contents. */
static void random_vector(struct random *r, uint8_t *to, unsigned size, bool indices)
{
    unsigned kind = indices ? 4 : random_below(r, 8);

    for (unsigned i = 0; i < size; i += 8) {
        uint64_t value = random_next(r);

        switch (kind) {
        case 0:
            random_float(r, to + i, false);
            random_float(r, to + i + 4, false);
            continue;
        case 1:
            random_float(r, to + i, true);
            continue;
        case 2:
            value = 0;
            break;
        case 3:
            value = interesting(r);
            break;
        case 4:
            value = random_percent(r, 50) ? value & 0x0000003f0000003f : value & 0x3f;
            break;
        case 5:
            value = UINT64_MAX;
            break;
        default:
            break;
        }
        memcpy(to + i, &value, 8);
    }
}

static void random_x87(struct random *r, uint8_t *xsave)
{
    uint16_t control = random_percent(r, 75) ? 0x37f : (uint16_t)((random_next(r) & 0x0f3f) | 0x40);
    uint16_t status = (uint16_t)(random_next(r) & 0x7f00);
    uint8_t tags = random_percent(r, 50) ? (uint8_t)random_next(r) : random_percent(r, 50) ? 0xff : 0;

    if (random_percent(r, 25))
        status |= (uint16_t)random_below(r, 128);
    if (random_percent(r, 50))
        status &= 0xc7ff;
    if (status & ~control & 0x3f)
        status |= random_percent(r, 70) ? 0 : 0x8080;
    if (!(status & 0x80))
        status &= (uint16_t) ~(~control & 0x3f);
    memcpy(xsave, &control, 2);
    memcpy(xsave + 2, &status, 2);
    xsave[4] = tags;
    for (unsigned i = 0; i < 8; i++) {
        uint64_t mantissa = interesting(r);
        uint16_t exponent = (uint16_t)random_next(r);

        if (random_percent(r, 60)) {
            mantissa = random_percent(r, 40) ? 1ull << 63 : random_next(r) | 1ull << 63;
            exponent = (uint16_t)(0x3fff - 70 + random_below(r, 140)) | (random_percent(r, 30) ? 0x8000 : 0);
        } else if (random_percent(r, 60)) {
            exponent = random_percent(r, 50) ? 0x7fff : 0;
        }
        memcpy(xsave + 32 + 16 * i, &mantissa, 8);
        memcpy(xsave + 40 + 16 * i, &exponent, 2);
    }
}

static void random_mask_registers(struct random *r, uint8_t *to)
{
    for (unsigned i = 0; i < 8; i++) {
        uint64_t mask = random_percent(r, 25) ? UINT64_MAX : random_percent(r, 15) ? 0 : random_next(r);

        memcpy(to + 8 * i, &mask, 8);
    }
}

/* One vector register of up to 64 bytes, wherever its parts are in the image. */
static void random_register(struct random *r, uint8_t *xsave, uint32_t components, unsigned reg)
{
    bool indices = (reg & 3) == 2;

    if (reg >= 16) {
        if (components & 0x80)
            random_vector(r, xsave + generate_component_offset(7) + 64 * (reg - 16), 64, indices);
        return;
    }
    random_vector(r, xsave + 160 + 16 * reg, 16, indices);
    if (components & 4)
        random_vector(r, xsave + generate_component_offset(2) + 16 * reg, 16, indices);
    if (components & 0x40)
        random_vector(r, xsave + generate_component_offset(6) + 32 * reg, 32, indices);
}

static uint32_t host_components(void)
{
    uint32_t low, high;

    __asm__("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return low & XSAVE_COMPONENTS;
}

enum { POOL = 256, FRESH_REGISTERS = 5 };

/* Vector registers are many: most come from one of a few prepared images, the same in every run. */
static const uint8_t *pooled_vectors(unsigned which)
{
    static uint8_t pool[POOL][CASE_XSAVE_SIZE];
    static bool made;
    struct random r = {0x70001};

    if (!made) {
        made = true;
        for (unsigned i = 0; i < POOL; i++)
            for (unsigned reg = 0; reg < 32; reg++)
                random_register(&r, pool[i], host_components(), reg);
    }
    return pool[which];
}

static void random_xsave(struct random *r, uint8_t *xsave)
{
    uint32_t mxcsr = 0x1f80, components = host_components();
    uint64_t present = components & (random_percent(r, 90) ? UINT64_MAX : random_next(r));

    memcpy(xsave, pooled_vectors(random_below(r, POOL)), CASE_XSAVE_SIZE);
    memcpy(xsave + 512, &present, 8);
    if (random_percent(r, 30))
        mxcsr = 0x1f80 | (random_below(r, 0x10000) & 0xe07f);
    else if (random_percent(r, 10))
        mxcsr = random_below(r, 0x10000);
    memcpy(xsave + 24, &mxcsr, 4);
    random_x87(r, xsave);
    for (unsigned i = 0; i < FRESH_REGISTERS; i++)
        random_register(r, xsave, components, random_below(r, 32));
    if (components & 0x20)
        random_mask_registers(r, xsave + generate_component_offset(5));
}

static uint64_t any_segment_base(struct random *r)
{
    switch (random_below(r, 6)) {
    case 0:
        return 0x40;
    case 1:
        return 0x1000;
    case 2:
        return 0 - 0x38ull;
    case 3:
        return (uint64_t)((int64_t)(random_next(r) << 17) >> 17);
    default:
        return 0;
    }
}

/* Without FSGSBASE, the kernel gives programs none of the upper half: it has the mirrored one of the lower then. */
static uint64_t random_segment_base(struct random *r)
{
    uint64_t base = any_segment_base(r);

    return base >> 63 && !host_has_fsgsbase() ? 0 - base : base;
}

static void generate_state(struct random *r, const uint8_t *class, struct image *start)
{
    for (unsigned i = 0; i < 16; i++)
        start->gpr[i] = class[i] == POINTER ? random_pointer(r) : class[i] == SMALL ? small_number(r) : interesting(r);
    start->rflags = 0x202 | (random_next(r) & 0x8d5) | (random_percent(r, 25) ? 0x400 : 0) |
                    (random_percent(r, 3) ? 0x40000 : 0) | (random_percent(r, 1) ? 0x200000 : 0);
    start->fs_base = random_segment_base(r);
    start->gs_base = random_segment_base(r);
    random_xsave(r, start->xsave);
}

/* ---- cases ---- */

void generate_case(const struct forms *forms, struct one_case *one, uint64_t seed)
{
    struct random code_random = {random_mix(seed & ~(uint64_t)SEED_VARIANT)};
    struct random state_random = {random_mix(seed ^ 0x5bd1e995)};
    struct context c = {.forms = forms, .r = &code_random, .code = &one->code};

    one->seed = seed;
    one->code.address = slot_address(seed & SEED_SLOT);
    one->code.count = 0;
    one->code.length = 0;
    for (unsigned i = 0; i < 16; i++) {
        unsigned kind = random_below(&code_random, 10);

        c.class[i] = kind < 5 ? POINTER : kind < 7 ? SMALL : ANYTHING;
    }
    c.class[4] = random_percent(&code_random, 95) ? POINTER : ANYTHING;
    generate_sequence(&c);
    generate_state(&state_random, c.class, &one->start);
    one->start.rip = one->code.address;
    one->data = random_below(&state_random, CASE_PATTERNS);
    one->reload = random_percent(&state_random, 10);
}

void generate_patterns(uint8_t pattern[CASE_PATTERNS][CASE_DATA_SIZE])
{
    for (unsigned p = 0; p < CASE_PATTERNS; p++) {
        struct random r = {p + 1};

        for (unsigned at = 0; at < CASE_DATA_SIZE; at += 64)
            random_vector(&r, pattern[p] + at, 64, false);
        memcpy(pattern[p] + DATA_READ_ONLY * 4096, pattern[0] + DATA_READ_ONLY * 4096, 4096);
    }
}
