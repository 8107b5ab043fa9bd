/*
 * Doorbells: device registers whose writing only notifies (struct region.doorbell) become ioeventfds, so that the vCPU
 * that writes goes on at once and a thread of ours calls the device.
 *
 * The board tells of regions as they are placed. The thread starts when a vCPU runs for the first time after one was,
 * so that it is inside of what the process has shut itself into by then. A doorbell for which there is no room or that
 * KVM refuses stays what it is, an access that leaves the guest.
 */
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/bits.h"
#include "engine/kvm/engine.h"
#include "port/log.h"

enum { BELLS = 512, EVENTS = 16, STOP = BELLS, BELL_STACK = 256 << 10 };

/* One address of a region. Unused: region is NULL. */
struct bell {
    struct region *region;
    uint64_t address;
    int fd;
};

struct kvm_doorbells {
    struct bus_observer observer;
    struct kvm_engine *kvm;
    int epoll, stop;
    pthread_t thread;
    bool running;
    atomic_bool wanted;       /* there is a bell, and no thread yet */
    struct bell bells[BELLS]; /* machine lock */
};

static bool bell_connect(const struct kvm_doorbells *doorbells, const struct bell *bell, uint32_t flags)
{
    struct kvm_ioeventfd ioeventfd = {.addr = bell->address, .len = 0, .fd = bell->fd, .flags = flags};

    if (bell->region->space == BUS_PORT)
        ioeventfd.flags |= KVM_IOEVENTFD_FLAG_PIO;
    return ioctl(doorbells->kvm->vm, KVM_IOEVENTFD, &ioeventfd) == 0;
}

static void bell_remove(struct kvm_doorbells *doorbells, struct bell *bell)
{
    (void)bell_connect(doorbells, bell, KVM_IOEVENTFD_FLAG_DEASSIGN);
    close(bell->fd); /* leaves the epoll set by itself */
    *bell = (struct bell){0};
}

static bool watch(const struct kvm_doorbells *doorbells, int fd, uint32_t number)
{
    struct epoll_event event = {.events = EPOLLIN, .data.u32 = number};

    return epoll_ctl(doorbells->epoll, EPOLL_CTL_ADD, fd, &event) == 0;
}

static void bell_add(struct kvm_doorbells *doorbells, struct region *region, uint64_t address)
{
    for (uint32_t i = 0; i < BELLS; i++) {
        struct bell *bell = &doorbells->bells[i];

        if (bell->region)
            continue;
        *bell = (struct bell){region, address, eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};
        if (bell->fd >= 0 && watch(doorbells, bell->fd, i) && bell_connect(doorbells, bell, 0))
            return;
        if (bell->fd >= 0)
            close(bell->fd);
        *bell = (struct bell){0};
        return;
    }
}

/* --- the thread --- */

static void ring(struct kvm_doorbells *doorbells, const struct bell *bell)
{
    struct machine *machine = doorbells->kvm->engine.machine;
    uint64_t count;

    lock_acquire(&machine->lock);
    /* The region may have moved between epoll's answer and the lock; then nobody has rung here. */
    if (bell->region && read(bell->fd, &count, sizeof(count)) == sizeof(count)) {
        struct region *region = bell->region;
        struct io_access access = {
            .offset = bell->address - region->base,
            .size = region->smallest,
            .write = true,
        };

        (void)region->device->type->io(region->device, region->index, &access);
    }
    lock_release(&machine->lock);
}

static void *doorbells_run(void *argument)
{
    struct kvm_doorbells *doorbells = argument;
    struct epoll_event events[EVENTS];

    (void)pthread_setname_np(pthread_self(), "lodge/doorbells");
    for (;;) {
        int count = epoll_wait(doorbells->epoll, events, EVENTS, -1);

        if (count < 0 && errno != EINTR)
            return NULL;
        for (int i = 0; i < count; i++) {
            if (events[i].data.u32 == STOP)
                return NULL;
            ring(doorbells, &doorbells->bells[events[i].data.u32]);
        }
    }
}

static bool start_thread(struct kvm_doorbells *doorbells)
{
    pthread_attr_t attributes;
    int error;

    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, BELL_STACK);
    error = pthread_create(&doorbells->thread, &attributes, doorbells_run, doorbells);
    pthread_attr_destroy(&attributes);
    if (error) {
        log_warning("engine kvm: no thread for doorbells: %s; disks and networks will be slower", strerror(error));
        return false;
    }
    doorbells->running = true;
    return true;
}

void kvm_doorbells_start(struct kvm_engine *kvm)
{
    struct kvm_doorbells *doorbells = kvm->doorbells;

    if (!doorbells || !atomic_load_explicit(&doorbells->wanted, memory_order_relaxed))
        return;
    lock_acquire(&kvm->engine.machine->lock);
    if (atomic_exchange(&doorbells->wanted, false) && !start_thread(doorbells))
        for (unsigned i = 0; i < BELLS; i++)
            if (doorbells->bells[i].region)
                bell_remove(doorbells, &doorbells->bells[i]);
    lock_release(&kvm->engine.machine->lock);
}

/* --- the board's side --- */

static void placed(struct bus_observer *observer, struct region *region)
{
    struct kvm_doorbells *doorbells = CONTAINER_OF(observer, struct kvm_doorbells, observer);

    for (unsigned i = 0; i < BELLS; i++)
        if (doorbells->bells[i].region == region)
            bell_remove(doorbells, &doorbells->bells[i]);
    if (!region->enabled || region->doorbell_count == 0)
        return;
    for (uint32_t i = 0; i < region->doorbell_count; i++)
        bell_add(doorbells, region, region->base + (uint64_t)i * region->doorbell_stride);
    if (!doorbells->running)
        atomic_store(&doorbells->wanted, true);
}

enum status kvm_doorbells_create(struct kvm_engine *kvm)
{
    struct kvm_doorbells *doorbells = calloc(1, sizeof(*doorbells));

    if (!doorbells) {
        log_error("engine kvm: out of memory for doorbells");
        return STATUS_NO_MEMORY;
    }
    *doorbells = (struct kvm_doorbells){.observer.placed = placed, .kvm = kvm};
    doorbells->epoll = epoll_create1(EPOLL_CLOEXEC);
    doorbells->stop = eventfd(0, EFD_CLOEXEC);
    kvm->doorbells = doorbells;
    if (doorbells->epoll < 0 || doorbells->stop < 0 || !watch(doorbells, doorbells->stop, STOP)) {
        log_error("engine kvm: cannot watch doorbells: %s", strerror(errno));
        return STATUS_IO;
    }
    kvm->engine.machine->bus.observer = &doorbells->observer;
    return STATUS_OK;
}

void kvm_doorbells_destroy(struct kvm_engine *kvm)
{
    struct kvm_doorbells *doorbells = kvm->doorbells;
    const uint64_t one = 1;

    if (!doorbells)
        return;
    if (kvm->engine.machine->bus.observer == &doorbells->observer)
        kvm->engine.machine->bus.observer = NULL;
    if (doorbells->running && write(doorbells->stop, &one, sizeof(one)) == sizeof(one))
        pthread_join(doorbells->thread, NULL);
    for (unsigned i = 0; i < BELLS; i++)
        if (doorbells->bells[i].region)
            bell_remove(doorbells, &doorbells->bells[i]);
    if (doorbells->epoll >= 0)
        close(doorbells->epoll);
    if (doorbells->stop >= 0)
        close(doorbells->stop);
    free(doorbells);
    kvm->doorbells = NULL;
}
