#include "debug/breakpoints.h"

#include "core/linear.h"

struct target_breakpoint *breakpoint_at(struct debug_target *target, uint64_t physical)
{
    for (unsigned i = 0; i < target->breakpoint_count; i++)
        if (target->breakpoints[i].physical == physical)
            return &target->breakpoints[i];
    return NULL;
}

void breakpoints_hide(struct debug_target *target, uint64_t physical, uint8_t *bytes, size_t size)
{
    for (unsigned i = 0; i < target->breakpoint_count; i++) {
        const struct target_breakpoint *breakpoint = &target->breakpoints[i];
        uint64_t offset = breakpoint->physical - physical;

        /* If the guest has written something else there, that is what is there. */
        if (offset < size && bytes[offset] == INT3)
            bytes[offset] = breakpoint->original;
    }
}

void breakpoints_keep(struct debug_target *target, uint64_t physical, uint8_t *bytes, size_t size)
{
    for (unsigned i = 0; i < target->breakpoint_count; i++) {
        struct target_breakpoint *breakpoint = &target->breakpoints[i];
        uint64_t offset = breakpoint->physical - physical;

        if (offset < size) {
            breakpoint->original = bytes[offset];
            bytes[offset] = INT3;
        }
    }
}

/* ---- breakpoints ---- */

/* As the current vCPU sees it, or else any other. */
static bool find_physical(const struct debug_target *target, uint64_t linear, uint64_t *physical)
{
    const struct machine *machine = target->machine;

    for (unsigned i = 0; i < machine->cpu_count; i++) {
        struct cpu_state state;

        target_state(target, (target->current + i) % machine->cpu_count, &state);
        if (linear_to_physical(&state, &machine->memory, linear, physical))
            return true;
    }
    return false;
}

static enum status breakpoint_insert(struct debug_target *target, uint64_t linear)
{
    const struct guest_memory *memory = &target->machine->memory;
    const uint8_t int3 = INT3;
    struct target_breakpoint *breakpoint = &target->breakpoints[target->breakpoint_count];
    uint64_t physical;

    for (unsigned i = 0; i < target->breakpoint_count; i++)
        if (target->breakpoints[i].linear == linear)
            return STATUS_OK;
    if (target->breakpoint_count == TARGET_BREAKPOINTS)
        return STATUS_NO_MEMORY;
    if (!find_physical(target, linear, &physical))
        return STATUS_INVALID;
    const struct target_breakpoint *same = breakpoint_at(target, physical);
    *breakpoint = (struct target_breakpoint){.linear = linear, .physical = physical};
    if (same)
        breakpoint->original = same->original;
    else if (memory_read(memory, physical, &breakpoint->original, 1) != STATUS_OK ||
             memory_write(memory, physical, &int3, 1) != STATUS_OK)
        return STATUS_INVALID;
    target->breakpoint_count++;
    return STATUS_OK;
}

static void breakpoint_remove(struct debug_target *target, unsigned index)
{
    const struct target_breakpoint gone = target->breakpoints[index];
    uint8_t byte;

    target->breakpoints[index] = target->breakpoints[--target->breakpoint_count];
    if (breakpoint_at(target, gone.physical))
        return;
    if (memory_read(&target->machine->memory, gone.physical, &byte, 1) == STATUS_OK && byte == INT3)
        (void)!memory_write(&target->machine->memory, gone.physical, &gone.original, 1);
}

/* ---- points ---- */

static bool same_request(const struct target_point *point, char type, uint64_t address, uint64_t length)
{
    return point->type == type && point->address == address && point->length == length;
}

/* The largest aligned piece at the start of [address, address + length). */
static uint8_t piece_of(uint64_t address, uint64_t length)
{
    uint8_t piece = 8;

    while (address % piece != 0 || piece > length)
        piece /= 2;
    return piece;
}

static enum status points_insert(struct debug_target *target, char type, uint64_t address, uint64_t length)
{
    struct target_point points[DEBUG_POINTS];
    unsigned count = 0;
    uint64_t at = address, left = length;

    for (unsigned i = 0; i < target->point_count; i++)
        if (same_request(&target->points[i], type, address, length))
            return STATUS_OK;
    while (left > 0) {
        uint8_t piece = type <= '1' ? 1 : piece_of(at, left);

        if (target->point_count + count == DEBUG_POINTS)
            return STATUS_NO_MEMORY;
        points[count++] = (struct target_point){
            .point = {at, piece,
                      type <= '1'   ? DEBUG_EXECUTE
                      : type == '2' ? DEBUG_WRITE
                                    : DEBUG_ACCESS},
            .type = type,
            .address = address,
            .length = length,
        };
        at += piece;
        left = type <= '1' ? 0 : left - piece;
    }
    for (unsigned i = 0; i < count; i++)
        target->points[target->point_count++] = points[i];
    return STATUS_OK;
}

static void points_remove(struct debug_target *target, char type, uint64_t address, uint64_t length)
{
    unsigned kept = 0;

    for (unsigned i = 0; i < target->point_count; i++)
        if (!same_request(&target->points[i], type, address, length))
            target->points[kept++] = target->points[i];
    target->point_count = kept;
}

/* ---- both ---- */

/* GDB says the length of a breakpoint's instruction, which is nothing to us: 1. */
enum status target_insert(struct debug_target *target, char type, uint64_t address, uint64_t length)
{
    if (type < '0' || type > '4' || (type > '1' && (length == 0 || address + length < address)))
        return STATUS_UNSUPPORTED;
    if (type > '0')
        return points_insert(target, type, address, type == '1' ? 1 : length);
    enum status status = breakpoint_insert(target, address);

    /* Not mapped yet, or ROM: a debug register does not mind. */
    return status == STATUS_INVALID ? points_insert(target, '0', address, 1) : status;
}

void target_remove(struct debug_target *target, char type, uint64_t address, uint64_t length)
{
    points_remove(target, type, address, type <= '1' ? 1 : length);
    for (unsigned i = 0; type == '0' && i < target->breakpoint_count; i++)
        if (target->breakpoints[i].linear == address) {
            breakpoint_remove(target, i);
            return;
        }
}

void target_remove_all(struct debug_target *target)
{
    while (target->breakpoint_count > 0)
        breakpoint_remove(target, target->breakpoint_count - 1);
    target->point_count = 0;
}
