/* answers FILE TEXTS: what the engine says of every text, for another machine to be held against.
 *
 * TEXTS is, for each text, its number of bytes in four bytes, the lowest first, and the bytes. A line is printed for
 * each: the number of ids, a checksum of them, the label's number, and the probabilities; first as prnn_open answers, then as
 * prnn_open_in_place does. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "pocketrnn.h"

enum { ROOM = 1 << 23 };

static unsigned char *read_file(const char *path, size_t *bytes)
{
    FILE *stream = fopen(path, "rb");
    unsigned char *content = malloc(ROOM);
    if (!stream || !content)
        exit(9);
    *bytes = fread(content, 1, ROOM, stream);
    fclose(stream);
    return content;
}

typedef int opener(const prnn **, const void *, size_t, void *, size_t *);

static int answer(opener *open, const unsigned char *file, size_t file_bytes, const unsigned char *at, size_t left)
{
    static char work[ROOM];
    size_t room = sizeof work, size = 0;
    const prnn *classifier;
    int status = open(&classifier, file, file_bytes, NULL, &size);
    void *memory = malloc(size + 1);
    if (status == PRNN_MEMORY)
        status = open(&classifier, file, file_bytes, memory, &size);
    if (status != PRNN_OK) {
        puts(prnn_error(status));
        return 2;
    }
    uint32_t classes = prnn_classes(classifier);
    prnn_number *logits = malloc(classes * sizeof *logits);
    while (left >= 4) {
        size_t bytes = at[0] | (size_t)at[1] << 8 | (size_t)at[2] << 16 | (size_t)at[3] << 24, ids_count = 0;
        const int32_t *ids;
        at += 4;
        status = prnn_encode(classifier, (const char *)at, bytes, &ids, &ids_count, work, &room);
        uint32_t sum = 0, best = 0;
        for (size_t i = 0; status == PRNN_OK && i < ids_count; i++)
            sum = sum * 31 + (uint32_t)ids[i];
        if (status == PRNN_OK)
            status = prnn_classify(classifier, (const char *)at, bytes, logits, work, &room);
        if (status == PRNN_OK)
            status = prnn_probabilities(classifier, logits, logits);
        at += bytes;
        left -= bytes + 4;
        if (status != PRNN_OK) {
            puts(prnn_error(status));
            continue;
        }
        for (uint32_t i = 1; i < classes; i++)
            best = logits[i] > logits[best] ? i : best;
        printf("%u %u %u", (unsigned)ids_count, (unsigned)sum, (unsigned)best);
        for (uint32_t i = 0; i < classes; i++)
            printf(" %.9g", (double)logits[i]);
        putchar('\n');
    }
    free(logits);
    free(memory);
    return 0;
}

int main(int count, char **arguments)
{
    size_t file_bytes, bytes;
    if (count != 3)
        return 9;
    const unsigned char *file = read_file(arguments[1], &file_bytes), *texts = read_file(arguments[2], &bytes);
    int status = answer(prnn_open, file, file_bytes, texts, bytes);
    return status ? status : answer(prnn_open_in_place, file, file_bytes, texts, bytes);
}
