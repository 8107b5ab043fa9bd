#include "unit.h"

#include "dbt_fixture.h"

#include <string.h>

#include <Zydis/Zydis.h>

#include "engine/dbt/engine.h"
#include "engine/dbt/mmu.h"
#include "engine/dbt/run.h"
#include "engine/dbt/sys.h"
#include "port/clock.h"

struct fixture fx;
struct dbt_vcpu cpu;
static struct dbt_engine engine;

static uint8_t memory[FIXTURE_MEMORY];
static jmp_buf fault_exit;
static volatile bool running;

/* ---- what the rest of the engine would do ---- */

_Noreturn void raise_fault(struct dbt_vcpu *c, unsigned vector, int32_t error)
{
    assert_ptr_equal(c, &cpu);
    assert_true(running);
    fx.faulted = true;
    fx.vector = vector;
    fx.error = error;
    longjmp(fault_exit, 1);
}

_Noreturn void leave_now(struct dbt_vcpu *c)
{
    assert_ptr_equal(c, &cpu);
    assert_true(running);
    longjmp(fault_exit, 1);
}

void mode_update(struct dbt_vcpu *c)
{
    const struct segment_state *cs = &c->segment[SEG_CS];

    c->mode = long_mode(c) && (cs->attributes & SEGMENT_L) ? MODE_64 : cs->attributes & SEGMENT_DB ? MODE_32 : MODE_16;
    c->mmu = c->cpl == 3 ? MMU_USER : MMU_KERNEL;
}

void vector_save(struct dbt_vcpu *c)
{
    c->vector_live = 0;
}

void mmu_probe(struct dbt_vcpu *c, enum mmu_index mmu, uint64_t linear, unsigned size, enum mmu_access access)
{
    assert_true(mmu < MMU_COUNT);
    for (uint64_t at = linear; at < linear + size; at++) {
        int page = (int)(at >> PAGE_SHIFT);

        if (at >= FIXTURE_MEMORY || page == fx.unmapped_page || (page == fx.read_only_page && access == MMU_WRITE)) {
            c->cr2 = at;
            raise_fault(c, VECTOR_PF, access == MMU_WRITE ? 2 : 0);
        }
    }
}

uint64_t mmu_read_as(struct dbt_vcpu *c, enum mmu_index mmu, uint64_t linear, unsigned size)
{
    mmu_probe(c, mmu, linear, size, MMU_READ);
    return load_le(memory + linear, size);
}

void mmu_write_as(struct dbt_vcpu *c, enum mmu_index mmu, uint64_t linear, unsigned size, uint64_t value)
{
    mmu_probe(c, mmu, linear, size, MMU_WRITE);
    store_le(memory + linear, size, value);
}

uint64_t mmu_read(struct dbt_vcpu *c, uint64_t linear, unsigned size)
{
    return mmu_read_as(c, c->mmu, linear, size);
}

void mmu_write(struct dbt_vcpu *c, uint64_t linear, unsigned size, uint64_t value)
{
    mmu_write_as(c, c->mmu, linear, size, value);
}

void mmu_read_block(struct dbt_vcpu *c, uint64_t linear, void *to, unsigned size)
{
    mmu_probe(c, c->mmu, linear, size, MMU_READ);
    memcpy(to, memory + linear, size);
}

void mmu_write_block(struct dbt_vcpu *c, uint64_t linear, const void *from, unsigned size)
{
    mmu_probe(c, c->mmu, linear, size, MMU_WRITE);
    memcpy(memory + linear, from, size);
}

bool mmu_compare_exchange(struct dbt_vcpu *c, enum mmu_index mmu, uint64_t linear, uint32_t expected, uint32_t desired)
{
    assert_int_equal(linear & 3, 0);
    if (mmu_read_as(c, mmu, linear, 4) != expected)
        return false;
    mmu_write_as(c, mmu, linear, 4, desired);
    return true;
}

uint64_t insn_offset(const struct dbt_vcpu *c, const struct insn *insn)
{
    uint64_t offset = (uint64_t)insn->displacement;

    if (insn->base == 16)
        offset += c->rip + insn->length;
    else if (insn->base >= 0)
        offset += c->gpr[insn->base];
    if (insn->index >= 0)
        offset += c->gpr[insn->index] * insn->scale;
    return offset & bits_mask(8 * insn->address_size);
}

uint64_t segment_linear(struct dbt_vcpu *c, enum segment segment, uint64_t offset, unsigned size,
                        enum mmu_access access)
{
    const struct segment_state *s = &c->segment[segment];

    (void)access;
    if (code64(c)) {
        uint64_t linear = offset + (segment >= SEG_FS ? s->base : 0);

        if (!canonical(linear))
            raise_fault(c, VECTOR_GP, 0);
        return linear;
    }
    if ((s->attributes & SEGMENT_UNUSABLE) || offset + size - 1 > s->limit)
        raise_fault(c, VECTOR_GP, 0);
    return (uint32_t)(s->base + offset);
}

uint64_t insn_linear(struct dbt_vcpu *c, const struct insn *insn, unsigned size, enum mmu_access access)
{
    return segment_linear(c, insn->segment, insn_offset(c, insn), size, access);
}

void mmu_flush_local(struct dbt_vcpu *c)
{
    (void)c;
    fx.flushes_local++;
}

void mmu_flush_all(struct dbt_vcpu *c)
{
    (void)c;
    fx.flushes_all++;
}

void mmu_flush_page(struct dbt_vcpu *c, uint64_t linear)
{
    (void)c;
    (void)linear;
    fx.flushes_page++;
}

bool bus_access(struct bus *bus, enum bus_space space, uint64_t address, unsigned size, bool write, uint64_t *value)
{
    assert_ptr_equal(bus, &fx.machine.bus);
    assert_int_equal(space, BUS_PORT);
    fx.last_port = address;
    if (write) {
        fx.port_writes++;
        fx.port_value = *value & bits_mask(8 * size);
    } else {
        fx.port_reads++;
        *value = fx.port_value++;
    }
    if (fx.attention_after != 0 && fx.port_reads + fx.port_writes == fx.attention_after)
        cpu.vcpu.attention |= ATTENTION_INTERRUPT;
    return true;
}

void *memory_at(const struct guest_memory *guest, uint64_t address, uint64_t size, bool write)
{
    (void)guest;
    (void)write;
    return range_inside(address, size, FIXTURE_MEMORY) ? memory + address : NULL;
}

void memory_wrote(const struct guest_memory *guest, uint64_t address, uint64_t size)
{
    (void)guest;
    assert_true(range_inside(address, size, FIXTURE_MEMORY));
}

struct cpuid_result cpuid_query(const struct cpuid_table *table, uint32_t leaf, uint32_t subleaf, uint32_t apic_id,
                                uint64_t cr4, uint64_t xcr0)
{
    (void)apic_id;
    (void)cr4;
    (void)xcr0;
    assert_ptr_equal(table, &fx.machine.cpuid);
    return sys_cpuid(&cpu, leaf, subleaf);
}

static uint64_t apic_get_tpr(void *apic)
{
    (void)apic;
    return fx.tpr;
}

static void apic_set_tpr(void *apic, uint64_t tpr)
{
    (void)apic;
    fx.tpr = tpr;
}

static bool apic_read_msr(void *apic, uint32_t msr, uint64_t *value)
{
    (void)apic;
    *value = fx.apic_msr;
    return msr != 0x801;
}

static bool apic_write_msr(void *apic, uint32_t msr, uint64_t value)
{
    (void)apic;
    fx.apic_msr = value;
    return msr != 0x801;
}

static const struct apic_ops apic_ops = {
    .get_tpr = apic_get_tpr,
    .set_tpr = apic_set_tpr,
    .read_msr = apic_read_msr,
    .write_msr = apic_write_msr,
};

static uint64_t wall_ns(struct clock *clock)
{
    (void)clock;
    return 1700000000 * NS_PER_SECOND;
}

static struct clock fake_clock = {.wall_ns = wall_ns};

/* ---- the machine ---- */

uint64_t peek(uint64_t address, unsigned size)
{
    return load_le(memory + address, size);
}

void poke(uint64_t address, unsigned size, uint64_t value)
{
    store_le(memory + address, size, value);
}

void fixture_descriptor(uint16_t selector, uint64_t words)
{
    poke(AT_GDT + (selector & SELECTOR_INDEX), 8, words);
}

void fixture_gate(unsigned vector, unsigned type, unsigned dpl, unsigned ist, uint16_t selector, uint64_t offset)
{
    unsigned size = long_mode(&cpu) ? 16 : 8;
    uint64_t address = AT_IDT + vector * size;

    poke(address, 8,
         (offset & 0xffff) | (uint64_t)selector << 16 | (uint64_t)ist << 32 | (uint64_t)(0x80 | dpl << 5 | type) << 40 |
             (offset & 0xffff0000) << 32);
    if (size == 16)
        poke(address + 8, 8, offset >> 32);
}

static void add_leaf(uint32_t leaf, uint32_t subleaf, struct cpuid_result result)
{
    struct cpuid_table *table = &fx.machine.cpuid;

    table->leaves[table->count++] = (struct cpuid_leaf){leaf, subleaf, leaf == 7 || leaf == 0xd, result};
}

static struct cpuid_result real_cpuid(uint32_t leaf, uint32_t subleaf)
{
    struct cpuid_result r;

    __asm__ volatile("cpuid" : "=a"(r.eax), "=b"(r.ebx), "=c"(r.ecx), "=d"(r.edx) : "a"(leaf), "c"(subleaf));
    return r;
}

static void build_cpuid(void)
{
    uint32_t components = real_cpuid(0xd, 0).eax & 0xe7;

    fx.machine.cpuid.count = 0;
    add_leaf(0, 0, (struct cpuid_result){0xd, 0x68747541, 0x444d4163, 0x69746e65});
    add_leaf(1, 0, (struct cpuid_result){0, 0, UINT32_MAX, UINT32_MAX});
    add_leaf(7, 0, (struct cpuid_result){0, UINT32_MAX, BIT(2) | BIT(22), BIT(26)});
    add_leaf(0xd, 0, (struct cpuid_result){components, 0, 4096, 0});
    add_leaf(0xd, 1, (struct cpuid_result){7, 0, 0, 0});
    for (uint32_t i = 2; i < 8; i++) {
        struct cpuid_result r = real_cpuid(0xd, i);

        if (components & BIT(i))
            add_leaf(0xd, i, r);
    }
    add_leaf(0x40000000, 0, (struct cpuid_result){0x40000010, 0, 0, 0});
    add_leaf(0x40000001, 0, (struct cpuid_result){BIT(0) | BIT(3) | BIT(11), 0, 0, 0});
    add_leaf(0x40000010, 0, (struct cpuid_result){2500000, 0, 0, 0});
    add_leaf(0x80000001, 0, (struct cpuid_result){0, 0, 0, BIT(11) | BIT(20) | BIT(27) | BIT(29)});
    add_leaf(0x80000008, 0, (struct cpuid_result){0x3028, BIT(0) | BIT(14), 0, 0});
}

void fixture_feature(uint32_t leaf, unsigned reg, unsigned bit, bool on)
{
    for (unsigned i = 0; i < fx.machine.cpuid.count; i++) {
        struct cpuid_leaf *entry = &fx.machine.cpuid.leaves[i];
        uint32_t *registers[4] = {&entry->result.eax, &entry->result.ebx, &entry->result.ecx, &entry->result.edx};

        if (entry->leaf == leaf && entry->subleaf == 0)
            *registers[reg] = on ? *registers[reg] | BIT(bit) : *registers[reg] & ~BIT(bit);
    }
}

void fixture_intel(void)
{
    fx.machine.cpuid.leaves[0].result = (struct cpuid_result){0xd, 0x756e6547, 0x6c65746e, 0x49656e69};
}

static void build_tables(bool wide)
{
    fixture_descriptor(KERNEL_CODE, 0x00af9b000000ffff);
    fixture_descriptor(KERNEL_DATA, 0x00cf93000000ffff);
    fixture_descriptor(USER_CODE32, 0x00cffb000000ffff);
    fixture_descriptor(USER_DATA, 0x00cff3000000ffff);
    fixture_descriptor(USER_CODE64, 0x00affb000000ffff);
    fixture_descriptor(TSS, 0x00008900300006ff);
    fixture_descriptor(TSS + 8, 0);
    fixture_descriptor(KERNEL_CODE32, 0x00cf9b000000ffff);
    fixture_descriptor(ABSENT_DATA, 0x00cf13000000ffff);
    fixture_descriptor(READ_ONLY, 0x00cf91000000ffff);
    fixture_descriptor(FRESH_DATA, 0x00cff2000000ffff);
    fixture_descriptor(CONFORMING, 0x00cf9f000000ffff);
    fixture_descriptor(LDT, 0x00008200380000ff);
    cpu.gdt_base = AT_GDT;
    cpu.gdt_limit = 0x7ff;
    cpu.idt_base = AT_IDT;
    cpu.idt_limit = 0xfff;
    cpu.segment[SEG_TR] = (struct segment_state){AT_TSS, 0x6ff, TSS, SEGMENT_P | SYSTEM_TSS_BUSY};
    if (wide) {
        poke(AT_TSS + 4, 8, AT_KERNEL_STACK);
        poke(AT_TSS + 0x24, 8, AT_IST);
    } else {
        poke(AT_TSS + 4, 4, AT_KERNEL_STACK);
        poke(AT_TSS + 8, 4, KERNEL_DATA);
    }
    poke(AT_TSS + 0x66, 2, 0x88);
}

static void reset(void)
{
    memset(&fx, 0, sizeof(fx));
    memset(&cpu, 0, sizeof(cpu));
    memset(&engine, 0, sizeof(engine));
    cpu.dbt = &engine;
    memset(memory, 0, sizeof(memory));
    fx.memory = memory;
    fx.unmapped_page = fx.read_only_page = NO_PAGE;
    fx.machine.clock = &fake_clock;
    cpu.vcpu.machine = &fx.machine;
    cpu.vcpu.apic_ops = &apic_ops;
    cpu.rip = AT_CODE;
    cpu.xcr0 = XCR0_X87;
    cpu.dr[6] = DR6_RESET;
    cpu.dr[7] = DR7_RESET;
    rflags_set(&cpu, RFLAGS_FIXED | RFLAGS_IF);
    build_cpuid();
}

static void flat(enum segment which, uint16_t selector, unsigned type, uint16_t more)
{
    cpu.segment[which] = segment_flat(selector, type, selector & 3, more);
}

static void load_flat(unsigned cpl, bool wide)
{
    uint16_t code = wide ? (cpl ? USER_CODE64 : KERNEL_CODE) : cpl ? USER_CODE32 : KERNEL_CODE32;
    uint16_t data = cpl ? USER_DATA : KERNEL_DATA;

    cpu.cpl = (uint8_t)cpl;
    flat(SEG_CS, code, 0xb, wide ? SEGMENT_L : SEGMENT_DB);
    for (unsigned which = SEG_ES; which <= SEG_GS; which++)
        if (which != SEG_CS)
            flat(which, data, 3, SEGMENT_DB);
    cpu.segment[SEG_LDTR] = segment_null(0);
    cpu.gpr[GPR_RSP] = cpl ? AT_USER_STACK : AT_KERNEL_STACK - 0x100;
    mode_update(&cpu);
}

void fixture_long(unsigned cpl)
{
    reset();
    cpu.cr0 = CR0_PE | CR0_PG | CR0_NE | CR0_ET | CR0_WP;
    cpu.cr4 = CR4_PAE | CR4_OSFXSR | CR4_OSXSAVE | CR4_FSGSBASE;
    cpu.efer = EFER_LME | EFER_LMA | EFER_SCE | EFER_NXE;
    build_tables(true);
    load_flat(cpl, true);
}

void fixture_protected(unsigned cpl)
{
    reset();
    cpu.cr0 = CR0_PE | CR0_NE | CR0_ET;
    cpu.cr4 = CR4_OSFXSR | CR4_OSXSAVE;
    build_tables(false);
    load_flat(cpl, false);
}

void fixture_real(void)
{
    reset();
    cpu.cr0 = CR0_ET;
    cpu.idt_limit = 0x3ff;
    for (unsigned which = SEG_ES; which <= SEG_GS; which++)
        cpu.segment[which] = (struct segment_state){0, 0xffff, 0, 0x93};
    cpu.segment[SEG_CS] = (struct segment_state){0x10000, 0xffff, 0x1000, 0x9b};
    cpu.rip = 0x100;
    cpu.gpr[GPR_RSP] = AT_KERNEL_STACK;
    mode_update(&cpu);
}

/* ---- one instruction ---- */

static int number(ZydisRegister reg)
{
    if (reg == ZYDIS_REGISTER_RIP || reg == ZYDIS_REGISTER_EIP)
        return 16;
    switch (ZydisRegisterGetClass(reg)) {
    case ZYDIS_REGCLASS_GPR16:
    case ZYDIS_REGCLASS_GPR32:
    case ZYDIS_REGCLASS_GPR64:
        return ZydisRegisterGetId(reg);
    default:
        return -1;
    }
}

static void take_operand(struct insn *insn, const ZydisDecodedOperand *o, unsigned *immediates)
{
    if (o->type == ZYDIS_OPERAND_TYPE_MEMORY && o->visibility == ZYDIS_OPERAND_VISIBILITY_EXPLICIT) {
        insn->has_memory = 1;
        insn->segment = (uint8_t)(o->mem.segment - ZYDIS_REGISTER_ES);
        insn->base = (int8_t)number(o->mem.base);
        insn->index = (int8_t)number(o->mem.index);
        insn->scale = o->mem.scale;
        insn->displacement = o->mem.disp.has_displacement ? o->mem.disp.value : 0;
    } else if (o->type == ZYDIS_OPERAND_TYPE_IMMEDIATE) {
        if ((*immediates)++ == 0)
            insn->immediate = o->imm.value.u;
        else
            insn->immediate2 = o->imm.value.u;
    } else if (o->type == ZYDIS_OPERAND_TYPE_POINTER) {
        insn->immediate = o->ptr.offset;
        insn->immediate2 = o->ptr.segment;
    }
}

/* The register numbers of ModRM and VEX.vvvv with their extensions. */
static void take_registers(struct insn *insn, const ZydisDecodedInstruction *z)
{
    const uint8_t *prefix = insn->bytes;

    insn->reg = z->raw.modrm.reg;
    insn->rm = z->raw.modrm.rm;
    if (z->encoding == ZYDIS_INSTRUCTION_ENCODING_LEGACY) {
        insn->reg |= (uint8_t)(z->raw.rex.R << 3);
        insn->rm |= (uint8_t)(z->raw.rex.B << 3);
        return;
    }
    if (z->encoding == ZYDIS_INSTRUCTION_ENCODING_VEX)
        prefix += z->raw.vex.offset;
    else
        prefix += z->raw.evex.offset;
    insn->reg |= prefix[1] & 0x80 ? 0 : 8;
    if (prefix[0] == 0x62)
        insn->reg |= prefix[1] & 0x10 ? 0 : 16;
    insn->rm |= prefix[1] & 0x20 || prefix[0] == 0xc5 ? 0 : 8;
    insn->vvvv = (uint8_t)(~(prefix[prefix[0] == 0xc5 ? 1 : 2] >> 3) & 15);
}

static struct insn decode(const uint8_t *bytes, size_t size)
{
    static const ZydisMachineMode modes[] = {ZYDIS_MACHINE_MODE_LEGACY_16, ZYDIS_MACHINE_MODE_LEGACY_32,
                                             ZYDIS_MACHINE_MODE_LONG_64};
    static const ZydisStackWidth widths[] = {ZYDIS_STACK_WIDTH_16, ZYDIS_STACK_WIDTH_32, ZYDIS_STACK_WIDTH_64};
    ZydisDecoder decoder;
    ZydisDecodedInstruction z;
    ZydisDecodedOperand operands[ZYDIS_MAX_OPERAND_COUNT];
    struct insn insn = {.base = -1, .index = -1, .segment = SEG_DS};
    unsigned immediates = 0;

    assert_true(ZYAN_SUCCESS(ZydisDecoderInit(&decoder, modes[cpu.mode & MODE_SIZE], widths[cpu.mode & MODE_SIZE])));
    assert_true(ZYAN_SUCCESS(ZydisDecoderDecodeFull(&decoder, bytes, size, &z, operands)));
    assert_int_equal(z.length, size);
    memcpy(insn.bytes, bytes, size);
    insn.mnemonic = (uint16_t)z.mnemonic;
    insn.length = z.length;
    insn.operand_size = z.operand_width / 8;
    insn.address_size = z.address_width / 8;
    insn.opcode = z.opcode;
    insn.opcode_map = (uint8_t)z.opcode_map;
    insn.rep = (z.attributes & ZYDIS_ATTRIB_HAS_REP) != 0;
    take_registers(&insn, &z);
    for (unsigned i = 0; i < z.operand_count; i++)
        take_operand(&insn, &operands[i], &immediates);
    return insn;
}

static helper_fn *find_helper(uint16_t mnemonic)
{
    size_t count;
    const struct helper_entry *table = sys_helpers(&count);

    for (size_t i = 0; i < count; i++)
        if (table[i].mnemonic == mnemonic)
            return table[i].run;
    fail_msg("no helper for %s", ZydisMnemonicGetString(mnemonic));
    return NULL;
}

bool fixture_call(helper_fn *helper, const struct insn *insn)
{
    fx.faulted = false;
    running = true;
    if (setjmp(fault_exit) == 0)
        helper(&cpu, insn);
    running = false;
    return !fx.faulted;
}

bool fixture_run(const uint8_t *bytes, size_t size)
{
    static struct insn insn;

    insn = decode(bytes, size);
    return fixture_call(find_helper(insn.mnemonic), &insn);
}

bool fixture_deliver(unsigned vector, bool has_error, uint32_t error)
{
    fx.faulted = false;
    running = true;
    if (setjmp(fault_exit) == 0)
        interrupt_deliver(&cpu, vector, false, has_error, error);
    running = false;
    return !fx.faulted;
}
