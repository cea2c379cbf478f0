/* Where the time of one text goes in the native engine: the least of some rounds for each text and part, and their means, in
 * microseconds. The engine's source is part of this, so that its parts can be called by themselves. scripts/benchmark_native
 * builds it and makes a table of what it prints.
 *
 *   engine_parts FILE TEXTS MIB   a packed file, texts one a line, and memory for products of words */
#include "pocketrnn.c"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { MOST_TEXTS = 1 << 16, ROUNDS = 15, PARTS = 24, TO_IDS, PLACING, PRODUCTS, ALL, SLOTS };

static const char *const NAMES[OP_KINDS] = {
#define OPERATION(NAME, name, OPERANDS) #name,
#include "ops.def"
#undef OPERATION
};
static const prnn *p;
static uint8_t work[1 << 24];
static float logits[1 << 20];

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e6 + (double)t.tv_nsec * 1e-3;
}

static char *content(const char *path, size_t *size)
{
    FILE *file = fopen(path, "rb");
    if (!file || fseek(file, 0, SEEK_END))
        exit(2);
    *size = (size_t)ftell(file);
    rewind(file);
    char *bytes = aligned_alloc(ALIGN, align_size(*size + 1));
    if (!bytes || fread(bytes, 1, *size, file) != *size)
        exit(2);
    fclose(file);
    return bytes;
}

static void keep_least(double *of, double from)
{
    double taken = now() - from;
    *of = taken < *of ? taken : *of;
}

/* The products of the inputs of all layers that read the ids' embeddings, for all steps. */
static void run_products(struct run *r)
{
    const real *at[LARGE_BLOCK], *before[LARGE_BLOCK];
    for (int k = 0; k < MOST_KNOWN && r->g->known[k].layer; k++)
        for (size_t i = 0; i < count_directions(r->g->known[k].layer); i++) {
            struct direction d = make_direction(r, r->g->known[k].layer, i, r->steps, r->scratch);
            for (size_t done = 0; done < d.steps; done += d.block)
                sum_inputs(&d, done, d.steps - done < d.block ? d.steps - done : d.block, at,
                           d.kind == FORGET && d.back != NONE ? before : NULL);
        }
}

static void measure(const char *text, size_t bytes, double *of)
{
    struct arena a = make_arena(work, sizeof work);
    const int32_t *ids;
    size_t count;
    double begin = now();
    if (encode(p, text, bytes, &ids, &count, &a) || is_text_beyond_limits(p, ids, count))
        exit(1);
    keep_least(&of[TO_IDS], begin);
    struct run r = {.p = p, .g = &p->whole, .steps = count};
    begin = now();
    if (place_values(&r, ids, NULL, &a))
        exit(1);
    keep_least(&of[PLACING], begin);
    const struct op *op = p->whole.ops;
    for (uint32_t i = 0; i < p->whole.op_count; i++, op = next_op(op)) {
        begin = now();
        if (RUN[op->code](&r, op))
            exit(1);
        if (i < PARTS)
            keep_least(&of[i], begin);
    }
}

int main(int count, char **arguments)
{
    if (count != 4)
        return 2;
    size_t size, bytes, needed = 0, texts = 0;
    char *file = content(arguments[1], &size), *rows = content(arguments[2], &bytes);
    prnn_open(&p, file, size, NULL, &needed);
    needed += (size_t)(atof(arguments[3]) * (1 << 20));
    uint8_t *memory = malloc(needed);
    double begin = now();
    if (!memory || prnn_open(&p, file, size, memory, &needed))
        return 1;
    double opening = now() - begin;
    static double of[MOST_TEXTS][SLOTS];
    static const char *at[MOST_TEXTS + 1];
    for (char *row = rows; row < rows + bytes && texts < MOST_TEXTS; row = memchr(row, '\n', (size_t)(rows + bytes - row)), row++)
        at[texts++] = row;
    at[texts] = rows + bytes;
    for (size_t i = 0; i < texts; i++)
        for (int k = 0; k < SLOTS; k++)
            of[i][k] = 1e9;
    /* Each part of all texts before the next round, so that what a text reads is not there from its last round. */
    for (int round = 0; round < ROUNDS; round++) {
        for (size_t i = 0; i < texts; i++)
            measure(at[i], (size_t)(at[i + 1] - at[i] - 1), of[i]);
        for (size_t i = 0; i < texts; i++) {
            struct arena a = make_arena(work, sizeof work);
            const int32_t *ids;
            size_t steps;
            encode(p, at[i], (size_t)(at[i + 1] - at[i] - 1), &ids, &steps, &a);
            struct run r = {.p = p, .g = &p->whole, .steps = steps};
            place_values(&r, ids, NULL, &a);
            begin = now();
            run_products(&r);
            keep_least(&of[i][PRODUCTS], begin);
        }
        for (size_t i = 0; i < texts; i++) {
            size_t most = sizeof work;
            begin = now();
            prnn_classify(p, at[i], (size_t)(at[i + 1] - at[i] - 1), logits, work, &most);
            keep_least(&of[i][ALL], begin);
        }
    }
    double mean[SLOTS] = {0};
    for (size_t i = 0; i < texts; i++)
        for (int k = 0; k < SLOTS; k++)
            mean[k] += of[i][k] / (double)texts;
    printf("text to ids\t%.2f\nplaces of values\t%.2f\n", mean[TO_IDS], mean[PLACING]);
    const struct op *op = p->whole.ops;
    for (uint32_t i = 0, layers = 0; i < p->whole.op_count && i < PARTS; i++, op = next_op(op)) {
        double taken = mean[i];
        if (op->code == OP_RECURRENT && !layers++) {
            printf("products of inputs\t%.2f\n", mean[PRODUCTS]);
            taken -= mean[PRODUCTS];
        }
        printf("%s\t%.2f\n", op->code == OP_RECURRENT ? "states and gates" : NAMES[op->code], taken);
    }
    printf("all, in C\t%.2f\nopening\t%.0f\n", mean[ALL], opening);
    return 0;
}
