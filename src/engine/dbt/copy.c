/*
 * Emitting a guest instruction again, with other registers and with its memory operand at a host address.
 *
 * The opcode, its map, mandatory prefixes and immediates are kept. The operand-size prefix is chosen
 * for 64-bit code whatever code size the guest instruction was decoded in; segment and address-size
 * prefixes are gone, because the address has been computed.
 */
#include "engine/dbt/translate.h"

/* New contents of the register fields, and where a memory operand is; its base is HOST_NONE without one. */
struct mapping {
    unsigned reg, rm, vvvv, embedded;
    struct host_address memory;
};

/* The bits of a register number beyond three that an encoding has room for outside ModRM. */
struct extension {
    bool base, index;
};

static struct extension extension_of(const struct mapping *m)
{
    if (m->memory.base < 0)
        return (struct extension){m->rm & 8, m->rm & 16};
    return (struct extension){m->memory.base & 8, m->memory.index >= 0 && (m->memory.index & 8)};
}

/* ModRM and what belongs to it. EVEX scales an 8-bit displacement, so it gets 32 bits. */
static void emit_modrm(struct emitter *e, const struct mapping *m, bool evex)
{
    const struct host_address *at = &m->memory;
    unsigned base = (unsigned)at->base & 7;
    bool none = at->displacement == 0 && base != 5;
    bool small = !evex && at->displacement >= -128 && at->displacement <= 127;
    unsigned mod = none ? 0 : small ? 0x40 : 0x80;

    if (at->base < 0) {
        emit_byte(e, 0xc0u | (m->reg & 7) << 3 | (m->rm & 7));
        return;
    }
    if (at->index < 0 && base != 4) {
        emit_byte(e, mod | (m->reg & 7) << 3 | base);
    } else {
        emit_byte(e, mod | (m->reg & 7) << 3 | 4);
        emit_byte(e, (at->index < 0 ? 4u : (unsigned)at->index & 7) << 3 | base);
    }
    if (none)
        return;
    if (small)
        emit_byte(e, (uint8_t)at->displacement);
    else
        emit_u32(e, (uint32_t)at->displacement);
}

static bool is_gpr(const ZydisDecodedOperand *operand)
{
    if (operand->type != ZYDIS_OPERAND_TYPE_REGISTER)
        return false;
    switch (ZydisRegisterGetClass(operand->reg.value)) {
    case ZYDIS_REGCLASS_GPR8:
    case ZYDIS_REGCLASS_GPR16:
    case ZYDIS_REGCLASS_GPR32:
    case ZYDIS_REGCLASS_GPR64:
        return true;
    default:
        return false;
    }
}

static bool is_high(const ZydisDecodedOperand *operand)
{
    return operand->reg.value >= ZYDIS_REGISTER_AH && operand->reg.value <= ZYDIS_REGISTER_BH;
}

static uint8_t *field_of(struct fields *fields, ZydisOperandEncoding encoding)
{
    switch (encoding) {
    case ZYDIS_OPERAND_ENCODING_MODRM_REG:
        return &fields->reg;
    case ZYDIS_OPERAND_ENCODING_MODRM_RM:
        return &fields->rm;
    case ZYDIS_OPERAND_ENCODING_OPCODE:
        return &fields->embedded;
    case ZYDIS_OPERAND_ENCODING_NDSNDD:
        return &fields->vvvv;
    default:
        return NULL;
    }
}

/* ---- the three encodings ---- */

/* 16-bit code: what was the default operand size needs a prefix now. */
static bool needs_operand_prefix(const struct translator *t, const struct op *op)
{
    const ZydisDecodedInstruction *z = &op->z;
    bool present = false;

    for (unsigned i = 0; i < z->raw.prefix_count; i++)
        if (z->raw.prefixes[i].value == 0x66) {
            if (z->raw.prefixes[i].type == ZYDIS_PREFIX_TYPE_MANDATORY)
                return true;
            present = true;
        }
    if ((t->mode & MODE_SIZE) != MODE_16)
        return present;
    switch (z->meta.isa_ext) {
    case ZYDIS_ISA_EXT_X87:
    case ZYDIS_ISA_EXT_MMX:
    case ZYDIS_ISA_EXT_SSE:
    case ZYDIS_ISA_EXT_SSE2:
    case ZYDIS_ISA_EXT_SSE3:
    case ZYDIS_ISA_EXT_SSSE3:
    case ZYDIS_ISA_EXT_SSE4:
        return false;
    default:
        return z->operand_width == 16;
    }
}

static void emit_legacy(struct translator *t, const struct op *op, const struct mapping *m)
{
    const ZydisDecodedInstruction *z = &op->z;
    struct emitter *e = &t->e;
    bool modrm = (z->attributes & ZYDIS_ATTRIB_HAS_MODRM) != 0;
    const struct extension extended = extension_of(m);
    unsigned rex = z->raw.rex.W ? 8u : 0;
    unsigned opcode = z->opcode;

    if (z->attributes & ZYDIS_ATTRIB_HAS_LOCK)
        emit_byte(e, 0xf0);
    if (needs_operand_prefix(t, op))
        emit_byte(e, 0x66);
    for (unsigned i = 0; i < z->raw.prefix_count; i++)
        if (z->raw.prefixes[i].value == 0xf2 || z->raw.prefixes[i].value == 0xf3)
            emit_byte(e, z->raw.prefixes[i].value);
    if (modrm)
        rex |= (m->reg & 8 ? 4u : 0) | (extended.base ? 1u : 0) | (m->memory.base >= 0 && extended.index ? 2u : 0);
    else
        rex |= m->embedded & 8 ? 1u : 0;
    if (rex || (z->attributes & ZYDIS_ATTRIB_HAS_REX))
        emit_byte(e, 0x40 | rex);
    if (z->opcode_map != ZYDIS_OPCODE_MAP_DEFAULT)
        emit_byte(e, 0x0f);
    if (z->opcode_map == ZYDIS_OPCODE_MAP_0F38)
        emit_byte(e, 0x38);
    else if (z->opcode_map == ZYDIS_OPCODE_MAP_0F3A)
        emit_byte(e, 0x3a);
    if (!modrm)
        for (unsigned i = 0; i < z->operand_count; i++)
            if (op->operand[i].encoding == ZYDIS_OPERAND_ENCODING_OPCODE)
                opcode = (opcode & 0xf8u) | (m->embedded & 7);
    emit_byte(e, opcode);
    if (modrm)
        emit_modrm(e, m, false);
}

static void emit_vex(struct translator *t, const struct op *op, const struct mapping *m)
{
    const uint8_t *p = op->insn.bytes + op->z.raw.vex.offset;
    struct emitter *e = &t->e;
    bool three = op->z.raw.vex.size == 3;
    unsigned map = three ? p[1] & 0x1fu : 1;
    unsigned last = three ? p[2] : p[1];
    const struct extension extended = extension_of(m);

    emit_byte(e, 0xc4);
    emit_byte(e, (m->reg & 8 ? 0 : 0x80u) | (m->memory.base >= 0 && extended.index ? 0 : 0x40u) |
                     (extended.base ? 0 : 0x20u) | map);
    emit_byte(e, (three ? last & 0x80u : 0) | (~m->vvvv & 15u) << 3 | (last & 7u));
    emit_byte(e, op->z.opcode);
    if (op->z.attributes & ZYDIS_ATTRIB_HAS_MODRM) /* not VZEROUPPER */
        emit_modrm(e, m, false);
}

static void emit_evex(struct translator *t, const struct op *op, const struct mapping *m)
{
    const uint8_t *p = op->insn.bytes + op->z.raw.evex.offset;
    struct emitter *e = &t->e;
    unsigned p0 = p[1] & 0x0fu;
    const struct extension extended = extension_of(m);

    p0 |= (m->reg & 8 ? 0 : 0x80u) | (m->reg & 16 ? 0 : 0x10u);
    p0 |= (extended.base ? 0 : 0x20u) | (extended.index ? 0 : 0x40u);
    emit_byte(e, 0x62);
    emit_byte(e, p0);
    emit_byte(e, (p[2] & 0x87u) | (~m->vvvv & 15u) << 3);
    emit_byte(e, (p[3] & 0xf7u) | (m->vvvv & 16 ? 0 : 8u));
    emit_byte(e, op->z.opcode);
    emit_modrm(e, m, true);
}

static void emit_immediates(struct translator *t, const struct op *op)
{
    const ZydisDecodedInstruction *z = &op->z;

    if (z->raw.imm[0].size)
        emit_bytes(&t->e, op->insn.bytes + z->raw.imm[0].offset, (unsigned)(z->length - z->raw.imm[0].offset));
    else if (z->encoding != ZYDIS_INSTRUCTION_ENCODING_LEGACY)
        for (unsigned i = 0; i < z->operand_count; i++)
            if (op->operand[i].encoding == ZYDIS_OPERAND_ENCODING_IS4) {
                emit_byte(&t->e, op->insn.bytes[z->length - 1]);
                break;
            }
}

static void emit_encoded(struct translator *t, const struct op *op, const struct mapping *m)
{
    switch (op->z.encoding) {
    case ZYDIS_INSTRUCTION_ENCODING_VEX:
        emit_vex(t, op, m);
        break;
    case ZYDIS_INSTRUCTION_ENCODING_EVEX:
        emit_evex(t, op, m);
        break;
    default:
        emit_legacy(t, op, m);
        break;
    }
    emit_immediates(t, op);
}

/* INC and DEC r16/r32 of 16- and 32-bit code are REX prefixes in 64-bit code; 82 is an alias of 80 that is gone. */
static bool copy_relocated(struct translator *t, const struct op *op, unsigned reg)
{
    unsigned opcode = op->z.opcode;

    if (in_64(t) || op->z.encoding != ZYDIS_INSTRUCTION_ENCODING_LEGACY || op->z.opcode_map != ZYDIS_OPCODE_MAP_DEFAULT)
        return false;
    if (opcode >= 0x40 && opcode <= 0x4f) {
        if (op->z.operand_width == 16)
            emit_byte(&t->e, 0x66);
        emit_rr(&t->e, false, 0xff, opcode >= 0x48, reg);
        return true;
    }
    return false;
}

/* ---- registers that are not where the guest has them ---- */

/* A guest register in memory that the instruction names, and the scratch register that stands in. */
struct stand_in {
    uint8_t guest, host;
    bool load, store;
};

static unsigned choose_stand_in(struct stand_in *stand_ins, unsigned count, unsigned guest, bool read, bool written, bool memory,
                                unsigned first)
{
    unsigned second = first == HOST_S2 ? HOST_S1 : HOST_S2;

    for (unsigned i = 0; i < count; i++)
        if (stand_ins[i].guest == guest) {
            stand_ins[i].load |= read;
            stand_ins[i].store |= written;
            return count;
        }
    /*
     * `first` is free. The second is next, though it may hold the address: whoever comes second with a memory
     * operand, or third without, is read or written only, and the processor reads before it writes.
     */
    stand_ins[count].guest = (uint8_t)guest;
    stand_ins[count].host = (uint8_t)(count == 0 ? first : second);
    if (memory && count == 1 && !(stand_ins[0].load && read))
        stand_ins[1].host = (uint8_t)(stand_ins[0].store && written ? second : first);
    if (!memory && count == 2)
        stand_ins[2].host = (uint8_t)(stand_ins[0].store && !stand_ins[0].load ? first : second);
    stand_ins[count].load = read;
    stand_ins[count].store = written;
    return count + 1;
}

static unsigned stand_in_host(const struct stand_in *stand_ins, unsigned count, unsigned guest)
{
    for (unsigned i = 0; i < count; i++)
        if (stand_ins[i].guest == guest)
            return stand_ins[i].host;
    return (unsigned)emit_host_of(guest);
}

static unsigned collect(const struct op *op, unsigned first, struct stand_in stand_ins[4], bool *high)
{
    struct fields fields = op->fields;
    unsigned count = 0;

    *high = false;
    for (unsigned i = 0; i < op->z.operand_count; i++) {
        const ZydisDecodedOperand *operand = &op->operand[i];
        const uint8_t *field = field_of(&fields, operand->encoding);
        bool read = (operand->actions & ZYDIS_OPERAND_ACTION_MASK_READ) != 0;
        bool written = (operand->actions & ZYDIS_OPERAND_ACTION_MASK_WRITE) != 0;

        if (!field || !is_gpr(operand))
            continue;
        if (is_high(operand)) {
            *high = true;
            continue;
        }
        if (emit_host_of(*field & 15) >= 0 || count == 4)
            continue;
        /* Narrow and conditional writes keep bits of the old value; BSF and BSR of zero, all of it. */
        if (written && (operand->size < 32 || (operand->actions & ZYDIS_OPERAND_ACTION_CONDWRITE) ||
                        op->z.mnemonic == ZYDIS_MNEMONIC_BSF || op->z.mnemonic == ZYDIS_MNEMONIC_BSR))
            read = true;
        count = choose_stand_in(stand_ins, count, *field & 15, read, written, op->memory != NULL, first);
    }
    return count;
}

static struct mapping map_fields(const struct op *op, const struct stand_in *stand_ins, unsigned count)
{
    struct fields fields = op->fields;

    for (unsigned i = 0; i < op->z.operand_count; i++) {
        const ZydisDecodedOperand *operand = &op->operand[i];
        uint8_t *field = field_of(&fields, operand->encoding);
        struct fields original = op->fields;

        if (field && is_gpr(operand) && !is_high(operand))
            *field = (uint8_t)stand_in_host(stand_ins, count, *field_of(&original, operand->encoding) & 15);
    }
    return (struct mapping){fields.reg, fields.rm, fields.vvvv, fields.embedded, {HOST_NONE, HOST_NONE, 0}};
}

bool copy_uses_high_byte(const struct op *op)
{
    for (unsigned i = 0; i < op->z.operand_count; i++)
        if (op->operand[i].type == ZYDIS_OPERAND_TYPE_REGISTER && is_high(&op->operand[i]))
            return true;
    return false;
}

void copy_op(struct translator *t, const struct op *op)
{
    struct stand_in stand_ins[4];
    bool high;
    unsigned count = collect(op, op->memory && t->operand_at.index == HOST_S2 ? HOST_S1 : HOST_S2, stand_ins, &high);
    struct mapping m = map_fields(op, stand_ins, count);
    bool borrow = high && op->memory;
    bool borrow_reg = high && !op->memory && m.reg == HOST_GUEST_RSP; /* MOVZX and MOVSX to ESP or SP */

    for (unsigned i = 0; i < count; i++)
        if (stand_ins[i].load)
            emit_load_guest(t, stand_ins[i].host, stand_ins[i].guest);
    if (op->memory)
        m.memory = t->operand_at;
    if (borrow) {
        /* AH..BH exclude a REX prefix, so the address must be in a low register for a moment. */
        emit_mov_rr(&t->e, HOST_S2, HOST_RDI);
        emit_mov_rr(&t->e, HOST_RDI, HOST_S1);
        m.memory.base = HOST_RDI;
    }
    if (borrow_reg) {
        emit_mov_rr(&t->e, HOST_S2, HOST_RDI);
        emit_mov_rr(&t->e, HOST_RDI, HOST_GUEST_RSP);
        m.reg = HOST_RDI;
    }
    if (!copy_relocated(t, op, m.embedded))
        emit_encoded(t, op, &m);
    if (borrow_reg)
        emit_mov_rr(&t->e, HOST_GUEST_RSP, HOST_RDI);
    if (borrow || borrow_reg)
        emit_mov_rr(&t->e, HOST_RDI, HOST_S2);
    for (unsigned i = 0; i < count; i++)
        if (stand_ins[i].store)
            emit_store_guest(t, stand_ins[i].guest, stand_ins[i].host);
}
