//go:build ignore
/* The line above keeps this program out of the Go package, which is pocketrnn.c and pocketrnn.go.
 *
 * pocketrnn-classify: a packed classifier on lines of standard input, for machines without Python.
 *
 *   pocketrnn-classify FILE.prnn < texts          label, probability and text of every line, with tabs between them
 *   pocketrnn-classify FILE.prnn < recording.csv  with a file of numbers: the same of every window of a recording, of which it
 *                                                 gives the first and the last step; or its values. A column for each channel,
 *                                                 by its name in the first line, between commas or tabs
 *   pocketrnn-classify FILE.prnn < texts          with a file that labels tokens: token and label of each, and an empty line
 *                                                 behind those of a line; _ is the label of a token that has none
 *   pocketrnn-classify --stream FILE.prnn < text  all lines are one text: after each, the answer to all of it so far
 *   pocketrnn-classify --verify FILE.prnn         replays the golden examples in the file
 *
 * cc -std=gnu11 -O3 -ffp-contract=fast -o pocketrnn-classify classify.c pocketrnn.c -lm */
#define _POSIX_C_SOURCE 200809L
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "pocketrnn.h"

/* For products of frequent words. */
enum { WORDS_SIZE = 1 << 18 };
static void *memory, *work;
static size_t work_size = 1 << 15;

static int report_failure(const char *what, const char *why)
{
    fflush(stdout);
    fprintf(stderr, "Error: %s: %s\n", what, why);
    return 2;
}

/* The exit status of every command of pocketrnn: 2 if the input is wrong, 1 if the task failed. */
static int report_status(const char *what, int status)
{
    report_failure(what, prnn_error(status));
    return status == PRNN_MEMORY || status == PRNN_NOT_FINITE ? 1 : 2;
}

/* A recording: samples [steps, channels], and whether all of them are integers; these are then in the sensor's own unit. */
struct recording {
    double *samples;
    size_t steps, room;
    int is_whole;
};

/* Whether there is this much working memory now; the old content is lost. */
static int reserve_work(size_t size)
{
    free(work);
    work = malloc(size);
    work_size = work ? size : 0;
    return work != NULL;
}

static int answer_text(const prnn *classifier, const char *text, size_t bytes, float *logits)
{
    for (;;) {
        size_t size = work_size;
        int status = prnn_classify(classifier, text, bytes, logits, work, &size);
        if (status != PRNN_MEMORY || !reserve_work(size))
            return status;
    }
}

static int answer_samples(const prnn *classifier, const void *samples, int type, size_t steps, float *logits)
{
    for (;;) {
        size_t size = work_size;
        int status = type < 0 ? prnn_logits_of_samples(classifier, samples, steps, logits, work, &size)
                              : prnn_classify_numbers(classifier, samples, type, steps, logits, work, &size);
        if (status != PRNN_MEMORY || !reserve_work(size))
            return status;
    }
}

/* The same for a line with two texts, with a tab between them. */
static int answer_pair(const prnn *classifier, const char *line, size_t bytes, float *logits)
{
    const char *tab = memchr(line, '\t', bytes);
    size_t first = tab ? (size_t)(tab - line) : bytes;
    if (!tab)
        return PRNN_INPUT;
    for (;;) {
        size_t size = work_size;
        int status = prnn_classify_pair(classifier, line, first, tab + 1, bytes - first - 1, logits, work, &size);
        if (status != PRNN_MEMORY || !reserve_work(size))
            return status;
    }
}

static void print_text(const char *text, size_t bytes, char behind)
{
    for (size_t i = 0; i < bytes; i++)
        if ((unsigned char)text[i] < 0x20 || text[i] == 0x7F)
            printf("\\x%02x", (unsigned)text[i]);
        else
            putchar(text[i]);
    putchar(behind);
}

static uint32_t find_likeliest(const float *logits, uint32_t count)
{
    uint32_t best = 0;
    for (uint32_t i = 1; i < count; i++)
        best = logits[i] > logits[best] ? i : best;
    return best;
}

/* Whether the likeliest label of any head differs between two rows of logits. */
static int labels_differ(const prnn *classifier, const float *row, const float *other)
{
    struct prnn_head head;
    for (uint32_t i = 0; prnn_head(classifier, i, &head); i++)
        if (find_likeliest(row + head.first, head.labels) != find_likeliest(other + head.first, head.labels))
            return 1;
    return 0;
}

/* The likeliest label of each head with its probability; if there are several heads, after the head's name. */
static void print_labels(const prnn *classifier, const float *probabilities)
{
    struct prnn_head head;
    for (uint32_t i = 0; prnn_head(classifier, i, &head); i++) {
        uint32_t best = head.first + find_likeliest(probabilities + head.first, head.labels);
        size_t length;
        const char *label = prnn_label(classifier, best, &length);
        if (head.name)
            printf("%.*s: ", (int)head.bytes, head.name);
        printf("%.*s\t%.4f\t", (int)length, label, (double)probabilities[best]);
    }
}

/* Make room for rows of logits; the old content is lost. */
static int reserve_rows(const prnn *classifier, float **logits, size_t rows)
{
    float *more = realloc(*logits, (rows ? rows : 1) * prnn_classes(classifier) * sizeof *more);
    *logits = more ? more : *logits;
    return more != NULL;
}

/* The answer to a golden example, with this number of rows of logits; *golden is the answer where the file was made. */
static int answer_example(const prnn *classifier, uint32_t index, float **logits, const float **golden, size_t *rows)
{
    const char *text;
    size_t bytes, count;
    const int32_t *ids;
    const float *samples;
    *rows = 1;
    if (prnn_channels(classifier)) {
        prnn_number_example(classifier, index, &samples, &count, golden);
        return answer_samples(classifier, samples, -1, count, *logits);
    }
    prnn_example(classifier, index, &text, &bytes, &ids, &count, golden);
    int labels_tokens = prnn_labels_tokens(classifier);
    if (!labels_tokens && !prnn_features(classifier) && !prnn_takes_pairs(classifier))
        return answer_text(classifier, text, bytes, *logits);
    if (labels_tokens && !reserve_rows(classifier, logits, *rows = count))
        return PRNN_MEMORY;
    for (;;) {
        size_t size = work_size;
        int status = labels_tokens ? prnn_token_logits(classifier, ids, count, *logits, work, &size)
                                   : prnn_logits(classifier, ids, count, *logits, work, &size);
        if (status != PRNN_MEMORY || !reserve_work(size))
            return status;
    }
}

static int verify(const prnn *classifier, float **logits)
{
    double largest = 0;
    int status = 0;
    uint32_t classes = prnn_classes(classifier);
    for (uint32_t i = 0; i < prnn_examples(classifier); i++) {
        const float *golden;
        size_t rows;
        int answer = answer_example(classifier, i, logits, &golden, &rows);
        if (answer != PRNN_OK)
            return report_status("a golden example", answer);
        for (const float *row = *logits, *end = row + rows * classes; row < end; row += classes, golden += classes) {
            if (!prnn_gives_values(classifier) && labels_differ(classifier, row, golden))
                status = 3;
            double apart = 0, scale = 1;
            for (uint32_t k = 0; k < classes; k++) {
                apart = fmax(apart, fabs((double)row[k] - (double)golden[k]));
                scale = fmax(scale, fabs((double)golden[k]) / 10);
            }
            largest = fmax(largest, apart / scale);
        }
    }
    status = largest <= 1e-4 ? status : 3;
    printf("%s: %u golden examples, largest logit difference %.1e\n", status ? "Not as it was made" : "OK",
           (unsigned)prnn_examples(classifier), largest);
    return status;
}

static int push_line(const prnn *classifier, prnn_stream *stream, const char *text, size_t bytes, float *logits)
{
    for (;;) {
        size_t size = work_size;
        int status = prnn_stream_push(classifier, stream, text, bytes, logits, work, &size);
        if (status != PRNN_MEMORY || !reserve_work(size))
            return status;
    }
}

static int report_line_status(unsigned long number, int status)
{
    char what[64];
    snprintf(what, sizeof what, "line %lu of standard input", number);
    return report_status(what, status);
}

/* The tokens of every line, each with its label. */
static int tag_lines(const prnn *classifier)
{
    char *line = NULL;
    size_t room = 0;
    ssize_t read;
    for (unsigned long number = 1; (read = getline(&line, &room, stdin)) >= 0; number++) {
        const struct prnn_tagged *tags;
        size_t bytes = (size_t)read, count, size;
        int status;
        while (bytes && (line[bytes - 1] == '\n' || line[bytes - 1] == '\r'))
            bytes--;
        do {
            size = work_size;
            status = prnn_tag(classifier, line, bytes, &tags, &count, work, &size);
        } while (status == PRNN_MEMORY && reserve_work(size));
        if (status != PRNN_OK)
            return report_line_status(number, status);
        for (size_t i = 0; i < count; i++) {
            size_t length = 1;
            const char *label = tags[i].label == PRNN_NO_LABEL ? "_" : prnn_label(classifier, tags[i].label, &length);
            print_text(line + tags[i].start, tags[i].end - tags[i].start, '\t');
            printf("%.*s\n", (int)length, label);
        }
        puts("");
    }
    free(line);
    return fflush(stdout) || ferror(stdin) ? report_failure("standard streams", "reading or writing failed") : 0;
}

/* Classify every line as a text; with a stream, as a further part of one text. */
static int answer_lines(const prnn *classifier, prnn_stream *stream, float *logits)
{
    char *line = NULL;
    size_t room = 0;
    ssize_t read;
    for (unsigned long number = 1; (read = getline(&line, &room, stdin)) >= 0; number++) {
        size_t whole = (size_t)read, bytes = whole;
        while (bytes && (line[bytes - 1] == '\n' || line[bytes - 1] == '\r'))
            bytes--;
        int status = stream                         ? push_line(classifier, stream, line, whole, logits)
                     : prnn_takes_pairs(classifier) ? answer_pair(classifier, line, bytes, logits)
                                                    : answer_text(classifier, line, bytes, logits);
        if (status == PRNN_OK)
            status = prnn_probabilities(classifier, logits, logits);
        if (status != PRNN_OK)
            return report_line_status(number, status);
        print_labels(classifier, logits);
        print_text(line, bytes, '\n');
        if (stream)
            fflush(stdout);
    }
    free(line);
    return fflush(stdout) || ferror(stdin) ? report_failure("standard streams", "reading or writing failed") : 0;
}

/* Split a line into its fields in place; the number of fields. The line end is removed. */
static size_t split_fields(char *line, char separator, char **fields, size_t most)
{
    size_t count = 0;
    line[strcspn(line, "\r\n")] = 0;
    for (char *at = line; at && count < most; count++) {
        fields[count] = at;
        if ((at = strchr(at, separator)) != NULL)
            *at++ = 0;
    }
    return count;
}

/* Find the column of each channel; whether all channels have one. */
static int find_channel_columns(const prnn *classifier, char **fields, size_t count, size_t *columns)
{
    for (uint32_t i = 0; i < prnn_channels(classifier); i++) {
        size_t bytes, at = 0;
        const char *name = prnn_channel(classifier, i, &bytes);
        while (at < count && (strlen(fields[at]) != bytes || memcmp(fields[at], name, bytes)))
            at++;
        if (at == count) {
            fprintf(stderr, "Error: the first line of standard input names no column %.*s\n", (int)bytes, name);
            return 0;
        }
        columns[i] = at;
    }
    return 1;
}

/* Parse a field as a number; a missing one is NaN. Whether the field is a number. */
static int parse_number(char *field, double *number, int *is_whole)
{
    char *end;
    field += strspn(field, " ");
    size_t sign = strspn(field, "+-") == 1, digits = strspn(field + sign, "0123456789");
    *is_whole &= digits && !field[sign + digits + strspn(field + sign + digits, " ")];
    *number = *field ? strtod(field, &end) : (double)NAN;
    return !*field || (end != field && !end[strspn(end, " ")] && !strpbrk(field, "xX"));
}

/* Read all of standard input; 0, or the exit status. */
static int read_recording(const prnn *classifier, struct recording *r)
{
    size_t channels = prnn_channels(classifier), most = 1 << 12, *columns = calloc(channels, sizeof *columns), room = 0;
    char *line = NULL, **fields = calloc(most, sizeof *fields);
    int status = !columns || !fields ? report_status("standard input", PRNN_MEMORY)
                 : getline(&line, &room, stdin) < 0 ? report_failure("standard input", "has no first line with the channels' names") : 0;
    char *first = !status && !memcmp(line, "\xEF\xBB\xBF", 3) ? line + 3 : line, separator = !status && strchr(first, '\t') ? '\t' : ',';
    size_t names = status ? 0 : split_fields(first, separator, fields, most);
    if (!status && !find_channel_columns(classifier, fields, names, columns))
        status = 2;
    for (unsigned long number = 2; !status && getline(&line, &room, stdin) >= 0; number++) {
        size_t count = split_fields(line, separator, fields, most), at = r->steps * channels;
        if (count == 1 && !*fields[0])
            continue;
        if (at + channels > r->room) {
            r->room = 2 * (at + channels);
            double *more = realloc(r->samples, r->room * sizeof *more);
            if (!more)
                status = report_status("standard input", PRNN_MEMORY);
            r->samples = more ? more : r->samples;
        }
        int is_right = count == names;
        for (size_t i = 0; !status && is_right && i < channels; i++)
            is_right = parse_number(fields[columns[i]], &r->samples[at + i], &r->is_whole);
        if (!status && !is_right) {
            fprintf(stderr, "Error: line %lu of standard input has no number for each column of the first line\n", number);
            status = 2;
        }
        r->steps++;
    }
    free(columns);
    free(fields);
    free(line);
    return status;
}

/* Write the answer to some steps of a recording as a line. */
static int print_answer(const prnn *classifier, const void *samples, int type, size_t start, size_t steps, float *logits)
{
    int status = answer_samples(classifier, samples, type, steps, logits), is_values = prnn_gives_values(classifier);
    if (!status && !is_values)
        status = prnn_probabilities(classifier, logits, logits);
    if (status)
        return report_status("the recording on standard input", status);
    for (uint32_t i = 0; is_values && i < prnn_classes(classifier); i++)
        printf("%.6g\t", (double)logits[i]);
    if (!is_values)
        print_labels(classifier, logits);
    printf("%lu-%lu\n", (unsigned long)start, (unsigned long)(start + steps - 1));
    return 0;
}

/* Answer every window of a recording; if the file defines no window, the whole recording. */
static int answer_windows(const prnn *classifier, float *logits)
{
    struct recording r = {.is_whole = 1};
    uint32_t window, hop;
    prnn_window(classifier, &window, &hop);
    int status = read_recording(classifier, &r), type = r.is_whole ? PRNN_INT32 : PRNN_FLOAT64;
    size_t channels = prnn_channels(classifier), count = r.steps * channels, each = r.is_whole ? sizeof(int32_t) : sizeof(double);
    int32_t *whole = status || !r.is_whole ? NULL : malloc((count + 1) * sizeof *whole);
    if (!status && r.is_whole && !whole)
        status = report_status("standard input", PRNN_MEMORY);
    for (size_t i = 0; !status && r.is_whole && i < count; i++) {
        if (fabs(r.samples[i]) > INT32_MAX)
            status = report_failure("the recording on standard input", "a whole number has more than 32 bits");
        else
            whole[i] = (int32_t)r.samples[i];
    }
    if (!status && (!r.steps || r.steps < window))
        status = report_failure("the recording on standard input", r.steps ? "it has fewer steps than a window" : "it has no step");
    const char *samples = r.is_whole ? (const char *)whole : (const char *)r.samples;
    size_t first;
    if (!status && prnn_check_range(classifier, samples, type, r.steps, &first) == PRNN_FAR) {
        size_t length;
        const char *channel = prnn_channel(classifier, (uint32_t)(first % channels), &length);
        fprintf(stderr, "Note: channel %.*s is %g at step %lu (counted from 0), far outside of the range of training; check its unit\n",
                (int)length, channel, r.samples[first], (unsigned long)(first / channels));
    }
    size_t most = window ? window : r.steps, after = window ? hop : r.steps;
    for (size_t start = 0; !status && start + most <= r.steps; start += after)
        status = print_answer(classifier, samples + start * channels * each, type, start, most, logits);
    free(r.samples);
    free(whole);
    return status ? status : fflush(stdout) || ferror(stdin) ? report_failure("standard streams", "reading or writing failed") : 0;
}

int main(int count, char **arguments)
{
    int verifies = count == 3 && !strcmp(arguments[1], "--verify");
    int streams = count == 3 && !strcmp(arguments[1], "--stream");
    int asks = count == 2 && !strcmp(arguments[1], "--help");
    if (asks || (count != 2 && !verifies && !streams)) {
        fprintf(asks ? stdout : stderr, "Usage: pocketrnn-classify [--stream | --verify] FILE.prnn < texts\n");
        return asks ? 0 : 2;
    }
    const char *path = arguments[count - 1];
    int descriptor = open(path, O_RDONLY);
    struct stat status;
    if (descriptor < 0 || fstat(descriptor, &status) || !S_ISREG(status.st_mode) || status.st_size < 4)
        return report_failure(path, "cannot be read");
    const void *file = mmap(NULL, (size_t)status.st_size, PROT_READ, MAP_SHARED, descriptor, 0);
    if (file == MAP_FAILED)
        return report_failure(path, "cannot be mapped");
    const prnn *classifier;
    size_t size = 0;
    int opened = prnn_open(&classifier, file, (size_t)status.st_size, NULL, &size);
    size += WORDS_SIZE;
    if (opened == PRNN_MEMORY && (memory = malloc(size)) != NULL)
        opened = prnn_open(&classifier, file, (size_t)status.st_size, memory, &size);
    if (opened != PRNN_OK)
        return report_status(path, opened);
    float *logits = malloc(prnn_classes(classifier) * sizeof *logits);
    work = malloc(work_size);
    prnn_stream *stream = NULL;
    size = streams ? prnn_stream_size(classifier) : 0;
    void *stream_memory = size ? malloc(size) : NULL;
    if (!logits || !work || (size && !stream_memory))
        return report_status(path, PRNN_MEMORY);
    opened = streams ? prnn_stream_open(classifier, &stream, stream_memory, &size) : PRNN_OK;
    if (opened != PRNN_OK)
        return report_status(path, opened);
    if (!verifies && prnn_channels(classifier))
        return answer_windows(classifier, logits);
    if (!verifies && prnn_labels_tokens(classifier))
        return tag_lines(classifier);
    return verifies ? verify(classifier, &logits) : answer_lines(classifier, stream, logits);
}
