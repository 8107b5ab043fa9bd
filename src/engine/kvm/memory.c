/* Guest memory as KVM's slots, one for each range, and the log of what was written there. */
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#include "base/bits.h"
#include "engine/kvm/engine.h"
#include "port/log.h"

/* A hidden range has no slot; a ROM's is read-only, and writes to it leave the guest as those to a device do. */
static enum status set_slot(const struct kvm_engine *kvm, unsigned slot)
{
    const struct guest_memory *memory = &kvm->engine.machine->memory;
    const struct memory_range *range = &memory->ranges[slot];
    struct kvm_userspace_memory_region region = {
        .slot = slot,
        .flags = (kvm->dirty.enabled ? KVM_MEM_LOG_DIRTY_PAGES : 0) | (range->read_only ? KVM_MEM_READONLY : 0),
        .guest_phys_addr = range->base,
        .memory_size = range->hidden ? 0 : range->size,
        .userspace_addr = (uint64_t)(uintptr_t)(memory->host + range->offset),
    };

    return KVM_REQUEST(kvm->vm, KVM_SET_USER_MEMORY_REGION, &region);
}

static enum status set_slots(const struct kvm_engine *kvm)
{
    enum status status = STATUS_OK;

    for (unsigned slot = 0; slot < kvm->engine.machine->memory.range_count && status == STATUS_OK; slot++)
        if (!kvm->engine.machine->memory.ranges[slot].hidden)
            status = set_slot(kvm, slot);
    return status;
}

static uint64_t backing_words(const struct kvm_engine *kvm)
{
    return ((kvm->engine.machine->memory.size >> PAGE_SHIFT) + 63) / 64;
}

/* A page of the backing. */
static void mark(struct kvm_engine *kvm, uint64_t page)
{
    if (page / 64 < backing_words(kvm))
        __atomic_fetch_or(&kvm->dirty.pages[page / 64], BIT64(page % 64), __ATOMIC_RELAXED);
}

void kvm_dirty_mark(struct kvm_engine *kvm, unsigned slot, uint64_t page)
{
    const struct guest_memory *memory = &kvm->engine.machine->memory;

    if (slot < memory->range_count && page < memory->ranges[slot].size >> PAGE_SHIFT)
        mark(kvm, (memory->ranges[slot].offset >> PAGE_SHIFT) + page);
}

/* Devices and loaders. Any thread. */
static void observe(struct memory_observer *observer, uint64_t address, uint64_t size)
{
    struct kvm_engine *kvm = CONTAINER_OF(observer, struct kvm_engine, observer);
    const struct guest_memory *memory = &kvm->engine.machine->memory;

    if (!__atomic_load_n(&kvm->dirty.enabled, __ATOMIC_ACQUIRE) || size == 0)
        return;
    for (unsigned slot = 0; slot < memory->range_count; slot++) {
        const struct memory_range *range = &memory->ranges[slot];
        uint64_t first = address > range->base ? address : range->base;
        uint64_t end = address + size < range->base + range->size ? address + size : range->base + range->size;

        for (uint64_t at = first & ~(uint64_t)(PAGE_SIZE - 1); at < end; at += PAGE_SIZE)
            kvm_dirty_mark(kvm, slot, (at - range->base) >> PAGE_SHIFT);
    }
}

/* A failure has been logged; the guest then goes by the old map. */
static void remap(struct memory_observer *observer, unsigned number)
{
    (void)!set_slot(CONTAINER_OF(observer, struct kvm_engine, observer), number);
}

enum status kvm_memory_map(struct kvm_engine *kvm)
{
    kvm->observer.written = observe;
    kvm->observer.remapped = remap;
    kvm->engine.machine->memory.observer = &kvm->observer;
    return set_slots(kvm);
}

enum status kvm_dirty_log(struct engine *engine, bool enable)
{
    struct kvm_engine *kvm = kvm_engine_of(engine);

    if (enable == kvm->dirty.enabled)
        return STATUS_OK;
    if (!kvm->dirty.pages) { /* kept when the log is switched off: somebody may just be writing to it */
        kvm->dirty.pages = calloc(backing_words(kvm), sizeof(*kvm->dirty.pages));
        if (!kvm->dirty.pages) {
            log_error("engine kvm: out of memory for the dirty log");
            return STATUS_NO_MEMORY;
        }
    }
    memset(kvm->dirty.pages, 0, backing_words(kvm) * sizeof(*kvm->dirty.pages));
    __atomic_store_n(&kvm->dirty.enabled, enable, __ATOMIC_RELEASE);
    return set_slots(kvm);
}

/* KVM's bitmap of one slot, which KVM clears as it gives it. */
static enum status fetch_slot(struct kvm_engine *kvm, unsigned slot)
{
    uint64_t pages = kvm->engine.machine->memory.ranges[slot].size >> PAGE_SHIFT, words = (pages + 63) / 64;
    uint64_t *bits = calloc(words, sizeof(*bits));
    struct kvm_dirty_log log = {.slot = slot, .dirty_bitmap = bits};
    enum status status;

    if (kvm->engine.machine->memory.ranges[slot].hidden) { /* nothing writes it behind our back */
        free(bits);
        return STATUS_OK;
    }
    if (!bits) {
        log_error("engine kvm: out of memory for the dirty log");
        return STATUS_NO_MEMORY;
    }
    status = KVM_REQUEST(kvm->vm, KVM_GET_DIRTY_LOG, &log);
    for (uint64_t word = 0; word < words && status == STATUS_OK; word++)
        for (uint64_t left = bits[word]; left != 0; left &= left - 1)
            kvm_dirty_mark(kvm, slot, word * 64 + (unsigned)__builtin_ctzll(left));
    free(bits);
    return status;
}

static enum status fetch_slots(struct kvm_engine *kvm)
{
    enum status status = STATUS_OK;

    for (unsigned slot = 0; slot < kvm->engine.machine->memory.range_count && status == STATUS_OK; slot++)
        status = fetch_slot(kvm, slot);
    return status;
}

enum status kvm_dirty_fetch(struct engine *engine, uint64_t *bitmap, uint64_t pages)
{
    struct kvm_engine *kvm = kvm_engine_of(engine);
    enum status status = STATUS_OK;

    if (!kvm->dirty.enabled || pages < engine->machine->memory.size >> PAGE_SHIFT)
        return STATUS_INVALID;
    if (kvm->dirty.ring_entries)
        kvm_ring_collect(kvm);
    else
        status = fetch_slots(kvm);
    for (uint64_t word = 0; word < backing_words(kvm); word++)
        bitmap[word] = __atomic_exchange_n(&kvm->dirty.pages[word], 0, __ATOMIC_RELAXED);
    return status;
}

void kvm_dirty_destroy(struct kvm_engine *kvm)
{
    struct guest_memory *memory = &kvm->engine.machine->memory;

    if (memory->observer == &kvm->observer)
        memory->observer = NULL;
    pthread_mutex_destroy(&kvm->dirty.collect);
    free(kvm->dirty.pages);
}
