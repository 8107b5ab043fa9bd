/* Guest memory for a debugger: what the guest would see if there were no breakpoints of ours in it. */
#include <string.h>

#include "core/linear.h"
#include "debug/breakpoints.h"

/* Physical memory, as far as it goes within one page; how much that was. */
static size_t read_page(struct debug_target *target, uint64_t physical, void *to, size_t size)
{
    size_t left = PAGE_SIZE - (size_t)(physical & (PAGE_SIZE - 1));
    size_t here = size < left ? size : left;

    if (memory_read(&target->machine->memory, physical, to, here) != STATUS_OK)
        return 0;
    breakpoints_hide(target, physical, to, here);
    return here;
}

size_t target_read_physical(struct debug_target *target, uint64_t address, void *to, size_t size)
{
    size_t done = 0, here = 1;

    for (; done < size && here > 0; done += here)
        here = read_page(target, address + done, (uint8_t *)to + done, size - done);
    return done;
}

/* Where the byte at an address is: translated, or taken as it is. */
static bool place_of(struct debug_target *target, const struct cpu_state *state, uint64_t address, uint64_t *physical)
{
    *physical = address;
    return target->physical_memory || linear_to_physical(state, &target->machine->memory, address, physical);
}

/* A copy of linear memory, page by page since each may be elsewhere. */
static void hide_linear(struct debug_target *target, const struct cpu_state *state, uint64_t address, uint8_t *bytes,
                        size_t size)
{
    uint64_t physical;

    for (size_t done = 0, here; done < size; done += here) {
        here = PAGE_SIZE - (size_t)((address + done) & (PAGE_SIZE - 1));
        if (place_of(target, state, address + done, &physical))
            breakpoints_hide(target, physical, bytes + done, here < size - done ? here : size - done);
    }
}

size_t target_read(struct debug_target *target, uint64_t address, void *to, size_t size)
{
    struct cpu_state state;
    size_t done;

    if (target->physical_memory)
        return target_read_physical(target, address, to, size);
    target_state(target, target->current, &state);
    done = linear_read(&state, &target->machine->memory, address, to, size);
    hide_linear(target, &state, address, to, done);
    return done;
}

/* One page's part; with check, only whether it can be. */
static size_t write_page(struct debug_target *target, uint64_t physical, const void *from, size_t size, bool check)
{
    const struct guest_memory *memory = &target->machine->memory;
    size_t left = PAGE_SIZE - (size_t)(physical & (PAGE_SIZE - 1));
    size_t here = size < left ? size : left;
    uint8_t bytes[PAGE_SIZE];

    if (check)
        return memory_at(memory, physical, here, true) ? here : 0;
    memcpy(bytes, from, here);
    breakpoints_keep(target, physical, bytes, here);
    return memory_write(memory, physical, bytes, here) == STATUS_OK ? here : 0;
}

static bool write_all(struct debug_target *target, const struct cpu_state *state, uint64_t address, const uint8_t *from,
                      size_t size, bool check)
{
    uint64_t physical;

    for (size_t done = 0, here; done < size; done += here) {
        if (!place_of(target, state, address + done, &physical))
            return false;
        here = write_page(target, physical, from + done, size - done, check);
        if (here == 0)
            return false;
    }
    return true;
}

bool target_write(struct debug_target *target, uint64_t address, const void *from, size_t size)
{
    struct cpu_state state;

    target_state(target, target->current, &state);
    return write_all(target, &state, address, from, size, true) &&
           write_all(target, &state, address, from, size, false);
}
