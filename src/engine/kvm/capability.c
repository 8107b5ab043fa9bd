#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/bits.h"
#include "engine/kvm/engine.h"
#include "port/log.h"

enum status kvm_request(int fd, unsigned long request, const char *name, void *argument)
{
    int result;

    do
        result = ioctl(fd, request, argument);
    while (result < 0 && errno == EINTR);
    if (result >= 0)
        return STATUS_OK;
    log_error("engine kvm: %s: %s", name, strerror(errno));
    return errno == ENOMEM ? STATUS_NO_MEMORY : errno == EPERM || errno == EACCES ? STATUS_DENIED : STATUS_IO;
}

bool kvm_has(int fd, unsigned capability)
{
    return ioctl(fd, KVM_CHECK_EXTENSION, (unsigned long)capability) > 0;
}

enum status kvm_enable(int fd, unsigned capability, uint64_t argument, const char *name)
{
    struct kvm_enable_cap enable = {.cap = capability, .args = {argument}};

    if (ioctl(fd, KVM_ENABLE_CAP, &enable) >= 0)
        return STATUS_OK;
    log_error("engine kvm: cannot enable %s: %s", name, strerror(errno));
    return STATUS_UNSUPPORTED;
}

#define NEEDED(capability)                                                                                             \
    {                                                                                                                  \
        capability, #capability                                                                                        \
    }

/* All of them are in Linux 5.11 and later. */
static const struct {
    unsigned number;
    const char *name;
} needed[] = {
    NEEDED(KVM_CAP_USER_MEMORY),
    NEEDED(KVM_CAP_IRQCHIP),
    NEEDED(KVM_CAP_IRQ_ROUTING),
    NEEDED(KVM_CAP_SIGNAL_MSI),
    NEEDED(KVM_CAP_IRQFD),
    NEEDED(KVM_CAP_IOEVENTFD),
    NEEDED(KVM_CAP_IOEVENTFD_ANY_LENGTH),
    NEEDED(KVM_CAP_PIT2),
    NEEDED(KVM_CAP_PIT_STATE2),
    NEEDED(KVM_CAP_EXT_CPUID),
    NEEDED(KVM_CAP_MP_STATE),
    NEEDED(KVM_CAP_VCPU_EVENTS),
    NEEDED(KVM_CAP_DEBUGREGS),
    NEEDED(KVM_CAP_XSAVE),
    NEEDED(KVM_CAP_XCRS),
    NEEDED(KVM_CAP_ADJUST_CLOCK),
    NEEDED(KVM_CAP_GET_TSC_KHZ),
    NEEDED(KVM_CAP_TSC_DEADLINE_TIMER),
    NEEDED(KVM_CAP_X2APIC_API),
    NEEDED(KVM_CAP_IMMEDIATE_EXIT),
    NEEDED(KVM_CAP_READONLY_MEM),
    NEEDED(KVM_CAP_SET_GUEST_DEBUG),
    NEEDED(KVM_CAP_ENFORCE_PV_FEATURE_CPUID),
    NEEDED(KVM_CAP_X86_USER_SPACE_MSR),
    NEEDED(KVM_CAP_X86_MSR_FILTER),
};

static enum status check_capabilities(int kvm)
{
    int version = ioctl(kvm, KVM_GET_API_VERSION, 0);

    if (version != KVM_API_VERSION) {
        log_error("engine kvm: /dev/kvm speaks version %d of its interface, not %d; use --engine dbt", version,
                  KVM_API_VERSION);
        return STATUS_UNSUPPORTED;
    }
    for (size_t i = 0; i < ARRAY_LENGTH(needed); i++) {
        if (kvm_has(kvm, needed[i].number))
            continue;
        log_error("engine kvm: this host's KVM lacks %s (Linux 5.11 or later has it); use --engine dbt",
                  needed[i].name);
        return STATUS_UNSUPPORTED;
    }
    return STATUS_OK;
}

/* The first descriptor stays open: a machine that starts again does so where nothing can be opened any more. */
static int device_open(void)
{
    static atomic_int device = -1;
    int none = -1, kept = atomic_load(&device);

    if (kept >= 0)
        return fcntl(kept, F_DUPFD_CLOEXEC, 0);
    kept = open("/dev/kvm", O_RDWR | O_CLOEXEC);
    if (kept < 0)
        return -1;
    int fd = fcntl(kept, F_DUPFD_CLOEXEC, 0);
    if (!atomic_compare_exchange_strong(&device, &none, kept))
        close(kept);
    return fd;
}

enum status kvm_open(int *kvm)
{
    enum status status;

    *kvm = device_open();
    if (*kvm < 0) {
        log_error("engine kvm: /dev/kvm: %s; use --engine dbt", strerror(errno));
        return errno == EACCES || errno == EPERM ? STATUS_DENIED : STATUS_NOT_FOUND;
    }
    status = check_capabilities(*kvm);
    if (status != STATUS_OK) {
        close(*kvm);
        *kvm = -1;
    }
    return status;
}
