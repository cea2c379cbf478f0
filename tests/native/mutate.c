/* What the fuzzer makes of a packed file: changes that a reader's checks of form let through. The sections are taken apart,
 * values, operations, the step and the header are changed as what they are, and a file is made of them again; its
 * sums are made to fit by fuzz.c. Most changes leave a file that opens: a value is read in place of one that has no more
 * numbers, a constant is stored otherwise in sizes of the same product. One change in eight is libFuzzer's own, of any
 * bytes. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

size_t LLVMFuzzerMutate(uint8_t *data, size_t bytes, size_t most);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t bytes, size_t most, unsigned seed);

#include "file_layout.inc"

enum { RULES = NAME_RULES, VOCABULARY = NAME_VOCABULARY, VALUES = NAME_VALUES, OPS = NAME_OPS, WEIGHTS = NAME_WEIGHTS, STEP = NAME_STEP, TAGS = NAME_TAGS, HEADS = NAME_HEADS, FEATURES = NAME_FEATURES, MOST_OPS = 512 };
enum { VALUE_WORDS = sizeof(struct value) / 4, STEP_WORDS = sizeof(struct step_head) / 4 };
enum { RULES_WORDS = sizeof(struct rules_head) / 4, MORE_WORDS = sizeof(struct subwords_head) / 4 };
enum { ROOM = 1 << 11, MOVES = 4, SOME_IDS = 26 }; /* what a section may grow by; changes at a time; of a text of fuzz.c */
enum { FIRST_SECTION = 32, OUTPUT = 21, COUNT_OF_VALUES, COUNT_OF_OPS, REGIONS, CHANNELS = 27, COUNT_OF_FEATURES, TWO_TEXTS }; /* words of the header */

/* How many of an operation's first operands are read; the one behind them is written. */
static uint32_t count_reads(const uint32_t *op) { return (uint32_t)strspn(ROLES[op[0]], "ri"); }

static uint64_t state;
static uint32_t draw_below(uint32_t below)
{
    state = state * 6364136223846793005u + 1442695040888963407u;
    return below ? (uint32_t)(state >> 33) % below : 0;
}

/* A file taken apart: the operations of one program as words, and where each begins. */
struct file {
    uint32_t header[HEADER / 4];
    uint8_t *section[SECTIONS];
    size_t bytes[SECTIONS];
    uint32_t *values, value_count;
    struct list {
        uint32_t *words, at[MOST_OPS], count;
    } ops;
    int is_step; /* whether these are the step's */
};

/* Where the operations begin; 0 if these are none. */
static int list_operations(struct file *f)
{
    int name = f->is_step ? STEP : OPS;
    uint32_t before = f->is_step ? STEP_WORDS : 0, words = (uint32_t)(f->bytes[name] / 4) - before;
    f->ops = (struct list){.words = (uint32_t *)(void *)f->section[name] + before};
    for (uint32_t at = 0; at < words && f->ops.count < MOST_OPS;) {
        uint32_t code = f->ops.words[at], size = at + 1 < words ? f->ops.words[at + 1] : 0;
        if (code >= OP_KINDS || size != OP_WORDS[code] || size > words - at)
            return 0;
        f->ops.at[f->ops.count++] = at;
        at += size;
    }
    return f->ops.count != 0;
}

static int take_file_apart(const uint8_t *data, size_t bytes, struct file *f)
{
    if (bytes < HEADER)
        return 0;
    memcpy(f->header, data, HEADER);
    for (int i = 0; i < SECTIONS; i++) {
        uint32_t offset = f->header[FIRST_SECTION + 2 * i], size = f->header[FIRST_SECTION + 2 * i + 1];
        if (offset % 4 || offset > bytes || size > bytes - offset)
            return 0;
        f->section[i] = malloc(size + ROOM);
        f->bytes[i] = size;
        memcpy(f->section[i], data + offset, size);
    }
    f->values = (uint32_t *)(void *)f->section[VALUES];
    f->value_count = (uint32_t)(f->bytes[VALUES] / (4 * VALUE_WORDS));
    f->is_step = f->bytes[STEP] > 4 * STEP_WORDS && draw_below(3) == 0;
    return f->value_count && list_operations(f);
}

/* The file's bytes; 0 if there is no room. Sections keep their order. */
static size_t put_file_together(const struct file *f, uint8_t *data, size_t most)
{
    uint32_t header[HEADER / 4];
    size_t at = HEADER;
    memcpy(header, f->header, HEADER);
    for (int i = 0; i < SECTIONS; i++) {
        at = (at + 63) & ~(size_t)63;
        if (at + f->bytes[i] + 4 > most)
            return 0;
        if (i >= STEP && !f->bytes[i])
            continue;
        memcpy(data + at, f->section[i], f->bytes[i]);
        header[FIRST_SECTION + 2 * i] = (uint32_t)at;
        header[FIRST_SECTION + 2 * i + 1] = (uint32_t)f->bytes[i];
        size_t end = at + f->bytes[i], next = (end + 63) & ~(size_t)63;
        memset(data + end, 0, next < most ? next - end : most - end);
        at = end;
    }
    memcpy(data, header, HEADER);
    return (at + 3) & ~(size_t)3;
}

static uint32_t *draw_op(struct file *f) { return f->ops.words + f->ops.at[draw_below(f->ops.count)]; }
static uint32_t *draw_value(const struct file *f) { return f->values + VALUE_WORDS * draw_below(f->value_count); }

/* The place of a value among an operation's words. */
static uint32_t *draw_operand(struct file *f)
{
    uint32_t *op = draw_op(f), *fields = op + 2;
    if (op[0] == OP_RECURRENT && draw_below(2))
        return fields + (draw_below(3) ? 12 + draw_below(8) : 4 + draw_below(2));
    return fields + draw_below(count_reads(op) + 1u);
}

/* Another value, more often than not one of the same type, and a constant for a constant. */
static uint32_t draw_value_like(struct file *f, uint32_t one)
{
    for (int tries = 0; tries < 12; tries++) {
        uint32_t other = draw_below(f->value_count);
        const uint32_t *a = f->values + VALUE_WORDS * other, *b = f->values + VALUE_WORDS * (one < f->value_count ? one : 0);
        if (draw_below(2) == 0 || (a[0] == b[0] && (a[1] == NONE) == (b[1] == NONE)))
            return other;
    }
    return one;
}

static uint32_t draw_number(uint32_t before)
{
    static const uint32_t NUMBERS[] = {0, 1, 2, 3, 4, 7, 8, 9, 15, 16, 17, 31, 32, 33, 64, 256, 1 << 12, 1 << 16, 1 << 20, 1 << 24,
                                       1 << 30, 0x7FFFFFFF, 0x80000000, NONE, 0xFFFFFFF8};
    switch (draw_below(6)) {
    case 0: return before + 1;
    case 1: return before - 1;
    case 2: return before * 2;
    case 3: return before / 2;
    case 4: return draw_below(64);
    default: return NUMBERS[draw_below(sizeof NUMBERS / sizeof *NUMBERS)];
    }
}

static void change_operand(struct file *f)
{
    uint32_t *operand = draw_operand(f);
    *operand = draw_below(12) ? draw_value_like(f, *operand) : NONE;
}

static void change_field(struct file *f)
{
    uint32_t *op = draw_op(f), behind = op[1] - 2 - count_reads(op) - 1;
    if (behind) {
        uint32_t *field = op + 2 + count_reads(op) + 1 + draw_below(behind);
        *field = draw_number(*field);
    }
}

static void change_value(struct file *f)
{
    uint32_t *value = draw_value(f);
    switch (draw_below(6)) {
    case 0:
        value[0] = draw_below(3) | (draw_below(4) ? 0 : 256);
        break;
    case 1: /* another region, or a constant that is none any more */
        value[1] = draw_below(8) ? draw_below(f->header[REGIONS] + 1) : NONE;
        break;
    case 2: /* stored otherwise, where the numbers are few enough to stay in the weights */
        value[2] = draw_below(5);
        value[3] = draw_below(2) ? 0 : value[3];
        value[4] = draw_below(2) ? 0 : value[4];
        break;
    case 3:
        value[3 + draw_below(2)] = draw_below((uint32_t)(f->bytes[WEIGHTS] / 64) + 1) * 64;
        break;
    case 4: { /* the same numbers, in other sizes */
        uint32_t other = 5 + 2 * draw_below(4), number = value[6];
        value[6] = value[other + 1];
        value[other + 1] = number;
        break;
    }
    default: {
        uint32_t *word = value + 5 + draw_below(8);
        *word = draw_number(*word);
    }
    }
}

/* How many numbers a value has for a text of fuzz.c; 0 where that is none, or far too many. */
static uint64_t count_value_numbers(const struct file *f, uint32_t value)
{
    const uint32_t *sizes = f->values + VALUE_WORDS * value + 5;
    uint64_t numbers = 1;
    for (int i = 0; i < 4 && numbers; i++) {
        int64_t size = (int64_t)(int32_t)sizes[2 * i] * SOME_IDS + (int32_t)sizes[2 * i + 1];
        numbers = size < 0 || size > 1 << 20 || numbers > (uint64_t)1 << 40 ? 0 : numbers * (uint64_t)size;
    }
    return numbers;
}

static int is_constant(const struct file *f, uint32_t value) { return f->values[VALUE_WORDS * value + 1] == NONE; }

/* A value of the same type with at least as many numbers, and none of the other program; `one` where there is none. */
static uint32_t draw_fitting_value(const struct file *f, uint32_t one, int is_written)
{
    uint32_t first = f->is_step ? f->header[COUNT_OF_VALUES] : 0;
    for (int tries = 0; one < f->value_count && tries < 40; tries++) {
        uint32_t other = draw_below(f->value_count);
        if (other == one || f->values[VALUE_WORDS * other] != f->values[VALUE_WORDS * one] ||
            (is_constant(f, other) ? is_written : other < first) || count_value_numbers(f, other) < count_value_numbers(f, one))
            continue;
        return other;
    }
    return one;
}

/* An operation reads another value in place of one that has no more numbers. */
static void redirect_operand(struct file *f)
{
    uint32_t *operand = draw_operand(f);
    *operand = draw_fitting_value(f, *operand, 0);
}

/* So many numbers as a matrix of some rows, stored in some way, at the weights' begin or wherever they were. */
static void shape_value(const struct file *f, uint32_t *value, uint32_t numbers)
{
    uint32_t columns = 1 + draw_below(numbers < 64 ? numbers : 64);
    if (draw_below(3)) /* as wide as the kernels' rows, or as another constant */
        columns = draw_below(2) ? 8 * (1 + draw_below(6)) : draw_value(f)[8];
    if (!columns || columns > numbers || numbers % columns)
        columns = draw_below(2) ? 1 : numbers;
    value[2] = draw_below(4) ? 1 + draw_below(3) : 0;
    if (value[3] + (uint64_t)numbers * (value[2] == 1 ? 2 : value[2] ? 1 : 4) > f->bytes[WEIGHTS])
        value[3] = 0;
    value[4] = 0;
    for (int i = 0; i < 4; i++) {
        value[5 + 2 * i] = 0;
        value[6 + 2 * i] = 1;
    }
    value[6] = numbers / columns;
    value[8] = columns;
}

/* A constant stored otherwise, in sizes of the same product. */
static void reshape_value(struct file *f)
{
    uint32_t at = draw_below(f->value_count), *value = f->values + VALUE_WORDS * at;
    uint64_t numbers = count_value_numbers(f, at);
    if (is_constant(f, at) && value[0] == 0 && numbers && numbers <= 1 << 16)
        shape_value(f, value, (uint32_t)numbers);
}

/* A further constant, which is read in place of a value of no more numbers. The whole text's program cannot have it
 * where a step's values stand behind its own. */
static void add_constant(struct file *f)
{
    uint32_t *operand = draw_operand(f), *value = f->values + VALUE_WORDS * f->value_count, more = draw_below(3) ? 0 : draw_below(9);
    uint64_t numbers = *operand < f->value_count ? count_value_numbers(f, *operand) + more : 0;
    if (!numbers || numbers > f->bytes[WEIGHTS] || f->values[VALUE_WORDS * *operand] || (f->bytes[STEP] && !f->is_step))
        return;
    memset(value, 0, 4 * VALUE_WORDS);
    value[1] = NONE;
    shape_value(f, value, (uint32_t)numbers);
    f->bytes[VALUES] += 4 * VALUE_WORDS;
    *operand = f->value_count++;
    *(f->is_step ? (uint32_t *)(void *)f->section[STEP] + 1 : f->header + COUNT_OF_VALUES) += 1;
}

/* A constant becomes the small matrix that weights in place are, or all of them do. */
static void make_small(struct file *f)
{
    int all = draw_below(2) == 0;
    for (uint32_t i = 0; i < f->value_count; i++) {
        uint32_t *value = f->values + VALUE_WORDS * i;
        if (value[1] == NONE && !(value[0] & 0xFF) && (all || !draw_below(4)) && value[6] > 1)
            value[2] = 1 + (draw_below(4) ? 0 : draw_below(3));
    }
}

/* One number wherever it stands, as a size of values and of operations: what belongs together stays together. */
static void change_everywhere(struct file *f)
{
    uint32_t *op = draw_op(f), from = op[2 + draw_below(op[1] - 2)], to = draw_below(4) ? 1 + draw_below(40) : draw_number(from);
    for (uint32_t i = 0; i < f->value_count * VALUE_WORDS; i++)
        if (i % VALUE_WORDS >= 5 && f->values[i] == from && draw_below(8))
            f->values[i] = to;
    for (uint32_t k = 0; k < f->ops.count; k++)
        for (uint32_t n = count_reads(f->ops.words + f->ops.at[k]) + 3u; n < f->ops.words[f->ops.at[k] + 1]; n++)
            if (f->ops.words[f->ops.at[k] + n] == from && draw_below(8))
                f->ops.words[f->ops.at[k] + n] = to;
}

/* An operation is put where another one begins, or behind the last. */
static void insert_op(struct file *f, const uint32_t *op, uint32_t before)
{
    uint32_t *words = f->ops.words, last = f->ops.at[f->ops.count - 1], end = last + words[last + 1];
    uint32_t at = before < f->ops.count ? f->ops.at[before] : end;
    memmove(words + at + op[1], words + at, 4 * (size_t)(end - at));
    memcpy(words + at, op, 4 * op[1]);
    *(f->is_step ? (uint32_t *)(void *)f->section[STEP] + 2 : f->header + COUNT_OF_OPS) += 1;
    f->bytes[f->is_step ? STEP : OPS] += 4 * op[1];
    list_operations(f);
}

static void remove_op(struct file *f, uint32_t which)
{
    uint32_t *words = f->ops.words, last = f->ops.at[f->ops.count - 1], end = last + words[last + 1];
    uint32_t at = f->ops.at[which], size = words[at + 1];
    memmove(words + at, words + at + size, 4 * (size_t)(end - at - size));
    *(f->is_step ? (uint32_t *)(void *)f->section[STEP] + 2 : f->header + COUNT_OF_OPS) -= 1;
    f->bytes[f->is_step ? STEP : OPS] -= 4 * size;
    list_operations(f);
}

/* Operations change places, one is left out, or done a second time with other operands. */
static void change_order(struct file *f)
{
    uint32_t copy[64], which = draw_below(f->ops.count), *op = f->ops.words + f->ops.at[which], reads = count_reads(op);
    memcpy(copy, op, 4 * op[1]);
    int how = (int)draw_below(6);
    if (how < 3) {
        for (uint32_t i = 0; how && i <= reads; i++)
            copy[2 + i] = draw_below(2) ? draw_fitting_value(f, copy[2 + i], i == reads) : copy[2 + i];
        insert_op(f, copy, draw_below(2) ? which + 1 : draw_below(f->ops.count + 1));
    } else if (f->ops.count > 1) {
        remove_op(f, which);
        if (how < 5)
            insert_op(f, copy, draw_below(f->ops.count + 1));
    }
}

static uint32_t round_up_to_8(uint32_t numbers) { return (numbers + 7) & ~7u; }

/* Weights of a layer or product become integers of just as many rows and columns, or stand in the place of such; the bytes
 * that no such weight may be are changed, so that the file opens. */
static void make_integers(struct file *f)
{
    uint32_t *op = draw_op(f), *fields = op + 2, rows, columns, at;
    if (op[0] == OP_LINEAR) {
        at = fields[1];
        rows = fields[6];
        columns = round_up_to_8(fields[7]);
    } else if (op[0] == OP_RECURRENT) {
        static const uint32_t GATES[] = {1, 1, 4, 3, 2, 0, 0, 0};
        uint32_t of_state = draw_below(2), direction = draw_below(2);
        at = fields[12 + 4 * direction + of_state];
        rows = fields[8 + (fields[6] == FORGET ? 0 : of_state)];
        columns = GATES[fields[6] & 7] * round_up_to_8(fields[9]);
    } else
        return;
    uint64_t bytes = (((uint64_t)rows + 3) & ~(uint64_t)3) * columns;
    if (at >= f->value_count || !bytes || bytes > f->bytes[WEIGHTS] || 4 * (uint64_t)columns > f->bytes[WEIGHTS])
        return;
    uint32_t *value = f->values + VALUE_WORDS * at, sizes[] = {0, rows, 0, columns, 0, 1, 0, 1};
    value[2] = INTEGERS_BY_COLUMN;
    value[3] = draw_below((uint32_t)((f->bytes[WEIGHTS] - bytes) / 64) + 1) * 64;
    value[4] = draw_below((uint32_t)((f->bytes[WEIGHTS] - 4 * (uint64_t)columns) / 64) + 1) * 64;
    memcpy(value + 5, sizes, sizeof sizes);
    for (uint64_t i = 0; draw_below(8) && i < bytes; i++)
        f->section[WEIGHTS][value[3] + i] += f->section[WEIGHTS][value[3] + i] == 0x80;
    f->header[1] = 3;
}

/* A layer does without a product of its states, and perhaps with none but gates of its inputs, of one step or two. */
static void make_layer_forget(struct file *f)
{
    uint32_t *op = draw_op(f), *fields = op + 2, forgets = draw_below(3);
    if (op[0] != OP_RECURRENT)
        return;
    for (uint32_t i = 0; i < 2; i++) {
        uint32_t *weights = fields + 12 + 4 * i;
        weights[1] = forgets && draw_below(2) ? weights[0] : NONE;
        weights[3] = forgets ? NONE : weights[3];
    }
    fields[5] = forgets ? NONE : fields[5];
    fields[6] = forgets ? FORGET : fields[6];
}

static void change_header(struct file *f)
{
    static const uint8_t PLACES[] = {16, 17, 18, 19, 20, OUTPUT, REGIONS, 26, CHANNELS, COUNT_OF_FEATURES, TWO_TEXTS};
    uint32_t *word = f->header + PLACES[draw_below(sizeof PLACES)];
    *word = draw_below(2) ? draw_number(*word) : draw_below(f->value_count);
}

static void change_step(struct file *f)
{
    uint32_t *word = (uint32_t *)(void *)f->section[STEP] + draw_below(STEP_WORDS);
    if (f->bytes[STEP])
        *word = draw_below(2) ? draw_number(*word) : draw_below(f->value_count);
}

/* Where the steps of subwords begin among the words of the rules, behind what the model has. */
static uint64_t read_rule_steps(const struct file *f, const uint32_t *rules)
{
    const struct subwords_head *h = (const struct subwords_head *)(const void *)(rules + RULES_WORDS);
    uint64_t at = RULES_WORDS + MORE_WORDS + ((uint64_t)h->prefix + 3) / 4 + ((uint64_t)h->suffix + 3) / 4;
    at += (uint64_t)h->first_ids + h->last_ids + h->outside;
    if (h->model == SCORES)
        at += 2 * ((uint64_t)*(uint32_t *)(void *)f->section[VOCABULARY] + 1);
    return at + (h->model == PAIRS ? 1 + 3 * (uint64_t)h->merges + h->slots : 0);
}

/* A word of the rules; of subwords more often one of their head, or of a step or split: its kind, which of its content
 * is what, a number in it. */
static void change_rules(struct file *f)
{
    uint32_t *rules = (uint32_t *)(void *)f->section[RULES], words = (uint32_t)(f->bytes[RULES] / 4);
    if (!words)
        return;
    uint32_t at = draw_below(words), how = draw_below(8);
    if (words >= RULES_WORDS + MORE_WORDS && rules[0] == SUBWORDS && how) {
        at = how < 3 ? draw_below(RULES_WORDS + MORE_WORDS) : at;
        uint64_t step = read_rule_steps(f, rules);
        for (uint32_t skip = how > 4 ? draw_below(16) : 0; skip && step + 4 <= words; skip--)
            step += rules[step + 1] ? rules[step + 1] : 4;
        if (how > 4 && step + 4 <= words) {
            struct subword_op *op = (struct subword_op *)(void *)(rules + step);
            int is_of_set = op->kind >= SW_KEEP && op->kind <= SW_FOLD_RUNS;
            if (how == 5)
                op->kind = is_of_set ? SW_KEEP + draw_below(4) : draw_below(SW_KINDS);
            else if (how == 6)
                *(draw_below(2) ? &op->a : &op->b) = draw_below(8);
            else if (op->words > 4 && op->words <= words - step)
                at = (uint32_t)step + 4 + draw_below(op->words - 4);
            if (how < 7)
                return;
        }
    }
    rules[at] = draw_below(4) ? draw_number(rules[at]) : rules[draw_below(words)];
}

/* A word of what is said of labels of tokens, of features or of heads, where they are; else of the rules. */
static void change_labels(struct file *f)
{
    int name = f->bytes[TAGS] ? TAGS : f->bytes[FEATURES] ? FEATURES : HEADS;
    uint32_t *words = (uint32_t *)(void *)f->section[name], count = (uint32_t)(f->bytes[name] / 4);
    if (!count) {
        change_rules(f);
        return;
    }
    uint32_t at = draw_below(4) ? draw_below(count) : draw_below(2);
    words[at] = draw_number(words[at]);
    if (name == HEADS && count > 4 && draw_below(2)) /* as many labels in another order */
        words[3] = f->header[16] - words[1];
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t bytes, size_t most, unsigned seed)
{
    struct file f = {0};
    state = seed * 2654435761u + 88172645463325252u;
    size_t made = 0;
    if (draw_below(8) && take_file_apart(data, bytes, &f)) {
        int of_subwords = f.bytes[RULES] > 4 && *(uint32_t *)(void *)f.section[RULES] == SUBWORDS, rules_only = of_subwords && draw_below(2);
        for (uint32_t k = 1 + draw_below(MOVES); k; k--)
            switch (rules_only ? 20 : draw_below(21)) {
            case 0: case 1: change_operand(&f); break;
            case 2: case 3: change_field(&f); break;
            case 4: case 5: change_value(&f); break;
            case 6: make_small(&f); change_operand(&f); break;
            case 7: change_everywhere(&f); break;
            case 8: case 9: redirect_operand(&f); break;
            case 10: case 11: reshape_value(&f); break;
            case 12: add_constant(&f); break;
            case 13: change_order(&f); break;
            case 14: change_header(&f); break;
            case 15: change_step(&f); break;
            case 16: case 17: make_integers(&f); break;
            case 18: make_layer_forget(&f); break;
            case 19: change_labels(&f); break;
            default: change_rules(&f);
            }
        made = put_file_together(&f, data, most);
    }
    for (int i = 0; i < SECTIONS; i++)
        free(f.section[i]);
    return made ? made : LLVMFuzzerMutate(data, bytes, most);
}
