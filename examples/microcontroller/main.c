/* A packed classifier on a Cortex-M, without heap and operating system: it answers its own golden examples and a text
 * of 64 words, and says how much memory that took. */
#include "board.h"
#include "news.h"

/* The memory that prnn_open_in_place and the longest text ask for; where it is too little, the engine says so. */
static uint8_t memory[1024], work[54 * 1024];

static int replay(const prnn *classifier)
{
    float logits[MOST_CLASSES];
    for (uint32_t i = 0; i < prnn_examples(classifier); i++) {
        const char *text;
        const int32_t *ids;
        const float *golden;
        size_t bytes, count, size = sizeof work;
        prnn_example(classifier, i, &text, &bytes, &ids, &count, &golden);
        int status = prnn_classify(classifier, text, bytes, logits, work, &size);
        if (status != PRNN_OK)
            return failed("a golden example", status);
        if (!is_golden(classifier, logits, golden))
            return 1;
    }
    put_number(prnn_examples(classifier));
    put(" golden examples are answered as they were\n");
    return 0;
}

static int classify_64_words(const prnn *classifier)
{
    static const char *const WORDS[] = {"Oil ", "prices ", "rise ", "again "};
    static char text[64 * 8];
    float logits[MOST_CLASSES];
    size_t bytes = 0, size = sizeof work;
    for (int i = 0; i < 64; i++) {
        size_t length = strlen(WORDS[i % 4]);
        memcpy(text + bytes, WORDS[i % 4], length);
        bytes += length;
    }
    memset(work, PATTERN, sizeof work);
#ifdef COUNT
    start_timer();
#endif
    int status = prnn_classify(classifier, text, bytes, logits, work, &size);
#ifdef COUNT
    put_number(instructions() / 1000);
    put(" thousand instructions\n");
#endif
    if (status != PRNN_OK)
        return failed("64 words", status);
    put("64 words: ");
    put_label(classifier, logits);
    put(", working memory ");
    put_number(used(work, work + sizeof work));
    put(" bytes, stack ");
    put_number(stack_used());
    put(" bytes\n");
    return 0;
}

int main(void)
{
    fill_stack();
    const prnn *classifier = opened("news", news, news_size, memory, sizeof memory);
    return !classifier || replay(classifier) || classify_64_words(classifier);
}
