/* Processor state at a kernel's entry, and the tables it points to. */
#include "boot/handover.h"

#include "base/bits.h"
#include "base/memory.h"
#include "boot/context.h"
#include "boot/image.h"
#include "core/memory.h"
#include "x86/cpu_state.h"
#include "x86/paging.h"
#include "x86/regs.h"

enum {
    GDT_ENTRIES = 5,
    TABLE_ENTRIES = 512,
    DIRECTORIES = 4, /* of 1 GiB each */
    TABLES = 2 + DIRECTORIES,
    LARGE_PAGE_SHIFT = 21,
};

#define TABLES_SIZE ((uint64_t)TABLES * PAGE_SIZE)

enum { TYPE_DATA_RW_ACCESSED = 0x3, TYPE_CODE_RX_ACCESSED = 0xb, TYPE_TSS_BUSY = 0xb };

static const struct segment_state code64 = {
    .limit = UINT32_MAX,
    .selector = BOOT_CS,
    .attributes = TYPE_CODE_RX_ACCESSED | SEGMENT_S | SEGMENT_P | SEGMENT_L | SEGMENT_G,
};
static const struct segment_state code32 = {
    .limit = UINT32_MAX,
    .selector = BOOT_CS,
    .attributes = TYPE_CODE_RX_ACCESSED | SEGMENT_S | SEGMENT_P | SEGMENT_DB | SEGMENT_G,
};
static const struct segment_state data = {
    .limit = UINT32_MAX,
    .selector = BOOT_DS,
    .attributes = TYPE_DATA_RW_ACCESSED | SEGMENT_S | SEGMENT_P | SEGMENT_DB | SEGMENT_G,
};
static const struct segment_state task = {
    .limit = 0x67,
    .selector = BOOT_TSS,
    .attributes = TYPE_TSS_BUSY | SEGMENT_P,
};

/* The descriptor that would load as this segment (SDM volume 3, 3.4.5); base 0. */
static uint64_t segment_descriptor(const struct segment_state *segment)
{
    uint32_t limit = segment->attributes & SEGMENT_G ? segment->limit >> 12 : segment->limit;

    return bits_get(limit, 15, 0) | (uint64_t)segment->attributes << 40 | bits_get(limit, 19, 16) << 48;
}

static enum status handover_place_gdt(struct boot_context *context, const struct segment_state *code, uint64_t *address)
{
    uint8_t gdt[GDT_ENTRIES * 8] = {0};

    store_le(gdt + BOOT_CS, 8, segment_descriptor(code));
    store_le(gdt + BOOT_DS, 8, segment_descriptor(&data));
    store_le(gdt + BOOT_TSS, 8, segment_descriptor(&task));
    return boot_place(context, "the descriptor table", gdt, sizeof(gdt), 8, address);
}

/* One PML4, one directory pointer table, and a page directory for each of the first four GiB. */
static enum status handover_place_page_tables(struct boot_context *context, uint64_t *address)
{
    enum status status = boot_reserve(context, "the page tables", TABLES_SIZE, PAGE_SIZE, address);

    if (status == STATUS_OK)
        status = boot_clear(context, *address, TABLES_SIZE);
    if (status != STATUS_OK)
        return status;

    uint8_t *pml4 = memory_at(context->memory, *address, TABLES_SIZE, true);
    uint8_t *pointers = pml4 + PAGE_SIZE;
    uint8_t *directories = pointers + PAGE_SIZE;

    store_le(pml4, 8, (*address + PAGE_SIZE) | PTE_P | PTE_W | PTE_A);
    for (uint64_t i = 0; i < DIRECTORIES; i++)
        store_le(pointers + 8 * i, 8, (*address + (2 + i) * PAGE_SIZE) | PTE_P | PTE_W | PTE_A);
    for (uint64_t i = 0; i < (uint64_t)DIRECTORIES * TABLE_ENTRIES; i++)
        store_le(directories + 8 * i, 8, i << LARGE_PAGE_SHIFT | PTE_P | PTE_W | PTE_A | PTE_D | PTE_PS);
    memory_wrote(context->memory, *address, TABLES_SIZE);
    return STATUS_OK;
}

static void handover_set_segments(struct cpu_state *cpu, const struct segment_state *code, uint64_t gdt)
{
    for (unsigned i = SEG_ES; i <= SEG_GS; i++)
        cpu->segment[i] = i == SEG_CS ? *code : data;
    cpu->segment[SEG_TR] = task;
    cpu->segment[SEG_LDTR] = (struct segment_state){.attributes = SEGMENT_UNUSABLE};
    cpu->gdt_base = gdt;
    cpu->gdt_limit = GDT_ENTRIES * 8 - 1;
    cpu->idt_base = 0;
    cpu->idt_limit = 0;
}

enum status handover_long_mode(struct boot_context *context, struct cpu_state *cpu, uint64_t entry)
{
    uint64_t gdt, page_tables;
    enum status status = handover_place_gdt(context, &code64, &gdt);

    if (status == STATUS_OK)
        status = handover_place_page_tables(context, &page_tables);
    if (status != STATUS_OK)
        return status;

    handover_set_segments(cpu, &code64, gdt);
    cpu->cr0 = CR0_PG | CR0_NE | CR0_ET | CR0_PE;
    cpu->cr3 = page_tables;
    cpu->cr4 = CR4_PAE;
    cpu->efer = EFER_LME | EFER_LMA;
    cpu->rflags = RFLAGS_FIXED;
    cpu->rip = entry;
    return STATUS_OK;
}

enum status handover_protected_mode(struct boot_context *context, struct cpu_state *cpu, uint32_t entry)
{
    uint64_t gdt;
    enum status status = handover_place_gdt(context, &code32, &gdt);

    if (status != STATUS_OK)
        return status;

    handover_set_segments(cpu, &code32, gdt);
    cpu->cr0 = CR0_ET | CR0_PE;
    cpu->cr3 = 0;
    cpu->cr4 = 0;
    cpu->efer = 0;
    cpu->rflags = RFLAGS_FIXED;
    cpu->rip = entry;
    return STATUS_OK;
}

enum { MTRR_UNCACHEABLE = 0, MTRR_WRITE_BACK = 6, MTRR_FIXED_VIDEO = 2 };
#define MTRR_DEF_FIXED_ENABLE BIT64(10)
#define MTRR_DEF_ENABLE BIT64(11)
#define MTRR_MASK_VALID BIT64(11)
#define MTRR_FIXED_WRITE_BACK 0x0606060606060606ull

/* Memory types as SDM volume 3, 11.11: everything write-back, but the video area and 2..4 GiB (devices). */
void boot_firmware_cpu(struct cpu_state *cpu, unsigned physical_bits)
{
    const uint64_t hole = BIT64(31);

    cpu->cr0 &= ~(CR0_CD | CR0_NW);
    for (unsigned i = 0; i < ARRAY_LENGTH(cpu->mtrr_fixed); i++)
        cpu->mtrr_fixed[i] = i == MTRR_FIXED_VIDEO ? MTRR_UNCACHEABLE : MTRR_FIXED_WRITE_BACK;
    cpu->mtrr_base[0] = hole | MTRR_UNCACHEABLE;
    cpu->mtrr_mask[0] = (bits_mask(physical_bits) & ~(hole - 1)) | MTRR_MASK_VALID;
    cpu->mtrr_def_type = MTRR_DEF_ENABLE | MTRR_DEF_FIXED_ENABLE | MTRR_WRITE_BACK;
}
