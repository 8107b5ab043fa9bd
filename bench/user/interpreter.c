/* A byte-code interpreter with one indirect jump at the end of each operation (computed goto). */
#include "user/programs.h"

enum opcode { LOAD, MOVE, ADD, MULTIPLY_ADD, HALVE, AND, JUMP, JUMP_IF_ZERO, JUMP_IF_LESS, HALT };

struct instruction {
    uint8_t opcode;
    uint8_t a;
    uint8_t b;
    uint8_t c;
    int32_t immediate; /* a number, or the index of the instruction to jump to */
};

enum { LIMIT = 2500 };

/* The length of the Collatz sequence of every number below LIMIT, summed up in register 0. */
static const struct instruction program[] = {
    {.opcode = LOAD, .a = 0, .immediate = 0},
    {.opcode = LOAD, .a = 1, .immediate = 1},                         /* r1: the constant one */
    {.opcode = LOAD, .a = 2, .immediate = LIMIT},                     /* r2: where to stop */
    {.opcode = LOAD, .a = 3, .immediate = 1},                         /* r3: the number in turn */
    {.opcode = MOVE, .a = 4, .b = 3},                                 /* 4: r4: the sequence */
    {.opcode = JUMP_IF_LESS, .a = 1, .b = 4, .immediate = 7},         /* 5: 1 < r4: continue */
    {.opcode = JUMP, .immediate = 13},                                /* 6 */
    {.opcode = ADD, .a = 0, .b = 0, .c = 1},                          /* 7 */
    {.opcode = AND, .a = 5, .b = 4, .c = 1},                          /* 8 */
    {.opcode = JUMP_IF_ZERO, .a = 5, .immediate = 11},                /* 9 */
    {.opcode = MULTIPLY_ADD, .a = 4, .b = 4, .c = 1, .immediate = 3}, /* 10: falls through: 3n + 1 is even */
    {.opcode = HALVE, .a = 4, .b = 4},                                /* 11 */
    {.opcode = JUMP, .immediate = 5},                                 /* 12 */
    {.opcode = ADD, .a = 3, .b = 3, .c = 1},                          /* 13 */
    {.opcode = JUMP_IF_LESS, .a = 3, .b = 2, .immediate = 4},         /* 14 */
    {.opcode = HALT},
};

static uint64_t interpret(const struct instruction *code)
{
    static const void *const labels[] = {&&load, &&move, &&add,          &&multiply_add, &&halve,
                                         &&and_, &&jump, &&jump_if_zero, &&jump_if_less, &&halt};
    const struct instruction *at = code;
    uint64_t r[8] = {0};

    goto *labels[at->opcode];
load:
    r[at->a] = (uint64_t)(int64_t)at->immediate;
    at++;
    goto *labels[at->opcode];
move:
    r[at->a] = r[at->b];
    at++;
    goto *labels[at->opcode];
add:
    r[at->a] = r[at->b] + r[at->c];
    at++;
    goto *labels[at->opcode];
multiply_add:
    r[at->a] = r[at->b] * (uint64_t)(int64_t)at->immediate + r[at->c];
    at++;
    goto *labels[at->opcode];
halve:
    r[at->a] = r[at->b] >> 1;
    at++;
    goto *labels[at->opcode];
and_:
    r[at->a] = r[at->b] & r[at->c];
    at++;
    goto *labels[at->opcode];
jump:
    at = code + at->immediate;
    goto *labels[at->opcode];
jump_if_zero:
    at = r[at->a] == 0 ? code + at->immediate : at + 1;
    goto *labels[at->opcode];
jump_if_less:
    at = r[at->a] < r[at->b] ? code + at->immediate : at + 1;
    goto *labels[at->opcode];
halt:
    return r[0];
}

static uint64_t iterate(void)
{
    return interpret(program);
}

const struct bench_program bench_interpreter = {
    .name = "interpreter",
    .summary = "byte-code interpreter with computed goto",
    .iterations = 270,
    .operations = 1,
    .iterate = iterate,
};
