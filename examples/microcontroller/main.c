/* A packed classifier on a Cortex-M, without heap and operating system: it answers its own golden examples and a text
 * of 64 words, and says how much memory that took. Output goes to the debugger, by ARM's semihosting. */
#include <stdint.h>
#include <string.h>

#include "news.h"
#include "pocketrnn.h"

/* What prnn_open_in_place and the longest text ask for; where it is too little, the engine says so. */
static uint8_t memory[1024], work[49 * 1024];

static uint32_t semihosting(uint32_t operation, const void *argument)
{
    register uint32_t r0 __asm("r0") = operation;
    register const void *r1 __asm("r1") = argument;
    __asm volatile("bkpt 0xAB" : "+r"(r0) : "r"(r1) : "memory");
    return r0;
}

static void put(const char *string) { semihosting(0x04, string); }

static void put_number(uint32_t number)
{
    char digits[12] = {0}, *at = digits + 11;
    do
        *--at = (char)('0' + number % 10);
    while (number /= 10);
    put(at);
}

void finish(int status)
{
    uint32_t block[2] = {0x20026, (uint32_t)status}; /* the application ends */
    semihosting(0x20, block);
    for (;;)
        ;
}

static int failed(const char *what, int status)
{
    put(what);
    put(": ");
    put(prnn_error(status));
    put("\n");
    return 1;
}

static uint32_t likeliest(const float *logits, uint32_t count)
{
    uint32_t best = 0;
    for (uint32_t i = 1; i < count; i++)
        best = logits[i] > logits[best] ? i : best;
    return best;
}

static void put_label(const prnn *classifier, const float *logits)
{
    char text[64] = {0};
    size_t bytes;
    const char *label = prnn_label(classifier, likeliest(logits, prnn_classes(classifier)), &bytes);
    memcpy(text, label, bytes < sizeof text ? bytes : sizeof text - 1);
    put(text);
}

/* Memory is filled with a pattern before it is used, and what no longer shows it was used. */
enum { PATTERN = 0xA5 };
extern uint8_t stack_bottom, stack_top;

static uint32_t used(const uint8_t *from, const uint8_t *to)
{
    while (to > from && to[-1] == PATTERN)
        to--;
    return (uint32_t)(to - from);
}

static uint32_t stack_used(void)
{
    const uint8_t *at = &stack_bottom;
    while (at < &stack_top && *at == PATTERN)
        at++;
    return (uint32_t)(&stack_top - at);
}

enum { MOST_CLASSES = 16 };

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
        for (uint32_t k = 0; k < prnn_classes(classifier); k++)
            if (!(logits[k] - golden[k] < 1e-4f && golden[k] - logits[k] < 1e-4f)) {
                put("a golden example is not answered as it was\n");
                return 1;
            }
    }
    put_number(prnn_examples(classifier));
    put(" golden examples are answered as they were\n");
    return 0;
}

#ifdef COUNT
/* For `make count`: the system's timer, which goes down from 2^24 at 25 MHz. The emulator is told to take a nanosecond for
 * every instruction, so that 40 of them are one of the timer's. On a board it would count time. */
#define TIMER ((volatile uint32_t *)0xE000E010)
enum { TIMER_ON = 5, TIMER_ENDED = 1 << 16, TIMER_START = 0xFFFFFF };

static void start_timer(void)
{
    TIMER[1] = TIMER_START;
    TIMER[2] = 0;
    TIMER[0] = TIMER_ON;
}

static void put_instructions(void)
{
    uint32_t passed = TIMER_START - TIMER[2];
    put(TIMER[0] & TIMER_ENDED ? "more than " : "");
    put_number(passed / 25);
    put(" thousand instructions\n");
}
#endif

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
    put_instructions();
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
    uint8_t here;
    memset(&stack_bottom, PATTERN, (size_t)(&here - &stack_bottom) - 64);
    const prnn *classifier;
    size_t size = sizeof memory;
    int status = prnn_open_in_place(&classifier, news, news_size, memory, &size);
    if (status != PRNN_OK)
        return failed("news", status);
    if (prnn_classes(classifier) > MOST_CLASSES)
        return failed("news", PRNN_ARGUMENT);
    return replay(classifier) || classify_64_words(classifier);
}
