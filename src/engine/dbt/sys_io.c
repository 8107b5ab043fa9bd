/*
 * IN, OUT, INS, OUTS (Intel SDM volume 1, chapter 19, and volume 2).
 *
 * A repeated INS or OUTS moves a bounded number of elements at a time and stops early for attention;
 * its registers then tell how far it is, and rip stays on it.
 */
#include "engine/dbt/sys.h"

enum { TSS_IO_MAP = 0x66, REPEAT_CHUNK = 256 };

bool tss_map_read(struct dbt_vcpu *c, int32_t distance, unsigned size, uint32_t *bits)
{
    const struct segment_state *tr = &c->segment[SEG_TR];
    int64_t offset;

    if ((segment_type(tr) & ~2u) != SYSTEM_TSS || tr->limit < TSS_IO_MAP + 1)
        return false;
    offset = (int64_t)mmu_read_as(c, MMU_KERNEL, tr->base + TSS_IO_MAP, 2) + distance;
    if (offset < 0 || offset + (int64_t)size - 1 > tr->limit)
        return false;
    *bits = (uint32_t)mmu_read_as(c, MMU_KERNEL, tr->base + (uint64_t)offset, size);
    return true;
}

/* #GP(0) unless the current privilege, or the TSS, allows the port. */
static void port_check(struct dbt_vcpu *c, uint16_t port, unsigned size)
{
    uint32_t bits;

    if (real_mode(c) || (!v8086_mode(c) && c->cpl <= iopl(c)))
        return;
    /* Two bytes, always: the access may straddle them. */
    if (!tss_map_read(c, port / 8, 2, &bits) || (bits >> (port % 8) & (BIT(size) - 1)) != 0)
        raise_fault(c, VECTOR_GP, 0);
}

static uint64_t port_access(struct dbt_vcpu *c, uint16_t port, unsigned size, bool write, uint64_t value)
{
    vector_save(c);
    (void)bus_access(&c->vcpu.machine->bus, BUS_PORT, port, size, write, &value);
    return value & bits_mask(8 * size);
}

/* E4 to E7 have the port in the instruction, EC to EF in DX; odd ones are not of byte size. */
static uint16_t port_operand(const struct dbt_vcpu *c, const struct insn *insn)
{
    return insn->opcode & 8 ? (uint16_t)c->gpr[GPR_RDX] : insn->immediate & 0xff;
}

static unsigned port_size(const struct insn *insn)
{
    return !(insn->opcode & 1) ? 1 : insn->operand_size == 2 ? 2 : 4;
}

void op_in(struct dbt_vcpu *c, const struct insn *insn)
{
    uint16_t port = port_operand(c, insn);
    unsigned size = port_size(insn);

    port_check(c, port, size);
    reg_set(c, GPR_RAX, size, false, port_access(c, port, size, false, 0));
    insn_done(c, insn);
}

void op_out(struct dbt_vcpu *c, const struct insn *insn)
{
    uint16_t port = port_operand(c, insn);
    unsigned size = port_size(insn);

    port_check(c, port, size);
    (void)port_access(c, port, size, true, reg_get(c, GPR_RAX, size, false));
    insn_done(c, insn);
}

/* One element of INS. The page is known to be writable before the device gives up its byte. */
static void ins_element(struct dbt_vcpu *c, uint64_t offset, uint16_t port, unsigned size)
{
    uint64_t linear = segment_linear(c, SEG_ES, offset, size, MMU_WRITE);

    mmu_probe(c, c->mmu, linear, size, MMU_WRITE);
    mmu_write(c, linear, size, port_access(c, port, size, false, 0));
}

static void outs_element(struct dbt_vcpu *c, const struct insn *insn, uint64_t offset, uint16_t port, unsigned size)
{
    uint64_t linear = segment_linear(c, insn->segment, offset, size, MMU_READ);

    (void)port_access(c, port, size, true, mmu_read(c, linear, size));
}

static void index_advance(struct dbt_vcpu *c, unsigned reg, unsigned address_size, uint64_t by)
{
    reg_set(c, reg, address_size, false, c->gpr[reg] + by);
}

static void string_io(struct dbt_vcpu *c, const struct insn *insn, bool input)
{
    const uint16_t port = (uint16_t)c->gpr[GPR_RDX];
    const uint64_t mask = address_mask(insn->address_size);
    const unsigned size = port_size(insn), reg = input ? GPR_RDI : GPR_RSI;
    const bool repeat = insn->rep || insn->repne;
    const uint64_t step = c->alu_flags & RFLAGS_DF ? 0 - (uint64_t)size : size;

    port_check(c, port, size);
    for (unsigned i = 0; !repeat || (c->gpr[GPR_RCX] & mask) != 0; i++) {
        /* At least one element each time, so that it always gets on. */
        if (i == REPEAT_CHUNK || (i > 0 && c->vcpu.attention != 0))
            return;
        if (input)
            ins_element(c, c->gpr[reg] & mask, port, size);
        else
            outs_element(c, insn, c->gpr[reg] & mask, port, size);
        index_advance(c, reg, insn->address_size, step);
        if (!repeat)
            break;
        index_advance(c, GPR_RCX, insn->address_size, UINT64_MAX);
    }
    insn_done(c, insn);
}

void op_ins(struct dbt_vcpu *c, const struct insn *insn)
{
    string_io(c, insn, true);
}

void op_outs(struct dbt_vcpu *c, const struct insn *insn)
{
    string_io(c, insn, false);
}
