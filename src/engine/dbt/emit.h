/*
 * Writing host code: the few forms that the translator puts around copied guest instructions.
 *
 * Host registers. Guest RAX..RDI (but RSP), R8, R9, R10, R12 and R13 are in the host register of that
 * name. R15 holds guest RSP. R14 (S1) and R11 (S2) are the translator's; guest R11, R14 and R15 are in
 * dbt_vcpu.gpr, which GS addresses. Host RSP is the return stack.
 */
#ifndef LODGE_ENGINE_DBT_EMIT_H
#define LODGE_ENGINE_DBT_EMIT_H

#include <stdbool.h>
#include <stdint.h>

enum host_register {
    HOST_RAX = 0,
    HOST_RCX = 1,
    HOST_RDX = 2,
    HOST_RSP = 4,
    HOST_RSI = 6,
    HOST_RDI = 7,
    HOST_S2 = 11,
    HOST_S1 = 14,
    HOST_GUEST_RSP = 15,
    HOST_NONE = -1
};

/* Output is written at `at`; it will run `to_exec` bytes further on. Past `end` nothing is written. */
struct emitter {
    uint8_t *at;
    uint8_t *end;
    bool full; /* something did not fit: the block is thrown away */
};

/* The host register that always holds a guest register, or HOST_NONE for those in memory. */
int emit_host_of(unsigned guest);

void emit_byte(struct emitter *e, unsigned byte);
void emit_u32(struct emitter *e, uint32_t value);
void emit_u64(struct emitter *e, uint64_t value);
void emit_bytes(struct emitter *e, const uint8_t *bytes, unsigned count);

/* [REX.W] opcode modrm with two registers; opcode may be two bytes (0x0fxx). */
void emit_rr(struct emitter *e, bool wide, unsigned opcode, unsigned reg, unsigned rm);

/* opcode reg, gs:[offset]; operand size by `wide` */
void emit_gs(struct emitter *e, bool wide, unsigned opcode, unsigned reg, uint32_t offset);

/* opcode reg, gs:[index + offset], 64 bits */
void emit_gs_indexed(struct emitter *e, unsigned opcode, unsigned reg, unsigned index, uint32_t offset);

/* opcode reg, [base + displacement] */
void emit_rm(struct emitter *e, bool wide, unsigned opcode, unsigned reg, unsigned base, int32_t displacement);

/* lea reg, [base + index * scale + displacement]; base or index may be HOST_NONE; 32-bit result unless wide */
void emit_lea(struct emitter *e, bool wide, unsigned reg, int base, int index, unsigned scale, int32_t displacement);

void emit_mov_rr(struct emitter *e, unsigned to, unsigned from);
/* The shortest of mov r32, imm32; mov r64, simm32; mov r64, imm64 */
void emit_mov_imm(struct emitter *e, unsigned to, uint64_t value);
/* call or jmp through gs:[offset] */
void emit_call_gs(struct emitter *e, uint32_t offset);
void emit_jmp_gs(struct emitter *e, uint32_t offset);

/* A group-1 operation (0 add, 1 or, 4 and, 5 sub, 6 xor, 7 cmp) with imm32. */
void emit_alu_imm(struct emitter *e, bool wide, unsigned operation, unsigned rm, int32_t value);
/* Shift: 4 shl, 5 shr, 7 sar. */
void emit_shift_imm(struct emitter *e, bool wide, unsigned operation, unsigned rm, unsigned count);

/* A host call with a 32-bit hole. */
uint8_t *emit_call(struct emitter *e);
/* Forward jumps: emit with a 32-bit hole, patch when the target is known. condition 0..15, or 16: jmp. */
uint8_t *emit_jump(struct emitter *e, unsigned condition);
void emit_patch(struct emitter *e, uint8_t *hole, const uint8_t *target);
/* A jump to a place already written. */
void emit_jump_to(struct emitter *e, unsigned condition, const uint8_t *target);

/* Pad with NOPs so that the byte at `at` + skip is aligned to 4. */
void emit_align_hole(struct emitter *e, unsigned skip);

#endif
