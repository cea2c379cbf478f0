/* pocketrnn-classify: a packed classifier on lines of standard input, for machines without Python.
 *
 *   pocketrnn-classify FILE.prnn < texts          label, probability and text of every line, with tabs between them
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

static int failed(const char *what, const char *why)
{
    fflush(stdout);
    fprintf(stderr, "Error: %s: %s\n", what, why);
    return 2;
}

/* As every command of pocketrnn: 2 where the input is wrong, 1 where the task failed. */
static int failed_by(const char *what, int status)
{
    failed(what, prnn_error(status));
    return status == PRNN_MEMORY || status == PRNN_NOT_FINITE ? 1 : 2;
}

/* Whether there is as much working memory now; what was in it is lost. */
static int has_room(size_t size)
{
    free(work);
    work = malloc(size);
    work_size = work ? size : 0;
    return work != NULL;
}

static int answered(const prnn *classifier, const char *text, size_t bytes, float *logits)
{
    for (;;) {
        size_t size = work_size;
        int status = prnn_classify(classifier, text, bytes, logits, work, &size);
        if (status != PRNN_MEMORY || !has_room(size))
            return status;
    }
}

static void put_line(const char *text, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++)
        if ((unsigned char)text[i] < 0x20 || text[i] == 0x7F)
            printf("\\x%02x", (unsigned)text[i]);
        else
            putchar(text[i]);
    putchar('\n');
}

static uint32_t likeliest(const float *logits, uint32_t count)
{
    uint32_t best = 0;
    for (uint32_t i = 1; i < count; i++)
        best = logits[i] > logits[best] ? i : best;
    return best;
}

static int verify(const prnn *classifier, float *logits)
{
    double largest = 0;
    int status = 0;
    for (uint32_t i = 0; i < prnn_examples(classifier); i++) {
        const char *text;
        size_t bytes, count;
        const int32_t *ids;
        const float *golden;
        prnn_example(classifier, i, &text, &bytes, &ids, &count, &golden);
        int answer = answered(classifier, text, bytes, logits);
        if (answer != PRNN_OK)
            return failed_by("a golden example", answer);
        if (likeliest(logits, prnn_classes(classifier)) != likeliest(golden, prnn_classes(classifier)))
            status = 3;
        double apart = 0, scale = 1;
        for (uint32_t k = 0; k < prnn_classes(classifier); k++) {
            apart = fmax(apart, fabs((double)logits[k] - (double)golden[k]));
            scale = fmax(scale, fabs((double)golden[k]) / 10);
        }
        largest = fmax(largest, apart / scale);
    }
    status = largest <= 1e-4 ? status : 3;
    printf("%s: %u golden examples, largest logit difference %.1e\n", status ? "Not as it was made" : "OK",
           (unsigned)prnn_examples(classifier), largest);
    return status;
}

static int pushed(const prnn *classifier, prnn_stream *stream, const char *text, size_t bytes, float *logits)
{
    for (;;) {
        size_t size = work_size;
        int status = prnn_stream_push(classifier, stream, text, bytes, logits, work, &size);
        if (status != PRNN_MEMORY || !has_room(size))
            return status;
    }
}

/* Every line is a text; with a stream, the further part of one. */
static int lines(const prnn *classifier, prnn_stream *stream, float *logits)
{
    char *line = NULL;
    size_t room = 0;
    ssize_t read;
    while ((read = getline(&line, &room, stdin)) >= 0) {
        size_t whole = (size_t)read, bytes = whole;
        while (bytes && (line[bytes - 1] == '\n' || line[bytes - 1] == '\r'))
            bytes--;
        int status = stream ? pushed(classifier, stream, line, whole, logits)
                            : answered(classifier, line, bytes, logits);
        if (status == PRNN_OK)
            status = prnn_probabilities(classifier, logits, logits);
        if (status != PRNN_OK)
            return failed_by("a line of standard input", status);
        uint32_t best = likeliest(logits, prnn_classes(classifier));
        size_t length;
        const char *label = prnn_label(classifier, best, &length);
        printf("%.*s\t%.4f\t", (int)length, label, (double)logits[best]);
        put_line(line, bytes);
        if (stream)
            fflush(stdout);
    }
    free(line);
    return fflush(stdout) || ferror(stdin) ? failed("standard streams", "reading or writing failed") : 0;
}

int main(int count, char **arguments)
{
    int verifies = count == 3 && !strcmp(arguments[1], "--verify");
    int streams = count == 3 && !strcmp(arguments[1], "--stream");
    if (count != 2 && !verifies && !streams) {
        fprintf(stderr, "Usage: pocketrnn-classify [--stream | --verify] FILE.prnn < texts\n");
        return 2;
    }
    const char *path = arguments[count - 1];
    int descriptor = open(path, O_RDONLY);
    struct stat status;
    if (descriptor < 0 || fstat(descriptor, &status) || !S_ISREG(status.st_mode) || status.st_size < 4)
        return failed(path, "cannot be read");
    const void *file = mmap(NULL, (size_t)status.st_size, PROT_READ, MAP_SHARED, descriptor, 0);
    if (file == MAP_FAILED)
        return failed(path, "cannot be mapped");
    const prnn *classifier;
    size_t size = 0;
    int opened = prnn_open(&classifier, file, (size_t)status.st_size, NULL, &size);
    size += WORDS_SIZE;
    if (opened == PRNN_MEMORY && (memory = malloc(size)) != NULL)
        opened = prnn_open(&classifier, file, (size_t)status.st_size, memory, &size);
    if (opened != PRNN_OK)
        return failed_by(path, opened);
    float *logits = malloc(prnn_classes(classifier) * sizeof *logits);
    work = malloc(work_size);
    prnn_stream *stream = NULL;
    size = streams ? prnn_stream_size(classifier) : 0;
    void *stream_memory = size ? malloc(size) : NULL;
    if (!logits || !work || (size && !stream_memory))
        return failed_by(path, PRNN_MEMORY);
    opened = streams ? prnn_stream_open(classifier, &stream, stream_memory, &size) : PRNN_OK;
    if (opened != PRNN_OK)
        return failed_by(path, opened);
    return verifies ? verify(classifier, logits) : lines(classifier, stream, logits);
}
