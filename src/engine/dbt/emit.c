#include "engine/dbt/emit.h"

#include <string.h>

int emit_host_of(unsigned guest)
{
    static const int8_t host[16] = {0,  1,         2,  3,  HOST_GUEST_RSP, 5,        6, 7, 8, 9,
                                    10, HOST_NONE, 12, 13, HOST_NONE,      HOST_NONE};

    return host[guest & 15];
}

void emit_byte(struct emitter *e, unsigned byte)
{
    if (e->at < e->end)
        *e->at++ = (uint8_t)byte;
    else
        e->full = true;
}

void emit_bytes(struct emitter *e, const uint8_t *bytes, unsigned count)
{
    if ((uintptr_t)(e->end - e->at) >= count) {
        memcpy(e->at, bytes, count);
        e->at += count;
    } else {
        e->full = true;
    }
}

void emit_u32(struct emitter *e, uint32_t value)
{
    emit_bytes(e, (const uint8_t *)&value, 4);
}

void emit_u64(struct emitter *e, uint64_t value)
{
    emit_bytes(e, (const uint8_t *)&value, 8);
}

static void rex(struct emitter *e, bool wide, unsigned reg, unsigned index, unsigned base)
{
    unsigned byte = 0x40u | (wide ? 8u : 0) | (reg & 8 ? 4u : 0) | (index & 8 ? 2u : 0) | (base & 8 ? 1u : 0);

    if (byte != 0x40)
        emit_byte(e, byte);
}

static void opcode_bytes(struct emitter *e, unsigned opcode)
{
    if (opcode > 0xff)
        emit_byte(e, opcode >> 8);
    emit_byte(e, opcode & 0xff);
}

static void modrm(struct emitter *e, unsigned mod, unsigned reg, unsigned rm)
{
    emit_byte(e, mod << 6 | (reg & 7) << 3 | (rm & 7));
}

void emit_rr(struct emitter *e, bool wide, unsigned opcode, unsigned reg, unsigned rm)
{
    rex(e, wide, reg, 0, rm);
    opcode_bytes(e, opcode);
    modrm(e, 3, reg, rm);
}

void emit_gs(struct emitter *e, bool wide, unsigned opcode, unsigned reg, uint32_t offset)
{
    emit_byte(e, 0x65);
    rex(e, wide, reg, 0, 0);
    opcode_bytes(e, opcode);
    modrm(e, 0, reg, 4);
    emit_byte(e, 0x25);
    emit_u32(e, offset);
}

void emit_gs_indexed(struct emitter *e, unsigned opcode, unsigned reg, unsigned index, uint32_t offset)
{
    emit_byte(e, 0x65);
    emit_rm(e, true, opcode, reg, index, (int32_t)offset);
}

void emit_rm(struct emitter *e, bool wide, unsigned opcode, unsigned reg, unsigned base, int32_t displacement)
{
    bool small = displacement >= -128 && displacement <= 127;
    bool none = displacement == 0 && (base & 7) != 5;

    rex(e, wide, reg, 0, base);
    opcode_bytes(e, opcode);
    modrm(e, none ? 0 : small ? 1 : 2, reg, base);
    if ((base & 7) == 4)
        emit_byte(e, 0x24);
    if (none)
        return;
    if (small)
        emit_byte(e, (uint8_t)displacement);
    else
        emit_u32(e, (uint32_t)displacement);
}

void emit_lea(struct emitter *e, bool wide, unsigned reg, int base, int index, unsigned scale, int32_t displacement)
{
    unsigned log = scale == 8 ? 3 : scale == 4 ? 2 : scale == 2 ? 1 : 0;
    bool small = displacement >= -128 && displacement <= 127;

    if (base >= 0 && index < 0) {
        emit_rm(e, wide, 0x8d, reg, (unsigned)base, displacement);
        return;
    }
    rex(e, wide, reg, index < 0 ? 0 : (unsigned)index, base < 0 ? 0 : (unsigned)base);
    emit_byte(e, 0x8d);
    modrm(e, base < 0 ? 0 : small ? 1 : 2, reg, 4);
    emit_byte(e, log << 6 | ((index < 0 ? 4u : (unsigned)index & 7u) << 3) | (base < 0 ? 5u : (unsigned)base & 7u));
    if (base >= 0 && small)
        emit_byte(e, (uint8_t)displacement);
    else
        emit_u32(e, (uint32_t)displacement);
}

void emit_mov_rr(struct emitter *e, unsigned to, unsigned from)
{
    emit_rr(e, true, 0x89, from, to);
}

void emit_mov_imm(struct emitter *e, unsigned to, uint64_t value)
{
    if (value <= 0xffffffffu) {
        rex(e, false, 0, 0, to);
        emit_byte(e, 0xb8 | (to & 7));
        emit_u32(e, (uint32_t)value);
    } else if ((int64_t)value == (int32_t)value) {
        rex(e, true, 0, 0, to);
        emit_byte(e, 0xc7);
        modrm(e, 3, 0, to);
        emit_u32(e, (uint32_t)value);
    } else {
        rex(e, true, 0, 0, to);
        emit_byte(e, 0xb8 | (to & 7));
        emit_u64(e, value);
    }
}

void emit_call_gs(struct emitter *e, uint32_t offset)
{
    emit_gs(e, false, 0xff, 2, offset);
}

void emit_jmp_gs(struct emitter *e, uint32_t offset)
{
    emit_gs(e, false, 0xff, 4, offset);
}

void emit_alu_imm(struct emitter *e, bool wide, unsigned operation, unsigned rm, int32_t value)
{
    bool small = value >= -128 && value <= 127;

    rex(e, wide, 0, 0, rm);
    emit_byte(e, small ? 0x83 : 0x81);
    modrm(e, 3, operation, rm);
    if (small)
        emit_byte(e, (uint8_t)value);
    else
        emit_u32(e, (uint32_t)value);
}

void emit_shift_imm(struct emitter *e, bool wide, unsigned operation, unsigned rm, unsigned count)
{
    rex(e, wide, 0, 0, rm);
    emit_byte(e, 0xc1);
    modrm(e, 3, operation, rm);
    emit_byte(e, count);
}

uint8_t *emit_call(struct emitter *e)
{
    emit_byte(e, 0xe8);
    emit_u32(e, 0);
    return e->at - 4;
}

uint8_t *emit_jump(struct emitter *e, unsigned condition)
{
    if (condition < 16) {
        emit_byte(e, 0x0f);
        emit_byte(e, 0x80 | condition);
    } else {
        emit_byte(e, 0xe9);
    }
    emit_u32(e, 0);
    return e->at - 4;
}

void emit_patch(struct emitter *e, uint8_t *hole, const uint8_t *target)
{
    int32_t distance = (int32_t)(target - (hole + 4));

    if (!e->full)
        memcpy(hole, &distance, 4);
}

void emit_jump_to(struct emitter *e, unsigned condition, const uint8_t *target)
{
    uint8_t *hole = emit_jump(e, condition);

    emit_patch(e, hole, target);
}

void emit_align_hole(struct emitter *e, unsigned skip)
{
    static const uint8_t nops[3][3] = {{0x90}, {0x66, 0x90}, {0x0f, 0x1f, 0x00}};
    unsigned pad = (unsigned)(-(uintptr_t)(e->at + skip)) & 3u;

    if (pad)
        emit_bytes(e, nops[pad - 1], pad);
}
