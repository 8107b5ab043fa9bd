#include "core/linear.h"

#include "base/bits.h"
#include "x86/paging.h"
#include "x86/regs.h"

/* What the paging formats differ in. */
struct format {
    unsigned levels;     /* the root is level `levels`, page tables are level 1 */
    unsigned index_bits; /* of the linear address that choose an entry */
    unsigned entry_size; /* bytes */
    unsigned large;      /* the highest level whose entries may map a page */
    uint64_t root;
};

static struct format format_of(const struct cpu_state *cpu)
{
    if (cpu->efer & EFER_LMA)
        return (struct format){4, 9, 8, 3, cpu->cr3 & PTE_ADDRESS};
    if (cpu->cr4 & CR4_PAE)
        return (struct format){3, 9, 8, 2, cpu->cr3 & 0xffffffe0ull};
    return (struct format){2, 10, 4, cpu->cr4 & CR4_PSE ? 2 : 1, cpu->cr3 & 0xfffff000ull};
}

static bool load_entry(const struct guest_memory *memory, uint64_t physical, unsigned size, uint64_t *entry)
{
    const void *at = memory_at(memory, physical, size, false);

    if (!at)
        return false;
    if (size == 8)
        *entry = __atomic_load_n((const uint64_t *)at, __ATOMIC_RELAXED);
    else
        *entry = __atomic_load_n((const uint32_t *)at, __ATOMIC_RELAXED);
    return (*entry & PTE_P) != 0;
}

/* The page that a leaf maps. A 4 MiB page's bits 20..13 are bits 39..32 of its address (PSE-36). */
static uint64_t leaf_base(const struct format *format, uint64_t entry, unsigned level, unsigned shift)
{
    uint64_t base = entry & PTE_ADDRESS & ~bits_mask(shift);

    if (format->entry_size == 4 && level == 2)
        base |= bits_get(entry, 20, 13) << 32;
    return base;
}

static bool canonical(uint64_t linear)
{
    uint64_t top = linear >> 47;

    return top == 0 || top == 0x1ffff;
}

bool linear_to_physical(const struct cpu_state *cpu, const struct guest_memory *memory, uint64_t linear,
                        uint64_t *physical)
{
    const struct format format = format_of(cpu);
    uint64_t table = format.root;

    if (!(cpu->efer & EFER_LMA))
        linear = (uint32_t)linear;
    else if (!canonical(linear))
        return false;
    if (!(cpu->cr0 & CR0_PG)) {
        *physical = linear;
        return true;
    }
    for (unsigned level = format.levels;; level--) {
        unsigned shift = PAGE_SHIFT + format.index_bits * (level - 1);
        uint64_t index = linear >> shift & bits_mask(format.index_bits);
        uint64_t entry;

        if (!load_entry(memory, table + index * format.entry_size, format.entry_size, &entry))
            return false;
        if (level == 1 || (level <= format.large && (entry & PTE_PS))) {
            *physical = leaf_base(&format, entry, level, shift) | (linear & bits_mask(shift));
            return true;
        }
        table = entry & PTE_ADDRESS;
    }
}

size_t linear_read(const struct cpu_state *cpu, const struct guest_memory *memory, uint64_t linear, void *to,
                   size_t size)
{
    uint8_t *byte = to;
    size_t done = 0;

    while (done < size) {
        uint64_t at = linear + done;
        size_t here = PAGE_SIZE - (at & (PAGE_SIZE - 1));
        uint64_t physical;

        if (here > size - done)
            here = size - done;
        if (!linear_to_physical(cpu, memory, at, &physical) ||
            memory_read(memory, physical, byte + done, here) != STATUS_OK)
            break;
        done += here;
    }
    return done;
}
