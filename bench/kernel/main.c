/* bench-kernel: what the kernel does for programs. */
#include "kernel/programs.h"

#include <sched.h>

void kernel_pin_to_one_processor(void)
{
    cpu_set_t allowed;
    cpu_set_t one;
    size_t cpu = 0;

    if (sched_getaffinity(0, sizeof(allowed), &allowed) != 0) {
        bench_die("sched_getaffinity");
    }
    while (cpu < CPU_SETSIZE - 1 && !CPU_ISSET(cpu, &allowed)) {
        cpu++;
    }
    CPU_ZERO(&one);
    CPU_SET(cpu, &one);
    if (sched_setaffinity(0, sizeof(one), &one) != 0) {
        bench_die("sched_setaffinity");
    }
}

int main(int argc, char **argv)
{
    static const struct bench_program *const programs[] = {
        &bench_null, &bench_read, &bench_open,  &bench_pipe, &bench_yield, &bench_futex,  &bench_signal,
        &bench_fork, &bench_exec, &bench_touch, &bench_mmap, &bench_fault, &bench_thread, NULL};

    return bench_main(argc, argv, programs);
}
