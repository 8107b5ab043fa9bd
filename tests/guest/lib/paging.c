#include "lib/paging.h"

#include "lib/runtime.h"

volatile uint64_t *page_entry(uint64_t address, unsigned level)
{
    volatile uint64_t *table = (volatile uint64_t *)(read_cr3() & PTE_ADDRESS);

    for (unsigned at = LEVEL_PML4;; at--) {
        volatile uint64_t *entry = &table[address >> (12 + 9 * (at - 1)) & 511];

        if (at == level)
            return entry;
        if (!(*entry & PTE_P))
            *entry = (uint64_t)page_alloc() | PTE_P | PTE_W | PTE_U;
        table = (volatile uint64_t *)(*entry & PTE_ADDRESS);
    }
}

volatile uint64_t *page_map(uint64_t address, uint64_t physical, uint64_t flags, unsigned level)
{
    volatile uint64_t *entry = page_entry(address, level);

    *entry = physical | flags | (level == LEVEL_4K ? 0 : PTE_PS);
    invlpg((const void *)address);
    return entry;
}
