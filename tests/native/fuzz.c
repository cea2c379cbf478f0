/* Coverage-guided fuzzing of the engine; scripts/fuzz_native builds and runs it. -DTARGET=OF_FILE, OF_WAYS, OF_TEXT or
 * OF_RULES:
 *
 *   OF_FILE   the input is a packed file, whose sums and size are made to fit. It is refused, or answers a few texts,
 *             also as streams, opened in both ways.
 *   OF_WAYS   the same. Opened in both ways, alone and together, it gives a text the same logits, to the last bit: built
 *             with the portable kernels and without fused operations, sums are the same ones, however strange.
 *   OF_TEXT   the input is a text. The packed files named in $FUZZ_FILES, between colons, all answer it.
 *   OF_RULES  the input is text rules (its first two bytes say how many words) and a text. The first of $FUZZ_FILES is
 *             opened with these rules in place of its own.
 *
 * Files, texts and memory are allocated in their exact sizes, so that the address sanitizer sees every step beyond. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "pocketrnn.h"

enum { OF_FILE, OF_WAYS, OF_TEXT, OF_RULES };
enum { WANTED = TARGET };

enum { MOST_FILES = 32, MOST_CLASSES = 64, MOST_MEMORY = 1 << 24 };

struct opened {
    unsigned char *file;
    size_t bytes;
    void *memory;
    const prnn *classifier;
};
static struct opened files[MOST_FILES];
static size_t file_count;

#define CHECK(right)                                                                                                   \
    do                                                                                                                 \
        if (!(right)) {                                                                                                \
            fprintf(stderr, "line %d: %s\n", __LINE__, #right);                                                        \
            abort();                                                                                                   \
        }                                                                                                              \
    while (0)

static void *allocate_exactly(size_t bytes)
{
    void *memory = malloc(bytes ? bytes : 1);
    CHECK(memory);
    return memory;
}

static void *copy_exactly(const void *from, size_t bytes)
{
    void *memory = allocate_exactly(bytes);
    if (bytes)
        memcpy(memory, from, bytes);
    return memory;
}

/* The header's magic, version, size and sums, as a file of these bytes must have them. */
static void make_sums_fit(unsigned char *file, size_t bytes)
{
    unsigned long long first = 0, second = 0;
    uint32_t size = (uint32_t)bytes, version = 1;
    memcpy(file, "PRNN", 4);
    memcpy(file + 4, &version, 4);
    memcpy(file + 8, &size, 4);
    memset(file + 12, 0, 20);
    for (size_t i = 0; i + 4 <= bytes; i += 4) {
        uint32_t word;
        memcpy(&word, file + i, 4);
        first += word;
        second += (i / 4 + 1) * (unsigned long long)word;
    }
    memcpy(file + 16, &first, 8);
    memcpy(file + 24, &second, 8);
}

typedef int opener(const prnn **, const void *, size_t, void *, size_t *);
static opener *const WAYS[] = {prnn_open, prnn_open_in_place};
enum { WAY_COUNT = sizeof WAYS / sizeof *WAYS };

/* Whether it opens, in one of the two ways. */
static int opens_either_way(struct opened *o, int way)
{
    size_t size = 0;
    int status = WAYS[way](&o->classifier, o->file, o->bytes, NULL, &size);
    CHECK(status != PRNN_OK && status != PRNN_ARGUMENT);
    o->memory = NULL;
    if (status != PRNN_MEMORY || size > MOST_MEMORY)
        return 0;
    size += o->bytes % 8 ? 0 : 1 << 13; /* products of words too */
    o->memory = allocate_exactly(size);
    status = WAYS[way](&o->classifier, o->file, o->bytes, o->memory, &size);
    CHECK(status == PRNN_OK);
    return 1;
}

static int is_known(int status) { return status >= PRNN_OK && status <= PRNN_UNKNOWN; }

/* The numbers before the last linear layer, where a program has one. */
static void embed(const prnn *classifier, const int32_t *ids, size_t count)
{
    size_t numbers = prnn_embedding_size(classifier);
    prnn_number *embedding = allocate_exactly(numbers * sizeof *embedding);
    for (size_t size = 1 << 10;;) {
        size_t given = size;
        void *memory = allocate_exactly(size);
        int status = prnn_embed(classifier, ids, count, embedding, memory, &size);
        free(memory);
        CHECK(is_known(status) && (status == PRNN_ARGUMENT) == !numbers);
        CHECK(status != PRNN_MEMORY || size > given);
        if (status != PRNN_MEMORY || size > MOST_MEMORY)
            break;
    }
    free(embedding);
}

/* The ids of a text as one token and an empty one. */
static void encode_tokens(const prnn *classifier, const char *text, size_t bytes)
{
    uint32_t ends[] = {0, (uint32_t)bytes}, least, most, ids;
    prnn_limits(classifier, &least, &most, &ids);
    for (size_t size = 1 << 10;;) {
        const int32_t *made;
        size_t count, given = size;
        void *memory = allocate_exactly(size);
        int status = prnn_encode_tokens(classifier, text, ends, 2, &made, &count, memory, &size);
        CHECK(is_known(status) && (status != PRNN_MEMORY || size > given));
        for (size_t i = 0; status == PRNN_OK && i < count; i++)
            CHECK(made[i] >= 0 && (uint32_t)made[i] < ids);
        free(memory);
        if (status != PRNN_MEMORY || size > MOST_MEMORY)
            return;
    }
}

static void keep_answer(const prnn *classifier, int status, const prnn_number *logits);

/* The tags of a text, or of two tokens of it, and the logits of some ids, where labels are of tokens. */
static void tag(const prnn *classifier, const char *text, size_t bytes)
{
    uint32_t half = (uint32_t)bytes / 2, ends[] = {half, (uint32_t)bytes}, classes = prnn_classes(classifier);
    for (int as_tokens = 0; as_tokens < 2; as_tokens++)
        for (size_t size = 1 << 10;;) {
            const struct prnn_tagged *tags;
            size_t count, given = size, most = as_tokens ? 2 : bytes;
            void *memory = allocate_exactly(size);
            int status = as_tokens ? prnn_tag_tokens(classifier, text, ends, 2, &tags, &count, memory, &size)
                                   : prnn_tag(classifier, text, bytes, &tags, &count, memory, &size);
            CHECK(is_known(status) && (status != PRNN_MEMORY || size > given));
            CHECK((status == PRNN_LABELS) == !prnn_labels_tokens(classifier));
            for (size_t i = 0; status == PRNN_OK && i < count; i++) {
                CHECK(tags[i].start <= tags[i].end && tags[i].end <= most);
                CHECK(tags[i].label == PRNN_NO_LABEL || tags[i].label < classes);
            }
            free(memory);
            if (status != PRNN_MEMORY || size > MOST_MEMORY)
                break;
        }
    int32_t ids[] = {0, 0, 0};
    prnn_number *logits = allocate_exactly(3 * classes * sizeof *logits);
    for (size_t size = 1 << 10;;) {
        void *memory = allocate_exactly(size);
        int status = prnn_token_logits(classifier, ids, 3, logits, memory, &size);
        CHECK(is_known(status));
        free(memory);
        if (status != PRNN_MEMORY || size > MOST_MEMORY) {
            keep_answer(classifier, status, logits);
            break;
        }
    }
    free(logits);
}

/* The status of a text, after its ids were held against the classifier's. */
static int encode(const prnn *classifier, const char *text, size_t bytes)
{
    uint32_t least, most, ids;
    prnn_limits(classifier, &least, &most, &ids);
    for (size_t size = 1 << 10;;) {
        const int32_t *made;
        size_t count, given = size;
        void *memory = allocate_exactly(size);
        int status = prnn_encode(classifier, text, bytes, &made, &count, memory, &size);
        CHECK(is_known(status));
        CHECK(status != PRNN_MEMORY || size > given);
        if (status == PRNN_OK) {
            CHECK(count >= 1);
            for (size_t i = 0; i < count; i++)
                CHECK(made[i] >= 0 && (uint32_t)made[i] < ids);
            embed(classifier, made, count);
            CHECK(is_known(prnn_check_ids(classifier, made, count)));
        }
        free(memory);
        if (status != PRNN_MEMORY || size > MOST_MEMORY)
            return status;
    }
}

/* What was answered by a classifier opened in one way, to be found again in the other: statuses and logits. */
enum { MOST_KEPT = 1 << 14 };
static struct { prnn_number logits[MOST_KEPT]; int status[MOST_KEPT]; size_t count; } kept[2], *keeping;

/* Nothing is said where memory is short, since how much is taken depends on the way. */
static int statuses_agree(int one, int other)
{
    int is_short = one == PRNN_MEMORY || other == PRNN_MEMORY || one == PRNN_COSTLY || other == PRNN_COSTLY;
    return one == other || is_short;
}

static int are_same(prnn_number a, prnn_number b) { return memcmp(&a, &b, sizeof a) == 0 || (isnan(a) && isnan(b)); }

static void keep_answer(const prnn *classifier, int status, const prnn_number *logits)
{
    size_t classes = prnn_classes(classifier);
    for (size_t k = 0; WANTED == OF_WAYS && k < classes && keeping->count < MOST_KEPT; k++) {
        keeping->status[keeping->count] = status;
        keeping->logits[keeping->count++] = status == PRNN_OK ? logits[k] : 0;
    }
}

static void compare_kept(void)
{
    CHECK(kept[0].count == kept[1].count);
    for (size_t i = 0; i < kept[0].count; i++) {
        CHECK(statuses_agree(kept[0].status[i], kept[1].status[i]));
        CHECK(kept[0].status[i] || kept[1].status[i] || are_same(kept[0].logits[i], kept[1].logits[i]));
    }
}

static int classify(const prnn *classifier, const char *text, size_t bytes, prnn_number *logits)
{
    for (size_t size = 1 << 10;;) {
        size_t given = size;
        void *memory = allocate_exactly(size);
        int status = prnn_classify(classifier, text, bytes, logits, memory, &size);
        free(memory);
        CHECK(is_known(status));
        CHECK(status != PRNN_MEMORY || size > given);
        if (status != PRNN_MEMORY || size > MOST_MEMORY)
            return status;
    }
}

/* Texts answered together have the statuses and logits that they have alone. */
static void classify_together(const prnn *classifier, struct prnn_text *texts, size_t count)
{
    size_t done = 0, classes = prnn_classes(classifier);
    for (size_t i = 0; i < count; i++)
        texts[i].logits = allocate_exactly(classes * sizeof(prnn_number));
    int status = PRNN_MEMORY;
    for (size_t size = 1 << 12; status == PRNN_MEMORY && size <= MOST_MEMORY;) {
        void *memory = allocate_exactly(size);
        status = prnn_classify_many(classifier, texts, count, &done, memory, &size);
        free(memory);
    }
    prnn_number *alone = allocate_exactly(classes * sizeof *alone);
    for (size_t i = 0; i < done; i++) {
        CHECK(is_known(texts[i].status));
        if (WANTED != OF_TEXT && WANTED != OF_WAYS) /* strange numbers may differ */
            continue;
        int status_alone = classify(classifier, texts[i].text, texts[i].bytes, alone);
        CHECK(statuses_agree(status_alone, texts[i].status));
        for (size_t k = 0; !status_alone && !texts[i].status && k < classes; k++)
            CHECK(WANTED == OF_WAYS ? are_same(alone[k], texts[i].logits[k])
                                    : fabs((double)alone[k] - (double)texts[i].logits[k]) <= 1e-4);
    }
    free(alone);
    for (size_t i = 0; i < count; i++)
        free(texts[i].logits);
}

/* A text in two fragments, where the classifier reads on. */
static void stream(const prnn *classifier, const char *text, size_t bytes)
{
    size_t size = prnn_stream_size(classifier), done = 0;
    if (!size || size > MOST_MEMORY)
        return;
    void *memory = allocate_exactly(size);
    prnn_stream *read;
    CHECK(prnn_stream_open(classifier, &read, memory, &size) == PRNN_OK);
    prnn_number *logits = allocate_exactly(prnn_classes(classifier) * sizeof *logits);
    for (int half = 0; half < 2; half++) {
        size_t some = half ? bytes - done : bytes / 2, room = 1 << 10, given;
        int status;
        do {
            void *work = allocate_exactly(given = room);
            status = prnn_stream_push(classifier, read, text + done, some, logits, work, &room);
            free(work);
            CHECK(is_known(status) && (status != PRNN_MEMORY || room > given));
        } while (status == PRNN_MEMORY && room <= MOST_MEMORY);
        keep_answer(classifier, status, logits);
        done += status ? 0 : some;
    }
    free(logits);
    free(memory);
}

/* Sequences of numbers, of each type, made of a text's bytes. */
static void answer_numbers(const prnn *classifier, const char *text, size_t bytes)
{
    static const size_t EACH[] = {4, 8, 2, 4};
    size_t channels = prnn_channels(classifier);
    if (!channels || channels > 1 << 10)
        return;
    prnn_number *logits = allocate_exactly(prnn_classes(classifier) * sizeof *logits);
    for (int type = PRNN_FLOAT32; type <= PRNN_INT32; type++)
        for (size_t steps = 0; steps < 30; steps = 3 * steps + 1) {
            size_t count = steps * channels, size = 1 << 10, given;
            unsigned char *samples = allocate_exactly(count * EACH[type]);
            for (size_t i = 0; i < count; i++) {
                double number = bytes ? (text[i % bytes] - 80) / 8. : (double)i;
                float single = (float)number;
                int32_t whole = (int32_t)number;
                int16_t narrow = (int16_t)number;
                const void *from[] = {&single, &number, &narrow, &whole};
                memcpy(samples + i * EACH[type], from[type], EACH[type]);
            }
            int status;
            do {
                void *memory = allocate_exactly(given = size);
                status = prnn_classify_numbers(classifier, samples, type, steps, logits, memory, &size);
                free(memory);
                CHECK(is_known(status) && (status != PRNN_MEMORY || size > given));
            } while (status == PRNN_MEMORY && size <= MOST_MEMORY);
            keep_answer(classifier, status, logits);
            if (status == PRNN_OK)
                CHECK(is_known(prnn_probabilities(classifier, logits, logits)));
            free(samples);
        }
    free(logits);
}

/* A recording of whole numbers in two parts, where the classifier carries a state. */
static void stream_numbers(const prnn *classifier, const char *text, size_t bytes)
{
    size_t size = prnn_stream_size(classifier), channels = prnn_channels(classifier);
    if (!size || size > MOST_MEMORY || !channels || channels > 1 << 10)
        return;
    void *memory = allocate_exactly(size);
    prnn_stream *read;
    CHECK(prnn_stream_open(classifier, &read, memory, &size) == PRNN_OK);
    prnn_number *logits = allocate_exactly(prnn_classes(classifier) * sizeof *logits);
    for (size_t steps = 1; steps < 6; steps += 4) {
        size_t room = 1 << 10, given;
        int16_t *samples = allocate_exactly(steps * channels * sizeof *samples);
        for (size_t i = 0; i < steps * channels; i++)
            samples[i] = (int16_t)(bytes ? text[i % bytes] * 100 : (int)i);
        int status;
        do {
            void *work = allocate_exactly(given = room);
            status = prnn_stream_push_numbers(classifier, read, samples, PRNN_INT16, steps, logits, work, &room);
            free(work);
            CHECK(is_known(status) && (status != PRNN_MEMORY || room > given));
        } while (status == PRNN_MEMORY && room <= MOST_MEMORY);
        keep_answer(classifier, status, logits);
        free(samples);
    }
    free(logits);
    free(memory);
}

/* A text with features, or with its second half as another text. */
static void answer_beside(const prnn *classifier, const char *text, size_t bytes)
{
    size_t count = prnn_features(classifier), half = bytes / 2;
    float *features = allocate_exactly(count * sizeof *features);
    prnn_number *logits = allocate_exactly(prnn_classes(classifier) * sizeof *logits);
    for (uint32_t i = 0; i < count; i++) {
        int is_category;
        size_t name_bytes;
        features[i] = bytes ? (float)text[i % bytes] : 0;
        CHECK(prnn_feature(classifier, i, &is_category, &name_bytes));
        int status = is_category ? prnn_feature_of_category(classifier, i, text, half, &features[i])
                                 : prnn_feature_of_number(classifier, i, (double)features[i], &features[i]);
        CHECK(status == PRNN_OK || status == (is_category ? PRNN_UNKNOWN : PRNN_NOT_FINITE));
        CHECK(isfinite(features[i]));
    }
    for (size_t size = 1 << 10;;) {
        size_t given = size;
        void *memory = allocate_exactly(size);
        int status = prnn_takes_pairs(classifier)
                         ? prnn_classify_pair(classifier, text, half, text + half, bytes - half, logits, memory, &size)
                         : prnn_classify_with(classifier, text, bytes, features, logits, memory, &size);
        free(memory);
        CHECK(is_known(status) && (status != PRNN_MEMORY || size > given));
        CHECK(status != PRNN_OK || count || prnn_takes_pairs(classifier));
        if (status != PRNN_MEMORY || size > MOST_MEMORY) {
            keep_answer(classifier, status, logits);
            break;
        }
    }
    free(logits);
    free(features);
}

static void answer(const prnn *classifier, const char *text, size_t bytes)
{
    answer_beside(classifier, text, bytes);
    answer_numbers(classifier, text, bytes);
    stream_numbers(classifier, text, bytes);
    prnn_number *logits = allocate_exactly(prnn_classes(classifier) * sizeof *logits);
    encode(classifier, text, bytes);
    encode_tokens(classifier, text, bytes);
    tag(classifier, text, bytes);
    int answered = classify(classifier, text, bytes, logits);
    keep_answer(classifier, answered, logits);
    if (answered == PRNN_OK) {
        int status = prnn_probabilities(classifier, logits, logits);
        CHECK(status == PRNN_OK || (status == PRNN_NOT_FINITE && WANTED != OF_TEXT));
    }
    free(logits);
    stream(classifier, text, bytes);
    struct prnn_text texts[] = {{text, bytes, NULL, 0}, {"w1 w2 w3 oil", 12, NULL, 0}, {text, bytes / 2, NULL, 0},
                                {"", 0, NULL, 0}, {"a b \xCE\xA3.", 7, NULL, 0}};
    classify_together(classifier, texts, sizeof texts / sizeof *texts);
}

static void read_all(const prnn *classifier)
{
    volatile unsigned read = 0;
    size_t bytes, count;
    const char *text = prnn_document(classifier, &bytes);
    const int32_t *ids;
    const float *golden;
    for (size_t k = 0; k < bytes; k++)
        read += (unsigned char)text[k];
    struct prnn_head head;
    uint32_t labels = 0;
    for (uint32_t i = 0; prnn_head(classifier, i, &head); i++) {
        CHECK(head.first == labels);
        labels += head.labels;
        for (size_t k = 0; k < head.bytes; k++)
            read += (unsigned char)head.name[k];
    }
    CHECK(labels == prnn_classes(classifier));
    for (uint32_t i = 0; i < prnn_examples(classifier) && i < 64; i++)
        if (prnn_example(classifier, i, &text, &bytes, &ids, &count, &golden) == PRNN_OK) {
            for (size_t k = 0; k < bytes; k++)
                read += (unsigned char)text[k];
            for (size_t k = 0; k < count; k++)
                read += (unsigned)ids[k];
            for (size_t k = 0; k < prnn_classes(classifier) * (prnn_labels_tokens(classifier) ? count : 1); k++)
                read += golden[k] > 0;
        }
    for (uint32_t i = 0; i < prnn_examples(classifier) && i < 64; i++) {
        const float *samples;
        if (prnn_number_example(classifier, i, &samples, &count, &golden) == PRNN_OK) {
            for (size_t k = 0; k < count * prnn_channels(classifier); k++)
                read += samples[k] > 0;
            for (size_t k = 0; k < prnn_classes(classifier); k++)
                read += golden[k] > 0;
        }
    }
    for (uint32_t i = 0; i < prnn_channels(classifier) && i < 64; i++)
        if ((text = prnn_channel(classifier, i, &bytes)) != NULL)
            for (size_t k = 0; k < bytes; k++)
                read += (unsigned char)text[k];
    for (uint32_t i = 0; i < prnn_classes(classifier) && i < 64; i++)
        if ((text = prnn_label(classifier, i, &bytes)) != NULL)
            for (size_t k = 0; k < bytes; k++)
                read += (unsigned char)text[k];
}

static void fuzz_file(const uint8_t *data, size_t bytes)
{
    bytes &= ~(size_t)3;
    if (bytes < 256)
        return;
    struct opened o = {.file = copy_exactly(data, bytes), .bytes = bytes};
    make_sums_fit(o.file, bytes);
    for (int way = 0; way < WAY_COUNT; way++) {
        static const char *const TEXTS[] = {"", "oil", "w1 w2 w3 w4 w5, \"w6\" <br /> w7. \xCE\xA3 \xC4\xB0 it's",
                                            "a b c d e f g h i j k l m n o p q r s t u v w x y z",
                                            "a b c d e f g h i j k l m n o p q r s t u v w x y z A B C D E F G H I J K L M N"};
        keeping = &kept[way];
        keeping->count = 0;
        if (opens_either_way(&o, way)) {
            read_all(o.classifier);
            for (size_t i = 0; i < sizeof TEXTS / sizeof *TEXTS; i++)
                answer(o.classifier, TEXTS[i], strlen(TEXTS[i]));
        }
        free(o.memory);
    }
    free(o.file);
    if (WANTED == OF_WAYS && kept[0].count && kept[1].count)
        compare_kept();
}

static void fuzz_text(const uint8_t *data, size_t bytes)
{
    char *text = copy_exactly(data, bytes);
    for (size_t i = 0; i < file_count; i++)
        answer(files[i].classifier, text, bytes);
    free(text);
}

/* Of a file, what makes ids: its header says nothing of a program, of examples or of a step. */
static void leave_rules(unsigned char *file)
{
    memset(file + 84, 0, 20);
    for (int section = 5; section < 9; section++)
        memset(file + 132 + 8 * section, 0, 4);
    memset(file + 128 + 8 * 9, 0, 32);
    memset(file + 112, 0, 8);
}

static void fuzz_rules(const uint8_t *data, size_t bytes)
{
    if (bytes < 2)
        return;
    size_t words = data[0] | (size_t)data[1] << 8;
    data += 2;
    bytes -= 2;
    words = words < bytes / 4 ? words : bytes / 4;
    size_t at = (files[0].bytes + 63) & ~(size_t)63;
    struct opened o = {.file = allocate_exactly(at + 4 * words), .bytes = at + 4 * words};
    memset(o.file, 0, o.bytes);
    memcpy(o.file, files[0].file, files[0].bytes);
    memcpy(o.file + at, data, 4 * words);
    uint32_t section[2] = {(uint32_t)at, (uint32_t)(4 * words)};
    memcpy(o.file + 128 + 2 * 8, section, 8);
    make_sums_fit(o.file, o.bytes);
    for (int way = 0; way < 2 * WAY_COUNT; way++) {
        if (way == WAY_COUNT) {
            leave_rules(o.file);
            make_sums_fit(o.file, o.bytes);
        }
        if (opens_either_way(&o, way % WAY_COUNT)) {
            char *text = copy_exactly(data + 4 * words, bytes - 4 * words);
            answer(o.classifier, text, bytes - 4 * words);
            free(text);
        }
        free(o.memory);
    }
    free(o.file);
}

static void read_files(const char *names)
{
    while (file_count < MOST_FILES && *names) {
        size_t length = strcspn(names, ":");
        char *name = allocate_exactly(length + 1);
        memcpy(name, names, length);
        name[length] = 0;
        names += length + (names[length] == ':');
        struct opened *o = &files[file_count];
        FILE *stream = fopen(name, "rb");
        CHECK(stream && !fseek(stream, 0, SEEK_END));
        o->bytes = (size_t)ftell(stream);
        rewind(stream);
        o->file = allocate_exactly(o->bytes);
        CHECK(fread(o->file, 1, o->bytes, stream) == o->bytes);
        fclose(stream);
        CHECK(opens_either_way(o, file_count++ % WAY_COUNT));
        free(name);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    if (!file_count && WANTED >= OF_TEXT) {
        read_files(getenv("FUZZ_FILES") ? getenv("FUZZ_FILES") : "");
        CHECK(file_count);
    }
    if (WANTED < OF_TEXT)
        fuzz_file(data, bytes);
    else if (WANTED == OF_TEXT)
        fuzz_text(data, bytes);
    else
        fuzz_rules(data, bytes);
    return 0;
}
