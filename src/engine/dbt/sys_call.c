/* Fast system calls, hypercalls and HLT (AMD APM volume 3, SYSCALL; Intel SDM volume 2, SYSENTER). */
#include "engine/dbt/run.h"
#include "engine/dbt/sys.h"

enum {
    KVM_FEATURE_LEAF = 0x40000001,
    KVM_FEATURE_PV_SEND_IPI = 11,
    KVM_HC_VAPIC_POLL_IRQ = 1,
    KVM_HC_SEND_IPI = 10,
    X2APIC_ICR = 0x830
};

/* Hypercall errors (Linux include/uapi/linux/kvm_para.h). */
enum { KVM_EPERM = 1, KVM_ENOSYS = 1000 };

/* CS, SS and the privilege level, flat, as the fast calls set them without looking at a table. */
static void fast_transfer(struct dbt_vcpu *c, uint16_t cs, uint16_t ss, unsigned cpl, bool to_64)
{
    c->segment[SEG_CS] =
        segment_flat(cs, TYPE_CODE | TYPE_READABLE | TYPE_ACCESSED, cpl, to_64 ? SEGMENT_L : SEGMENT_DB);
    c->segment[SEG_SS] = segment_flat(ss, TYPE_WRITABLE | TYPE_ACCESSED, cpl, SEGMENT_DB);
    c->cpl = (uint8_t)cpl;
}

/* Intel has SYSCALL and SYSRET in 64-bit code alone; AMD in all of protected mode. */
static void require_syscall(struct dbt_vcpu *c)
{
    if (!(c->efer & EFER_SCE) || real_mode(c) || (!sys_vendor_amd(c) && !code64(c)))
        raise_fault(c, VECTOR_UD, -1);
}

void op_syscall(struct dbt_vcpu *c, const struct insn *insn)
{
    uint16_t cs = (uint16_t)(c->star >> 32 & 0xfffc);
    uint64_t flags = rflags_get(c) & ~RFLAGS_RF;

    require_syscall(c);
    c->gpr[GPR_RCX] = insn_next(c, insn);
    if (long_mode(c)) {
        c->gpr[GPR_R11] = flags;
        c->rip = code64(c) ? c->lstar : c->cstar;
        flags &= ~c->sfmask;
    } else {
        c->rip = (uint32_t)c->star;
        flags &= ~(RFLAGS_IF | RFLAGS_VM);
    }
    fast_transfer(c, cs, (uint16_t)(cs + 8), 0, long_mode(c));
    rflags_set(c, flags);
    mode_update(c);
}

/*
 * AMD's processors leave SS's hidden part alone; here it becomes flat with DPL 3, as Intel has it: no guest
 * can tell in 64-bit mode, and 32-bit code gets a stack that works.
 */
void op_sysret(struct dbt_vcpu *c, const struct insn *insn)
{
    uint16_t base = (uint16_t)(c->star >> 48) | 3;
    bool to_64 = code64(c) && insn->operand_size == 8;
    uint64_t flags = c->gpr[GPR_R11];

    require_syscall(c);
    require_cpl0(c);
    if (to_64 && !canonical(c->gpr[GPR_RCX]) && !sys_vendor_amd(c))
        raise_fault(c, VECTOR_GP, 0);
    if (!long_mode(c))
        flags = rflags_get(c) | RFLAGS_IF;
    c->rip = to_64 ? c->gpr[GPR_RCX] : (uint32_t)c->gpr[GPR_RCX];
    fast_transfer(c, (uint16_t)(to_64 ? base + 16 : base), (uint16_t)(base + 8), 3, to_64);
    rflags_set(c, flags & ~(RFLAGS_RF | RFLAGS_VM));
    mode_update(c);
}

/* SYSENTER and SYSEXIT: AMD's processors do not have them in long mode. */
static void require_sysenter(struct dbt_vcpu *c)
{
    if (sys_vendor_amd(c) && long_mode(c))
        raise_fault(c, VECTOR_UD, -1);
    if (real_mode(c) || selector_null((uint16_t)c->sysenter_cs))
        raise_fault(c, VECTOR_GP, 0);
}

void op_sysenter(struct dbt_vcpu *c, const struct insn *insn)
{
    uint16_t cs = (uint16_t)(c->sysenter_cs & 0xfffc);

    (void)insn;
    require_sysenter(c);
    c->rip = long_mode(c) ? c->sysenter_eip : (uint32_t)c->sysenter_eip;
    c->gpr[GPR_RSP] = long_mode(c) ? c->sysenter_esp : (uint32_t)c->sysenter_esp;
    fast_transfer(c, cs, (uint16_t)(cs + 8), 0, long_mode(c));
    c->sys_flags &= ~(RFLAGS_VM | RFLAGS_IF | RFLAGS_RF);
    mode_update(c);
}

void op_sysexit(struct dbt_vcpu *c, const struct insn *insn)
{
    bool to_64 = code64(c) && insn->operand_size == 8;
    uint16_t cs = (uint16_t)c->sysenter_cs | 3;
    uint64_t rip = c->gpr[GPR_RDX], rsp = c->gpr[GPR_RCX];

    require_sysenter(c);
    require_cpl0(c);
    if (to_64 && (!canonical(rip) || !canonical(rsp)))
        raise_fault(c, VECTOR_GP, 0);
    c->rip = to_64 ? rip : (uint32_t)rip;
    c->gpr[GPR_RSP] = to_64 ? rsp : (uint32_t)rsp;
    cs = (uint16_t)(to_64 ? cs + 32 : cs + 16);
    fast_transfer(c, cs, (uint16_t)(cs + 8), 3, to_64);
    mode_update(c);
}

/* KVM_HC_SEND_IPI: a bitmap of APIC identifiers from RDX on. Answers how many were told. */
static uint64_t hypercall_send_ipi(struct dbt_vcpu *c)
{
    const uint64_t bitmap[2] = {c->gpr[GPR_RBX], c->gpr[GPR_RCX]};
    uint64_t first = (uint32_t)c->gpr[GPR_RDX], command = (uint32_t)c->gpr[GPR_RSI], sent = 0;

    if (!sys_feature(c, KVM_FEATURE_LEAF, 0, 0, KVM_FEATURE_PV_SEND_IPI))
        return 0 - (uint64_t)KVM_ENOSYS;
    vector_save(c);
    for (unsigned i = 0; i < 128; i++) {
        if (!(bitmap[i / 64] & BIT64(i % 64)) || first + i > UINT32_MAX)
            continue;
        /* Physical destination, no shorthand; vector and delivery mode are the caller's. */
        if (c->vcpu.apic_ops->write_msr(c->vcpu.apic, X2APIC_ICR, (command & 0x7ff) | (first + i) << 32))
            sent++;
    }
    return sent;
}

/* KVM's hypercalls (Linux Documentation/virt/kvm/x86/hypercalls.rst); either vendor's opcode will do. */
void op_vmcall(struct dbt_vcpu *c, const struct insn *insn)
{
    uint64_t answer = 0 - (uint64_t)KVM_ENOSYS;

    if (sys_cpuid(c, KVM_FEATURE_LEAF - 1, 0).eax < KVM_FEATURE_LEAF)
        raise_fault(c, VECTOR_UD, -1);
    if (c->cpl != 0)
        answer = 0 - (uint64_t)KVM_EPERM;
    else if ((uint32_t)c->gpr[GPR_RAX] == KVM_HC_SEND_IPI)
        answer = hypercall_send_ipi(c);
    else if ((uint32_t)c->gpr[GPR_RAX] == KVM_HC_VAPIC_POLL_IRQ)
        answer = 0;
    c->gpr[GPR_RAX] = code64(c) ? answer : (uint32_t)answer;
    insn_done(c, insn);
}

void op_hlt(struct dbt_vcpu *c, const struct insn *insn)
{
    require_cpl0(c);
    insn_done(c, insn);
    c->halted = 1;
    leave_now(c); /* the loop sees that it is halted; the next block would not */
}
