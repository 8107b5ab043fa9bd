/*
 * String instructions.
 *
 * A REP runs as the host's own over the longest stretch on which neither operand leaves its page;
 * registers are up to date between stretches, where faults and interrupts may come.
 */
#include "engine/dbt/string_ops.h"

#include <Zydis/Mnemonic.h>

#include "engine/dbt/engine.h"
#include "engine/dbt/mmu.h"
#include "engine/dbt/run.h"

enum { SCAN_FLAGS = RFLAGS_CF | RFLAGS_PF | RFLAGS_AF | RFLAGS_ZF | RFLAGS_SF | RFLAGS_OF };

/* One string instruction on its way. */
struct string_state {
    struct dbt_vcpu *c;
    const struct insn *insn;
    unsigned size; /* of an element */
    bool repeated, backward;
};

static void set_counter(struct dbt_vcpu *c, enum gpr reg, unsigned address_size, uint64_t value)
{
    if (address_size == 8)
        c->gpr[reg] = value;
    else if (address_size == 4)
        c->gpr[reg] = (uint32_t)value;
    else
        c->gpr[reg] = (c->gpr[reg] & ~0xffffull) | (uint16_t)value;
}

static uint64_t get_counter(const struct dbt_vcpu *c, enum gpr reg, unsigned address_size)
{
    return address_size == 8 ? c->gpr[reg] : address_size == 4 ? (uint32_t)c->gpr[reg] : (uint16_t)c->gpr[reg];
}

static void advance(const struct string_state *s, enum gpr reg, uint64_t elements)
{
    uint64_t bytes = elements * s->size;

    set_counter(s->c, reg, s->insn->address_size,
                get_counter(s->c, reg, s->insn->address_size) + (s->backward ? 0 - bytes : bytes));
}

static uint64_t remaining(const struct string_state *s)
{
    return s->repeated ? get_counter(s->c, GPR_RCX, s->insn->address_size) : 1;
}

static void count_down(const struct string_state *s, uint64_t elements)
{
    if (s->repeated)
        set_counter(s->c, GPR_RCX, s->insn->address_size, remaining(s) - elements);
}

static uint64_t source(const struct string_state *s, enum mmu_access access)
{
    return segment_linear(s->c, s->insn->segment, get_counter(s->c, GPR_RSI, s->insn->address_size), s->size, access);
}

static uint64_t destination(const struct string_state *s, enum mmu_access access)
{
    return segment_linear(s->c, SEG_ES, get_counter(s->c, GPR_RDI, s->insn->address_size), s->size, access);
}

/* Elements from a linear address to the end of its page that one stretch may take. */
static uint64_t stretch(const struct string_state *s, uint64_t linear)
{
    return s->backward || s->c->mode & (MODE_STEP | MODE_ALIGN) ? 0
                                                                : (PAGE_SIZE - (linear & (PAGE_SIZE - 1))) / s->size;
}

/* Segments that end or wrap within a stretch are taken element by element. */
static bool plain(const struct string_state *s)
{
    return s->c->mode & MODE_FLAT && s->insn->address_size >= 4;
}

static uint64_t least(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static void finish(const struct string_state *s)
{
    insn_done(s->c, s->insn);
}

/* Between stretches. Does not return when something waits. */
static void pause_point(const struct string_state *s)
{
    if (!s->repeated)
        return;
    if (remaining(s) && (s->c->vcpu.attention || s->c->exit_wanted || (s->c->mode & MODE_STEP)))
        leave_now(s->c);
}

static void set_flags(struct dbt_vcpu *c, uint64_t flags)
{
    c->alu_flags = (c->alu_flags & ~(uint64_t)SCAN_FLAGS) | (flags & SCAN_FLAGS);
}

static uint64_t compare(uint64_t left, uint64_t right, unsigned size)
{
    unsigned shift = 64 - 8 * size;
    uint64_t flags;
    uint64_t aux = ((left ^ right ^ (left - right)) & 0x10) ? RFLAGS_AF : 0;
    uint8_t low = (uint8_t)(left - right);

    __asm__("cmp %2, %1\n\tpushfq\n\tpop %0" : "=r"(flags) : "r"(left << shift), "r"(right << shift) : "cc");
    flags &= ~(RFLAGS_AF | RFLAGS_PF);
    return flags | aux | (__builtin_parity(low) ? 0 : RFLAGS_PF);
}

/* ---- MOVS ---- */

static void copy_elements(void *to, const void *from, uint64_t count, unsigned size)
{
    switch (size) {
    case 1:
        __asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(count) : : "memory");
        break;
    case 2:
        __asm__ volatile("rep movsw" : "+D"(to), "+S"(from), "+c"(count) : : "memory");
        break;
    case 4:
        __asm__ volatile("rep movsl" : "+D"(to), "+S"(from), "+c"(count) : : "memory");
        break;
    default:
        __asm__ volatile("rep movsq" : "+D"(to), "+S"(from), "+c"(count) : : "memory");
        break;
    }
}

/* The destination of MOVS: the source shows when both fault. */
static uint64_t destination_after(const struct string_state *s, uint64_t from)
{
    mmu_probe(s->c, s->c->mmu, from, s->size, MMU_READ);
    return destination(s, MMU_WRITE);
}

/* As many elements as one stretch has; at least one. */
static uint64_t move_some(const struct string_state *s)
{
    struct dbt_vcpu *c = s->c;
    uint64_t from = source(s, MMU_READ);
    uint64_t to = destination_after(s, from);
    uint64_t count = plain(s) ? least(remaining(s), least(stretch(s, from), stretch(s, to))) : 0;
    uint8_t *host_from = count ? mmu_page_to_read(c, from) : NULL;
    uint64_t code;
    uint8_t *host_to = host_from ? mmu_page_to_write(c, to, &code) : NULL;

    if (host_to) {
        copy_elements(host_to, host_from, count, s->size);
        if (code != NO_CODE)
            code_written(c, code, count * s->size);
        return count;
    }
    mmu_write(c, to, s->size, mmu_read(c, from, s->size));
    return 1;
}

static void string_move(const struct string_state *s)
{
    while (remaining(s)) {
        uint64_t done = move_some(s);

        advance(s, GPR_RSI, done);
        advance(s, GPR_RDI, done);
        count_down(s, done);
        if (!s->repeated)
            break;
        pause_point(s);
    }
    finish(s);
}

/* ---- STOS ---- */

static void fill_elements(void *to, uint64_t value, uint64_t count, unsigned size)
{
    switch (size) {
    case 1:
        __asm__ volatile("rep stosb" : "+D"(to), "+c"(count) : "a"(value) : "memory");
        break;
    case 2:
        __asm__ volatile("rep stosw" : "+D"(to), "+c"(count) : "a"(value) : "memory");
        break;
    case 4:
        __asm__ volatile("rep stosl" : "+D"(to), "+c"(count) : "a"(value) : "memory");
        break;
    default:
        __asm__ volatile("rep stosq" : "+D"(to), "+c"(count) : "a"(value) : "memory");
        break;
    }
}

static uint64_t store_some(const struct string_state *s)
{
    struct dbt_vcpu *c = s->c;
    uint64_t to = destination(s, MMU_WRITE);
    uint64_t count = plain(s) ? least(remaining(s), stretch(s, to)) : 0;
    uint64_t code;
    uint8_t *host = count ? mmu_page_to_write(c, to, &code) : NULL;

    if (host) {
        fill_elements(host, c->gpr[GPR_RAX], count, s->size);
        if (code != NO_CODE)
            code_written(c, code, count * s->size);
        return count;
    }
    mmu_write(c, to, s->size, c->gpr[GPR_RAX]);
    return 1;
}

static void string_store(const struct string_state *s)
{
    while (remaining(s)) {
        uint64_t done = store_some(s);

        advance(s, GPR_RDI, done);
        count_down(s, done);
        if (!s->repeated)
            break;
        pause_point(s);
    }
    finish(s);
}

/* ---- LODS ---- */

static void load_accumulator(struct dbt_vcpu *c, unsigned size, uint64_t value)
{
    uint64_t mask = size == 1 ? 0xff : 0xffff;

    if (size >= 4)
        c->gpr[GPR_RAX] = value;
    else
        c->gpr[GPR_RAX] = (c->gpr[GPR_RAX] & ~mask) | value;
}

static void string_load(const struct string_state *s)
{
    while (remaining(s)) {
        load_accumulator(s->c, s->size, mmu_read(s->c, source(s, MMU_READ), s->size));
        advance(s, GPR_RSI, 1);
        count_down(s, 1);
        if (!s->repeated)
            break;
        pause_point(s);
    }
    finish(s);
}

/* ---- SCAS and CMPS ---- */

/* The host's REPE or REPNE SCAS over count elements; returns how many it took. */
static uint64_t scan_elements(const void *at, uint64_t value, uint64_t count, unsigned size, bool while_equal,
                              uint64_t *flags)
{
    uint64_t left = count;

#define SCAN(instruction)                                                                                              \
    __asm__ volatile(instruction "\n\tpushfq\n\tpop %0"                                                                \
                     : "=r"(*flags), "+D"(at), "+c"(left)                                                              \
                     : "a"(value)                                                                                      \
                     : "cc", "memory")
    switch (size) {
    case 1:
        if (while_equal)
            SCAN("repe scasb");
        else
            SCAN("repne scasb");
        break;
    case 2:
        if (while_equal)
            SCAN("repe scasw");
        else
            SCAN("repne scasw");
        break;
    case 4:
        if (while_equal)
            SCAN("repe scasl");
        else
            SCAN("repne scasl");
        break;
    default:
        if (while_equal)
            SCAN("repe scasq");
        else
            SCAN("repne scasq");
        break;
    }
#undef SCAN
    return count - left;
}

static uint64_t scan_some(const struct string_state *s, uint64_t *flags)
{
    struct dbt_vcpu *c = s->c;
    uint64_t at = destination(s, MMU_READ);
    uint64_t count = s->repeated && plain(s) ? least(remaining(s), stretch(s, at)) : 0;
    const uint8_t *host = count ? mmu_page_to_read(c, at) : NULL;

    if (host)
        return scan_elements(host, c->gpr[GPR_RAX], count, s->size, s->insn->rep, flags);
    *flags = compare(c->gpr[GPR_RAX], mmu_read(c, at, s->size), s->size);
    return 1;
}

/* Does a repeated comparison stop here? */
static bool decided(const struct string_state *s, uint64_t flags)
{
    return !s->repeated || ((flags & RFLAGS_ZF) != 0) != (s->insn->rep != 0);
}

static void string_scan(const struct string_state *s)
{
    while (remaining(s)) {
        uint64_t flags;
        uint64_t done = scan_some(s, &flags);

        advance(s, GPR_RDI, done);
        count_down(s, done);
        set_flags(s->c, flags);
        if (decided(s, flags))
            break;
        pause_point(s);
    }
    finish(s);
}

static void string_compare(const struct string_state *s)
{
    while (remaining(s)) {
        /* The destination first: it shows when both fault. */
        uint64_t right = mmu_read(s->c, destination(s, MMU_READ), s->size);
        uint64_t left = mmu_read(s->c, source(s, MMU_READ), s->size);
        uint64_t flags = compare(left, right, s->size);

        advance(s, GPR_RSI, 1);
        advance(s, GPR_RDI, 1);
        count_down(s, 1);
        set_flags(s->c, flags);
        if (decided(s, flags))
            break;
        pause_point(s);
    }
    finish(s);
}

/* ---- entry ---- */

static void run(struct dbt_vcpu *c, const struct insn *insn, void (*body)(const struct string_state *s), unsigned size)
{
    const struct string_state s = {c, insn, size, insn->rep || insn->repne, (c->alu_flags & RFLAGS_DF) != 0};

    body(&s);
}

#define STRING_HELPERS(name, body)                                                                                     \
    static void name##_1(struct dbt_vcpu *c, const struct insn *insn)                                                  \
    {                                                                                                                  \
        run(c, insn, body, 1);                                                                                         \
    }                                                                                                                  \
    static void name##_2(struct dbt_vcpu *c, const struct insn *insn)                                                  \
    {                                                                                                                  \
        run(c, insn, body, 2);                                                                                         \
    }                                                                                                                  \
    static void name##_4(struct dbt_vcpu *c, const struct insn *insn)                                                  \
    {                                                                                                                  \
        run(c, insn, body, 4);                                                                                         \
    }                                                                                                                  \
    static void name##_8(struct dbt_vcpu *c, const struct insn *insn)                                                  \
    {                                                                                                                  \
        run(c, insn, body, 8);                                                                                         \
    }

STRING_HELPERS(movs, string_move)
STRING_HELPERS(stos, string_store)
STRING_HELPERS(lods, string_load)
STRING_HELPERS(scas, string_scan)
STRING_HELPERS(cmps, string_compare)

helper_fn *string_helper(unsigned mnemonic)
{
    static const struct {
        uint16_t mnemonic;
        helper_fn *run;
    } table[] = {
        {ZYDIS_MNEMONIC_MOVSB, movs_1}, {ZYDIS_MNEMONIC_MOVSW, movs_2}, {ZYDIS_MNEMONIC_MOVSD, movs_4},
        {ZYDIS_MNEMONIC_MOVSQ, movs_8}, {ZYDIS_MNEMONIC_STOSB, stos_1}, {ZYDIS_MNEMONIC_STOSW, stos_2},
        {ZYDIS_MNEMONIC_STOSD, stos_4}, {ZYDIS_MNEMONIC_STOSQ, stos_8}, {ZYDIS_MNEMONIC_LODSB, lods_1},
        {ZYDIS_MNEMONIC_LODSW, lods_2}, {ZYDIS_MNEMONIC_LODSD, lods_4}, {ZYDIS_MNEMONIC_LODSQ, lods_8},
        {ZYDIS_MNEMONIC_SCASB, scas_1}, {ZYDIS_MNEMONIC_SCASW, scas_2}, {ZYDIS_MNEMONIC_SCASD, scas_4},
        {ZYDIS_MNEMONIC_SCASQ, scas_8}, {ZYDIS_MNEMONIC_CMPSB, cmps_1}, {ZYDIS_MNEMONIC_CMPSW, cmps_2},
        {ZYDIS_MNEMONIC_CMPSD, cmps_4}, {ZYDIS_MNEMONIC_CMPSQ, cmps_8},
    };

    for (unsigned i = 0; i < ARRAY_LENGTH(table); i++)
        if (table[i].mnemonic == mnemonic)
            return table[i].run;
    return NULL;
}
