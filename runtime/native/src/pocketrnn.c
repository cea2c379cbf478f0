/* See pocketrnn.h for what this does, docs/packed-format.md for the file. One translation unit, of parts that are read in this
 * order, and the interface behind them. */
#include "pocketrnn.h"

#include <math.h>
#include <string.h>

typedef prnn_number real;

#ifdef __GNUC__
#define COLD __attribute__((cold)) /* what is done once a file is made small: 8 kB less */
#else
#define COLD
#endif
#if defined(__GNUC__) && !defined(__wasm__) /* which is made small anyway */
#define APART __attribute__((noinline)) /* what many functions call, once each: 8 kB less */
#else
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

#if defined __GNUC__ && !defined __clang__ && !defined __OPTIMIZE_SIZE__ && !defined PRNN_AFTER_KERNELS /* asked here, since gcc's
                                                                                   pragmas say that size counts, too */
#define PRNN_FAST
#endif

#include "instruction_sets.inc"
#include "file_layout.inc"
#include "file_reading.inc"
#include "program_checks.inc"
#include "unicode14.inc"
#include "text_to_ids.inc"
#if defined __GNUC__ && !defined __clang__
#pragma GCC push_options
#pragma GCC optimize("Os") /* not wider than it need be */
#endif
#include "code_point_runs.inc"
#include "text_cleaning.inc"
#include "subword_steps.inc"
#include "subword_models.inc"
#include "subword_cuts.inc"
#if defined __GNUC__ && !defined __clang__
#pragma GCC pop_options
#endif
#ifdef PRNN_FAST
#define WIDE __attribute__((optimize("O3"))) /* whose loops are worth their size */
#pragma GCC push_options
#pragma GCC optimize("O2")
#else
#define WIDE
#endif
#include "operations.inc"
#ifdef PRNN_FAST
#pragma GCC pop_options
#endif
#include "recurrent.inc"
#include "program.inc"
#include "word_products.inc"
#include "number_samples.inc"
#if defined __GNUC__ && !defined __clang__
#pragma GCC push_options
#pragma GCC optimize("Os")
#endif
#include "file_opening.inc"
#if defined __GNUC__ && !defined __clang__
#pragma GCC push_options
#pragma GCC optimize("Os")
#endif
#include "token_labels.inc"
#include "text_stream.inc"
#if defined __GNUC__ && !defined __clang__
#pragma GCC pop_options
#endif

/* ---- The interface ---------------------------------------------------------------------------------------------- */

const char *prnn_error(int status)
{
    switch (status) {
    case PRNN_OK: return "All is right.";
    case PRNN_MEMORY: return "This needs more memory than there is.";
    case PRNN_NO_FILE: return "This is not a packed classifier.";
    case PRNN_VERSION: return "Another release made this packed classifier. Pack it again.";
    case PRNN_DAMAGED: return "The file was changed after it was made, or is cut short.";
    case PRNN_CONTENT: return "The file's parts do not fit each other.";
    case PRNN_TEXT: return "The text is not UTF-8.";
    case PRNN_TOO_SHORT: return "The text has fewer tokens than the classifier takes, or the sequence fewer steps.";
    case PRNN_TOO_LONG: return "The text has more tokens than the classifier takes, or the sequence more steps.";
    case PRNN_ID: return "A token id is out of range.";
    case PRNN_NOT_FINITE: return "A number is NaN or infinite.";
    case PRNN_ARGUMENT: return "A number is out of range.";
    case PRNN_NO_WORD: return "The text holds no known word, but the classifier needs one.";
    case PRNN_NO_STREAM: return "This classifier cannot answer while a text arrives.";
    case PRNN_UNDECIDED: return "A capital sigma is followed by more than 4,096 characters that do not decide its form.";
    case PRNN_SAVED: return "This is not a saved stream of this classifier, or it was changed after it was saved.";
    case PRNN_COSTLY: return "This would take more memory or time than a file of this size may ask for.";
    case PRNN_STOPPED: return "This was stopped.";
    case PRNN_INPUT: return "This classifier takes something else: sequences of numbers, a text, its tokens, or what stands beside it.";
    case PRNN_MISSING: return "A sample is missing (NaN), but the classifier has nothing to put in its place.";
    case PRNN_VALUES: return "This gives values, which have no probabilities.";
    case PRNN_FAR: return "A sample is far outside of the range of training; check the sensor's unit.";
    case PRNN_LARGE: return "This leads to a whole number that 32 bits do not hold, and the engine has no others.";
    case PRNN_LABELS: return "The labels are of something else: of texts as a whole, or of their tokens.";
    case PRNN_PLACES: return "The places of the text's tokens are not known.";
    case PRNN_WAITING: return "More characters have no space to cut them at than a stream keeps.";
    case PRNN_NO_PROGRAM: return "This file holds text rules only: it makes ids, and has no program that answers.";
    case PRNN_FEW_IDS: return "The text has fewer ids than the rules fill every text up to.";
    case PRNN_MANY_IDS: return "The text has more ids than the rules cut every text to.";
    case PRNN_BEGIN: return "The text does not begin with the ids with which the rules begin every text.";
    case PRNN_END: return "The text does not end with the ids with which the rules end every text.";
    case PRNN_UNKNOWN: return "The category does not know this value.";
    case PRNN_MACHINE: return "This machine is big-endian, but packed files are read on little-endian ones only.";
    default: return "There is no such status.";
    }
}

void prnn_ask(const prnn *p, int (*asked)(const void *memory))
{
    /* The memory that a classifier was opened in is the caller's, who may write to it. */
    ((prnn *)(uintptr_t)p)->asked = asked;
}

uint32_t prnn_classes(const prnn *p) { return p->header->classes; }
int prnn_is_multi_label(const prnn *p) { return p->header->activation == SIGMOID_OF_EACH; }
int prnn_gives_values(const prnn *p) { return p->header->activation == AS_VALUES; }

static const char *get_string(const struct strings *table, uint32_t index, size_t *bytes)
{
    if (index >= table->count)
        return NULL;
    *bytes = get_string_start(table, index + 1) - get_string_start(table, index);
    return (const char *)table->bytes + get_string_start(table, index);
}

const char *prnn_label(const prnn *p, uint32_t index, size_t *bytes) { return get_string(&p->labels, index, bytes); }
const char *prnn_token(const prnn *p, uint32_t id, size_t *bytes) { return get_string(&p->vocabulary, id, bytes); }
const char *prnn_channel(const prnn *p, uint32_t index, size_t *bytes)
{
    return prnn_channels(p) ? get_string(&p->vocabulary, index, bytes) : NULL;
}

void prnn_limits(const prnn *p, uint32_t *least, uint32_t *most, uint32_t *ids)
{
    *least = p->header->least;
    *most = p->header->most;
    *ids = p->header->ids;
}

const char *prnn_document(const prnn *p, size_t *bytes)
{
    *bytes = p->header->sections[NAME_DOCUMENT].bytes;
    return (const char *)p->file + p->header->sections[NAME_DOCUMENT].offset;
}

int prnn_head(const prnn *p, uint32_t index, struct prnn_head *head)
{
    const struct heads *all = &p->heads;
    if (index >= all->count)
        return 0;
    *head = (struct prnn_head){.labels = all->heads[index].labels, .is_multi_label = all->heads[index].activation == SIGMOID_OF_EACH};
    head->name = get_string(&all->names, index, &head->bytes);
    for (uint32_t i = 0; i < index; i++)
        head->first += all->heads[i].labels;
    return 1;
}

/* The probabilities of one head's logits. */
static int compute_probabilities(const struct head *head, const real *logits, real *probabilities)
{
    uint32_t classes = head->labels;
    int is_multi_label = head->activation == SIGMOID_OF_EACH;
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
        probabilities[i] = (real)(is_multi_label ? (wide)0.5 * (tanh((wide)0.5 * x) + 1) : exp(x - (wide)largest));
        total += probabilities[i];
    }
    for (uint32_t i = 0; !is_multi_label && i < classes; i++)
        probabilities[i] /= total;
    return PRNN_OK;
}

int prnn_probabilities(const prnn *p, const real *logits, real *probabilities)
{
    int status = prnn_gives_values(p) ? PRNN_VALUES : PRNN_OK;
    for (uint32_t i = 0, at = 0; i < p->heads.count && !status; at += p->heads.heads[i++].labels)
        status = compute_probabilities(&p->heads.heads[i], logits + at, probabilities + at);
    return status;
}

uint32_t prnn_features(const prnn *p) { return p->header->features; }
int prnn_takes_pairs(const prnn *p) { return p->header->pairs != 0; }

/* Feature number `index` if it is of this kind; else NULL. */
static const struct feature *find_feature(const prnn *p, uint32_t index, uint32_t kind)
{
    if (index >= p->header->features)
        return NULL;
    const struct feature *one = p->features.first;
    while (index--)
        one = (const void *)((const uint32_t *)one + one->words);
    return one->kind == kind ? one : NULL;
}

const char *prnn_feature(const prnn *p, uint32_t index, int *is_category, size_t *bytes)
{
    *is_category = find_feature(p, index, AS_CATEGORY) != NULL;
    return prnn_features(p) ? get_string(&p->features.names, index, bytes) : NULL;
}

int prnn_feature_of_number(const prnn *p, uint32_t index, double number, float *feature)
{
    const struct feature *one = find_feature(p, index, AS_NUMBER);
    if (!one)
        return PRNN_ARGUMENT;
    const uint32_t *words = (const uint32_t *)(one + 1);
    double made = (number - read_double(words, 0)) / read_double(words, 1);
    if (!(made <= MOST_FLOAT && made >= -MOST_FLOAT))
        return PRNN_NOT_FINITE;
    *feature = (float)made;
    return PRNN_OK;
}

int prnn_feature_of_category(const prnn *p, uint32_t index, const char *value, size_t bytes, float *feature)
{
    const struct feature *one = find_feature(p, index, AS_CATEGORY);
    struct strings values;
    if (!one)
        return PRNN_ARGUMENT;
    const uint32_t *words = (const uint32_t *)(one + 1), *end = (const uint32_t *)one + one->words;
    strings_at(words + 1, (size_t)(end - words - 1) * 4, &values);
    int32_t place = find_string(&values, (const uint8_t *)value, bytes);
    uint32_t id = place < 0 ? words[0] : *(end - values.count + place);
    if (id == NONE)
        return PRNN_UNKNOWN;
    *feature = (float)id;
    return PRNN_OK;
}

uint32_t prnn_examples(const prnn *p) { return p->header->examples; }

int prnn_example(const prnn *p, uint32_t index, const char **text, size_t *bytes, const int32_t **ids, size_t *count,
                 const float **logits)
{
    if (p->header->channels)
        return PRNN_INPUT;
    if (index >= prnn_examples(p))
        return PRNN_ARGUMENT;
    const struct example *one = find_example(p, index);
    *bytes = one->bytes;
    *count = one->ids;
    *text = (const char *)get_example_text(one);
    *ids = get_example_ids(one);
    *logits = get_example_logits(p, one);
    return PRNN_OK;
}
