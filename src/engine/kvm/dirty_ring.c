/*
 * The dirty log as rings (KVM_CAP_DIRTY_LOG_RING): each vCPU writes the pages that it dirties into a ring in shared
 * memory, and leaves the guest when it is full. Emptying it costs as much as was written, not as much as there is
 * memory, which a bitmap does.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#include "engine/kvm/engine.h"
#include "port/log.h"

enum { RING_ENTRIES = 4096, RING_BYTES = RING_ENTRIES * sizeof(struct kvm_dirty_gfn) };

/* Bitmaps, where this KVM has no rings or wants them smaller, or where the environment asks for them. */
enum status kvm_ring_prepare(struct kvm_engine *kvm)
{
    struct kvm_enable_cap enable = {.cap = KVM_CAP_DIRTY_LOG_RING, .args = {RING_BYTES}};
    const char *wanted = getenv("LODGE_KVM_DIRTY_LOG");

    if (wanted && strcmp(wanted, "bitmap") == 0)
        return STATUS_OK;
    if (ioctl(kvm->kvm, KVM_CHECK_EXTENSION, (unsigned long)KVM_CAP_DIRTY_LOG_RING) < (int)RING_BYTES)
        return STATUS_OK;
    if (ioctl(kvm->vm, KVM_ENABLE_CAP, &enable) == 0)
        kvm->dirty.ring_entries = RING_ENTRIES;
    return STATUS_OK;
}

enum status kvm_ring_map(struct kvm_engine *kvm, struct kvm_cpu *cpu)
{
    void *ring = mmap(NULL, kvm->dirty.ring_entries * sizeof(*cpu->ring), PROT_READ | PROT_WRITE, MAP_SHARED, cpu->fd,
                      (off_t)KVM_DIRTY_LOG_PAGE_OFFSET * PAGE_SIZE);

    if (ring == MAP_FAILED) {
        log_error("engine kvm: cannot map the dirty ring of vCPU %u: %s", cpu->vcpu.index, strerror(errno));
        return STATUS_NO_MEMORY;
    }
    cpu->ring = ring;
    return STATUS_OK;
}

/* The entries that KVM has written since the last time; they are KVM's again after KVM_RESET_DIRTY_RINGS. */
static bool collect_cpu(struct kvm_engine *kvm, struct kvm_cpu *cpu)
{
    bool any = false;

    for (;;) {
        struct kvm_dirty_gfn *entry = &cpu->ring[cpu->ring_next % kvm->dirty.ring_entries];

        if (!(__atomic_load_n(&entry->flags, __ATOMIC_ACQUIRE) & KVM_DIRTY_GFN_F_DIRTY))
            return any;
        if (kvm->dirty.pages)
            kvm_dirty_mark(kvm, entry->slot & 0xffff, entry->offset); /* the upper half is the address space */
        __atomic_store_n(&entry->flags, KVM_DIRTY_GFN_F_RESET, __ATOMIC_RELEASE);
        cpu->ring_next++;
        any = true;
    }
}

void kvm_ring_collect(struct kvm_engine *kvm)
{
    bool any = false;

    pthread_mutex_lock(&kvm->dirty.collect);
    for (unsigned i = 0; i < kvm->cpu_count; i++)
        if (kvm->cpus[i] && kvm->cpus[i]->ring && collect_cpu(kvm, kvm->cpus[i]))
            any = true;
    if (any && ioctl(kvm->vm, KVM_RESET_DIRTY_RINGS, 0) < 0)
        log_error("engine kvm: KVM_RESET_DIRTY_RINGS: %s", strerror(errno));
    pthread_mutex_unlock(&kvm->dirty.collect);
}
