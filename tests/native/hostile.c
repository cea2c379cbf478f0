/* Opens a packed file with every byte changed and at every length, and answers texts wherever it opens.
 *   hostile FILE [TIMES]    without TIMES: everything must be refused.
 *                           with it: the sums are made to fit what was changed, TIMES draws of up to 3 changes each;
 *                           then a file may open, and must answer or refuse without a fault. So may a saved stream.
 *                           And streams of the file itself must answer random texts, cut anywhere, as whole ones.
 * Built with sanitizers. The file, the memory and the texts are allocated in their exact sizes. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "pocketrnn.h"

static const char *TEXTS[] = {"", "oil", "w1 w2 w3 w4 w5, \"w6\" <br /> w7. \xCE\xA3 \xC4\xB0 it's", "a b c d e f g h i j k"};

static void *allocate_exactly(size_t bytes)
{
    void *memory = malloc(bytes ? bytes : 1);
    if (!memory)
        exit(9);
    return memory;
}

/* Of a classifier of numbers each byte of a text is the samples of a step. */
static int16_t *make_samples(const prnn *classifier, const char *text, size_t bytes)
{
    size_t channels = prnn_channels(classifier);
    int16_t *samples = allocate_exactly(bytes * channels * sizeof *samples);
    for (size_t i = 0; i < bytes * channels; i++)
        samples[i] = (int16_t)(text[i / channels] * 50 + (int)(i % channels));
    return samples;
}

/* One fragment, with as much working memory as it asks for, in its exact size. */
static int push_exactly(const prnn *classifier, prnn_stream *stream, const char *fragment, size_t bytes, prnn_number *logits)
{
    size_t size = 1 << 12;
    int status = PRNN_MEMORY;
    char *text = allocate_exactly(bytes);
    int16_t *samples = make_samples(classifier, fragment, bytes);
    memcpy(text, fragment, bytes);
    for (int tries = 0; tries < 12 && size < 1 << 26 && status == PRNN_MEMORY; tries++) {
        void *memory = allocate_exactly(size);
        status = prnn_channels(classifier)
                     ? prnn_stream_push_numbers(classifier, stream, samples, PRNN_INT16, bytes, logits, memory, &size)
                     : prnn_stream_push(classifier, stream, text, bytes, logits, memory, &size);
        free(memory);
    }
    free(samples);
    free(text);
    return status;
}

/* A stream in memory of its exact size, after the texts in fragments of a length. */
static prnn_stream *streamed(const prnn *classifier, size_t length)
{
    size_t size = prnn_stream_size(classifier);
    prnn_number *logits = allocate_exactly(prnn_classes(classifier) * sizeof *logits);
    prnn_stream *stream = NULL;
    void *memory = allocate_exactly(size);
    if (prnn_stream_open(classifier, &stream, memory, &size) != PRNN_OK)
        exit(8);
    for (size_t i = 0; i < sizeof TEXTS / sizeof *TEXTS; i++)
        for (size_t at = 0, bytes = strlen(TEXTS[i]); at < bytes; at += length)
            push_exactly(classifier, stream, TEXTS[i] + at, bytes - at < length ? bytes - at : length, at % 2 ? NULL : logits);
    free(logits);
    return stream;
}

static unsigned char *saved(const prnn *classifier, const prnn_stream *stream, size_t *size)
{
    *size = 0;
    prnn_stream_save(classifier, stream, NULL, size);
    unsigned char *bytes = allocate_exactly(*size);
    if (prnn_stream_save(classifier, stream, bytes, size) != PRNN_OK)
        exit(8);
    return bytes;
}

static void read_stream_on(const prnn *classifier)
{
    size_t size;
    prnn_stream *stream = streamed(classifier, 3);
    unsigned char *bytes = saved(classifier, stream, &size);
    free(stream);
    stream = streamed(classifier, 100);
    if (prnn_stream_resume(classifier, stream, bytes, size) == PRNN_OK)
        push_exactly(classifier, stream, "\xCE", 1, NULL);
    free(bytes);
    free(stream);
}

static void answer_numbers(const prnn *classifier)
{
    size_t channels = prnn_channels(classifier);
    if (!channels || channels > 1 << 10)
        return;
    prnn_number *logits = allocate_exactly(prnn_classes(classifier) * sizeof *logits);
    for (size_t steps = 0; steps < 30; steps = 3 * steps + 1) {
        size_t size = 1 << 12, count = steps * channels;
        int16_t *samples = allocate_exactly(count * sizeof *samples);
        float *prepared = allocate_exactly(count * sizeof *prepared);
        for (size_t i = 0; i < count; i++)
            samples[i] = (int16_t)(i * 7919);
        prnn_prepare(classifier, samples, PRNN_INT16, steps, prepared);
        for (int tries = 0; tries < 12 && size < 1 << 26; tries++) {
            void *memory = allocate_exactly(size);
            int status = prnn_classify_numbers(classifier, samples, PRNN_INT16, steps, logits, memory, &size);
            if (status == PRNN_OK)
                prnn_probabilities(classifier, logits, logits);
            free(memory);
            if (status != PRNN_MEMORY)
                break;
        }
        free(samples);
        free(prepared);
    }
    const float *samples, *golden;
    size_t steps;
    volatile unsigned read = 0;
    for (uint32_t i = 0; i < prnn_examples(classifier); i++)
        if (prnn_number_example(classifier, i, &samples, &steps, &golden) == PRNN_OK)
            for (size_t k = 0; k < steps * channels; k++)
                read += samples[k] > 0;
    free(logits);
}

/* The ids of a text, and of its halves as tokens; whether the rules may make them. */
static void make_ids(const prnn *classifier, const char *given)
{
    size_t bytes = strlen(given);
    char *text = allocate_exactly(bytes);
    memcpy(text, given, bytes);
    uint32_t least, most, rows, *ends = allocate_exactly(3 * sizeof *ends);
    prnn_limits(classifier, &least, &most, &rows);
    ends[0] = ends[1] = (uint32_t)bytes / 2;
    ends[2] = (uint32_t)bytes;
    for (int is_cut = 0; is_cut < 2; is_cut++) {
        int status = PRNN_MEMORY;
        size_t size = 1 << 12, count = 0;
        for (int tries = 0; tries < 12 && size < 1 << 26 && status == PRNN_MEMORY; tries++) {
            const int32_t *ids;
            void *memory = allocate_exactly(size);
            status = is_cut ? prnn_encode_tokens(classifier, text, ends, 3, &ids, &count, memory, &size)
                            : prnn_encode(classifier, text, bytes, &ids, &count, memory, &size);
            for (size_t i = 0; status == PRNN_OK && i < count; i++)
                if (ids[i] < 0 || (uint32_t)ids[i] >= rows)
                    exit(8);
            if (status == PRNN_OK)
                prnn_check_ids(classifier, ids, count);
            free(memory);
        }
    }
    free(ends);
    free(text);
}

/* Texts with what stands beside them, and rows of ids as a file says them. */
static void answer_beside(const prnn *classifier, prnn_number *logits)
{
    size_t count = prnn_features(classifier), name_bytes;
    float *features = allocate_exactly(count * sizeof *features);
    for (uint32_t i = 0; i < count; i++) {
        int is_category;
        features[i] = (float)i;
        if (!prnn_feature(classifier, i, &is_category, &name_bytes))
            exit(8);
        if (is_category)
            prnn_feature_of_category(classifier, i, TEXTS[i % 4], strlen(TEXTS[i % 4]), &features[i]);
        else
            prnn_feature_of_number(classifier, i, 1e30 * i, &features[i]);
    }
    for (size_t i = 0; i < sizeof TEXTS / sizeof *TEXTS; i++)
        for (size_t size = 1 << 12, tries = 0; tries < 12 && size < 1 << 26; tries++) {
            void *memory = allocate_exactly(size);
            const char *second = TEXTS[(i + 1) % 4];
            int status = count ? prnn_classify_with(classifier, TEXTS[i], strlen(TEXTS[i]), features, logits, memory, &size)
                               : prnn_classify_pair(classifier, TEXTS[i], strlen(TEXTS[i]), second, strlen(second), logits, memory, &size);
            free(memory);
            if (status != PRNN_MEMORY)
                break;
        }
    for (size_t length = 0; length < 40; length = 3 * length + 1) {
        int32_t *row = allocate_exactly(length * sizeof *row);
        for (size_t k = 0; k < length; k++)
            row[k] = k < count ? (int32_t)(k * 0x3F7FFFFFu) : k == count + length / 2 ? -1 : (int32_t)(k % 3);
        for (size_t size = 1 << 12, tries = 0; tries < 12 && size < 1 << 26; tries++) {
            void *memory = allocate_exactly(size);
            int status = prnn_logits(classifier, row, length, logits, memory, &size);
            free(memory);
            if (status != PRNN_MEMORY)
                break;
        }
        free(row);
    }
    free(features);
}

static void answer(const prnn *classifier)
{
    answer_numbers(classifier);
    if (prnn_stream_size(classifier) && prnn_stream_size(classifier) < 1 << 22 && prnn_channels(classifier) <= 1 << 10)
        read_stream_on(classifier);
    prnn_number *logits = allocate_exactly(prnn_classes(classifier) * sizeof *logits);
    for (size_t i = 0; i < sizeof TEXTS / sizeof *TEXTS; i++)
        make_ids(classifier, TEXTS[i]);
    for (size_t i = 0; i < sizeof TEXTS / sizeof *TEXTS; i++) {
        size_t bytes = strlen(TEXTS[i]), size = 1 << 12;
        char *text = allocate_exactly(bytes);
        memcpy(text, TEXTS[i], bytes);
        for (int tries = 0; tries < 12 && size < 1 << 26; tries++) {
            void *memory = allocate_exactly(size);
            int status = prnn_classify(classifier, text, bytes, logits, memory, &size);
            if (status == PRNN_OK)
                prnn_probabilities(classifier, logits, logits);
            free(memory);
            if (status != PRNN_MEMORY)
                break;
        }
        free(text);
    }
    answer_beside(classifier, logits);
    struct prnn_text many[6];
    for (size_t i = 0; i < 6; i++)
        many[i] = (struct prnn_text){TEXTS[i % 4], strlen(TEXTS[i % 4]), allocate_exactly(prnn_classes(classifier) * sizeof *logits), 0};
    size_t done = 0, room = 1 << 12;
    for (int tries = 0; tries < 12 && room < 1 << 26; tries++) {
        void *memory = allocate_exactly(room);
        int status = prnn_classify_many(classifier, many, 6, &done, memory, &room);
        free(memory);
        if (status != PRNN_MEMORY)
            break;
    }
    for (size_t i = 0; i < 6; i++)
        free(many[i].logits);
    size_t bytes, count;
    const char *text;
    const int32_t *ids;
    const float *golden;
    volatile unsigned read = 0;
    struct prnn_head head;
    for (uint32_t i = 0; prnn_head(classifier, i, &head); i++) {
        if (head.first + head.labels > prnn_classes(classifier))
            exit(8);
        for (size_t k = 0; k < head.bytes; k++)
            read += (unsigned char)head.name[k];
    }
    for (uint32_t i = 0; i < prnn_examples(classifier); i++)
        if (prnn_example(classifier, i, &text, &bytes, &ids, &count, &golden) == PRNN_OK) {
            for (size_t k = 0; k < bytes; k++)
                read += (unsigned char)text[k];
            for (size_t k = 0; k < count; k++)
                read += (unsigned)ids[k];
        }
    for (uint32_t i = 0; i < prnn_classes(classifier); i++)
        if ((text = prnn_label(classifier, i, &bytes)) != NULL)
            for (size_t k = 0; k < bytes; k++)
                read += (unsigned char)text[k];
    free(logits);
}

typedef int opener(const prnn **, const void *, size_t, void *, size_t *);

/* Whether a file opens in one of the two ways, and answers then. */
static int opens_with(opener *open, const unsigned char *file, size_t bytes)
{
    const prnn *classifier;
    size_t size = 0;
    int status = open(&classifier, file, bytes, NULL, &size);
    size += bytes % 8 ? 0 : 1 << 13; /* products of words too */
    if (status == PRNN_MEMORY && size < 1 << 26) {
        void *memory = allocate_exactly(size);
        status = open(&classifier, file, bytes, memory, &size);
        if (status == PRNN_OK)
            answer(classifier);
        free(memory);
    }
    return status == PRNN_OK;
}

static int opens(const unsigned char *content, size_t bytes)
{
    unsigned char *file = allocate_exactly(bytes);
    memcpy(file, content, bytes);
    int opened = opens_with(prnn_open, file, bytes);
    if (opens_with(prnn_open_in_place, file, bytes) != opened) {
        puts("a file opens in one way only");
        exit(1);
    }
    free(file);
    return opened;
}

static void make_sums_fit(unsigned char *file, size_t bytes)
{
    unsigned long long first = 0, second = 0;
    memset(file + 16, 0, 16);
    for (size_t i = 0; i + 4 <= bytes; i += 4) {
        unsigned long long word = file[i] | file[i + 1] << 8 | file[i + 2] << 16 | (unsigned long long)file[i + 3] << 24;
        first += word;
        second += (i / 4 + 1) * word;
    }
    for (int i = 0; i < 8; i++) {
        file[16 + i] = (unsigned char)(first >> 8 * i);
        file[24 + i] = (unsigned char)(second >> 8 * i);
    }
}

static unsigned long long state = 88172645463325252ull;
static unsigned drawn(size_t below)
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return (unsigned)(state % below);
}

/* What tends to break readers, in place of a word; else any byte. */
static void change(unsigned char *file, size_t bytes, size_t weights_at, size_t weights)
{
    static const unsigned WORDS[] = {0, 1, 2, 0xFFFFFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFF, 64, 7, 0x10000000};
    size_t at = 8 + drawn(bytes - 8);
    if (at >= weights_at && at < weights_at + weights) /* numbers of weights break nothing */
        at = 64 + drawn(192);
    if (drawn(2)) {
        unsigned word = drawn(4) ? WORDS[drawn(sizeof WORDS / sizeof *WORDS)] : drawn(256);
        memcpy(file + at / 4 * 4, &word, 4);
    } else
        file[at] = (unsigned char)drawn(256);
}

static void make_stream_fit(unsigned char *bytes, size_t size)
{
    unsigned long long sum = 14695981039346656037u;
    unsigned word;
    for (size_t i = 16; i + 4 <= size; i += 4) {
        memcpy(&word, bytes + i, 4);
        sum = (sum ^ word) * 1099511628211u;
    }
    memcpy(bytes + 8, &sum, 8);
}

/* Saved streams with every byte changed and at every length: refused. With their sum made to fit: refused, or read on. */
static unsigned changed_streams(const unsigned char *content, size_t bytes, long times)
{
    const prnn *classifier;
    size_t size = 0, kept, resumed = 0;
    prnn_open(&classifier, content, bytes, NULL, &size);
    void *memory = allocate_exactly(size);
    prnn_open(&classifier, content, bytes, memory, &size);
    if (!prnn_stream_size(classifier)) {
        free(memory);
        return 0;
    }
    prnn_number *logits = allocate_exactly(prnn_classes(classifier) * sizeof *logits);
    prnn_stream *stream = streamed(classifier, 5);
    push_exactly(classifier, stream, " wor\xCE\xA3.\xC3", 8, logits);
    unsigned char *right = saved(classifier, stream, &kept);
    for (size_t i = 0; !times && i < kept; i++) {
        right[i] ^= 1;
        resumed += prnn_stream_resume(classifier, stream, right, kept) == PRNN_OK;
        right[i] ^= 1;
        unsigned char *cut = allocate_exactly(i);
        memcpy(cut, right, i);
        resumed += prnn_stream_resume(classifier, stream, cut, i) == PRNN_OK;
        free(cut);
    }
    for (; times > 0; times--) {
        unsigned char *one = allocate_exactly(kept);
        memcpy(one, right, kept);
        for (unsigned k = 1 + drawn(3); k; k--)
            change(one, kept, 0, 0);
        make_stream_fit(one, kept);
        if (prnn_stream_resume(classifier, stream, one, kept) == PRNN_OK) {
            for (size_t i = 0; i < sizeof TEXTS / sizeof *TEXTS; i++)
                push_exactly(classifier, stream, TEXTS[i], strlen(TEXTS[i]), logits);
            push_exactly(classifier, stream, "\x83 \xC3", 3, logits);
        }
        free(one);
    }
    free(right);
    free(stream);
    free(logits);
    free(memory);
    return (unsigned)resumed;
}

static const char *PIECES[] = {
    "wall", "St", ".", "bears", "<br />", "<br", "<b\"r", "<", "BR", " ", " ", "/>", "/", ">", "\"", "'", ",", "(", ")", "!", ";",
    "\t", "\n", "\x1C", "\xC2\xA0", "\xE2\x80\xA8", "\xCE\xA3", "\xCE\x9F\xCE\x94\xCE\x9F\xCE\xA3", "\xCE\xB1", "\xCC\x81",
    "able", "[MASK]", "[SE", "P]", "the", "\xE2\x96\x81", "  ", "<s>", "e\xCC\x81", "\xC2\xAD", "\xCA\xB0", "\xC4\xB0", "\xC3\x9F", "\xE4\xB8\xAD", "\xF0\x9F\x98\x80", "\xF0\x90\x90\x80", "A", "z", "oil"};

static int is_near(const prnn_number *a, const prnn_number *b, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        if (!(a[i] - b[i] < 1e-5 && b[i] - a[i] < 1e-5))
            return 0;
    return 1;
}

/* How many random texts are answered in fragments otherwise than whole, or not at all. */
static unsigned random_streams(const prnn *classifier, long times)
{
    size_t size = prnn_stream_size(classifier);
    uint32_t classes = prnn_classes(classifier);
    unsigned different = 0;
    prnn_number *whole = allocate_exactly(classes * sizeof *whole), *part = allocate_exactly(classes * sizeof *part);
    prnn_stream *stream;
    void *memory = allocate_exactly(size), *work = allocate_exactly(1 << 18);
    if (prnn_stream_open(classifier, &stream, memory, &size) != PRNN_OK)
        exit(8);
    for (; times > 0; times--) {
        char text[256];
        size_t bytes = 0, room = 1 << 18, done = 0;
        for (unsigned k = drawn(14); k; k--) {
            const char *piece = PIECES[drawn(sizeof PIECES / sizeof *PIECES)];
            memcpy(text + bytes, piece, strlen(piece));
            bytes += strlen(piece);
        }
        if (prnn_channels(classifier) && !bytes) /* no sequence is of no step */
            continue;
        prnn_stream_reset(classifier, stream);
        do {
            size_t some = drawn(3) ? drawn(bytes - done + 1) : bytes - done;
            if (push_exactly(classifier, stream, text + done, some, drawn(4) || done + some == bytes ? part : NULL) &&
                (done + some || !prnn_channels(classifier)))
                different++;
            done += some;
        } while (done < bytes);
        int16_t *samples = make_samples(classifier, text, bytes);
        int status = prnn_channels(classifier) ? prnn_classify_numbers(classifier, samples, PRNN_INT16, bytes, whole, work, &room)
                                               : prnn_classify(classifier, text, bytes, whole, work, &room);
        free(samples);
        different += status || !is_near(whole, part, classes);
    }
    free(whole);
    free(part);
    free(memory);
    free(work);
    return different;
}

static unsigned differing_streams(const unsigned char *content, size_t bytes, long times)
{
    const prnn *classifier;
    size_t size = 0;
    prnn_open(&classifier, content, bytes, NULL, &size);
    size += times % 2 ? 0 : 1 << 13; /* products of words too */
    void *memory = allocate_exactly(size);
    prnn_open(&classifier, content, bytes, memory, &size);
    unsigned different = prnn_stream_size(classifier) ? random_streams(classifier, times) : 0;
    free(memory);
    return different;
}

int main(int count, char **arguments)
{
    FILE *stream = count > 1 ? fopen(arguments[1], "rb") : NULL;
    if (!stream)
        return 9;
    fseek(stream, 0, SEEK_END);
    size_t bytes = (size_t)ftell(stream);
    rewind(stream);
    unsigned char *file = allocate_exactly(bytes), *changed = allocate_exactly(bytes);
    if (fread(file, 1, bytes, stream) != bytes)
        return 9;
    fclose(stream);
    if (!opens(file, bytes)) {
        puts("the file itself does not open");
        return 1;
    }
    unsigned opened = 0;
    if (count > 2) {
        unsigned weights[2];
        memcpy(weights, file + 128 + 7 * 8, 8);
        for (long i = atol(arguments[2]); i > 0; i--) {
            memcpy(changed, file, bytes);
            for (unsigned k = 1 + drawn(3); k; k--)
                change(changed, bytes, weights[0], weights[1]);
            make_sums_fit(changed, bytes);
            opened += (unsigned)opens(changed, bytes);
        }
        changed_streams(file, bytes, atol(arguments[2]));
        if (differing_streams(file, bytes, atol(arguments[2])) + differing_streams(file, bytes, 999)) {
            puts("a text in fragments is answered otherwise than whole");
            return 1;
        }
        printf("%u opened\n", opened);
    } else {
        for (size_t i = 0; i < bytes; i++)
            for (int k = 0; k < 3; k++) {
                static const unsigned char BY[] = {1, 0x80, 0xFF};
                memcpy(changed, file, bytes);
                changed[i] ^= BY[k];
                opened += (unsigned)opens(changed, bytes);
            }
        for (size_t i = 0; i < bytes; i++)
            opened += (unsigned)opens(file, i);
        opened += changed_streams(file, bytes, 0);
        printf("%u opened\n", opened);
    }
    free(file);
    free(changed);
    return 0;
}
