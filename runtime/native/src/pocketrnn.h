/* pocketrnn: recurrent classifiers of texts and of sequences of numbers, from one packed file, in C11 without dependencies.
 *
 * A packed file is what `pocketrnn pack` wrote. It is opened where it lies: in a mapped file, in a constant array, in
 * flash. It is checked once, when it is opened; whatever it holds, the engine reads and writes nothing but the file and
 * the memory that it is given. It calls no allocator and keeps no global state. The object that `prnn_open` makes is never
 * written again: any number of threads may use it, each with working memory of its own.
 *
 * Every function that needs memory is given some, and told how much there is. Where that is not enough it gives
 * PRNN_MEMORY and sets `*size` to what to try next; nothing else has happened. Working memory keeps nothing between two
 * calls. A text is UTF-8 and ends where its length says; one of 0 bytes may be NULL.
 *
 *     size_t size = 0, work_size = 1 << 16;
 *     const prnn *news;
 *     prnn_open(&news, file, file_size, NULL, &size);
 *     void *memory = malloc(size), *work = malloc(work_size);
 *     if (prnn_open(&news, file, file_size, memory, &size) != PRNN_OK) ...
 *     float logits[MOST_CLASSES];
 *     int status;
 *     while ((status = prnn_classify(news, text, strlen(text), logits, work, &work_size)) == PRNN_MEMORY)
 *         work = realloc(work, work_size);
 *     if (status != PRNN_OK) puts(prnn_error(status));
 *
 * Whole programs that begin with this are in examples/c, examples/go and examples/rust of the repository.
 */
#ifndef POCKETRNN_H
#define POCKETRNN_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct prnn prnn;
#ifdef PRNN_DOUBLE /* for tests: the same engine in double precision */
typedef double prnn_number;
#else
typedef float prnn_number;
#endif

enum {
    PRNN_OK = 0,
    PRNN_MEMORY,     /* more memory is needed: *size says how much to try */
    PRNN_NO_FILE,    /* not a packed classifier */
    PRNN_VERSION,    /* a packed classifier that another release made */
    PRNN_DAMAGED,    /* a byte of the file was changed, or it is cut short */
    PRNN_CONTENT,    /* the file's parts do not fit each other */
    PRNN_TEXT,       /* a text is not UTF-8 */
    PRNN_TOO_SHORT,  /* a text has fewer ids than the classifier takes, or a sequence fewer steps */
    PRNN_TOO_LONG,   /* more */
    PRNN_ID,         /* a token id is out of range */
    PRNN_NOT_FINITE, /* the logits are NaN or infinite; or samples are infinite, or numbers that are to be rounded to integers */
    PRNN_ARGUMENT,   /* the caller gave a number that is out of range */
    PRNN_NO_WORD,    /* a text holds no known word, but the classifier needs one */
    PRNN_NO_STREAM,  /* the file has no program that reads on */
    PRNN_UNDECIDED,  /* more than 4,096 characters wait for what decides the form of a capital sigma */
    PRNN_SAVED,      /* this is not a stream of this classifier, or was changed after it was saved */
    PRNN_MACHINE,    /* this machine is big-endian: a packed file cannot be read in place */
    PRNN_COSTLY,     /* the text, or the file when it is opened, would take more than the limits below */
    PRNN_STOPPED,    /* the caller wanted an end; see prnn_ask */
    PRNN_WAITING,    /* more characters have no space to cut them at than a stream of subwords keeps */
    PRNN_INPUT,      /* the classifier takes something else: sequences of numbers, a text, two, one with features, or its tokens */
    PRNN_MISSING,    /* a sample is NaN, and the classifier has nothing to put in its place */
    PRNN_VALUES,     /* the numbers are values, not logits */
    PRNN_FAR,        /* a sample is far outside of the range of training: prnn_check_range alone says so */
    PRNN_NO_PROGRAM, /* the file holds text rules only */
    PRNN_FEW_IDS,    /* the rules fill every text up to more ids; prnn_check_ids alone says this and what follows */
    PRNN_MANY_IDS,   /* the rules cut every text to fewer ids */
    PRNN_BEGIN,      /* the rules begin every text with other ids */
    PRNN_END,        /* the rules end every text with other ids */
    PRNN_LARGE,      /* the program makes a whole number of the text that 32 bits do not hold, or one of NaN */
    PRNN_LABELS,     /* the labels are of tokens, and prnn_tag gives them; or they are of texts, and prnn_classify does */
    PRNN_PLACES,     /* the rules do with a text what no place of a token can be followed through */
    PRNN_UNKNOWN     /* a category does not know this value, and has no id for such */
};

/* The limits of a file. A text of so many ids: bytes beside its ids, and multiply-adds of the program, as which all else is
 * counted by the time that it takes (docs/packed-format.md). A file that is opened: bytes of the constants that are not
 * stored as they are needed. A classifier takes a small part of these; only what grows with the square of the text
 * reaches them, for long texts. */
#define PRNN_MOST_MEMORY(file, ids) ((UINT64_C(1) << 26) + 16 * (uint64_t)(file) + (ids) * ((1 << 16) + (uint64_t)(file) / 256))
#define PRNN_MOST_WORK(file, ids) ((UINT64_C(1) << 31) + (ids) * ((1 << 24) + 4 * (uint64_t)(file)))
#define PRNN_MOST_COMPARED(bytes) ((UINT64_C(1) << 28) + ((bytes) << 12)) /* bytes of a text with those of its rules */
#define PRNN_MOST_MADE(file) ((1 << 20) + 16 * (uint64_t)(file))

/* The meaning of a status, as a sentence. */
const char *prnn_error(int status);

/* Check a file and make it ready.
 * file: the packed file's bytes, which must stay where they are; aligned to 4.
 * memory, size: where the engine keeps what it makes of the file; with too little, PRNN_MEMORY and the size needed. Memory beyond
 * that is filled with products of the first words of the vocabulary, which saves time for each of them:
 * half a MiB is a good deal. */
int prnn_open(const prnn **opened, const void *file, size_t file_size, void *memory, size_t *size);

/* The same where memory is scarce: weights of layers that are stored as float16 or int8 stay as they are in the file,
 * and are made float32 row by row whenever they are read. Answers are the same; on a processor with
 * vectors they take 20 times as long. */
int prnn_open_in_place(const prnn **opened, const void *file, size_t file_size, void *memory, size_t *size);

/* Long computations can be stopped: each asks now and then, after some milliseconds, with the memory that the call was given,
 * and ends with PRNN_STOPPED where the answer is not 0. To be said before the classifier is used; NULL: nobody is asked. */
void prnn_ask(const prnn *classifier, int (*asked)(const void *memory));

/* The number of labels, which is also the number of logits. */
uint32_t prnn_classes(const prnn *classifier);
/* Label number `index`: UTF-8, not terminated; *bytes is its length. NULL if there is no such label. */
const char *prnn_label(const prnn *classifier, uint32_t index, size_t *bytes);
/* Whether each label is right or wrong independently (sigmoid); if not, exactly one is right (softmax), or one of each head. */
int prnn_is_multi_label(const prnn *classifier);
/* A classifier may have several heads, such as the topic and the mood of a text. Labels, logits and probabilities are then those of
 * all heads, one head behind the other, and each head is decided by itself. Any other has one head, whose name is NULL.
 *
 *     struct prnn_head head;
 *     for (uint32_t i = 0; prnn_head(reviews, i, &head); i++)
 *         ... the likeliest of logits[head.first] to logits[head.first + head.labels - 1] */
struct prnn_head {
    const char *name; /* as a label */
    size_t bytes;
    uint32_t first, labels; /* the number of its first label, and how many it has */
    int is_multi_label;     /* as prnn_is_multi_label */
};
/* Head number `index`; 0 if there is no such head. */
int prnn_head(const prnn *classifier, uint32_t index, struct prnn_head *head);
/* The fewest and the most ids of a text, and the number of different ids. */
void prnn_limits(const prnn *classifier, uint32_t *least, uint32_t *most, uint32_t *ids);
/* The document of the file (JSON, UTF-8): the content of classifier.json without the vocabulary. */
const char *prnn_document(const prnn *classifier, size_t *bytes);
/* Token number `id` of the vocabulary; like `prnn_label`. */
const char *prnn_token(const prnn *classifier, uint32_t id, size_t *bytes);

/* The token ids of a text, UTF-8; never none. They stand in `memory`: *ids points to them.
 *
 * A file that `pocketrnn pack --text-rules` wrote does this, and what follows up to prnn_check_ids, for programs that run a bundle's
 * graph by themselves. It has labels, limits and a document, and no logits: PRNN_NO_PROGRAM. */
int prnn_encode(const prnn *classifier, const char *text, size_t bytes, const int32_t **ids, size_t *count,
                void *memory, size_t *size);
/* The same of a text that is cut already: the bytes of its tokens one after the other, and where each ends. The only way where the
 * tokenizer is external, of which prnn_encode says PRNN_INPUT. */
int prnn_encode_tokens(const prnn *classifier, const char *tokens, const uint32_t *ends, size_t token_count, const int32_t **ids,
                       size_t *count, void *memory, size_t *size);
/* Whether the rules may make these ids of some text: of ids that come from elsewhere, something may be left out that stands around
 * every text. */
int prnn_check_ids(const prnn *classifier, const int32_t *ids, size_t count);
/* The logits of ids; the ids must not be inside `memory`. */
int prnn_logits(const prnn *classifier, const int32_t *ids, size_t count, prnn_number *logits, void *memory,
                size_t *size);
/* The numbers before the last linear layer, of ids as above: prnn_embedding_size of them, which is 0 where no one layer makes
 * the logits of one row of numbers; prnn_embed answers PRNN_ARGUMENT then. */
uint32_t prnn_embedding_size(const prnn *classifier);
int prnn_embed(const prnn *classifier, const int32_t *ids, size_t count, prnn_number *embedding, void *memory, size_t *size);
/* Both: the logits of a text. */
int prnn_classify(const prnn *classifier, const char *text, size_t bytes, prnn_number *logits, void *memory,
                  size_t *size);
/* Many texts, several at a time, so that the weights are read once for all of them: the same logits in less time, especially if
 * neighbouring texts have similar lengths. */
struct prnn_text {
    const char *text;
    size_t bytes;
    prnn_number *logits; /* where they go */
    int status;          /* how it went */
};
/* Starts with texts[*done], and updates *done. With PRNN_MEMORY, call again with more memory: finished texts are kept. */
int prnn_classify_many(const prnn *classifier, struct prnn_text *texts, size_t count, size_t *done, void *memory,
                       size_t *size);
/* The probabilities of logits, of each head by itself; the two arrays may be one. PRNN_NOT_FINITE where there are none. For some
 * labels alone, where one is right: set the logits of the others to -INFINITY before, and their probabilities are 0. */
int prnn_probabilities(const prnn *classifier, const prnn_number *logits, prnn_number *probabilities);

/* ---- Numbers and categories beside a text, for files that were packed of a bundle that takes them ----
 *
 * Such a classifier is given a number for each of its features with every text: what the functions below make of the number or the
 * category that you have. Without them prnn_classify and prnn_classify_many say PRNN_INPUT.
 *
 *     float features[2];
 *     prnn_feature_of_number(orders, 0, 9.5, &features[0]);
 *     prnn_feature_of_category(orders, 1, "film", 4, &features[1]);
 *     prnn_classify_with(orders, text, strlen(text), features, logits, work, &work_size);
 *
 * What takes ids is given, before those of the text, a word for each feature: ~ the bits of its float. */

/* The number of features of a text; 0 for any other classifier. */
uint32_t prnn_features(const prnn *classifier);
/* The name of feature number `index`, like `prnn_label`, and whether it is a category; else it is a number. */
const char *prnn_feature(const prnn *classifier, uint32_t index, int *is_category, size_t *bytes);
/* The program's input for a number. PRNN_NOT_FINITE: it is NaN, infinite or too large; PRNN_ARGUMENT: this feature is a category. */
int prnn_feature_of_number(const prnn *classifier, uint32_t index, double number, float *feature);
/* The same for the value of a category, UTF-8. PRNN_UNKNOWN: the category does not have this value; PRNN_ARGUMENT: this feature is
 * a number. */
int prnn_feature_of_category(const prnn *classifier, uint32_t index, const char *value, size_t bytes, float *feature);
/* The logits of a text with its features, as prnn_features numbers. */
int prnn_classify_with(const prnn *classifier, const char *text, size_t bytes, const float *features, prnn_number *logits, void *memory,
                       size_t *size);

/* ---- Two texts, for files that were packed of a bundle that takes pairs ----
 *
 * What takes ids is given those of both texts, with a negative word between. */
int prnn_takes_pairs(const prnn *classifier);
/* The logits of a pair. */
int prnn_classify_pair(const prnn *classifier, const char *first, size_t first_bytes, const char *second, size_t second_bytes,
                       prnn_number *logits, void *memory, size_t *size);

/* ---- Labels of tokens, for files that were packed of a tagger ----
 *
 * Such a file labels each token of a text, and not the text: what answers for a text as a whole says PRNN_LABELS for it, and what
 * stands here says that for the others.
 *
 *     const struct prnn_tagged *tags;
 *     size_t count;
 *     prnn_tag(people, text, strlen(text), &tags, &count, work, &work_size);
 *     for (size_t i = 0; i < count; i++)
 *         if (tags[i].label != PRNN_NO_LABEL)
 *             printf("%.*s\n", (int)(tags[i].end - tags[i].start), text + tags[i].start);
 */
#define PRNN_NO_LABEL UINT32_MAX
struct prnn_tagged {
    uint32_t start, end; /* where the token stands: bytes of the text as it was given; numbers of tokens, where these were given */
    uint32_t label;      /* PRNN_NO_LABEL of a token that the rules cut off or drop, or that the program has no answer to */
    prnn_number probability; /* of the label; with a CRF, whatever the labels of the others */
};

/* Whether the labels are for tokens. */
int prnn_labels_tokens(const prnn *classifier);
/* The tokens of a text, in order, each with its label. They are stored in `memory`; *tags points to them. */
int prnn_tag(const prnn *classifier, const char *text, size_t bytes, const struct prnn_tagged **tags, size_t *count, void *memory,
             size_t *size);
/* The same for a text that is already split, given as in prnn_encode_tokens; with subwords, it is split into words. */
int prnn_tag_tokens(const prnn *classifier, const char *tokens, const uint32_t *ends, size_t token_count,
                    const struct prnn_tagged **tags, size_t *count, void *memory, size_t *size);
/* The logits of ids, [ids, labels], as prnn_logits gives those of a text; NaN for the last ids where the program has none for them. No
 * CRF has read them. */
int prnn_token_logits(const prnn *classifier, const int32_t *ids, size_t count, prnn_number *logits, void *memory, size_t *size);

/* ---- A text that is still arriving, for files that were packed of a bundle with --streaming ----
 *
 * A stream is answered after every fragment as all its text so far, at the cost of the new tokens only. It takes the
 * same memory however long the text becomes. It holds no pointer: copy its bytes to go on from one place twice.
 *
 *     size_t size = prnn_stream_size(news);
 *     prnn_stream *stream;
 *     prnn_stream_open(news, &stream, malloc(size), &size);
 *     prnn_stream_push(news, stream, "Wall St. be", 11, logits, work, &work_size);
 *     prnn_stream_push(news, stream, "ars", 3, logits, work, &work_size);
 *
 * A fragment may begin and end anywhere, also inside of a character. Whatever goes wrong leaves the stream as it was. */
typedef struct prnn_stream prnn_stream;

/* The number of bytes of a stream; 0 if the classifier cannot answer while a text arrives. With subwords, it is 4 *
 * PRNN_MOST_WAITING and the size of the state: pieces may merge up to the next space, so the text after the last space waits. If
 * memory is scarce, compile with a smaller one: -DPRNN_MOST_WAITING=1024. */
size_t prnn_stream_size(const prnn *classifier);
/* Open a stream, before its first fragment, in memory that is aligned to 8. */
int prnn_stream_open(const prnn *classifier, prnn_stream **stream, void *memory, size_t *size);
/* Forget the text. */
void prnn_stream_reset(const prnn *classifier, prnn_stream *stream);
/* Read another fragment: the logits of all the text so far; pass NULL if they are not wanted yet. */
int prnn_stream_push(const prnn *classifier, prnn_stream *stream, const char *fragment, size_t bytes,
                     prnn_number *logits, void *memory, size_t *size);
/* Everything that is needed to continue in another process or on another machine, with the same file: *size bytes, of which the
 * stream uses fewer than it has. An open stream resumes from it; if this is refused, the stream starts again. */
int prnn_stream_save(const prnn *classifier, const prnn_stream *stream, void *saved, size_t *size);
int prnn_stream_resume(const prnn *classifier, prnn_stream *stream, const void *saved, size_t bytes);
/* One step of a stream, with ids: the logits after them, and the state, of prnn_state_size numbers, which may overwrite the old
 * one. The first state is zeros. This function checks no limits. */
uint32_t prnn_state_size(const prnn *classifier);
int prnn_step(const prnn *classifier, const int32_t *ids, size_t count, const prnn_number *state, prnn_number *logits,
              prnn_number *new_state, void *memory, size_t *size);

/* ---- Sequences of numbers, for files that were packed of a bundle that takes them ----
 *
 * A sequence is samples [steps, channels], as the sensor gives them: what the module was trained on is made of them by the rules in
 * the file. The functions above that take or give texts say PRNN_INPUT for such a file, and those below say it for one of texts.
 *
 *     int16_t samples[128 * 6];
 *     prnn_classify_numbers(walking, samples, PRNN_INT16, 128, logits, work, &work_size);
 *
 * A recording is answered window by window: keep the last `window` steps, and ask after each `hop` of them. */
enum { PRNN_FLOAT32, PRNN_FLOAT64, PRNN_INT16, PRNN_INT32 }; /* what a sample is; integers are multiplied by the file's integer_scale */

/* The number of channels of a sequence; 0 for a classifier of texts. */
uint32_t prnn_channels(const prnn *classifier);
/* The name of channel number `index`, like `prnn_label`. */
const char *prnn_channel(const prnn *classifier, uint32_t index, size_t *bytes);
/* Whether the numbers called logits here are values, of a regression or a forecast; the labels are then their names. */
int prnn_gives_values(const prnn *classifier);
/* How many steps of a recording are answered at once, and how many steps later the next ones begin; 0 and 0 if the file does not
 * say. If all sequences have one length (prnn_limits), a window has this length. */
void prnn_window(const prnn *classifier, uint32_t *window, uint32_t *hop);
/* The logits, or values, of a sequence: samples of a type, with its alignment. A sequence that is too short is padded if the rules
 * say so. PRNN_MISSING and PRNN_NOT_FINITE: a sample is NaN, or infinite or too large for float32. */
int prnn_classify_numbers(const prnn *classifier, const void *samples, int type, size_t steps, prnn_number *logits, void *memory,
                          size_t *size);
/* Whether all samples are within four times the width of their channel's range in training, if the file has it: PRNN_OK; or
 * PRNN_FAR, and *first is the position of the first sample that is not, in steps * channels. Usually a wrong unit is the reason.
 * No other function checks this: call it first if such samples should be refused. */
int prnn_check_range(const prnn *classifier, const void *samples, int type, size_t steps, size_t *first);
/* The two halves of it: convert samples of any number of steps, [steps, channels], to the program's input; and compute the logits
 * of such input. For streams: samples that two windows have in common are then converted once. */
int prnn_prepare(const prnn *classifier, const void *samples, int type, size_t steps, prnn_number *prepared);
int prnn_logits_of_samples(const prnn *classifier, const prnn_number *prepared, size_t steps, prnn_number *logits, void *memory,
                           size_t *size);
/* A recording that arrives, for files that were packed with --streaming: continue from a stream (above) or a state, at the cost of
 * the new samples only. The answer is for all samples so far. A stream is opened, saved and resumed like a stream of text; logits
 * may be NULL; without new samples it answers for the earlier ones, if there are any. If anything fails, the stream is unchanged. */
int prnn_stream_push_numbers(const prnn *classifier, prnn_stream *stream, const void *samples, int type, size_t steps,
                             prnn_number *logits, void *memory, size_t *size);
/* One step of a stream, with samples in the form of the program's input; otherwise like prnn_step. */
int prnn_step_samples(const prnn *classifier, const prnn_number *prepared, size_t steps, const prnn_number *state,
                      prnn_number *logits, prnn_number *new_state, void *memory, size_t *size);
/* A golden example, with samples in the form of the program's input. */
int prnn_number_example(const prnn *classifier, uint32_t index, const float **prepared, size_t *steps, const float **logits);

/* The engine's product of integers, for a proof of it; docs/packed-format.md says what must come out.
 * value: the number of a constant that is weights of integers, [rows, columns]; else PRNN_ARGUMENT.
 * x: [count, rows]; as_states: rounded as states, by 127, and not each row by its largest number.
 * rounded, sums: where x as integers goes, [count, rows], and the sums, [count, columns]. */
int prnn_integers(const prnn *classifier, uint32_t value, const prnn_number *x, size_t count, int as_states,
                  int8_t *rounded, int32_t *sums, void *memory, size_t *size);
/* The numbers of rows and columns of such weights; 0 and 0 for any other value. */
void prnn_integers_shape(const prnn *classifier, uint32_t value, size_t *rows, size_t *columns);

/* The golden examples: the answers of the classifier where it was made. */
uint32_t prnn_examples(const prnn *classifier);
int prnn_example(const prnn *classifier, uint32_t index, const char **text, size_t *bytes, const int32_t **ids,
                 size_t *count, const float **logits);

#ifdef __cplusplus
}
#endif
#endif
