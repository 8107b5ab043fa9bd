#include "core/linear.h"

#include "base/bits.h"
#include "x86/paging.h"
#include "x86/regs.h"

/* What the paging formats differ in. */
struct format {
    unsigned levels;
    unsigned index_bits;
    unsigned entry_size; /* bytes */
    uint64_t root;
};

static bool long_mode(const struct cpu_state *cpu)
{
    return (cpu->efer & EFER_LMA) != 0;
}

static struct format format_of(const struct cpu_state *cpu)
{
    if (long_mode(cpu))
        return (struct format){cpu->cr4 & CR4_LA57 ? 5 : 4, 9, 8, cpu->cr3 & PTE_ADDRESS};
    if (cpu->cr4 & CR4_PAE)
        return (struct format){3, 9, 8, cpu->cr3 & 0xffffffe0ull};
    return (struct format){2, 10, 4, cpu->cr3 & 0xfffff000ull};
}

static bool is_canonical(const struct cpu_state *cpu, uint64_t linear)
{
    unsigned unused = cpu->cr4 & CR4_LA57 ? 7 : 16;

    return (uint64_t)((int64_t)(linear << unused) >> unused) == linear;
}

/* An entry at level (1: page table) that maps a page itself. */
static bool is_leaf(const struct cpu_state *cpu, const struct format *format, unsigned level, uint64_t entry)
{
    if (level == 1)
        return true;
    if (!(entry & PTE_PS))
        return false;
    if (format->levels == 2)
        return (cpu->cr4 & CR4_PSE) != 0;
    return level == 2 || (level == 3 && format->levels >= 4);
}

static bool load_entry(const struct guest_memory *memory, const struct format *format, uint64_t address,
                       uint64_t *entry)
{
    uint8_t bytes[8];

    if (memory_read(memory, address, bytes, format->entry_size) != STATUS_OK)
        return false;
    *entry = load_le(bytes, format->entry_size);
    return (*entry & PTE_P) != 0;
}

static bool walk(const struct guest_memory *memory, const struct cpu_state *cpu, uint64_t linear, uint64_t *physical,
                 uint64_t *mapped)
{
    const struct format format = format_of(cpu);
    const uint64_t address_mask = format.entry_size == 8 ? PTE_ADDRESS : 0xfffff000ull;
    uint64_t table = format.root;

    for (unsigned level = format.levels; level > 0; level--) {
        unsigned shift = PAGE_SHIFT + format.index_bits * (level - 1);
        uint64_t index = linear >> shift & bits_mask(format.index_bits);
        uint64_t entry;

        if (!load_entry(memory, &format, table + index * format.entry_size, &entry))
            return false;
        if (is_leaf(cpu, &format, level, entry)) {
            uint64_t offset = linear & bits_mask(shift);

            *physical = (entry & address_mask & ~bits_mask(shift)) | offset;
            *mapped = (1ull << shift) - offset;
            return true;
        }
        table = entry & address_mask;
    }
    return false;
}

bool linear_translate(const struct guest_memory *memory, const struct cpu_state *cpu, uint64_t linear,
                      uint64_t *physical, uint64_t *mapped)
{
    if (long_mode(cpu) ? !is_canonical(cpu, linear) : linear >> 32 != 0)
        return false;
    if (cpu->cr0 & CR0_PG)
        return walk(memory, cpu, linear, physical, mapped);
    *physical = linear;
    *mapped = (1ull << 32) - linear;
    return true;
}

/* The part of [linear, linear + size) that is contiguous from its start, or 0. */
static size_t piece_at(const struct guest_memory *memory, const struct cpu_state *cpu, uint64_t linear, size_t size,
                       uint64_t *physical)
{
    uint64_t mapped;

    if (!linear_translate(memory, cpu, linear, physical, &mapped))
        return 0;
    return mapped < size ? (size_t)mapped : size;
}

/* A mapping may leave RAM in the middle: then page by page. */
static size_t read_piece(const struct guest_memory *memory, uint64_t physical, void *to, size_t size)
{
    if (memory_read(memory, physical, to, size) == STATUS_OK)
        return size;
    size_t page_left = PAGE_SIZE - (size_t)(physical & (PAGE_SIZE - 1));
    size_t here = size < page_left ? size : page_left;

    return memory_read(memory, physical, to, here) == STATUS_OK ? here : 0;
}

size_t linear_read(const struct guest_memory *memory, const struct cpu_state *cpu, uint64_t linear, void *to,
                   size_t size)
{
    size_t done = 0;

    while (done < size) {
        uint64_t physical;
        size_t piece = piece_at(memory, cpu, linear + done, size - done, &physical);

        if (piece != 0)
            piece = read_piece(memory, physical, (uint8_t *)to + done, piece);
        if (piece == 0)
            break;
        done += piece;
    }
    return done;
}
