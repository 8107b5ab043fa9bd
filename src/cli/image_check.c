#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>

#include "backend/qcow2.h"
#include "cli/image.h"

static void print_text(const struct qcow2_report *report)
{
    uint64_t left = report->errors + report->leaks - report->repaired;

    if (report->errors)
        printf("%" PRIu64 " errors: data may be lost\n", report->errors);
    if (report->leaks)
        printf("%" PRIu64 " clusters are lost to no use; no data is\n", report->leaks);
    if (report->repaired)
        printf("%" PRIu64 " of these are repaired\n", report->repaired);
    if (left == 0)
        printf("no errors%s\n", report->repaired ? " are left" : "");
    printf("%" PRIu64 " of %" PRIu64 " clusters are in use, %" PRIu64 " of them compressed\n", report->allocated,
           report->total, report->compressed);
}

static int print_json(const struct qcow2_report *report)
{
    json_t *object = json_pack("{s:I, s:I, s:I, s:I, s:I, s:I}", "errors", (json_int_t)report->errors, "leaks",
                               (json_int_t)report->leaks, "repaired", (json_int_t)report->repaired,
                               "allocated-clusters", (json_int_t)report->allocated, "compressed-clusters",
                               (json_int_t)report->compressed, "total-clusters", (json_int_t)report->total);
    int result = json_dumpf(object, stdout, JSON_INDENT(4));

    printf("\n");
    json_decref(object);
    return result;
}

static int check_verdict(const struct qcow2_report *report)
{
    if (report->errors + report->leaks == report->repaired)
        return IMAGE_EXIT_OK;
    return report->errors ? IMAGE_EXIT_ERRORS : IMAGE_EXIT_LEAKS;
}

int image_check(const struct image_arguments *arguments)
{
    struct image_options options = {
        .format = IMAGE_QCOW2, .read_only = !arguments->repair, .keep_damaged = true, .without_backing = true};
    struct qcow2_report report;
    struct image *image;
    int result = IMAGE_EXIT_FAILED;

    if (image_open(arguments->names[0], &options, &image) != STATUS_OK)
        return IMAGE_EXIT_FAILED;
    if (qcow2_check(image, arguments->repair, &report) == STATUS_OK) {
        result = check_verdict(&report);
        if (arguments->repair && result == IMAGE_EXIT_OK && qcow2_vouch(image) != STATUS_OK)
            result = IMAGE_EXIT_FAILED;
        if (!arguments->json)
            print_text(&report);
        else if (print_json(&report) != 0)
            result = IMAGE_EXIT_FAILED;
        (void)fflush(stdout);
    }
    return image_close(image) == BLOCK_DONE ? result : IMAGE_EXIT_FAILED;
}
