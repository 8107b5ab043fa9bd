/* What one run of one machine is asked to be. */
#ifndef LODGE_VMM_OPTIONS_H
#define LODGE_VMM_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

enum { VMM_INITRDS = 64, VMM_DISKS = 16, VMM_NETS = 4, VMM_PATH = 4096 };

#define VMM_MEMORY_LEAST (2ull << 20)
#define VMM_MEMORY_DEFAULT (256ull << 20)
#define VMM_MEMORY_MOST (1ull << 40)
enum { VMM_CPUS_DEFAULT = 1, VMM_CPUS_MOST = 64 };

/* Strings are borrowed. */
struct vmm_options {
    const char *name;
    const char *kernel; /* NULL: firmware finds something to boot */
    char firmware[VMM_PATH]; /* a file, or "seabios", "ovmf"; empty: none */
    char firmware_vars[VMM_PATH]; /* where its variables are kept; empty: nowhere */
    bool firmware_readonly; /* that file is not to be written */
    char firmware_log[VMM_PATH]; /* where what it writes to port 0x402 goes; empty: nowhere */
    const char *initrds[VMM_INITRDS];
    unsigned initrd_count;
    const char *append;
    const char *disks[VMM_DISKS]; /* as vmm_disk_open() takes them */
    unsigned disk_count;
    const char *nets[VMM_NETS]; /* as vmm_net_open() takes them */
    unsigned net_count;
    const char *vsock;   /* as backends_open() takes it, or NULL */
    bool virtio_console; /* the terminal is a virtio console's, not the serial port's */
    uint64_t memory;     /* bytes, a multiple of the page size */
    uint64_t balloon;    /* bytes of it that the guest is asked to give back; less than memory */
    unsigned cpus;
    const char *cpu_model;
    const char *engine; /* "auto", "kvm", "dbt" */
    const char *gdb; /* where to wait for a debugger, and how: "ADDRESS[,nowait][,i386]"; NULL: not at all */
    const char *sandbox; /* "on", "off", "strict" */
    const char *user;    /* a name, a number, "keep"; NULL: nobody, if this is root */
    bool debug_exit;
    bool no_reboot;
    bool stats;
    uint32_t trace;         /* enum trace_kind (core/trace_event.h); 0: none */
    const char *trace_file; /* NULL: NAME.trace; "-": standard error */
};

/* The choices, for checks and help; NULL-terminated. */
const char *const *vmm_cpu_models(void);
const char *const *vmm_engine_names(void);
const char *const *vmm_sandbox_modes(void);
const char *const *vmm_trace_kinds(void); /* what --trace takes: number n is bit n, the last is "all" */

/* Could --gdb be given this? Logs why not. */
bool vmm_gdb_is_valid(const char *value);

#endif
