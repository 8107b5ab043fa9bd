/*
 * Running a vCPU.
 *
 * No kick is lost: whoever kicks sets immediate_exit after the attention bit, and then sends a signal if the thread may
 * be in KVM_RUN. We clear immediate_exit before we look at the attention word. So either we see the bit, or KVM_RUN
 * finds immediate_exit set and returns at once, or it runs already and the signal ends it.
 */
#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "engine/kvm/engine.h"
#include "port/log.h"

/* The first of the real-time signals that the C library leaves to programs. */
#define KICK_SIGNAL SIGRTMIN

static void kicked(int number)
{
    (void)number; /* it has interrupted KVM_RUN */
}

enum status kvm_kick_prepare(void)
{
    struct sigaction action = {.sa_handler = kicked, .sa_flags = SA_RESTART};

    sigemptyset(&action.sa_mask);
    if (sigaction(KICK_SIGNAL, &action, NULL) == 0)
        return STATUS_OK;
    log_error("engine kvm: cannot take signal %d: %s", KICK_SIGNAL, strerror(errno));
    return STATUS_IO;
}

static void set_immediate_exit(struct kvm_cpu *cpu, uint8_t value)
{
    __atomic_store_n(&cpu->run->immediate_exit, value, __ATOMIC_SEQ_CST);
}

void kvm_cpu_kick(struct vcpu *vcpu)
{
    struct kvm_cpu *cpu = kvm_cpu_of(vcpu);
    pid_t thread;

    set_immediate_exit(cpu, 1);
    thread = cpu->thread;
    if (thread != 0)
        (void)syscall(SYS_tgkill, getpid(), thread, KICK_SIGNAL);
}

/* Attention that is the engine's. True: the rest is the loop's. */
static bool serve_attention(struct kvm_cpu *cpu)
{
    const uint32_t mine = ATTENTION_ENGINE | ATTENTION_INTERRUPT | ATTENTION_NMI;
    uint32_t bits = atomic_fetch_and(&cpu->vcpu.attention, ~mine);

    if ((bits & ATTENTION_NMI) && ioctl(cpu->fd, KVM_NMI, 0) < 0)
        log_error("engine kvm: KVM_NMI: %s", strerror(errno));
    return (bits & ~mine) != 0;
}

/* One stay in the guest. False: *exit is for the vCPU's loop. */
static bool enter(struct kvm_cpu *cpu, enum vcpu_exit *exit)
{
    if (ioctl(cpu->fd, KVM_RUN, 0) == 0) {
        cpu->exits++;
        cpu->unfinished = true;
        return kvm_exit(cpu, exit);
    }
    cpu->unfinished = false;
    if (errno == EINTR || errno == EAGAIN)
        return true;
    kvm_exit_error(cpu, errno);
    *exit = VCPU_EXIT_FAILED;
    return false;
}

/* So that the state which others read has the whole instruction: a port read arrives in its register only now. */
static void finish_instruction(struct kvm_cpu *cpu)
{
    if (!cpu->unfinished)
        return;
    set_immediate_exit(cpu, 1);
    (void)ioctl(cpu->fd, KVM_RUN, 0);
    cpu->unfinished = false;
}

enum vcpu_exit kvm_cpu_run(struct vcpu *vcpu)
{
    struct kvm_cpu *cpu = kvm_cpu_of(vcpu);
    enum vcpu_exit exit = VCPU_EXIT_ATTENTION;

    if (!vcpu->attention && kvm_debug_here(cpu))
        return VCPU_EXIT_DEBUG;
    cpu->thread = (pid_t)syscall(SYS_gettid);
    for (;;) {
        set_immediate_exit(cpu, 0);
        if (vcpu->attention && serve_attention(cpu))
            break;
        kvm_doorbells_start(kvm_engine_of(vcpu->engine));
        if (!enter(cpu, &exit))
            break;
    }
    cpu->thread = 0;
    if (exit == VCPU_EXIT_ATTENTION || exit == VCPU_EXIT_DEBUG)
        finish_instruction(cpu);
    return exit;
}
