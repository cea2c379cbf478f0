/* See pocketrnn.h for what this does, docs/packed-format.md for the file. In this order: numbers and tables of the
 * file, opening and checking it, text to ids, ids to logits, the interface. */
#include "pocketrnn.h"

#include <math.h>
#include <string.h>

#include "unicode14.h"

typedef prnn_number real;

#ifdef __GNUC__
#define COLD __attribute__((cold)) /* what is done once a file is made small: 8 kB less */
#define APART __attribute__((noinline)) /* what many operations call, once each: 4 kB less */
#else
#define COLD
#define APART
#endif

#ifdef PRNN_SINGLE /* for processors without double arithmetic: none is used; integers beyond 2^24 are rounded */
typedef float wide;
#define ceil ceilf
#define cos cosf
#define erf erff
#define exp expf
#define expm1 expm1f
#define floor floorf
#define fmod fmodf
#define log logf
#define log1p log1pf
#define pow powf
#define sin sinf
#define sqrt sqrtf
#define tanh tanhf
#else
typedef double wide; /* what sums, and functions that no kernel has, are computed in */
#endif

struct kernels {
    void (*product)(const real *x, size_t x_row, size_t m, size_t k, const real *w, size_t n, const real *init,
                    size_t init_row, real *y, size_t y_row);
    void (*lstm)(const real *gates, size_t width, real *h, real *c);
    void (*gru)(const real *gates, const real *fresh, size_t width, real *h);
    void (*rnn)(const real *sums, size_t width, int relu, real *h);
    void (*tanh_all)(const real *x, size_t n, real *y);
};

#if defined(__SSE2__)
#include <immintrin.h>
#endif

/* The kernels that any processor of the kind runs, then those for instructions that not every one has. PRNN_SMALL is
 * defined where there is little room for code. */
#define PRNN_GNU 1
#define PRNN_ARM_NEON 2
#define PRNN_LOOPS 3
#if __ARM_ARCH_PROFILE == 'M' && !defined(PRNN_PLAIN)
#define PRNN_PLAIN 1 /* there are no vectors, and little room for code */
#ifndef PRNN_SMALL
#define PRNN_SMALL 1
#endif
#endif
#ifdef PRNN_PLAIN
#define PRNN_VECTORS PRNN_LOOPS
#define PRNN_TILES 0
#elif defined(__GNUC__)
#define PRNN_VECTORS PRNN_GNU
#ifdef PRNN_SMALL
#define PRNN_TILES 1
#elif defined(__wasm__) /* whose engines have 16 registers of 128 bits */
#define PRNN_TILES 2
#else
#define PRNN_TILES 3
#endif
#else
#define PRNN_VECTORS PRNN_LOOPS
#define PRNN_TILES 0
#endif
#define KERNEL(name) base_##name
#include "kernels.h"
#undef KERNEL
#if defined(__x86_64__) && defined(__GNUC__) && !defined(PRNN_BASE_ONLY) && !defined(PRNN_PLAIN)
#define PRNN_AVX2 1
#ifdef __clang__
#pragma clang attribute push(__attribute__((target("avx2,fma"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx2,fma")
#endif
#define PRNN_VECTORS PRNN_GNU
#define PRNN_TILES 3
#define KERNEL(name) avx2_##name
#define KERNEL_AVX2
#include "kernels.h"
#undef KERNEL
#undef KERNEL_AVX2
#ifdef __clang__
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif
#if !defined(PRNN_AVX2_ONLY) && !defined(PRNN_DOUBLE)
#define PRNN_AVX512 1
#ifdef __clang__
#pragma clang attribute push(__attribute__((target("avx512f,avx512vl,avx512dq,fma"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx512f,avx512vl,avx512dq,fma")
#endif
#define PRNN_VECTORS PRNN_GNU
#define PRNN_TILES 3
#define LANES 16
#define KERNEL(name) avx512_##name
#include "kernels.h"
#undef KERNEL
#ifdef __clang__
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif
#endif
#endif
#if defined(__arm__) && defined(__linux__) && __ARM_ARCH >= 7 && __ARM_FP && !defined(PRNN_BASE_ONLY) &&               \
    defined(__GNUC__) && !defined(__clang__) && !defined(PRNN_DOUBLE) && !defined(PRNN_PLAIN)
#define PRNN_NEON 1 /* clang uses NEON for GNU C's vectors where it is told of it */
#pragma GCC push_options
#pragma GCC target("fpu=neon-vfpv4")
#include <arm_neon.h>
#include <sys/auxv.h>
#define PRNN_VECTORS PRNN_ARM_NEON
#define PRNN_TILES 2
#define KERNEL(name) neon_##name
#include "kernels.h"
#undef KERNEL
#pragma GCC pop_options
#endif
#ifdef PRNN_AFTER_KERNELS /* by whom the rest is compiled with other options than the inner loops */
PRNN_AFTER_KERNELS
#endif

/* ---- The file ------------------------------------------------------------------------------------------------- */

enum { HEADER = 256, ALIGN = 64, VALUE_WORDS = 13, FACTORS = 4, MOST_VALUES = 1 << 14, MOST_OPS = 1 << 14 };
#define NONE 0xFFFFFFFFu
#define MOST_NUMBERS ((uint64_t)1 << 40)
/* Multiply-adds for products of words while a file is opened. */
#define MOST_OPENING ((uint64_t)1 << 30)
/* Slots one after the other that are not 0, so many are looked at for one word; strings that hash at random reach some hundreds. */
enum { MOST_RUN = 1 << 10, MOST_EXAMPLES = 1 << 14 };

enum { NAME_DOCUMENT, NAME_LABELS, NAME_RULES, NAME_STOPS, NAME_VOCABULARY, NAME_VALUES, NAME_OPS, NAME_WEIGHTS,
       NAME_EXAMPLES, NAME_STEP, SECTIONS };
enum { FLOAT, INT, BOOL };
enum { AS_IS, HALF, BYTES_BY_ROW, BYTES_BY_COLUMN };

/* Words by position in the header. */
enum { H_MAGIC, H_VERSION, H_SIZE, H_ZERO, H_SUMS, H_SHA = 8, H_CLASSES = 16, H_ACTIVATION, H_IDS, H_LEAST, H_MOST,
       H_OUTPUT, H_VALUES, H_OPS, H_REGIONS, H_EXAMPLES, H_NEEDS_WORD, H_SECTIONS = 32,
       H_FREE = H_SECTIONS + 2 * SECTIONS };
#define MAGIC 0x4E4E5250u /* "PRNN" */

/* Strings by number. In the small form, offsets count from that of every 64th string. */
struct strings {
    const uint8_t *bytes;
    const uint32_t *starts; /* of every string, or of every 64th */
    const uint16_t *small_offsets, *small_slots;
    const uint32_t *slots;
    uint32_t count, slot_count, id_bits, is_small;
};

struct rules {
    uint32_t tokenizer, lowercase, ngrams, max_tokens;
    int32_t unknown_id, empty_id, padding_id, first_id, last_id;
    uint32_t max_width, min_width, cut_left, pad_left, steps;
    const uint32_t *step; /* the first one's words */
};
enum { BASIC_ENGLISH, WHITESPACE, CHARACTERS, SPACE };
enum { REPLACE, KEEP, LOWERCASE };
enum { RULE_WORDS = 14 };

/* A layer that reads the embeddings of the text's ids: its operation and the table. Where there is memory for them,
 * products of the first words' embeddings and its input weights are made when the file is opened: how many words, and
 * the products by direction, with the biases added. `lookup` is the operation that is left out, if nothing but such
 * layers reads what it would write: they read the table themselves, and for few words. */
struct known {
    const uint32_t *operands, *table, *lookup;
    const real *products[2];
    uint32_t words;
};
enum { MOST_KNOWN = 4, BLOCK = 16, SMALL_BLOCK = 4 };

/* One of the file's two programs: that of whole texts, and the step, which reads on from a state. Both read value 0,
 * the ids, and constants; all else of a program are its own values, from `first` to before `end`. A step's first one is
 * the state. */
struct program {
    const uint32_t *ops;
    uint32_t op_count, first, end, regions, output;
    uint32_t state_size, new_state; /* a step's; else 0 */
    struct known known[MOST_KNOWN];
};

struct prnn {
    const uint8_t *file;
    const uint32_t *header;
    struct strings labels, stops, vocabulary;
    struct rules rules;
    const uint32_t *values;
    uint32_t value_count, example_words;
    struct program whole, step; /* a step without operations: there is none */
    const uint32_t *examples;
    size_t scratch; /* numbers */
    uint32_t longest; /* token, in code points; where there is a step */
    int in_place;   /* whether weights stay as they are in the file */
    const struct kernels *kernels;
    const void **constants; /* by value */
    int (*asked)(const void *memory); /* whether to stop; or NULL */
};


/* Sums of the file's words, the two sums themselves taken for zeros; a changed byte changes the first. */
static void sums_of(const uint32_t *words, size_t count, uint64_t *first, uint64_t *second)
{
    uint64_t a = 0, b = 0;
    for (size_t i = 0; i < count; i++) {
        uint64_t word = i >= H_SUMS && i < H_SHA ? 0 : words[i];
        a += word;
        b += (uint64_t)(i + 1) * word;
    }
    *first = a;
    *second = b;
}

static int section_of(const uint32_t *header, int name, const uint32_t **words, size_t *bytes)
{
    uint32_t offset = header[H_SECTIONS + 2 * name], size = header[H_SECTIONS + 2 * name + 1];
    if (offset < HEADER || offset % ALIGN || offset > header[H_SIZE] || size > header[H_SIZE] - offset)
        return 0;
    *words = header + offset / 4;
    *bytes = size;
    return 1;
}

static uint32_t start_of(const struct strings *table, uint32_t index)
{
    return table->is_small ? table->starts[index / 64] + table->small_offsets[index] : table->starts[index];
}

static uint32_t slot_of(const struct strings *table, uint32_t at)
{
    return table->is_small ? table->small_slots[at] : table->slots[at];
}

static int read_strings(const uint32_t *header, int name, struct strings *out)
{
    const uint32_t *words;
    size_t size;
    if (!section_of(header, name, &words, &size) || size < 20)
        return 0;
    uint32_t count = words[0], slots = words[1], bits = words[2], bytes = words[3], small = words[4];
    uint64_t starts = small ? (uint64_t)count / 64 + 1 : (uint64_t)count + 1;
    uint64_t offset_words = small ? ((uint64_t)count + 2) / 2 : 0, slot_words = small ? ((uint64_t)slots + 1) / 2 : slots;
    if (small > 1 || 20 + 4 * (starts + offset_words + slot_words) + bytes > size || bits > (small ? 15u : 31u) ||
        (slots && (count >= slots || count >= (1u << bits))))
        return 0;
    *out = (struct strings){.count = count, .slot_count = slots, .id_bits = bits, .is_small = small};
    out->starts = words + 5;
    out->small_offsets = (const uint16_t *)(const void *)(out->starts + starts);
    out->slots = out->starts + starts + offset_words;
    out->small_slots = (const uint16_t *)(const void *)out->slots;
    out->bytes = (const uint8_t *)(out->slots + slot_words);
    if (start_of(out, 0) != 0 || start_of(out, count) != bytes)
        return 0;
    for (uint32_t i = 0; i < count; i++)
        if (start_of(out, i) > start_of(out, i + 1))
            return 0;
    uint32_t mask = (1u << bits) - 1;
    for (uint32_t i = 0; i < slots; i++)
        if ((slot_of(out, i) & mask) > count)
            return 0;
    uint32_t run = 0, first = 0; /* one may go on from the last slot to the first */
    for (uint32_t i = 0; i < slots && run <= MOST_RUN; i++) {
        run = slot_of(out, i) & mask ? run + 1 : 0;
        first = run == i + 1 ? run : first;
    }
    if (run + first > MOST_RUN)
        return 0;
    return 1;
}

static inline uint32_t hash_byte(uint32_t hash, uint8_t byte) { return (hash ^ byte) * 16777619u; }

/* A string's position in a table, or -1. */
static int32_t find(const struct strings *table, const uint8_t *string, size_t bytes)
{
    if (!table->slot_count)
        return -1;
    uint32_t hash = 2166136261u;
    for (size_t i = 0; i < bytes; i++)
        hash = hash_byte(hash, string[i]);
    hash ^= hash >> 15;
    hash *= 0x2C1B3C6Du;
    hash ^= hash >> 12;
    uint32_t mask = (1u << table->id_bits) - 1, tag = hash << table->id_bits;
    tag &= table->is_small ? 0xFFFF : NONE;
    uint32_t at = (uint32_t)(((uint64_t)hash * table->slot_count) >> 32);
    for (uint32_t tried = 0; tried < table->slot_count; tried++) {
        uint32_t slot = slot_of(table, at);
        if (!(slot & mask))
            return -1;
        if ((slot & ~mask) == tag) {
            uint32_t id = (slot & mask) - 1, start = start_of(table, id);
            if (start_of(table, id + 1) - start == bytes && !memcmp(table->bytes + start, string, bytes))
                return (int32_t)id;
        }
        at = at + 1 == table->slot_count ? 0 : at + 1;
    }
    return -1;
}

static int read_rules(prnn *p)
{
    const uint32_t *words;
    size_t size;
    if (!section_of(p->header, NAME_RULES, &words, &size) || size < 4 * RULE_WORDS || size % 4)
        return 0;
    struct rules *r = &p->rules;
    memcpy(r, words, 4 * RULE_WORDS);
    uint32_t ids = p->header[H_IDS];
    if (r->tokenizer > SPACE || r->lowercase > 1 || r->ngrams < 1 || r->ngrams > 16 || r->cut_left > 1 ||
        r->pad_left > 1 || r->min_width > 1u << 16 || r->steps > 4096)
        return 0;
    int32_t given[] = {r->unknown_id, r->empty_id, r->padding_id, r->first_id, r->last_id};
    for (int i = 0; i < 5; i++)
        if (given[i] < (i == 1 || i == 2 ? 0 : -1) || (given[i] >= 0 && (uint32_t)given[i] >= ids))
            return 0;
    r->step = words + RULE_WORDS;
    const uint32_t *at = r->step, *end = words + size / 4;
    for (uint32_t i = 0; i < r->steps; i++) {
        if (end - at < 4 || at[1] < 4 || at[1] > (size_t)(end - at) || at[0] > LOWERCASE)
            return 0;
        /* Kind, words, then for a replacement the bytes of what and of by; for a set its ranges and the bytes of by. */
        if (at[2] > 1u << 16 || at[3] > 1u << 12)
            return 0;
        size_t first = at[0] == KEEP ? 2 * (size_t)at[2] : (at[2] + 3) / 4;
        if (4 + first + (at[3] + 3) / 4 > at[1] || (at[0] == REPLACE && !at[2]))
            return 0;
        at += at[1];
    }
    return 1;
}

/* ---- The program: what its words mean, and whether they can be meant -------------------------------------------- */

enum {
#define OPERATION(NAME, name, words, reads, optional) OP_##NAME,
#include "ops.def"
#undef OPERATION
    OP_KINDS
};
static const uint8_t OP_SIZE[OP_KINDS] = {
#define OPERATION(NAME, name, words, reads, optional) words,
#include "ops.def"
#undef OPERATION
};
/* How many of the first words are values that are read; then one that is written. */
static const uint8_t OP_READS[OP_KINDS] = {
#define OPERATION(NAME, name, words, reads, optional) reads,
#include "ops.def"
#undef OPERATION
};
/* Of these, which may be left out, as bits. */
static const uint8_t OP_OPTIONAL[OP_KINDS] = {
#define OPERATION(NAME, name, words, reads, optional) optional,
#include "ops.def"
#undef OPERATION
};
enum { NEGATIVE, ABSOLUTE, EXP, LOG, SQRT, TANH, SIGMOID, RELU, ERF, RECIPROCAL, FLOOR, CEIL, ROUND, SIGN, LEAKY, ELU,
       CLIP, SOFTPLUS, GELU, GELU_TANH, SIN, COS, HARD_SIGMOID, NOT, CAST };
enum { ADD, SUB, MUL, DIV, POW, MIN, MAX, EQUAL, LESS, LESS_EQUAL, GREATER, GREATER_EQUAL, AND, OR, XOR };
enum { SUM, MEAN, LARGEST, SMALLEST, PRODUCT };
static const uint32_t *value_of(const prnn *p, uint32_t value) { return p->values + (size_t)value * VALUE_WORDS; }
static uint32_t type_of(const prnn *p, uint32_t value) { return value_of(p, value)[0] & 0xFF; }
static int is_table(const prnn *p, uint32_t value) { return value_of(p, value)[0] >> 8 == 1; }
static int is_constant(const prnn *p, uint32_t value) { return value_of(p, value)[1] == NONE; }
static size_t bytes_of(uint32_t type) { return type == FLOAT ? sizeof(real) : type == INT ? 4 : 1; }

/* a * steps + b, where that is 0 to 2^31 - 1. */
static int size_at(const uint32_t *pair, size_t steps, size_t *size)
{
    int64_t at = (int64_t)(int32_t)pair[0] * (int64_t)steps + (int32_t)pair[1];
    if (at < 0 || at > INT32_MAX)
        return 0;
    *size = (size_t)at;
    return 1;
}

/* a * b, or what is more than anything may have: a product of four sizes can be beyond 2^64. */
static uint64_t times(uint64_t a, uint64_t b)
{
    if ((a | b) >> 20 == 0) /* nearly always, and without a division, which takes as long as ten products */
        return a * b;
    return b && a > MOST_NUMBERS / b ? UINT64_MAX : a * b;
}

/* The product of sizes; a status, of which PRNN_COSTLY says that there cannot be so many numbers. */
static int product_at(const uint32_t *pairs, int count, size_t steps, size_t *numbers)
{
    uint64_t product = 1;
    for (int i = 0; i < count; i++) {
        size_t size;
        if (!size_at(pairs + 2 * i, steps, &size))
            return PRNN_CONTENT;
        product = times(product, size);
        if (product > MOST_NUMBERS)
            return PRNN_COSTLY;
    }
    *numbers = (size_t)product;
    return product <= SIZE_MAX / 16 ? PRNN_OK : PRNN_COSTLY;
}

static int numbers_at(const uint32_t *pairs, int count, size_t steps, size_t *numbers)
{
    return !product_at(pairs, count, steps, numbers);
}

/* A constant's rows, columns and where it stands; 0 if it is not within the file's weights. */
static int check_constant(const uint32_t *value, size_t weights)
{
    size_t rows, columns, total;
    if (value[2] > BYTES_BY_COLUMN || (value[2] && (value[0] & 0xFF) != FLOAT))
        return 0;
    if (!size_at(value + 5, 0, &rows) || !size_at(value + 7, 0, &columns) ||
        !numbers_at(value + 5, FACTORS, 0, &total) || total != (uint64_t)rows * columns)
        return 0;
    for (int i = 0; i < FACTORS; i++)
        if (value[5 + 2 * i])
            return 0;
    size_t each = value[2] == HALF ? 2 : value[2] || (value[0] & 0xFF) == BOOL ? 1 : 4;
    if (value[3] % ALIGN || value[3] > weights || (uint64_t)total * each > weights - value[3])
        return 0;
    size_t scales = value[2] == BYTES_BY_ROW ? rows : value[2] == BYTES_BY_COLUMN ? columns : 0;
    return !scales || (value[4] % ALIGN == 0 && value[4] <= weights && (uint64_t)scales * 4 <= weights - value[4]);
}

/* Whether an operation of a program may read a value. */
static int may_read(const prnn *p, const struct program *g, uint32_t value)
{
    return value < g->end && (value >= g->first || value == 0 || is_constant(p, value));
}

/* The ids and the state are the caller's. */
static int may_write(const prnn *p, const struct program *g, uint32_t value)
{
    return value >= g->first && value < g->end && value != 0 && !(g->state_size && value == g->first) &&
           !is_constant(p, value);
}

static int is_answer(const prnn *p, const struct program *g, uint32_t value)
{
    return value >= g->first && value < g->end && !is_constant(p, value) && type_of(p, value) == FLOAT;
}

static int check_values(const prnn *p, const struct program *g, size_t weights)
{
    for (uint32_t i = g->first; i < g->end; i++) {
        const uint32_t *value = value_of(p, i);
        if (value[0] & ~0x1FFu || (value[0] & 0xFF) > BOOL)
            return 0;
        if (is_constant(p, i) ? !check_constant(value, weights) : value[1] >= g->regions || is_table(p, i))
            return 0;
    }
    /* The first value is the ids, a step's own first one the state; answers are a region's floats. */
    if (is_constant(p, 0) || type_of(p, 0) != INT || !is_answer(p, g, g->output))
        return 0;
    return !g->state_size || (is_answer(p, g, g->first) && is_answer(p, g, g->new_state));
}

static int is_float(const prnn *p, uint32_t value) { return value == NONE || type_of(p, value) == FLOAT; }

static int check_types(const prnn *p, uint32_t code, const uint32_t *f)
{
    switch (code) {
    case OP_LOOKUP:
        return is_table(p, f[0]) && type_of(p, f[0]) == FLOAT && type_of(p, f[1]) == INT && type_of(p, f[2]) == FLOAT;
    case OP_COPY:
        return type_of(p, f[0]) == type_of(p, f[1]);
    case OP_FILL:
        return 1;
    case OP_COUNT:
        return type_of(p, f[0]) != BOOL;
    case OP_UNARY:
        if (f[2] >= CAST)
            return f[2] == CAST;
        return type_of(p, f[0]) == type_of(p, f[1]) && type_of(p, f[0]) == (f[2] == NOT ? BOOL : FLOAT);
    case OP_BINARY:
        if (f[3] > XOR || type_of(p, f[0]) != type_of(p, f[1]) || (f[3] >= AND && type_of(p, f[0]) != BOOL))
            return 0;
        return f[3] < EQUAL ? type_of(p, f[2]) == type_of(p, f[0]) && type_of(p, f[0]) != BOOL
                            : type_of(p, f[2]) == BOOL;
    case OP_WHERE:
        return type_of(p, f[0]) == BOOL && type_of(p, f[1]) == type_of(p, f[2]) && type_of(p, f[2]) == type_of(p, f[3]);
    case OP_REDUCE:
        return f[2] <= 4 && type_of(p, f[0]) == type_of(p, f[1]) && type_of(p, f[0]) != BOOL;
    case OP_GATHER:
        return type_of(p, f[0]) == type_of(p, f[2]) && type_of(p, f[1]) == INT;
    case OP_ARGMAX:
        return is_float(p, f[0]) && type_of(p, f[1]) == INT;
    case OP_CUMSUM:
        return type_of(p, f[0]) == type_of(p, f[1]) && type_of(p, f[0]) != BOOL;
    default:
        for (int i = 0; i <= OP_READS[code]; i++)
            if (!is_float(p, f[i]))
                return 0;
        return 1;
    }
}

enum { R_X, R_H0, R_C0, R_Y, R_LAST_H, R_LAST_C, R_KIND, R_DIRECTIONS, R_INPUT, R_HIDDEN, R_STEPS, R_WEIGHTS = 12 };
enum { RNN_TANH, RNN_RELU, LSTM, GRU };

static size_t padded(size_t numbers) { return (numbers + 7) & ~(size_t)7; }
static size_t gates_of(uint32_t kind) { return kind == LSTM ? 4 : kind == GRU ? 3 : 1; }

static size_t constant_numbers(const prnn *p, uint32_t value)
{
    size_t numbers;
    return numbers_at(value_of(p, value) + 5, FACTORS, 0, &numbers) ? numbers : 0;
}

/* Whether a constant is a matrix that is not stored as the kernels read it. Opened in place, it stays so. */
static int is_small(const prnn *p, uint32_t value)
{
    const uint32_t *words = value_of(p, value);
    return is_constant(p, value) && !is_table(p, value) && words[0] == FLOAT && words[2] != AS_IS && words[6] > 1;
}

/* How many steps' inputs are multiplied at a time. */
static size_t block_of(const prnn *p) { return p->in_place ? SMALL_BLOCK : BLOCK; }

/* Whether a value that is read may stay as it is in the file: it is stored as the kernels read it, or it is the weights
 * of a product, with rows of the product's width. */
static int may_stay(const prnn *p, uint32_t value, size_t width)
{
    return value == NONE || !is_small(p, value) || value_of(p, value)[8] == width;
}

static int is_weight(const prnn *p, const struct program *g, uint32_t value, uint64_t numbers)
{
    return value < g->end && is_constant(p, value) && !is_table(p, value) && type_of(p, value) == FLOAT &&
           constant_numbers(p, value) >= numbers;
}

/* What stands behind the operands of a recurrent layer: two outputs, and for each direction its four weights. */
static int check_recurrent(const prnn *p, const struct program *g, const uint32_t *f)
{
    uint64_t input = f[R_INPUT], hidden = f[R_HIDDEN];
    if (f[R_KIND] > GRU || f[R_DIRECTIONS] < 1 || f[R_DIRECTIONS] > 3 || !input || !hidden || input > 1 << 20 ||
        hidden > 1 << 20)
        return 0;
    for (int i = R_LAST_H; i <= R_LAST_C; i++)
        if (f[i] != NONE && (!may_write(p, g, f[i]) || type_of(p, f[i]) != FLOAT))
            return 0;
    uint64_t width = gates_of(f[R_KIND]) * padded((size_t)hidden);
    for (int d = 0; d < 2; d++) {
        const uint32_t *weights = f + R_WEIGHTS + 4 * d;
        if (d == 1 && f[R_DIRECTIONS] != 3)
            continue;
        if (!is_weight(p, g, weights[0], input * width) || !is_weight(p, g, weights[1], hidden * width) ||
            !is_weight(p, g, weights[2], width) || !is_weight(p, g, weights[3], width))
            return 0;
    }
    return 1;
}

static int check_op(const prnn *p, const struct program *g, const uint32_t *op)
{
    uint32_t code = op[0];
    const uint32_t *f = op + 2;
    if (code >= OP_KINDS || op[1] != OP_SIZE[code])
        return 0;
    int reads = OP_READS[code];
    for (int i = 0; i <= reads; i++) {
        if (f[i] == NONE && ((OP_OPTIONAL[code] >> i & 1) || (code == OP_RECURRENT && i == R_Y)))
            continue;
        if (i == reads ? !may_write(p, g, f[i]) : !may_read(p, g, f[i]))
            return 0;
        if (is_table(p, f[i]) && !(code == OP_LOOKUP && i == 0))
            return 0;
    }
    if (!check_types(p, code, f))
        return 0;
    if (code == OP_RECURRENT)
        return check_recurrent(p, g, f);
    if (code != OP_LINEAR)
        return 1;
    size_t width = padded(f[7]);
    return f[6] && f[7] && f[6] <= 1 << 24 && f[7] <= 1 << 24 && is_weight(p, g, f[1], (uint64_t)f[6] * width) &&
           (f[2] == NONE || is_weight(p, g, f[2], width));
}

/* Whether all that an operation reads may stay in place. */
static int op_may_stay(const prnn *p, const uint32_t *op)
{
    const uint32_t *f = op + 2;
    for (int i = 0; i < OP_READS[op[0]]; i++)
        if (!may_stay(p, f[i], op[0] == OP_LINEAR && i == 1 ? padded(f[7]) : 0))
            return 0;
    for (int d = 0; op[0] == OP_RECURRENT && d < (f[R_DIRECTIONS] == 3 ? 2 : 1); d++)
        for (int i = 0; i < 4; i++)
            if (!may_stay(p, f[R_WEIGHTS + 4 * d + i], i < 2 ? gates_of(f[R_KIND]) * padded(f[R_HIDDEN]) : 0))
                return 0;
    return 1;
}

static int all_may_stay(const prnn *p, const struct program *g)
{
    const uint32_t *op = g->ops;
    for (uint32_t i = 0; i < g->op_count; i++, op += op[1])
        if (!op_may_stay(p, op))
            return 0;
    return 1;
}

/* The numbers that one operation of a program needs at most beside its values. What is sized here depends on whether
 * weights stay in place, so that must be decided. */
static size_t scratch_of(const prnn *p, const struct program *g)
{
    const uint32_t *op = g->ops;
    size_t most = 0, block = block_of(p);
    for (uint32_t i = 0; i < g->op_count; i++, op += op[1]) {
        const uint32_t *f = op + 2;
        size_t numbers = 0;
        if (op[0] == OP_LINEAR)
            numbers = 5 * padded(f[7]);
        if (op[0] == OP_RECURRENT) { /* a block's sums and inputs, two rows of gates, the biases, a row of weights, h and c */
            size_t width = padded(f[R_HIDDEN]);
            numbers = (block + 4) * gates_of(f[R_KIND]) * width + 2 * width + block * f[R_INPUT];
        }
        most = numbers > most ? numbers : most;
    }
    return most;
}

COLD static int check_ops(const prnn *p, const struct program *g, size_t words)
{
    const uint32_t *at = g->ops, *end = g->ops + words;
    for (uint32_t i = 0; i < g->op_count; i++) {
        if (end - at < 2 || at[1] < 2 || at[1] > (size_t)(end - at) || !check_op(p, g, at))
            return 0;
        at += at[1];
    }
    return at == end;
}

static float half_of(uint16_t half)
{
    uint32_t sign = (uint32_t)(half & 0x8000) << 16, exponent = half >> 10 & 31, fraction = half & 1023, bits;
    if (exponent == 31)
        bits = sign | 0x7F800000u | fraction << 13;
    else if (exponent)
        bits = sign | (exponent + 112) << 23 | fraction << 13;
    else {
        float small = (float)fraction * 5.9604644775390625e-08f; /* 2^-24 */
        return sign ? -small : small;
    }
    float number;
    memcpy(&number, &bits, 4);
    return number;
}

/* Row `row` of a constant matrix, as real numbers. */
static void row_of(const prnn *p, const uint32_t *value, size_t row, size_t columns, real *out)
{
    const uint8_t *weights = p->file + p->header[H_SECTIONS + 2 * NAME_WEIGHTS];
    const uint8_t *data = weights + value[3];
    const float *scales = (const float *)(const void *)(weights + value[4]);
    if (value[2] == AS_IS) {
        const float *from = (const float *)(const void *)data + row * columns;
        for (size_t i = 0; i < columns; i++)
            out[i] = from[i];
    } else if (value[2] == HALF) {
        const uint16_t *from = (const uint16_t *)(const void *)data + row * columns;
        for (size_t i = 0; i < columns; i++)
            out[i] = half_of(from[i]);
    } else {
        const int8_t *from = (const int8_t *)data + row * columns;
        for (size_t i = 0; i < columns; i++)
            out[i] = from[i] * scales[value[2] == BYTES_BY_ROW ? row : i];
    }
}

/* Whether a constant must be made anew in memory: it is not stored as the kernels read it. */
static int is_made(const prnn *p, uint32_t value)
{
    const uint32_t *words = value_of(p, value);
    return is_constant(p, value) && !is_table(p, value) && type_of(p, value) == FLOAT &&
           (words[2] != AS_IS || sizeof(real) != 4) && !(p->in_place && is_small(p, value));
}

static size_t aligned(size_t bytes) { return (bytes + ALIGN - 1) & ~(size_t)(ALIGN - 1); }

static uint8_t *aligned_pointer(void *memory) { return (uint8_t *)(((uintptr_t)memory + ALIGN - 1) & ~(uintptr_t)(ALIGN - 1)); }

static void make_constants(prnn *p, uint8_t *memory)
{
    const uint8_t *weights = p->file + p->header[H_SECTIONS + 2 * NAME_WEIGHTS];
    for (uint32_t i = 0; i < p->value_count; i++) {
        const uint32_t *value = value_of(p, i);
        p->constants[i] = is_constant(p, i) && !is_small(p, i) ? weights + value[3] : NULL;
        if (!is_made(p, i))
            continue;
        size_t numbers = constant_numbers(p, i), columns = value[2] ? value[8] : numbers;
        for (size_t row = 0; columns && row < numbers / columns; row++)
            row_of(p, value, row, columns, (real *)(void *)memory + row * columns);
        p->constants[i] = memory;
        memory += aligned(numbers * sizeof(real));
    }
}

static const struct kernels *best_kernels(void)
{
#ifdef PRNN_AVX2
    __builtin_cpu_init();
#ifdef PRNN_AVX512
    /* Earlier processors than those with VBMI2 (Ice Lake, Zen 4) slow their clock down for it. */
    if (__builtin_cpu_supports("avx512vbmi2") && __builtin_cpu_supports("avx512vl") &&
        __builtin_cpu_supports("avx512dq"))
        return &avx512_kernels;
#endif
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
        return &avx2_kernels;
#endif
#ifdef PRNN_NEON
    enum { NEON = 1 << 12, VFPV4 = 1 << 16 }; /* as Linux names them in <asm/hwcap.h> */
    if ((getauxval(AT_HWCAP) & (NEON | VFPV4)) == (NEON | VFPV4))
        return &neon_kernels;
#endif
    return &base_kernels;
}

COLD static int check_examples(prnn *p)
{
    size_t size;
    if (!section_of(p->header, NAME_EXAMPLES, &p->examples, &size) || size % 4)
        return 0;
    p->example_words = (uint32_t)(size / 4);
    if (p->header[H_EXAMPLES] > MOST_EXAMPLES) /* each is found from the first one on */
        return 0;
    uint64_t at = 0;
    for (uint32_t i = 0; i < p->header[H_EXAMPLES]; i++) {
        if (at + 2 > p->example_words)
            return 0;
        uint64_t words = 2 + ((uint64_t)p->examples[at] + 3) / 4 + p->examples[at + 1] + p->header[H_CLASSES];
        if (words > p->example_words - at)
            return 0;
        at += words;
    }
    return 1;
}

/* Whether a text can be read on by the rules: with nothing in them but what a stream follows. */
static int are_plain(const prnn *p)
{
    const struct rules *r = &p->rules;
    return r->tokenizer != SPACE && r->ngrams == 1 && r->first_id < 0 && r->last_id < 0 && !r->max_width &&
           !r->min_width && !r->cut_left && !r->pad_left && !r->steps && !p->stops.count && p->header[H_LEAST] == 1 &&
           !p->header[H_NEEDS_WORD];
}

static uint32_t longest_of(const struct strings *table)
{
    uint32_t longest = 0;
    for (uint32_t i = 0; i < table->count; i++) {
        uint32_t points = 0;
        for (uint32_t at = start_of(table, i); at < start_of(table, i + 1); at++)
            points += table->bytes[at] >> 6 != 2;
        longest = points > longest ? points : longest;
    }
    return longest;
}

enum { STEP_STATE, STEP_VALUES, STEP_OPS, STEP_REGIONS, STEP_LOGITS, STEP_NEW_STATE, STEP_WORDS };
enum { MOST_STATE = 1 << 20 };

/* The step's head, where there is one; its values stand behind those of the program of whole texts. */
static int read_step(prnn *p, const uint32_t **words, size_t *count)
{
    const uint32_t *entry = p->header + H_SECTIONS + 2 * NAME_STEP, *head;
    size_t size;
    *count = 0;
    if (!entry[0] && !entry[1])
        return 1;
    if (!section_of(p->header, NAME_STEP, &head, &size) || size % 4 || size < 4 * STEP_WORDS)
        return 0;
    struct program *g = &p->step;
    *g = (struct program){.ops = head + STEP_WORDS, .op_count = head[STEP_OPS], .first = p->whole.end,
                          .regions = head[STEP_REGIONS], .output = head[STEP_LOGITS],
                          .state_size = head[STEP_STATE], .new_state = head[STEP_NEW_STATE]};
    if (!head[STEP_VALUES] || head[STEP_VALUES] > MOST_VALUES || !g->op_count || g->op_count > MOST_OPS ||
        g->regions > head[STEP_VALUES] || !g->state_size || g->state_size > MOST_STATE || !are_plain(p))
        return 0;
    p->value_count = g->end = g->first + head[STEP_VALUES];
    p->longest = longest_of(&p->vocabulary);
    *words = g->ops;
    *count = size / 4 - STEP_WORDS;
    return 1;
}

COLD static int check_programs(prnn *p)
{
    const uint32_t *words;
    size_t size, weights, step_words;
    if (!read_step(p, &words, &step_words) || !section_of(p->header, NAME_VALUES, &p->values, &size) ||
        size != 4 * (uint64_t)p->value_count * VALUE_WORDS || !section_of(p->header, NAME_WEIGHTS, &words, &weights) ||
        !section_of(p->header, NAME_OPS, &p->whole.ops, &size) || size % 4)
        return 0;
    if (!check_values(p, &p->whole, weights) || !check_ops(p, &p->whole, size / 4))
        return 0;
    if (p->step.op_count && (!check_values(p, &p->step, weights) || !check_ops(p, &p->step, step_words)))
        return 0;
    /* One operation that cannot read weights in place decides for both programs, and before anything is sized by it. */
    p->in_place = p->in_place && all_may_stay(p, &p->whole) && all_may_stay(p, &p->step);
    size_t whole = scratch_of(p, &p->whole), step = scratch_of(p, &p->step);
    p->scratch = whole > step ? whole : step;
    return 1;
}

COLD static int check_content(prnn *p)
{
    const uint32_t *h = p->header, *words;
    size_t size;
    if (h[H_ACTIVATION] > 1 || h[H_CLASSES] < 1 || h[H_CLASSES] > 1 << 20 || !h[H_IDS] || h[H_IDS] > INT32_MAX ||
        h[H_LEAST] < 1 || h[H_LEAST] > h[H_MOST] || h[H_MOST] > INT32_MAX || h[H_NEEDS_WORD] > 1)
        return 0;
    /* What a later version may say there is no part of this one. */
    for (uint32_t i = H_NEEDS_WORD + 1; i < HEADER / 4; i++)
        if (h[i] && (i < H_SECTIONS || i >= H_FREE))
            return 0;
    if (h[H_ZERO])
        return 0;
    if (!read_strings(h, NAME_LABELS, &p->labels) || !read_strings(h, NAME_STOPS, &p->stops) ||
        !read_strings(h, NAME_VOCABULARY, &p->vocabulary) || p->labels.count != h[H_CLASSES] ||
        p->vocabulary.count > h[H_IDS] || !read_rules(p) || !section_of(h, NAME_DOCUMENT, &words, &size))
        return 0;
    return check_programs(p) && check_examples(p);
}

static void make_known(prnn *p, uint8_t *memory, size_t size);
static void share_known(prnn *p);

COLD static int open_as(const prnn **opened, const void *file, size_t file_size, void *memory, size_t *size, int in_place)
{
    const uint32_t *header = file;
    if (file_size < HEADER || (uintptr_t)file % 4)
        return PRNN_NO_FILE;
    const uint8_t *bytes = file;
    if (memcmp(bytes, "PRNN", 4))
        return PRNN_NO_FILE;
    if (header[H_MAGIC] != MAGIC)
        return PRNN_MACHINE;
    if (header[H_VERSION] != 1)
        return PRNN_VERSION;
    uint64_t stated[2], first, second;
    memcpy(stated, header + H_SUMS, 16);
    if (header[H_SIZE] != file_size || file_size % 4)
        return PRNN_DAMAGED;
    sums_of(header, file_size / 4, &first, &second);
    if (first != stated[0] || second != stated[1])
        return PRNN_DAMAGED;
    prnn p = {.file = bytes, .header = header, .value_count = header[H_VALUES], .kernels = best_kernels(),
              .in_place = in_place};
    p.whole = (struct program){.op_count = header[H_OPS], .end = header[H_VALUES], .regions = header[H_REGIONS],
                               .output = header[H_OUTPUT]};
    if (!p.value_count || p.value_count > MOST_VALUES || p.whole.op_count > MOST_OPS ||
        p.whole.regions > p.value_count || !check_content(&p))
        return PRNN_CONTENT;
    uint64_t needed = ALIGN + aligned(sizeof(prnn)) + aligned(p.value_count * sizeof(void *)), made = 0;
    size_t before = (size_t)needed - ALIGN;
    for (uint32_t i = 0; i < p.value_count; i++)
        made += is_made(&p, i) ? aligned(constant_numbers(&p, i) * sizeof(real)) : 0;
    needed += made;
    if (made > PRNN_MOST_MADE(file_size) || needed > SIZE_MAX / 2)
        return PRNN_COSTLY;
    if (!memory || *size < needed) {
        *size = (size_t)needed;
        return PRNN_MEMORY;
    }
    uint8_t *at = aligned_pointer(memory);
    p.constants = (const void **)(void *)(at + aligned(sizeof(prnn)));
    make_constants(&p, at + before);
    make_known(&p, at + (size_t)needed - ALIGN, *size - (size_t)needed);
    share_known(&p);
    memcpy(at, &p, sizeof p);
    *opened = (const prnn *)(void *)at;
    return PRNN_OK;
}

int prnn_open(const prnn **opened, const void *file, size_t file_size, void *memory, size_t *size)
{
    return open_as(opened, file, file_size, memory, size, 0);
}

int prnn_open_in_place(const prnn **opened, const void *file, size_t file_size, void *memory, size_t *size)
{
    return open_as(opened, file, file_size, memory, size, sizeof(real) == 4);
}

#include "text.h"
#include "program.h"
#include "stream.h"

/* ---- The interface ---------------------------------------------------------------------------------------------- */

const char *prnn_error(int status)
{
    switch (status) {
    case PRNN_OK: return "All is right.";
    case PRNN_MEMORY: return "This needs more memory than there is.";
    case PRNN_NO_FILE: return "This is no packed classifier.";
    case PRNN_VERSION: return "This packed classifier is of a version that this engine does not know.";
    case PRNN_DAMAGED: return "The file was changed after it was made, or is cut short.";
    case PRNN_CONTENT: return "The file's parts do not fit each other.";
    case PRNN_TEXT: return "The text is not UTF-8.";
    case PRNN_TOO_SHORT: return "The text has fewer tokens than the classifier takes.";
    case PRNN_TOO_LONG: return "The text has more tokens than the classifier takes.";
    case PRNN_ID: return "A token id is out of range.";
    case PRNN_NOT_FINITE: return "The logits are NaN or infinite.";
    case PRNN_ARGUMENT: return "A number is out of range.";
    case PRNN_NO_WORD: return "The text holds no known word, and the classifier takes none such.";
    case PRNN_NO_STREAM: return "This classifier cannot answer while a text arrives.";
    case PRNN_UNDECIDED: return "A capital sigma is followed by more than 4,096 characters that do not decide its form.";
    case PRNN_SAVED: return "This is no saved stream of this classifier, or it was changed after it was saved.";
    case PRNN_COSTLY: return "This would take more memory or time than a file of this size may ask for.";
    case PRNN_STOPPED: return "This was stopped.";
    case PRNN_MACHINE: return "This machine is big-endian, and packed files are read on little-endian ones only.";
    default: return "There is no such status.";
    }
}

void prnn_ask(const prnn *p, int (*asked)(const void *memory))
{
    /* The memory that a classifier was opened in is the caller's, who may write to it. */
    ((prnn *)(uintptr_t)p)->asked = asked;
}

uint32_t prnn_classes(const prnn *p) { return p->header[H_CLASSES]; }
int prnn_is_multi_label(const prnn *p) { return p->header[H_ACTIVATION] == 1; }

static const char *string_of(const struct strings *table, uint32_t index, size_t *bytes)
{
    if (index >= table->count)
        return NULL;
    *bytes = start_of(table, index + 1) - start_of(table, index);
    return (const char *)table->bytes + start_of(table, index);
}

const char *prnn_label(const prnn *p, uint32_t index, size_t *bytes) { return string_of(&p->labels, index, bytes); }
const char *prnn_token(const prnn *p, uint32_t id, size_t *bytes) { return string_of(&p->vocabulary, id, bytes); }

void prnn_limits(const prnn *p, uint32_t *least, uint32_t *most, uint32_t *ids)
{
    *least = p->header[H_LEAST];
    *most = p->header[H_MOST];
    *ids = p->header[H_IDS];
}

const char *prnn_document(const prnn *p, size_t *bytes)
{
    *bytes = p->header[H_SECTIONS + 2 * NAME_DOCUMENT + 1];
    return (const char *)p->file + p->header[H_SECTIONS + 2 * NAME_DOCUMENT];
}

int prnn_probabilities(const prnn *p, const real *logits, real *probabilities)
{
    uint32_t classes = prnn_classes(p);
    real largest = logits[0];
    for (uint32_t i = 0; i < classes; i++) {
        if (isnan(logits[i]))
            return PRNN_NOT_FINITE;
        largest = logits[i] > largest ? logits[i] : largest;
    }
    if (!isfinite(largest))
        return PRNN_NOT_FINITE;
    real total = 0;
    for (uint32_t i = 0; i < classes; i++) {
        wide x = (wide)logits[i];
        probabilities[i] = (real)(prnn_is_multi_label(p) ? (wide)0.5 * (tanh((wide)0.5 * x) + 1) : exp(x - (wide)largest));
        total += probabilities[i];
    }
    for (uint32_t i = 0; !prnn_is_multi_label(p) && i < classes; i++)
        probabilities[i] /= total;
    return PRNN_OK;
}

uint32_t prnn_examples(const prnn *p) { return p->header[H_EXAMPLES]; }

int prnn_example(const prnn *p, uint32_t index, const char **text, size_t *bytes, const int32_t **ids, size_t *count,
                 const float **logits)
{
    if (index >= prnn_examples(p))
        return PRNN_ARGUMENT;
    const uint32_t *at = p->examples;
    for (;; index--) {
        const uint32_t *after = at + 2 + (at[0] + 3) / 4;
        if (!index) {
            *bytes = at[0];
            *count = at[1];
            *text = (const char *)(at + 2);
            *ids = (const int32_t *)after;
            *logits = (const float *)(const void *)(after + at[1]);
            return PRNN_OK;
        }
        at = after + at[1] + prnn_classes(p);
    }
}
