#include "engine/dbt/mmu.h"

#include "engine/dbt/debug.h"
#include "engine/dbt/descriptor.h"
#include "engine/dbt/engine.h"
#include "engine/dbt/run.h"
#include "engine/dbt/masked.h"
#include "engine/dbt/thunks.h"
#include "engine/dbt/walk.h"
#include "x86/paging.h"

/* What memory_post() has to do (dbt_vcpu.bounce_kind). */
enum bounce_kind { BOUNCE_NONE, BOUNCE_SPLIT, BOUNCE_MMIO, BOUNCE_CODE, BOUNCE_READ_ONLY, BOUNCE_SPLIT_LOCKED, BOUNCE_MASKED };

static unsigned slot_of(uint64_t linear)
{
    return (unsigned)(linear >> PAGE_SHIFT) & (TLB_ENTRIES - 1);
}

/* A tag that no address which selects this slot can match. */
static uint64_t tlb_no_match(unsigned slot)
{
    return (uint64_t)(slot ^ 1) << PAGE_SHIFT;
}

static void clear_entry(struct dbt_vcpu *c, enum mmu_index mmu, unsigned slot)
{
    struct tlb_entry *entry = &c->tlb[mmu][slot];

    entry->read = tlb_no_match(slot);
    entry->write = tlb_no_match(slot);
    c->tlb_flags[mmu][slot] = 0;
}

_Noreturn static void page_fault(struct dbt_vcpu *c, uint64_t linear, uint32_t error)
{
    c->cr2 = linear;
    raise_fault(c, VECTOR_PF, (int32_t)error);
}

/* Is a data breakpoint on this page? Then every access to it takes the slow path. */
static bool page_watched(const struct dbt_vcpu *c, uint64_t linear)
{
    for (unsigned i = 0; i < 4; i++)
        if ((c->dr[7] >> (2 * i) & 3) && (c->dr[7] >> (16 + 4 * i) & 3) && ((c->dr[i] ^ linear) & ~0xfffull) == 0)
            return true;
    return c->data_points && debug_watches_page(c, linear);
}

static bool watching(const struct dbt_vcpu *c)
{
    return (c->dr[7] & 0xff) || c->data_points;
}

static void log_local(struct dbt_vcpu *c, enum mmu_index mmu, unsigned slot)
{
    uint32_t logged = c->tlb_logged[mmu];

    if (logged < TLB_LOG)
        c->tlb_log[mmu][logged] = (uint16_t)slot;
    if (logged <= TLB_LOG)
        c->tlb_logged[mmu] = logged + 1;
}

/*
 * Where a translated page is. RAM: its host address, and the TLB now knows it. Otherwise NULL: a device's.
 * *direct_write: writes through the pointer need nothing further.
 */
static uint8_t *fill(struct dbt_vcpu *c, enum mmu_index mmu, uint64_t linear, const struct walk *walk, bool write,
                     bool *direct_write)
{
    struct dbt_engine *dbt = c->dbt;
    unsigned slot = slot_of(linear);
    struct tlb_entry *entry = &c->tlb[mmu][slot];
    uint64_t tag = linear & ~(uint64_t)(PAGE_SIZE - 1);
    uint16_t mine = (uint16_t)(1u << (c->vcpu.index & 15));
    uint16_t before = mine;
    uint64_t page;
    bool read_only;
    bool watched = watching(c) && page_watched(c, linear);
    bool code;

    *direct_write = false;
    if (!ram_page(dbt, walk->physical, &page, &read_only))
        return NULL;
    c->stat_fills++;
    if (write && dbt->dirty)
        __atomic_fetch_or(&dbt->dirty[page / 64], 1ull << (page % 64), __ATOMIC_RELAXED);
    /* Ask to be told of code on the page before looking whether there is (find.c, claim: the other order). */
    if (walk->writable && !read_only)
        before = __atomic_fetch_or(&dbt->writers[page], mine, __ATOMIC_SEQ_CST);
    code = cache_page_has_code(&dbt->cache, page);
    if (code && !(before & mine))
        __atomic_fetch_and(&dbt->writers[page], (uint16_t)~mine, __ATOMIC_SEQ_CST);
    *direct_write = !read_only && !code;
    if (!watched) {
        if ((c->tlb_flags[mmu][slot] & TLB_VALID) && entry->read != tag && entry->write != tag)
            clear_entry(c, mmu, slot);
        entry->host = (uint64_t)(uintptr_t)dbt->memory->host + (page << PAGE_SHIFT);
        entry->addend = entry->host - tag;
        c->tlb_flags[mmu][slot] = (uint8_t)(TLB_VALID | (walk->global ? TLB_GLOBAL : 0));
        entry->read = walk->readable ? tag : tlb_no_match(slot);
        entry->write = walk->writable && *direct_write && (write || !dbt->dirty) ? tag : tlb_no_match(slot);
        if (!walk->global)
            log_local(c, mmu, slot);
        if (walk->large)
            c->large_pages |= 1ull << ((linear >> 30) & 63);
    }
    return dbt->memory->host + (page << PAGE_SHIFT);
}

/* One page's part of an access: translate or raise. Host address of `linear`, or NULL for a device with *physical. */
static uint8_t *translate(struct dbt_vcpu *c, enum mmu_index mmu, uint64_t linear, enum mmu_access access, uint64_t *physical,
                          bool *direct_write)
{
    struct walk walk;
    uint8_t *host;

    if (!walk_page(c, mmu, linear, access, true, &walk))
        page_fault(c, linear, walk.error);
    *physical = walk.physical;
    host = fill(c, mmu, linear, &walk, access == MMU_WRITE, direct_write);
    return host ? host + (linear & (PAGE_SIZE - 1)) : NULL;
}

static void check_canonical(struct dbt_vcpu *c, uint64_t linear, unsigned size, unsigned vector)
{
    if (!long_mode(c))
        return;
    if (!canonical(linear) || !canonical(linear + size - 1))
        raise_fault(c, vector, 0);
}

/* Data breakpoints: note a hit; the trap comes after the instruction. */
static void watch(struct dbt_vcpu *c, uint64_t linear, unsigned size, bool write)
{
    for (unsigned i = 0; i < 4; i++) {
        unsigned kind = c->dr[7] >> (16 + 4 * i) & 3;
        unsigned length = (unsigned)(c->dr[7] >> (18 + 4 * i) & 3);
        uint64_t bytes = length == 2 ? 8 : length + 1;
        uint64_t start = c->dr[i] & ~(bytes - 1);

        if (!(c->dr[7] >> (2 * i) & 3) || kind == 0 || kind == 2 || (kind == 1 && !write))
            continue;
        if (linear < start + bytes && start < linear + size)
            c->debug_hits |= (uint8_t)(1u << i);
    }
}

/* ---- devices ---- */

static bool is_apic(struct dbt_vcpu *c, uint64_t physical)
{
    uint64_t base = c->vcpu.apic_ops->base(c->vcpu.apic);

    return (base & BIT64(11)) && !(base & BIT64(10)) && (physical & ~0xfffull) == (base & PTE_ADDRESS);
}

/* One device access of 1, 2, 4 or 8 bytes. */
static uint64_t device_access(struct dbt_vcpu *c, uint64_t physical, unsigned size, bool write, uint64_t value)
{
    struct vcpu *vcpu = &c->vcpu;

    vector_save(c);
    c->stat_exits++;
    if (vcpu->apic_ops && is_apic(c, physical)) {
        uint32_t word = (uint32_t)value;

        if (write)
            vcpu->apic_ops->write(vcpu->apic, (uint32_t)(physical & 0xfff), size > 4 ? 4 : size, word);
        else if (!vcpu->apic_ops->read(vcpu->apic, (uint32_t)(physical & 0xfff), size > 4 ? 4 : size, &word))
            word = 0;
        return word;
    }
    bus_access(&vcpu->machine->bus, BUS_MEMORY, physical, size, write, &value);
    if (__atomic_load_n(&c->remapped, __ATOMIC_RELAXED))
        mmu_follow_map(c);
    return value;
}

/* Any size, in the largest naturally aligned pieces. */
static void device_copy(struct dbt_vcpu *c, uint64_t physical, uint8_t *bytes, unsigned size, bool write)
{
    while (size) {
        unsigned piece = size >= 8 ? 8 : size >= 4 ? 4 : size >= 2 ? 2 : 1;
        uint64_t value = 0;

        while (physical & (piece - 1))
            piece >>= 1;
        if (write) {
            for (unsigned i = 0; i < piece; i++)
                value |= (uint64_t)bytes[i] << (8 * i);
            device_access(c, physical, piece, true, value);
        } else {
            value = device_access(c, physical, piece, false, 0);
            for (unsigned i = 0; i < piece; i++)
                bytes[i] = (uint8_t)(value >> (8 * i));
        }
        bytes += piece;
        physical += piece;
        size -= piece;
    }
}

/* ---- physical bytes, for what is split or bounced ---- */

static void copy_bytes(void *to, const void *from, uint64_t size)
{
    __asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(size) : : "memory");
}

/* Bytes within one page. */
static void physical_copy(struct dbt_vcpu *c, uint64_t physical, uint8_t *bytes, unsigned size, bool write)
{
    struct dbt_engine *dbt = c->dbt;
    uint64_t page;
    bool read_only;
    uint8_t *host;

    if (!ram_page(dbt, physical, &page, &read_only)) {
        device_copy(c, physical, bytes, size, write);
        return;
    }
    host = dbt->memory->host + (page << PAGE_SHIFT) + (physical & (PAGE_SIZE - 1));
    if (!write) {
        copy_bytes(bytes, host, size);
    } else if (read_only) {
        device_copy(c, physical, bytes, size, true);
    } else {
        copy_bytes(host, bytes, size);
        if (cache_page_has_code(&dbt->cache, page))
            code_written(c, physical, size);
    }
}

/* Both halves of an access that may cross a page: physical addresses, or a fault before anything moves. */
static unsigned locate(struct dbt_vcpu *c, enum mmu_index mmu, uint64_t linear, unsigned size, enum mmu_access access,
                       uint64_t physical[2])
{
    unsigned first = (unsigned)(PAGE_SIZE - (linear & (PAGE_SIZE - 1)));
    uint64_t second = linear + first;
    bool direct;

    if (!long_mode(c))
        second = (uint32_t)second;
    if (first > size)
        first = size;
    translate(c, mmu, linear, access, &physical[0], &direct);
    if (first < size)
        translate(c, mmu, second, access, &physical[1], &direct);
    return first;
}

/* ---- translated code ---- */

/*
 * A locked access across pages: everybody else waits. While this vCPU itself waited its code may have been
 * flushed under it; then the instruction starts anew.
 */
static void begin_split_lock(struct dbt_vcpu *c)
{
    uint64_t flushes = c->dbt->flushes;

    settle(c, false);
    exclusive_begin(c);
    if (flushes == c->dbt->flushes)
        return;
    exclusive_end(c);
    c->in_memory_pre = 0;
    leave_now(c);
}

/*
 * Where translated code shall make its access. Sets up the bounce buffer when that is not the guest's
 * memory itself; memory_post() completes it after the instruction.
 */
static void *bounce(struct dbt_vcpu *c, enum mmu_index mmu, uint64_t linear, uint32_t descriptor, enum bounce_kind kind)
{
    unsigned size = descriptor & ACCESS_SIZE;
    bool write = (descriptor & ACCESS_WRITE) != 0;
    uint8_t *at = c->bounce + (linear & 63);
    unsigned first = locate(c, mmu, linear, size, write ? MMU_WRITE : MMU_READ, c->bounce_physical);

    if ((descriptor & ACCESS_LOCK) && first < size) {
        begin_split_lock(c);
        kind = BOUNCE_SPLIT_LOCKED;
    }
    /* Not every store stores: x87 ones do not under an unmasked exception. */
    if ((descriptor & ACCESS_READ) || kind == BOUNCE_SPLIT) {
        physical_copy(c, c->bounce_physical[0], at, first, false);
        if (first < size)
            physical_copy(c, c->bounce_physical[1], at + first, size - first, false);
    }
    if (write) {
        c->bounce_kind = kind;
        c->bounce_address = linear;
        c->bounce_size = size;
    }
    return at;
}

static enum mmu_access kind_of(uint32_t descriptor)
{
    return descriptor & ACCESS_WRITE ? MMU_WRITE : MMU_READ;
}

/* An unmasked x87 exception that waits for the next instruction comes before that one's operand. */
static bool x87_exception_pending(const struct dbt_vcpu *c)
{
    uint16_t status;

    if (!c->vector_live)
        return false;
    __asm__ volatile("fnstsw %0" : "=a"(status));
    return status & 0x80; /* ES */
}

void *memory_pre(struct dbt_vcpu *c, uint64_t address, uint32_t descriptor)
{
    unsigned size = descriptor & ACCESS_SIZE;
    bool write = (descriptor & ACCESS_WRITE) != 0;
    enum mmu_index mmu = c->mmu;
    uint64_t linear = address;
    uint64_t physical;
    uint8_t *host;
    bool direct;

    c->in_memory_pre = 1;
    c->bounce_kind = BOUNCE_NONE;
    c->bounce_unfinished = (descriptor & ACCESS_UNFINISHED) != 0;
    if ((descriptor & ACCESS_X87) && x87_exception_pending(c))
        raise_fault(c, VECTOR_MF, -1);
    /* An empty mask forgives even that: masked_pre(). */
    if ((descriptor & (ACCESS_ALIGNED | ACCESS_MASKED)) == ACCESS_ALIGNED && (linear & (size - 1)))
        raise_fault(c, VECTOR_GP, 0);
    if (descriptor & ACCESS_SEGMENTED)
        linear = segment_linear(c, (descriptor >> ACCESS_SEGMENT_SHIFT) & 7, address, size, kind_of(descriptor));
    else if (!(descriptor & ACCESS_MASKED))
        check_canonical(c, linear, size, descriptor & ACCESS_STACK ? VECTOR_SS : VECTOR_GP);
    if ((c->mode & MODE_ALIGN) && size <= 8 && (linear & (size - 1)))
        raise_fault(c, VECTOR_AC, 0);
    if ((c->dr[7] & 0xff))
        watch(c, linear, size, write);
    if (c->data_points && debug_watch(c, linear, size, write) && !(c->mode & MODE_STEP))
        leave_to_step(c);
    if (descriptor & ACCESS_MASKED) {
        host = masked_pre(c, linear, descriptor);
        if (write)
            c->bounce_kind = BOUNCE_MASKED;
    } else if ((linear & (PAGE_SIZE - 1)) + size > PAGE_SIZE) {
        host = bounce(c, mmu, linear, descriptor, BOUNCE_SPLIT);
    } else {
        host = translate(c, mmu, linear, kind_of(descriptor), &physical, &direct);
        if (!host) {
            host = bounce(c, mmu, linear, descriptor, BOUNCE_MMIO);
        } else if (write && !direct) {
            uint64_t page;
            bool read_only = false;

            ram_page(c->dbt, physical, &page, &read_only);
            if (read_only) {
                host = bounce(c, mmu, linear, descriptor, BOUNCE_READ_ONLY);
            } else {
                /* Even if none of its code is here now: another vCPU may be translating it. */
                c->bounce_kind = BOUNCE_CODE;
                c->bounce_physical[0] = physical;
                c->bounce_size = size;
            }
        }
    }
    c->in_memory_pre = 0;
    return host;
}

void memory_post(struct dbt_vcpu *c)
{
    unsigned size = c->bounce_size;
    uint8_t *at = c->bounce + (c->bounce_address & 63);
    enum bounce_kind kind = c->bounce_kind;
    unsigned first = (unsigned)(PAGE_SIZE - (c->bounce_address & (PAGE_SIZE - 1)));

    c->bounce_kind = BOUNCE_NONE;
    switch (kind) {
    case BOUNCE_NONE:
        break;
    case BOUNCE_CODE:
        code_written(c, c->bounce_physical[0], size);
        break;
    case BOUNCE_MASKED:
        masked_post(c);
        break;
    case BOUNCE_MMIO:
    case BOUNCE_READ_ONLY:
    case BOUNCE_SPLIT:
    case BOUNCE_SPLIT_LOCKED:
        if (first > size)
            first = size;
        physical_copy(c, c->bounce_physical[0], at, first, true);
        if (first < size)
            physical_copy(c, c->bounce_physical[1], at + first, size - first, true);
        if (kind == BOUNCE_SPLIT_LOCKED)
            exclusive_end(c);
        break;
    }
    if (!c->exit_wanted)
        return;
    if (!c->bounce_unfinished)
        leave_after_instruction(c);
    /* RSP is yet to change: at the next entry check, then. */
    __atomic_fetch_or((uint32_t *)&c->vcpu.attention, ATTENTION_ENGINE, __ATOMIC_SEQ_CST);
}

/* ---- helpers' accesses ---- */

/* The host address if the TLB knows the whole access, else NULL. */
static uint8_t *hit(struct dbt_vcpu *c, enum mmu_index mmu, uint64_t linear, unsigned size, enum mmu_access access)
{
    struct tlb_entry *entry = &c->tlb[mmu][slot_of(linear)];
    uint64_t offset = linear ^ (access == MMU_WRITE ? entry->write : entry->read);

    return offset <= (uint64_t)PAGE_SIZE - size ? (uint8_t *)(uintptr_t)(entry->host + offset) : NULL;
}

static uint64_t load(const uint8_t *from, unsigned size)
{
    switch (size) {
    case 1:
        return *from;
    case 2:
        return *(const uint16_t *)(const void *)from;
    case 4:
        return *(const uint32_t *)(const void *)from;
    default:
        return *(const uint64_t *)(const void *)from;
    }
}

static void store(uint8_t *to, unsigned size, uint64_t value)
{
    switch (size) {
    case 1:
        *to = (uint8_t)value;
        break;
    case 2:
        *(uint16_t *)(void *)to = (uint16_t)value;
        break;
    case 4:
        *(uint32_t *)(void *)to = (uint32_t)value;
        break;
    default:
        *(uint64_t *)(void *)to = value;
        break;
    }
}

/* The slow way for any size up to a page: both pages checked before the first byte moves. */
static void copy_linear(struct dbt_vcpu *c, enum mmu_index mmu, uint64_t linear, uint8_t *bytes, unsigned size, bool write)
{
    uint64_t physical[2];
    unsigned first;

    check_canonical(c, linear, size, VECTOR_GP);
    if (c->dr[7] & 0xff)
        watch(c, linear, size, write);
    if (c->data_points && debug_watch(c, linear, size, write)) {
        c->exit_wanted = 1;
        __atomic_fetch_or((uint32_t *)&c->vcpu.attention, ATTENTION_ENGINE, __ATOMIC_SEQ_CST);
    }
    first = locate(c, mmu, linear, size, write ? MMU_WRITE : MMU_READ, physical);
    physical_copy(c, physical[0], bytes, first, write);
    if (first < size)
        physical_copy(c, physical[1], bytes + first, size - first, write);
}

/* Alignment checks (CR0.AM) are for what the program itself asks for. */
static void check_alignment(struct dbt_vcpu *c, enum mmu_index mmu, uint64_t linear, unsigned size)
{
    if ((c->mode & MODE_ALIGN) && mmu == MMU_USER && (linear & (size - 1)))
        raise_fault(c, VECTOR_AC, 0);
}

uint64_t mmu_read_as(struct dbt_vcpu *c, enum mmu_index mmu, uint64_t linear, unsigned size)
{
    const uint8_t *host = hit(c, mmu, linear, size, MMU_READ);
    uint64_t value = 0;

    check_alignment(c, mmu, linear, size);
    if (host)
        return load(host, size);
    copy_linear(c, mmu, linear, (uint8_t *)&value, size, false);
    return value;
}

void mmu_write_as(struct dbt_vcpu *c, enum mmu_index mmu, uint64_t linear, unsigned size, uint64_t value)
{
    uint8_t *host = hit(c, mmu, linear, size, MMU_WRITE);

    check_alignment(c, mmu, linear, size);
    if (host)
        store(host, size, value);
    else
        copy_linear(c, mmu, linear, (uint8_t *)&value, size, true);
}

uint64_t mmu_read(struct dbt_vcpu *c, uint64_t linear, unsigned size)
{
    return mmu_read_as(c, c->mmu, linear, size);
}

void mmu_write(struct dbt_vcpu *c, uint64_t linear, unsigned size, uint64_t value)
{
    mmu_write_as(c, c->mmu, linear, size, value);
}

void mmu_probe(struct dbt_vcpu *c, enum mmu_index mmu, uint64_t linear, unsigned size, enum mmu_access access)
{
    uint64_t physical[2];

    if (size <= 8)
        check_alignment(c, mmu, linear, size);
    if (hit(c, mmu, linear, size, access))
        return;
    check_canonical(c, linear, size, VECTOR_GP);
    locate(c, mmu, linear, size, access, physical);
}

/* In steps that cross at most one page each. */
static void block(struct dbt_vcpu *c, uint64_t linear, uint8_t *bytes, unsigned size, bool write)
{
    unsigned first = (unsigned)(PAGE_SIZE - (linear & (PAGE_SIZE - 1)));
    uint8_t *host[2];

    /* What fits on two pages that the TLB knows needs no walk. */
    if (first > size)
        first = size;
    host[0] = hit(c, c->mmu, linear, first, write ? MMU_WRITE : MMU_READ);
    host[1] = first == size ? host[0] : size - first > PAGE_SIZE ? NULL
              : hit(c, c->mmu, linear + first, size - first, write ? MMU_WRITE : MMU_READ);
    if (host[0] && host[1]) {
        copy_bytes(write ? host[0] : bytes, write ? bytes : host[0], first);
        if (first < size)
            copy_bytes(write ? host[1] : bytes + first, write ? bytes + first : host[1], size - first);
        return;
    }
    for (unsigned done = 0; done < size; done += PAGE_SIZE)
        mmu_probe(c, c->mmu, linear + done, size - done < PAGE_SIZE ? size - done : PAGE_SIZE, write ? MMU_WRITE : MMU_READ);
    for (unsigned done = 0; done < size; done += PAGE_SIZE)
        copy_linear(c, c->mmu, linear + done, bytes + done, size - done < PAGE_SIZE ? size - done : PAGE_SIZE, write);
}

void mmu_read_block(struct dbt_vcpu *c, uint64_t linear, void *to, unsigned size)
{
    block(c, linear, to, size, false);
}

void mmu_write_block(struct dbt_vcpu *c, uint64_t linear, const void *from, unsigned size)
{
    union { const void *in; void *out; } bytes = {.in = from};

    block(c, linear, bytes.out, size, true);
}

bool mmu_compare_exchange(struct dbt_vcpu *c, enum mmu_index mmu, uint64_t linear, uint32_t expected, uint32_t desired)
{
    uint64_t physical;
    bool direct;
    uint8_t *host = translate(c, mmu, linear, MMU_WRITE, &physical, &direct);
    uint64_t page;
    bool read_only = false, done;

    if (!host || !ram_page(c->dbt, physical, &page, &read_only) || read_only)
        return true; /* a table in a device or in ROM: it keeps what it keeps */
    if ((linear & (PAGE_SIZE - 1)) > PAGE_SIZE - 4) {
        if (mmu_read_as(c, mmu, linear, 4) != expected)
            return false;
        mmu_write_as(c, mmu, linear, 4, desired);
        return true;
    }
    done = __atomic_compare_exchange_n((uint32_t *)(void *)host, &expected, desired, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
    if (done && !direct)
        code_written(c, physical, 4);
    return done;
}

uint8_t *mmu_page_to_read(struct dbt_vcpu *c, uint64_t linear)
{
    uint8_t *host = hit(c, c->mmu, linear, 1, MMU_READ);
    uint64_t physical;
    bool direct;

    if (host)
        return host;
    if (watching(c) && page_watched(c, linear))
        return NULL;
    check_canonical(c, linear, 1, VECTOR_GP);
    return translate(c, c->mmu, linear, MMU_READ, &physical, &direct);
}

uint8_t *mmu_page_to_write(struct dbt_vcpu *c, uint64_t linear, uint64_t *code)
{
    uint8_t *host = hit(c, c->mmu, linear, 1, MMU_WRITE);
    bool direct, read_only;
    uint64_t page;

    *code = NO_CODE;
    if (host)
        return host;
    if (watching(c) && page_watched(c, linear))
        return NULL;
    check_canonical(c, linear, 1, VECTOR_GP);
    host = translate(c, c->mmu, linear, MMU_WRITE, code, &direct);
    if (direct)
        *code = NO_CODE;
    else if (host && (!ram_page(c->dbt, *code, &page, &read_only) || read_only))
        return NULL;
    return host;
}

/* ---- flushes ---- */

static void flush_log(struct dbt_vcpu *c, enum mmu_index mmu)
{
    if (c->tlb_logged[mmu] <= TLB_LOG) {
        for (uint32_t i = 0; i < c->tlb_logged[mmu]; i++)
            clear_entry(c, mmu, c->tlb_log[mmu][i]);
    } else {
        for (unsigned slot = 0; slot < TLB_ENTRIES; slot++)
            if (!(c->tlb_flags[mmu][slot] & TLB_GLOBAL))
                clear_entry(c, mmu, slot);
    }
    c->tlb_logged[mmu] = 0;
}

void mmu_flush_local(struct dbt_vcpu *c)
{
    for (enum mmu_index mmu = 0; mmu < MMU_COUNT; mmu++)
        flush_log(c, mmu);
    forget_targets(c, false);
}

void mmu_flush_all(struct dbt_vcpu *c)
{
    for (enum mmu_index mmu = 0; mmu < MMU_COUNT; mmu++) {
        for (unsigned slot = 0; slot < TLB_ENTRIES; slot++)
            clear_entry(c, mmu, slot);
        c->tlb_logged[mmu] = 0;
    }
    c->large_pages = 0;
    forget_targets(c, true);
}

/* Drop every entry of the GiB around a linear address: one of its large pages changed. */
static void flush_gib(struct dbt_vcpu *c, uint64_t linear)
{
    for (enum mmu_index mmu = 0; mmu < MMU_COUNT; mmu++)
        for (unsigned slot = 0; slot < TLB_ENTRIES; slot++) {
            struct tlb_entry *entry = &c->tlb[mmu][slot];

            if ((c->tlb_flags[mmu][slot] & TLB_VALID) && (((entry->read ^ linear) >> 30) == 0 || ((entry->write ^ linear) >> 30) == 0))
                clear_entry(c, mmu, slot);
        }
}

void mmu_flush_page(struct dbt_vcpu *c, uint64_t linear)
{
    unsigned slot = slot_of(linear);
    uint64_t page = linear >> PAGE_SHIFT;

    if (c->large_pages >> ((linear >> 30) & 63) & 1)
        flush_gib(c, linear);
    for (enum mmu_index mmu = 0; mmu < MMU_COUNT; mmu++) {
        struct tlb_entry *entry = &c->tlb[mmu][slot];

        if (entry->read >> PAGE_SHIFT == page || entry->write >> PAGE_SHIFT == page)
            clear_entry(c, mmu, slot);
    }
    if ((c->code_pages[0][(page >> 6) & 15] | c->code_pages[1][(page >> 6) & 15]) >> (page & 63) & 1)
        forget_targets(c, true);
}

/* No write tags for a page of RAM any more: code was found on it. The vCPU is its own, or stopped. */
void mmu_revoke_write(struct dbt_vcpu *c, uint64_t host_page)
{
    for (enum mmu_index mmu = 0; mmu < MMU_COUNT; mmu++)
        for (unsigned slot = 0; slot < TLB_ENTRIES; slot++)
            if (c->tlb[mmu][slot].host == host_page)
                c->tlb[mmu][slot].write = tlb_no_match(slot);
}

void mmu_revoke_all_writes(struct dbt_vcpu *c)
{
    for (enum mmu_index mmu = 0; mmu < MMU_COUNT; mmu++)
        for (unsigned slot = 0; slot < TLB_ENTRIES; slot++)
            c->tlb[mmu][slot].write = tlb_no_match(slot);
}

/* Which range it was does not matter: this is rare. */
void mmu_follow_map(struct dbt_vcpu *c)
{
    __atomic_store_n(&c->remapped, 0, __ATOMIC_SEQ_CST);
    for (enum mmu_index mmu = 0; mmu < MMU_COUNT; mmu++) {
        for (unsigned slot = 0; slot < TLB_ENTRIES; slot++)
            clear_entry(c, mmu, slot);
        c->tlb_logged[mmu] = 0;
    }
    c->large_pages = 0;
}

void mmu_reset(struct dbt_vcpu *c)
{
    clear_words(c->tlb, sizeof(c->tlb) / 4);
    mmu_flush_all(c);
}

bool mmu_lookup(struct dbt_vcpu *c, uint64_t linear, uint64_t *physical)
{
    struct walk walk;

    if (!walk_page(c, MMU_KERNEL_AC, linear, MMU_READ, false, &walk))
        return false;
    *physical = walk.physical;
    return true;
}

/* ---- addresses ---- */

uint64_t insn_offset(const struct dbt_vcpu *c, const struct insn *insn)
{
    uint64_t offset = (uint64_t)insn->displacement;

    if (insn->base == 16)
        offset += c->rip + insn->length;
    else if (insn->base >= 0)
        offset += c->gpr[insn->base];
    if (insn->index >= 0)
        offset += c->gpr[insn->index] * insn->scale;
    return insn->address_size == 8 ? offset : insn->address_size == 4 ? (uint32_t)offset : (uint16_t)offset;
}

/* Does [offset, offset + size) lie in the segment? SDM volume 3, 5.3. */
static bool within_limit(const struct segment_state *segment, uint64_t offset, unsigned size)
{
    uint64_t last = offset + size - 1;
    bool expand_down = (segment->attributes & (SEGMENT_S | 0x0c)) == (SEGMENT_S | 0x04);

    if (!expand_down)
        return last <= segment->limit;
    return offset > segment->limit && last <= (segment->attributes & SEGMENT_DB ? 0xffffffffull : 0xffffull);
}

static bool type_allows(const struct segment_state *segment, enum mmu_access access)
{
    unsigned type = segment->attributes & SEGMENT_TYPE;

    if (type & 8) /* code */
        return access != MMU_WRITE && (access == MMU_FETCH || (type & 2));
    return access != MMU_WRITE || (type & 2);
}

uint64_t segment_linear(struct dbt_vcpu *c, enum segment which, uint64_t offset, unsigned size, enum mmu_access access)
{
    const struct segment_state *segment = &c->segment[which];
    unsigned vector = which == SEG_SS ? VECTOR_SS : VECTOR_GP;

    if (code64(c)) {
        uint64_t linear = offset + (which == SEG_FS || which == SEG_GS ? segment->base : 0);

        check_canonical(c, linear, size, vector);
        return linear;
    }
    if (!real_mode(c) && !v8086_mode(c)) {
        if (segment->attributes & SEGMENT_UNUSABLE)
            raise_fault(c, VECTOR_GP, 0);
        if (!type_allows(segment, access))
            raise_fault(c, VECTOR_GP, 0);
    }
    if (!within_limit(segment, offset, size))
        raise_fault(c, vector, 0);
    return (uint32_t)(segment->base + offset);
}

uint64_t insn_linear(struct dbt_vcpu *c, const struct insn *insn, unsigned size, enum mmu_access access)
{
    return segment_linear(c, insn->segment, insn_offset(c, insn), size, access);
}
