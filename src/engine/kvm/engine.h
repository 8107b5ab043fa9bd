/*
 * What the files of the KVM engine share. Names of ioctls, capabilities and structs that start with KVM_ or kvm_ and
 * are not declared here are the kernel's (Linux Documentation/virt/kvm/api.rst).
 */
#ifndef LODGE_ENGINE_KVM_ENGINE_H
#define LODGE_ENGINE_KVM_ENGINE_H

#include <linux/kvm.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>

#include "core/engine.h"
#include "core/machine.h"

/*
 * Interrupt routes. 0 is the in-kernel timer's IRQ, which goes to both controllers; the others are single wires, since
 * the board drives the two controllers apart.
 */
enum {
    GSI_TIMER = 0,
    GSI_IOAPIC = 0, /* + pin, 1..23 but 2, the timer's */
    GSI_PIC = 24,   /* + pin, 1..15 but 2, the cascade */
    GSI_MESSAGE = 64,
    MESSAGES = 256,
};

/* Pins and inputs of the controllers that have no wire of their own: the timer's and the cascade's. */
enum { TIMER_PIN = 2, TIMER_IRQ = 0, CASCADE_IRQ = 2, PIC_HALF = 8 };

/* A message-signalled interrupt that has been sent before: writing to fd sends it again. */
struct kvm_message {
    uint64_t address;
    uint32_t data;
    int fd;
};

struct kvm_messages {
    struct kvm_message entries[MESSAGES];
    unsigned count;
    bool direct; /* no irqfd here: each message is an ioctl */
};

/* Which pages were written: by vCPUs as KVM tells, by devices as memory_wrote() does. One bit per page of the backing. */
struct kvm_dirty {
    bool enabled;
    uint32_t ring_entries; /* of each vCPU's ring; 0: KVM keeps bitmaps */
    uint64_t *pages;
    pthread_mutex_t collect; /* one thread at a time empties the rings. Leaf lock */
};

struct kvm_doorbells;

/* What KVM really stops at on this host. Single steps always work. */
struct kvm_debug_means {
    bool known, int3, points;
};

struct kvm_cpu {
    struct vcpu vcpu; /* first */
    int fd;
    struct kvm_run *run;
    struct kvm_dirty_gfn *ring; /* dirty ring, or NULL */
    uint32_t ring_next;
    _Atomic pid_t thread; /* that runs it now, for kicks; 0: none does */
    bool unfinished;      /* KVM completes the last exit's instruction at the next KVM_RUN */
    struct debug_control debug;
    bool stepping; /* for want of breakpoints: each instruction is looked at before it runs */
    _Atomic uint64_t tsc_offset;
    uint64_t exits;
};

struct kvm_engine {
    struct engine engine; /* first */
    struct memory_observer observer;
    int kvm, vm;
    size_t run_size;
    struct kvm_cpu *cpus[MACHINE_CPUS];
    unsigned cpu_count;
    uint32_t ioapic_lines, pic_lines; /* what the board drives. Machine lock */
    struct kvm_messages messages;     /* machine lock */
    struct kvm_dirty dirty;
    struct kvm_doorbells *doorbells;
    struct kvm_debug_means debug; /* found out when a debugger first asks */
};

static inline struct kvm_engine *kvm_engine_of(const struct engine *engine)
{
    return (struct kvm_engine *)(uintptr_t)engine;
}

static inline struct kvm_cpu *kvm_cpu_of(const struct vcpu *vcpu)
{
    return (struct kvm_cpu *)(uintptr_t)vcpu;
}

/* ioctl() that logs its failure under the request's name, and answers a status. */
enum status kvm_request(int fd, unsigned long request, const char *name, void *argument) MUST_CHECK;
#define KVM_REQUEST(fd, request, argument) kvm_request(fd, request, #request, argument)

/* capability.c: opens /dev/kvm and checks that it has all that this engine needs. Errors are logged. */
enum status kvm_open(int *kvm) MUST_CHECK;
bool kvm_has(int fd, unsigned capability);
enum status kvm_enable(int fd, unsigned capability, uint64_t argument, const char *name) MUST_CHECK;

/* cpuid.c */
enum status kvm_limits(struct cpuid_request *request) MUST_CHECK;
enum status kvm_cpuid_set(struct kvm_cpu *cpu) MUST_CHECK;

/* msr.c: the board's own answers to registers that KVM does not have, or has otherwise. */
enum status kvm_msr_prepare(struct kvm_engine *kvm) MUST_CHECK;
void kvm_msr_exit(struct kvm_cpu *cpu);

/* state.c: struct cpu_state. set answers STATUS_OK only when all of it is in KVM. */
void kvm_state_get(struct vcpu *vcpu, struct cpu_state *state);
enum status kvm_state_set(struct vcpu *vcpu, const struct cpu_state *state) MUST_CHECK;
enum status kvm_state_get_control(const struct kvm_cpu *cpu, struct cpu_state *state) MUST_CHECK; /* segments, CRn, EFER */
enum status kvm_state_prepare(struct kvm_cpu *cpu) MUST_CHECK; /* once, after its creation */
uint64_t kvm_tsc(const struct vcpu *vcpu);
void kvm_delay_tsc(struct vcpu *vcpu, uint64_t ticks);

/* state_msr.c: the part of it that is in model-specific registers. */
enum status kvm_state_msrs_get(const struct kvm_cpu *cpu, struct cpu_state *state) MUST_CHECK;
enum status kvm_state_msrs_set(const struct kvm_cpu *cpu, const struct cpu_state *state) MUST_CHECK;
enum status kvm_msr_get(const struct kvm_cpu *cpu, uint32_t msr, uint64_t *value) MUST_CHECK;
enum status kvm_msr_set(const struct kvm_cpu *cpu, uint32_t msr, uint64_t value) MUST_CHECK;

/* run.c */
enum vcpu_exit kvm_cpu_run(struct vcpu *vcpu);
void kvm_cpu_kick(struct vcpu *vcpu);
enum status kvm_kick_prepare(void) MUST_CHECK;

/* exit.c: what the guest left KVM for. False: *exit says what for the vCPU's loop; true: the guest goes on. */
bool kvm_exit(struct kvm_cpu *cpu, enum vcpu_exit *exit);
void kvm_exit_error(struct kvm_cpu *cpu, int error); /* KVM_RUN itself failed: the report */
uint64_t kvm_cpu_rip(const struct kvm_cpu *cpu);     /* costs a system call */

/* debug_probe.c: by running guests that break. */
struct kvm_debug_means kvm_debug_probe(int kvm);

/* debug.c */
enum status kvm_debug_set(struct vcpu *vcpu, const struct debug_control *control) MUST_CHECK;
bool kvm_debug_exit(struct kvm_cpu *cpu, enum vcpu_exit *exit);
bool kvm_debug_here(struct kvm_cpu *cpu); /* while stepping, before the first: is it an INT3 that stops? */

/* memory.c */
enum status kvm_memory_map(struct kvm_engine *kvm) MUST_CHECK;
enum status kvm_dirty_log(struct engine *engine, bool enable) MUST_CHECK;
enum status kvm_dirty_fetch(struct engine *engine, uint64_t *bitmap, uint64_t pages) MUST_CHECK;
void kvm_dirty_destroy(struct kvm_engine *kvm);

/* dirty_ring.c: struct kvm_dirty.ring_entries is not 0. */
enum status kvm_ring_prepare(struct kvm_engine *kvm) MUST_CHECK; /* before vCPUs are made */
enum status kvm_ring_map(struct kvm_engine *kvm, struct kvm_cpu *cpu) MUST_CHECK;
void kvm_ring_collect(struct kvm_engine *kvm);

/* Sets the bit of a page of a memory slot. Any thread. */
void kvm_dirty_mark(struct kvm_engine *kvm, unsigned slot, uint64_t page);

/* irqchip.c */
extern const struct irqchip_ops kvm_irqchip_ops;
enum status kvm_irqchip_create(struct kvm_engine *kvm) MUST_CHECK;

/* message.c */
enum status kvm_routes_set(struct kvm_engine *kvm) MUST_CHECK;
void kvm_message_send(struct engine *engine, uint64_t address, uint32_t data);
void kvm_messages_destroy(struct kvm_engine *kvm);

/* doorbell.c */
enum status kvm_doorbells_create(struct kvm_engine *kvm) MUST_CHECK;
/* By a vCPU before it runs: starts the thread, if it is wanted by now. */
void kvm_doorbells_start(struct kvm_engine *kvm);
void kvm_doorbells_destroy(struct kvm_engine *kvm);

#endif
