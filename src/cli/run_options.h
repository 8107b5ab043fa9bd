/* The command line of `lodge run`. */
#ifndef LODGE_CLI_RUN_OPTIONS_H
#define LODGE_CLI_RUN_OPTIONS_H

#include "vmm/options.h"

enum parse_result {
    PARSE_RUN,   /* the options are complete and checked */
    PARSE_HELP,  /* --help was among them */
    PARSE_ERROR, /* one line has been logged */
};

/* arguments: what follows "run", NULL-terminated; borrowed by the options. */
enum parse_result run_options_parse(char **arguments, struct vmm_options *options);

/* The text of --help, on stdout. */
void run_options_help(void);

#endif
