/* The command line of `lodge image`. */
#include "cli/image.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "base/bits.h"
#include "cli/image_size.h"
#include "cli/number.h"
#include "port/log.h"

enum { CREATE = 1, INFO = 2, CHECK = 4, RESIZE = 8, CONVERT = 16, BUILD = 32 };

struct command {
    const char *name;
    unsigned bit;
    const char *operands, *help;
    unsigned least, most; /* operands */
    int (*run)(const struct image_arguments *arguments);
};

static const struct command commands[] = {
    {"create", CREATE, "FILE [SIZE]", "make an empty disk image", 1, 2, image_create},
    {"info", INFO, "FILE", "tell what an image is", 1, 1, image_info},
    {"check", CHECK, "FILE", "look for damage in a qcow2 image", 1, 1, image_check},
    {"resize", RESIZE, "FILE [+]SIZE", "change the size of a disk", 2, 2, image_resize},
    {"build", BUILD, "debian", "make a disk with Debian 12 on it, from its packages", 1, 1, image_build},
    {"convert", CONVERT, "IN OUT", "copy a disk into a new image of its own", 2, 2, image_convert},
};

/* take() answers false after logging why the value is refused. */
struct option {
    const char *name, *short_name; /* short_name: or NULL */
    const char *value_name;        /* NULL: a flag */
    unsigned commands;
    const char *help;
    bool (*take)(struct image_arguments *arguments, const char *option, const char *value);
};

static bool take_format_into(enum image_format *format, const char *option, const char *value)
{
    if (image_format_parse(value, format))
        return true;
    log_error("%s %s is not known (there are: raw, qcow2); try 'lodge image --help'", option, value);
    return false;
}

static bool take_format(struct image_arguments *arguments, const char *option, const char *value)
{
    return take_format_into(&arguments->format, option, value);
}

static bool take_output_format(struct image_arguments *arguments, const char *option, const char *value)
{
    arguments->has_output_format = true;
    return take_format_into(&arguments->output_format, option, value);
}

static bool take_backing_format(struct image_arguments *arguments, const char *option, const char *value)
{
    arguments->has_backing_format = true;
    return take_format_into(&arguments->backing_format, option, value);
}

static bool take_backing(struct image_arguments *arguments, const char *option, const char *value)
{
    (void)option;
    arguments->backing = value;
    return true;
}

static bool take_rule(struct image_arguments *arguments, const char *option, const char *value)
{
    if (backing_rule_parse(value, &arguments->rule))
        return true;
    log_error("%s %s is not known (there are: beside, allow, deny); try 'lodge image --help'", option, value);
    return false;
}

static bool take_cluster_size(struct image_arguments *arguments, const char *option, const char *value)
{
    uint64_t size;

    if ((!number_parse(value, &size) && !size_parse(value, &size)) || size < 512 || size > (2 << 20) ||
        (size & (size - 1))) {
        log_error("%s takes a power of two from 512 to 2M, not '%s'; try 'lodge image --help'", option, value);
        return false;
    }
    arguments->cluster_size = size;
    return true;
}

static bool take_compression(struct image_arguments *arguments, const char *option, const char *value)
{
    arguments->zstd = strcmp(value, "zstd") == 0;
    if (arguments->zstd || strcmp(value, "zlib") == 0)
        return true;
    log_error("%s %s is not known (there are: zlib, zstd); try 'lodge image --help'", option, value);
    return false;
}

static bool take_report(struct image_arguments *arguments, const char *option, const char *value)
{
    arguments->json = strcmp(value, "json") == 0;
    if (arguments->json || strcmp(value, "text") == 0)
        return true;
    log_error("%s %s is not known (there are: text, json); try 'lodge image --help'", option, value);
    return false;
}

static bool take_repair(struct image_arguments *arguments, const char *option, const char *value)
{
    (void)option, (void)value;
    arguments->repair = true;
    return true;
}

static bool take_shrink(struct image_arguments *arguments, const char *option, const char *value)
{
    (void)option, (void)value;
    arguments->shrink = true;
    return true;
}

static bool take_compress(struct image_arguments *arguments, const char *option, const char *value)
{
    (void)option, (void)value;
    arguments->compress = true;
    return true;
}

static bool take_text(const char **text, const char *option, const char *value)
{
    *text = value;
    if (value[0] != '\0')
        return true;
    log_error("%s needs a value that is not empty; try 'lodge image build --help'", option);
    return false;
}

static bool take_output(struct image_arguments *arguments, const char *option, const char *value)
{
    return take_text(&arguments->output, option, value);
}

static bool take_disk_size(struct image_arguments *arguments, const char *option, const char *value)
{
    (void)option;
    return image_size_parse(value, &arguments->disk_size);
}

static bool take_packages(struct image_arguments *arguments, const char *option, const char *value)
{
    return take_text(&arguments->packages, option, value);
}

static bool take_hostname(struct image_arguments *arguments, const char *option, const char *value)
{
    return take_text(&arguments->hostname, option, value);
}

static bool take_ssh_key(struct image_arguments *arguments, const char *option, const char *value)
{
    return take_text(&arguments->ssh_key, option, value);
}

static bool take_password(struct image_arguments *arguments, const char *option, const char *value)
{
    return take_text(&arguments->password, option, value);
}

static bool take_mirror(struct image_arguments *arguments, const char *option, const char *value)
{
    return take_text(&arguments->mirror, option, value);
}

static bool take_kernel_folder(struct image_arguments *arguments, const char *option, const char *value)
{
    return take_text(&arguments->kernel_folder, option, value);
}

static const struct option options[] = {
    {"--output", "-o", "FILE", BUILD, "the image (default debian.qcow2 or debian.raw); it must not exist", take_output},
    {"--size", "-s", "SIZE", BUILD, "of the disk, 1G or more (default 8G)", take_disk_size},
    {"--packages", "-p", "NAME,...", BUILD, "packages besides those of a small server", take_packages},
    {"--hostname", NULL, "NAME", BUILD, "of the machine (default debian)", take_hostname},
    {"--ssh-key", NULL, "FILE", BUILD, "a public key that lets root in (default ~/.ssh/*.pub)", take_ssh_key},
    {"--password", NULL, "FILE", BUILD, "root's password is its first line; without, the console asks for none",
     take_password},
    {"--mirror", NULL, "URI", BUILD, "where Debian's packages are (default: as this host's apt)", take_mirror},
    {"--kernel-dir", NULL, "DIR", BUILD, "write vmlinuz and initrd.img there too", take_kernel_folder},
    {"--image-format", "-f", "FORMAT", CREATE | BUILD, "what to make: qcow2 (default), raw", take_format},
    {"--image-format", "-f", "FORMAT", INFO | RESIZE | CONVERT,
     "what the image is: raw, qcow2 (default: qcow2 if it begins like one, otherwise raw)", take_format},
    {"--output-format", "-O", "FORMAT", CONVERT, "what to make: qcow2 (default), raw", take_output_format},
    {"--compress", "-c", NULL, CONVERT, "pack the clusters of the new qcow2 image", take_compress},
    {"--backing", "-b", "FILE", CREATE, "show this file's contents where the new image has none of its own",
     take_backing},
    {"--backing-format", "-F", "FORMAT", CREATE, "what the backing file is: raw, qcow2", take_backing_format},
    {"--backing-rule", NULL, "RULE", CREATE | RESIZE | CONVERT,
     "which backing files are opened: beside (default), allow, deny", take_rule},
    {"--cluster-size", NULL, "SIZE", CREATE | CONVERT, "of a new qcow2 image, 512 to 2M (default 64K)",
     take_cluster_size},
    {"--compression", NULL, "METHOD", CREATE | CONVERT, "of packed clusters: zlib (default), zstd", take_compression},
    {"--format", NULL, "FORMAT", INFO | CHECK, "of the report: text (default), json", take_report},
    {"--repair", NULL, NULL, CHECK, "make reference counts right", take_repair},
    {"--shrink", NULL, NULL, RESIZE, "allow a smaller size: what is behind it is lost", take_shrink},
};

static const struct option *option_find(const struct command *command, const char *argument, size_t length)
{
    for (size_t i = 0; i < ARRAY_LENGTH(options); i++) {
        const struct option *option = &options[i];

        if (!(option->commands & command->bit))
            continue;
        if ((strlen(option->name) == length && strncmp(option->name, argument, length) == 0) ||
            (option->short_name && length == 2 && strncmp(option->short_name, argument, length) == 0))
            return option;
    }
    return NULL;
}

/* One option at *at, which moves to its last part. */
static bool option_take(const struct command *command, char ***at, struct image_arguments *arguments)
{
    const char *argument = **at;
    size_t length = argument[1] != '-' ? 2 : strcspn(argument, "=");
    const struct option *option = option_find(command, argument, length);
    bool attached = argument[length] != '\0';
    const char *value = argument + length + (argument[length] == '=');

    if (!option) {
        log_error("unknown option %.*s; try 'lodge image %s --help'", (int)length, argument, command->name);
        return false;
    }
    if (!option->value_name && attached) {
        log_error("%s takes no value; try 'lodge image %s --help'", option->name, command->name);
        return false;
    }
    if (option->value_name && !attached) {
        value = *++*at;
        if (!value) {
            log_error("%.*s needs a value: %s; try 'lodge image %s --help'", (int)length, argument, option->value_name,
                      command->name);
            return false;
        }
    }
    return option->take(arguments, option->name, value);
}

static bool operand_take(const struct command *command, const char *operand, struct image_arguments *arguments)
{
    if (arguments->name_count == command->most) {
        log_error("'%s' is one operand too many; try 'lodge image %s --help'", operand, command->name);
        return false;
    }
    arguments->names[arguments->name_count++] = operand;
    return true;
}

static int finish_output(void)
{
    if (fflush(stdout) == 0 && !ferror(stdout))
        return IMAGE_EXIT_OK;
    log_error("cannot write to stdout: %s", strerror(errno));
    return IMAGE_EXIT_FAILED;
}

static int help_command(const struct command *command)
{
    printf("Usage: lodge image %s [OPTION]... %s\n%c%s.\n\n", command->name, command->operands,
           command->help[0] - 'a' + 'A', command->help + 1);
    for (size_t i = 0; i < ARRAY_LENGTH(options); i++) {
        const struct option *option = &options[i];
        char left[40];

        if (!(option->commands & command->bit))
            continue;
        (void)snprintf(left, sizeof(left), "%s%s%s%s%s", option->short_name ? option->short_name : "",
                       option->short_name ? ", " : "    ", option->name, option->value_name ? " " : "",
                       option->value_name ? option->value_name : "");
        printf("  %-28s %s\n", left, option->help);
    }
    printf("\nSizes have a letter K, M, G or T. The manual page lodge-image(1) tells more.\n");
    return finish_output();
}

static int help_all(void)
{
    printf("Usage: lodge image COMMAND [OPTION]... OPERAND...\nMake disk images and look after them.\n\n");
    for (size_t i = 0; i < ARRAY_LENGTH(commands); i++)
        printf("  %-8s %-14s %s\n", commands[i].name, commands[i].operands, commands[i].help);
    printf("\n  lodge image COMMAND --help tells the options of a command.\n");
    return finish_output();
}

static int command_parse(const struct command *command, char **at)
{
    struct image_arguments arguments = {.format = IMAGE_AUTO, .output_format = IMAGE_QCOW2, .cluster_size = 64 << 10};
    bool only_operands = false;

    for (; *at; at++) {
        bool is_option = !only_operands && (*at)[0] == '-' && (*at)[1] != '\0';
        bool good = true;

        if (is_option && strcmp(*at, "--") == 0)
            only_operands = true;
        else if (is_option && (strcmp(*at, "--help") == 0 || strcmp(*at, "-h") == 0))
            return help_command(command);
        else if (is_option)
            good = option_take(command, &at, &arguments);
        else
            good = operand_take(command, *at, &arguments);
        if (!good)
            return IMAGE_EXIT_USAGE;
    }
    if (arguments.name_count < command->least) {
        log_error("'lodge image %s' needs %s; try 'lodge image %s --help'", command->name, command->operands,
                  command->name);
        return IMAGE_EXIT_USAGE;
    }
    /* A limit on the size of files is an error like any other, and not the end. */
    (void)signal(SIGXFSZ, SIG_IGN);
    int status = command->run(&arguments);
    return status == IMAGE_EXIT_OK ? finish_output() : status;
}

int image_command(char **arguments)
{
    if (!*arguments) {
        log_error("no command given; try 'lodge image --help'");
        return IMAGE_EXIT_USAGE;
    }
    if (strcmp(*arguments, "--help") == 0 || strcmp(*arguments, "-h") == 0)
        return help_all();
    for (size_t i = 0; i < ARRAY_LENGTH(commands); i++)
        if (strcmp(*arguments, commands[i].name) == 0)
            return command_parse(&commands[i], arguments + 1);
    log_error("unknown command 'image %s'; try 'lodge image --help'", *arguments);
    return IMAGE_EXIT_USAGE;
}
