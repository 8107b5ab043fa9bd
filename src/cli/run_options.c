#include "cli/run_options.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/bits.h"
#include "cli/number.h"
#include "port/log.h"

#define TRY_HELP "; try 'lodge run --help'"

/* One option. A flag has no value; take() answers false after logging why the value is refused. */
struct option {
    const char *name;
    const char *short_name; /* or NULL */
    const char *value_name; /* NULL: a flag */
    const char *help;
    bool (*take)(struct vmm_options *options, const char *value);
};

static bool is_one_of(const char *const *names, const char *value)
{
    for (; *names; names++)
        if (strcmp(*names, value) == 0)
            return true;
    return false;
}

/* "auto, kvm, dbt" */
static const char *list_of(const char *const *names, char *text, size_t room)
{
    size_t used = 0;

    text[0] = '\0';
    for (; *names && used < room; names++) {
        int size = snprintf(text + used, room - used, "%s%s", used ? ", " : "", *names);
        used += size > 0 ? (size_t)size : 0;
    }
    return text;
}

static bool take_choice(const char *option, const char *const *names, const char *value, const char **choice)
{
    char list[128];

    *choice = value;
    if (is_one_of(names, value))
        return true;
    log_error("%s %s is not known (there are: %s)" TRY_HELP, option, value, list_of(names, list, sizeof(list)));
    return false;
}

static bool name_is_valid(const char *name)
{
    size_t length = strlen(name);

    return length >= 1 && length <= 63 && name[0] != '-' &&
           strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-") == length;
}

static bool take_name(struct vmm_options *options, const char *value)
{
    options->name = value;
    if (name_is_valid(value))
        return true;
    log_error("--name takes up to 63 letters, digits, dots, dashes and underscores, not '%s'" TRY_HELP, value);
    return false;
}

static bool take_kernel(struct vmm_options *options, const char *value)
{
    options->kernel = value;
    return true;
}

/* A copy of [from, from + length) to a path of the options. */
static bool take_path(const char *what, const char *from, size_t length, char to[VMM_PATH])
{
    if (length == 0 || length >= VMM_PATH) {
        log_error("--firmware: %s is %s" TRY_HELP, what, length ? "too long a name" : "empty");
        return false;
    }
    memcpy(to, from, length);
    to[length] = '\0';
    return true;
}

static bool starts_with(const char *text, const char *start, const char **rest)
{
    size_t length = strlen(start);

    *rest = text + length;
    return strncmp(text, start, length) == 0;
}

/* One of the parts after FILE, which ends at `end`. */
static bool take_firmware_part(struct vmm_options *options, const char *part, const char *end)
{
    const char *rest;

    if (starts_with(part, "vars=", &rest))
        return take_path("vars=", rest, (size_t)(end - rest), options->firmware_vars);
    if (starts_with(part, "log=", &rest))
        return take_path("log=", rest, (size_t)(end - rest), options->firmware_log);
    if (starts_with(part, "readonly", &rest) && rest == end) {
        options->firmware_readonly = true;
        return true;
    }
    log_error("--firmware takes FILE[,vars=FILE][,readonly][,log=FILE], not '%.*s'" TRY_HELP, (int)(end - part), part);
    return false;
}

static bool take_firmware(struct vmm_options *options, const char *value)
{
    const char *end = value + strcspn(value, ",");

    if (!take_path("FILE", value, (size_t)(end - value), options->firmware))
        return false;
    while (*end) {
        const char *part = end + 1;

        end = part + strcspn(part, ",");
        if (!take_firmware_part(options, part, end))
            return false;
    }
    return true;
}

static bool take_initrd(struct vmm_options *options, const char *value)
{
    if (options->initrd_count == VMM_INITRDS) {
        log_error("--initrd may be given %d times" TRY_HELP, (int)VMM_INITRDS);
        return false;
    }
    options->initrds[options->initrd_count++] = value;
    return true;
}

static bool take_disk(struct vmm_options *options, const char *value)
{
    if (options->disk_count == VMM_DISKS) {
        log_error("--disk may be given %d times" TRY_HELP, (int)VMM_DISKS);
        return false;
    }
    options->disks[options->disk_count++] = value;
    return true;
}

static bool take_net(struct vmm_options *options, const char *value)
{
    if (options->net_count == VMM_NETS) {
        log_error("--net may be given %d times" TRY_HELP, (int)VMM_NETS);
        return false;
    }
    options->nets[options->net_count++] = value;
    return true;
}

static bool take_vsock(struct vmm_options *options, const char *value)
{
    options->vsock = value;
    return true;
}

static bool take_console(struct vmm_options *options, const char *value)
{
    static const char *const kinds[] = {"serial", "virtio", NULL};
    const char *kind;

    if (!take_choice("--console", kinds, value, &kind))
        return false;
    options->virtio_console = strcmp(kind, "virtio") == 0;
    return true;
}

static bool take_append(struct vmm_options *options, const char *value)
{
    options->append = value;
    return true;
}

static bool take_memory(struct vmm_options *options, const char *value)
{
    const uint64_t page_mask = 4095;

    if (!size_parse(value, &options->memory)) {
        log_error("-m takes a size like 512M or 4G, not '%s'" TRY_HELP, value);
        return false;
    }
    if (options->memory < VMM_MEMORY_LEAST || options->memory > VMM_MEMORY_MOST) {
        log_error("-m %s is not between 2M and 1T" TRY_HELP, value);
        return false;
    }
    if (options->memory & page_mask) {
        log_error("-m %s is not a multiple of 4K" TRY_HELP, value);
        return false;
    }
    return true;
}

static bool take_balloon(struct vmm_options *options, const char *value)
{
    if (size_parse(value, &options->balloon))
        return true;
    log_error("--balloon takes a size like 512M or 4G, not '%s'" TRY_HELP, value);
    return false;
}

static bool take_cpus(struct vmm_options *options, const char *value)
{
    uint64_t cpus;

    if (!number_parse(value, &cpus) || cpus < 1 || cpus > VMM_CPUS_MOST) {
        log_error("-c takes a number of processors from 1 to %d, not '%s'" TRY_HELP, (int)VMM_CPUS_MOST, value);
        return false;
    }
    options->cpus = (unsigned)cpus;
    return true;
}

static bool take_cpu_model(struct vmm_options *options, const char *value)
{
    return take_choice("--cpu", vmm_cpu_models(), value, &options->cpu_model);
}

static bool take_engine(struct vmm_options *options, const char *value)
{
    return take_choice("--engine", vmm_engine_names(), value, &options->engine);
}

static bool take_gdb(struct vmm_options *options, const char *value)
{
    options->gdb = value;
    return vmm_gdb_is_valid(value);
}

static bool take_sandbox(struct vmm_options *options, const char *value)
{
    return take_choice("--sandbox", vmm_sandbox_modes(), value, &options->sandbox);
}

static bool take_user(struct vmm_options *options, const char *value)
{
    options->user = value;
    return true;
}

static bool take_debug_exit(struct vmm_options *options, const char *value)
{
    (void)value;
    options->debug_exit = true;
    return true;
}

static bool take_no_reboot(struct vmm_options *options, const char *value)
{
    (void)value;
    options->no_reboot = true;
    return true;
}

static bool take_stats(struct vmm_options *options, const char *value)
{
    (void)value;
    options->stats = true;
    return true;
}

/* The bit of one word of the list, all for "all"; 0: there is none of that name. */
static uint32_t trace_bit(const char *word, size_t length)
{
    const char *const *names = vmm_trace_kinds();

    for (unsigned bit = 0; names[bit]; bit++) {
        bool all = names[bit + 1] == NULL;

        if (strlen(names[bit]) == length && strncmp(names[bit], word, length) == 0)
            return all ? BIT(bit) - 1 : BIT(bit);
    }
    return 0;
}

static bool take_trace(struct vmm_options *options, const char *value)
{
    char list[128];

    for (const char *word = value;; word++) {
        size_t length = strcspn(word, ",");
        uint32_t bit = trace_bit(word, length);

        if (!bit) {
            log_error("--trace does not know '%.*s' (there are: %s)" TRY_HELP, (int)length, word,
                      list_of(vmm_trace_kinds(), list, sizeof(list)));
            return false;
        }
        options->trace |= bit;
        word += length;
        if (*word == '\0')
            return true;
    }
}

static bool take_trace_file(struct vmm_options *options, const char *value)
{
    options->trace_file = value;
    return true;
}

static const struct option options_known[] = {
    {"--kernel", NULL, "FILE", "the kernel: a Linux bzImage, or an ELF file with a PVH note or a Multiboot header",
     take_kernel},
    {"--initrd", NULL, "FILE", "the initial file system; again for more, or for Multiboot modules", take_initrd},
    {"--append", NULL, "STRING", "the kernel's command line", take_append},
    {"--firmware", NULL, "FILE",
     "firmware: seabios (default for disks), ovmf or an image[,vars=FILE][,readonly][,log=FILE]", take_firmware},
    {"--disk", "-d", "FILE[,...]",
     "a disk, raw or qcow2; again for more. After the file: readonly, discard-changes, format=...", take_disk},
    {"--net", "-n", "KIND[,...]",
     "a network card; again for more: user[,forward=tcp:HOST:GUEST], tap=IF, none (default none)", take_net},
    {"--console", NULL, "KIND", "what the terminal is connected to: serial (ttyS0), virtio (hvc0) (default serial)",
     take_console},
    {"--vsock", NULL, "PATH[,cid=N]",
     "sockets between guest and host: PATH, and PATH_P for the guest's calls of port P", take_vsock},
    {"--memory", "-m", "SIZE", "memory, with K, M or G; a bare number is MiB (default 256M)", take_memory},
    {"--balloon", NULL, "SIZE", "memory that the guest is asked to give back (default 0)", take_balloon},
    {"--cpus", "-c", "COUNT", "processors, 1 to 64 (default 1)", take_cpus},
    {"--cpu", NULL, "MODEL", "what the processors can do: host, x86-64-v2, x86-64-v3 (default host)", take_cpu_model},
    {"--engine", NULL, "ENGINE", "what runs the processors: auto, kvm, dbt (default auto)", take_engine},
    {"--name", NULL, "NAME", "a name for the machine", take_name},
    {"--gdb", NULL, "ADDRESS", "wait there for GDB: [HOST]:PORT on loopback, or unix:PATH; with ,nowait run at once",
     take_gdb},
    {"--sandbox", NULL, "MODE", "shut this process in before the guest runs: on, off, strict (default on)",
     take_sandbox},
    {"--user", NULL, "USER", "as root: become this user before the guest runs, or keep (default nobody)", take_user},
    {"--debug-exit", NULL, NULL, "a byte written to port 0xf4 ends the machine with status (byte << 1) | 1",
     take_debug_exit},
    {"--no-reboot", NULL, NULL, "end where the machine would restart", take_no_reboot},
    {"--stats", NULL, NULL, "print figures to stderr at the end", take_stats},
    {"--trace", NULL, "WHAT,...", "write down exits, irq, exceptions, mmio, pio, msr, cr, power or all", take_trace},
    {"--trace-file", NULL, "FILE", "where to (default NAME.trace; - is stderr)", take_trace_file},
};

static const struct option *option_find(const char *argument, size_t length)
{
    for (size_t i = 0; i < ARRAY_LENGTH(options_known); i++) {
        const struct option *option = &options_known[i];

        if (strlen(option->name) == length && strncmp(option->name, argument, length) == 0)
            return option;
        if (option->short_name && length == 2 && strncmp(option->short_name, argument, length) == 0)
            return option;
    }
    return NULL;
}

/* Where the option's name ends: --name=VALUE, -mVALUE. */
static size_t option_name_length(const char *argument)
{
    if (argument[0] == '-' && argument[1] != '-' && argument[1] != '\0')
        return 2;
    return strcspn(argument, "=");
}

/* One option at *arguments, which moves to its last part. */
static bool option_take(char ***arguments, struct vmm_options *options)
{
    const char *argument = **arguments;
    size_t length = option_name_length(argument);
    const struct option *option = option_find(argument, length);
    const char *value = argument[length] == '=' ? argument + length + 1 : argument + length;
    bool attached = argument[length] != '\0';

    if (argument[0] != '-') {
        log_error("'%s' is not an option" TRY_HELP, argument);
        return false;
    }
    if (!option) {
        log_error("unknown option %.*s" TRY_HELP, (int)length, argument);
        return false;
    }
    if (!option->value_name && attached) {
        log_error("%s takes no value" TRY_HELP, option->name);
        return false;
    }
    if (option->value_name && !attached) {
        value = *++*arguments;
        if (!value) {
            log_error("%.*s needs a value: %s" TRY_HELP, (int)length, argument, option->value_name);
            return false;
        }
    }
    return option->take(options, value);
}

enum parse_result run_options_parse(char **arguments, struct vmm_options *options)
{
    *options = (struct vmm_options){
        .memory = VMM_MEMORY_DEFAULT,
        .cpus = VMM_CPUS_DEFAULT,
        .cpu_model = "host",
        .engine = "auto",
        .append = "",
        .sandbox = "on",
        .name = "lodge",
    };
    for (; *arguments; arguments++) {
        if (strcmp(*arguments, "--help") == 0 || strcmp(*arguments, "-h") == 0)
            return PARSE_HELP;
        if (!option_take(&arguments, options))
            return PARSE_ERROR;
    }
    if (options->trace_file && !options->trace) {
        log_error("--trace-file needs --trace" TRY_HELP);
        return PARSE_ERROR;
    }
    if (options->balloon >= options->memory) {
        log_error("--balloon must be less than the memory, -m" TRY_HELP);
        return PARSE_ERROR;
    }
    if (options->user && strcmp(options->sandbox, "off") == 0) {
        log_error("--user needs the sandbox, which --sandbox off switches off" TRY_HELP);
        return PARSE_ERROR;
    }
    if (!options->kernel && !options->firmware[0]) {
        if (options->disk_count == 0) {
            log_error("there is nothing to boot: give --kernel FILE, --firmware FILE or --disk FILE" TRY_HELP);
            return PARSE_ERROR;
        }
        (void)snprintf(options->firmware, sizeof(options->firmware), "seabios");
    }
    return PARSE_RUN;
}

void run_options_help(void)
{
    printf("Usage: lodge run [--kernel FILE] [--firmware FILE] [--disk FILE] [OPTION]...\n"
           "Run one machine in the foreground, its serial console on this terminal. Ctrl-] leaves it.\n\n");
    for (size_t i = 0; i < ARRAY_LENGTH(options_known); i++) {
        const struct option *option = &options_known[i];
        char left[40];

        (void)snprintf(left, sizeof(left), "%s%s%s%s%s", option->short_name ? option->short_name : "",
                       option->short_name ? ", " : "    ", option->name, option->value_name ? " " : "",
                       option->value_name ? option->value_name : "");
        printf("  %-24s %s\n", left, option->help);
    }
    printf("\nExit status: 0 power-off, 1 could not start, 2 wrong usage, 3 triple fault;\n"
           "with --debug-exit, (byte << 1) | 1. The manual page lodge-run(1) tells more.\n");
}
