/* A packed classifier from C: the label and the probability of every text that is given, or of every line of standard
 * input. It is in standard C, and reads a whole file where pocketrnn-classify maps it.
 *
 *   cc -O3 -Wno-psabi -I../../runtime/native/src classify.c ../../runtime/native/src/pocketrnn.c -lm -o classify
 *   ./classify news.prnn "Oil prices rise again" */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "pocketrnn.h"

/* An open classifier with its file, and working memory for one thread, which grows with the longest text. */
struct classifier {
    const prnn *opened;
    void *file, *memory, *work;
    size_t work_size;
    float *logits;
};

/* Products of frequent words are kept in this: a fifth less time for a text. */
enum { EXTRA = 1 << 18 };

static int failed(const char *what, const char *why)
{
    fflush(stdout);
    fprintf(stderr, "Error: %s: %s\n", what, why);
    return 1;
}

/* All that a file holds, in memory to be freed; NULL if it cannot be read. */
static char *read_all(FILE *file, size_t *bytes)
{
    size_t room = 1 << 16;
    char *read = malloc(room);
    for (*bytes = 0; read && !feof(file) && !ferror(file); *bytes += fread(read + *bytes, 1, room - *bytes, file))
        if (*bytes == room) {
            char *larger = realloc(read, room *= 2);
            if (!larger)
                free(read);
            read = larger;
        }
    if (read && ferror(file)) {
        free(read);
        return NULL;
    }
    return read;
}

/* Open a packed file; NULL, or why that is impossible. */
static const char *open_classifier(struct classifier *c, const char *path)
{
    size_t bytes = 0, size = 0;
    FILE *file = fopen(path, "rb");
    if (!file)
        return strerror(errno);
    c->file = read_all(file, &bytes);
    fclose(file);
    if (!c->file)
        return "It cannot be read.";
    int status = prnn_open(&c->opened, c->file, bytes, NULL, &size); /* checks the file, and says what it needs */
    if (status != PRNN_MEMORY)
        return prnn_error(status);
    size += EXTRA;
    c->memory = malloc(size);
    status = prnn_open(&c->opened, c->file, bytes, c->memory, &size);
    if (status != PRNN_OK)
        return prnn_error(status);
    c->logits = malloc(prnn_classes(c->opened) * sizeof *c->logits);
    return c->logits ? NULL : prnn_error(PRNN_MEMORY);
}

static void close_classifier(struct classifier *c)
{
    free(c->logits);
    free(c->work);
    free(c->memory);
    free(c->file);
}

/* Answer one text in c->logits, which become probabilities. */
static int classify(struct classifier *c, const char *text, size_t bytes)
{
    int status;
    for (;;) {
        size_t size = c->work_size;
        status = prnn_classify(c->opened, text, bytes, c->logits, c->work, &size);
        if (status != PRNN_MEMORY)
            break;
        free(c->work); /* what was in it is not needed */
        c->work = malloc(size);
        c->work_size = c->work ? size : 0;
        if (!c->work)
            return PRNN_MEMORY;
    }
    return status == PRNN_OK ? prnn_probabilities(c->opened, c->logits, c->logits) : status;
}

static int print_answer(struct classifier *c, const char *what, const char *text, size_t bytes)
{
    int status = classify(c, text, bytes);
    if (status != PRNN_OK)
        return failed(what, prnn_error(status));
    struct prnn_head head; /* one, or those of a classifier with several, each with an answer of its own */
    for (uint32_t i = 0; prnn_head(c->opened, i, &head); i++) {
        uint32_t best = head.first;
        for (uint32_t k = head.first; k < head.first + head.labels; k++)
            best = c->logits[k] > c->logits[best] ? k : best;
        size_t length;
        const char *label = prnn_label(c->opened, best, &length);
        printf("%s%.*s\t%.4f", i ? "\t" : "", (int)length, label, (double)c->logits[best]);
    }
    puts("");
    return 0;
}

static int print_lines(struct classifier *c)
{
    size_t bytes = 0, end;
    char *text = read_all(stdin, &bytes);
    if (!text)
        return failed("standard input", "It cannot be read.");
    int status = 0;
    unsigned long number = 1;
    for (size_t start = 0; start < bytes && !status; start = end + 1, number++) {
        char *newline = memchr(text + start, '\n', bytes - start);
        end = newline ? (size_t)(newline - text) : bytes;
        size_t length = end - start;
        while (length && text[start + length - 1] == '\r')
            length--;
        char what[64];
        snprintf(what, sizeof what, "line %lu of standard input", number);
        status = print_answer(c, what, text + start, length);
    }
    free(text);
    return status;
}

int main(int count, char **arguments)
{
    if (count < 2) {
        fprintf(stderr, "Usage: classify FILE.prnn [TEXT ...]\n");
        return 2;
    }
    struct classifier c = {0};
    const char *why = open_classifier(&c, arguments[1]);
    int status = why ? failed(arguments[1], why) : count == 2 ? print_lines(&c) : 0;
    for (int i = 2; i < count && !status; i++)
        status = print_answer(&c, "a text", arguments[i], strlen(arguments[i]));
    close_classifier(&c);
    if (!status && fflush(stdout))
        status = failed("standard output", "It cannot be written.");
    return status;
}
