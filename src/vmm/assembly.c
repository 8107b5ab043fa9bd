#include "vmm/assembly.h"

#include <string.h>

#include "base/bits.h"
#include "boot/image.h"
#include "core/engine.h"
#include "host/memory.h"
#include "vmm/firmware.h"
#include "vmm/images.h"
#include "vmm/report.h"

enum { FIRMWARE_PHYSICAL_BITS = 40 };

const char *const *vmm_cpu_models(void)
{
    return cpuid_models();
}

static unsigned assembly_physical_bits(const struct machine *machine)
{
    return cpuid_query(&machine->cpuid, 0x80000008, 0, 0, 0, 0).eax & 0xff;
}

/*
 * OVMF maps all that can be addressed, without large pages if need be: for 48 bits its page tables would take
 * 1 GiB. With the 40 that it takes for granted of a virtual machine they take 4 MiB.
 */
static unsigned assembly_physical_bits_most(const struct assembly_parts *parts)
{
    const uint64_t room = 64ull << 30; /* for what lies above RAM */
    unsigned bits = FIRMWARE_PHYSICAL_BITS;

    if (!parts->firmware->present)
        return 0;
    while (parts->options->memory + room > BIT64(bits))
        bits++;
    return bits;
}

static enum status assembly_lay_out(struct machine *machine, const struct assembly_parts *parts)
{
    struct cpuid_request request = {
        .model = parts->options->cpu_model,
        .cpus = parts->options->cpus,
        .tsc_khz = parts->tsc_khz,
        .physical_bits_most = assembly_physical_bits_most(parts),
    };
    enum status status;

    machine_init(machine, parts->clock, parts->alarm);
    machine->ended = parts->ended;
    machine->crashed = report_crash;
    machine->trace = parts->trace;
    machine->cpu_count = parts->options->cpus;
    status = memory_init(&machine->memory, parts->memory->host, parts->memory->fd, parts->options->memory);
    if (status == STATUS_OK)
        status = firmware_map(parts->firmware, &machine->memory);
    if (status != STATUS_OK)
        return status;
    machine->memory.releaser = &parts->memory->releaser;
    status = parts->engine->limits(&request);
    return status == STATUS_OK ? cpuid_build(&machine->cpuid, &request) : status;
}

static enum status assembly_create_vcpus(struct machine *machine, const struct engine_ops *ops)
{
    enum status status = ops->create(machine, &machine->engine);

    for (unsigned i = 0; i < machine->cpu_count && status == STATUS_OK; i++)
        status = ops->vcpu_create(machine->engine, i, &machine->vcpus[i]);
    return status;
}

/* The debug console (port 0xE9) comes out where the serial one does: there is one terminal. */
static enum status assembly_create_board(struct assembly *assembly, const struct assembly_parts *parts)
{
    struct q35_config config = {
        .console = parts->options->virtio_console ? NULL : parts->console,
        .debug_console = parts->console,
        .debug_exit = parts->options->debug_exit,
        .virtio = assembly->devices.virtio,
        .virtio_count = Q35_VIRTIO_SLOTS,
        .tsc.khz = parts->tsc_khz,
    };

    firmware_configure(parts->firmware, &config);
    return q35_init(&assembly->board, &assembly->machine, &config);
}

static void assembly_describe(const struct assembly *assembly, const struct pci_windows *windows,
                              struct acpi_machine *acpi)
{
    acpi_machine_init(acpi, assembly->machine.cpu_count);
    acpi->pci_64bit = (struct acpi_window){windows->memory64_base, windows->memory64_end - windows->memory64_base};
    acpi->fw_cfg = assembly->board.config.firmware;
    /* Each firmware has its own idea of where in the upper part BARs go: OVMF takes the last eighth. */
    if (acpi->fw_cfg && windows->memory64_base)
        acpi->pci_64bit.size = BIT64(assembly_physical_bits(&assembly->machine)) - windows->memory64_base;
}

static enum status assembly_reset_vcpus(struct machine *machine)
{
    enum status status = STATUS_OK;

    for (unsigned i = 0; i < machine->cpu_count && status == STATUS_OK; i++)
        status = vcpu_reset(machine->vcpus[i]);
    return status;
}

/* The first processor starts at the kernel's entry; the others wait as firmware would have left them. */
static enum status assembly_load_kernel(struct assembly *assembly, const struct boot_request *request)
{
    struct machine *machine = &assembly->machine;
    struct cpu_state state;
    enum status status = STATUS_OK;

    for (unsigned i = 0; i < machine->cpu_count && status == STATUS_OK; i++) {
        vcpu_get_state(machine->vcpus[i], &state);
        if (i == 0)
            status = boot_load(request, &machine->memory, &state);
        else
            boot_firmware_cpu(&state, request->physical_bits);
        if (status == STATUS_OK)
            status = vcpu_set_state(machine->vcpus[i], &state);
    }
    return status;
}

/* With firmware the first processor starts where reset leaves it. */
static enum status assembly_boot(struct assembly *assembly, const struct assembly_parts *parts)
{
    const struct vmm_options *options = parts->options;
    struct pci_windows windows;
    struct boot_request request = {
        .kernel = {.name = options->kernel, .bytes = parts->images->kernel.bytes, .size = parts->images->kernel.size},
        .modules = parts->images->modules,
        .module_count = options->initrd_count,
        .command_line = options->append,
        .physical_bits = assembly_physical_bits(&assembly->machine),
    };
    const struct firmware_machine firmware_machine = {
        .options = options,
        .images = parts->images,
        .acpi = &request.machine,
        .memory = &assembly->machine.memory,
        .windows = &windows,
    };
    enum status status = assembly_reset_vcpus(&assembly->machine);

    if (status != STATUS_OK)
        return status;
    q35_pci_windows(&assembly->board, &windows);
    assembly_describe(assembly, &windows, &request.machine);
    if (parts->firmware->present)
        return firmware_describe(parts->firmware, &firmware_machine, &assembly->board.fw_cfg);
    return assembly_load_kernel(assembly, &request);
}

enum status assembly_create(struct assembly *assembly, const struct assembly_parts *parts)
{
    enum status status;

    memset(assembly, 0, sizeof(*assembly));
    status = assembly_lay_out(&assembly->machine, parts);
    if (status == STATUS_OK)
        status = assembly_create_vcpus(&assembly->machine, parts->engine);
    if (status == STATUS_OK)
        status = devices_create(&assembly->devices, parts->backends, parts->options);
    if (status == STATUS_OK)
        status = assembly_create_board(assembly, parts);
    if (status == STATUS_OK)
        status = assembly_boot(assembly, parts);
    if (status != STATUS_OK)
        assembly_destroy(assembly);
    return status;
}

void assembly_destroy(struct assembly *assembly)
{
    struct engine *engine = assembly->machine.engine;

    machine_drain_devices(&assembly->machine);
    if (engine)
        engine->ops->destroy(engine);
    devices_destroy(&assembly->devices);
    memset(assembly, 0, sizeof(*assembly));
}
