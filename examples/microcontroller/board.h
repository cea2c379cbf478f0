/* The parts of a board that both programs need: output goes to the debugger, by ARM's semihosting; memory that was used is found by a
 * pattern. */
#include <stdint.h>
#include <string.h>

#include "pocketrnn.h"

static uint32_t semihosting(uint32_t operation, const void *argument)
{
    register uint32_t r0 __asm("r0") = operation;
    register const void *r1 __asm("r1") = argument;
    __asm volatile("bkpt 0xAB" : "+r"(r0) : "r"(r1) : "memory");
    return r0;
}

static void put(const char *string) { semihosting(0x04, string); }

static inline void put_number(uint32_t number)
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

static inline int failed(const char *what, int status)
{
    put(what);
    put(": ");
    put(prnn_error(status));
    put("\n");
    return 1;
}

static inline uint32_t likeliest(const float *logits, uint32_t count)
{
    uint32_t best = 0;
    for (uint32_t i = 1; i < count; i++)
        best = logits[i] > logits[best] ? i : best;
    return best;
}

static inline void put_label(const prnn *classifier, const float *logits)
{
    char text[64] = {0};
    size_t bytes;
    const char *label = prnn_label(classifier, likeliest(logits, prnn_classes(classifier)), &bytes);
    memcpy(text, label, bytes < sizeof text ? bytes : sizeof text - 1);
    put(text);
}

/* Both programs have room for this many classes. */
enum { MOST_CLASSES = 16 };

/* Whether the answer to a golden example is what it was. */
static inline int is_golden(const prnn *classifier, const float *logits, const float *golden)
{
    for (uint32_t k = 0; k < prnn_classes(classifier); k++)
        if (!(logits[k] - golden[k] < 1e-4f && golden[k] - logits[k] < 1e-4f)) {
            put("a golden example is not answered as it was\n");
            return 0;
        }
    return 1;
}

/* Memory is filled with a pattern before it is used, and what no longer shows it was used. */
enum { PATTERN = 0xA5 };
extern uint8_t stack_bottom, stack_top;

static inline uint32_t used(const uint8_t *from, const uint8_t *to)
{
    while (to > from && to[-1] == PATTERN)
        to--;
    return (uint32_t)(to - from);
}

static inline uint32_t stack_used(void)
{
    const uint8_t *at = &stack_bottom;
    while (at < &stack_top && *at == PATTERN)
        at++;
    return (uint32_t)(&stack_top - at);
}

/* To be called first: the stack below is filled. Not inlined: its caller's frame is then above what it fills. */
static __attribute__((noinline)) void fill_stack(void)
{
    uint8_t here;
    memset(&stack_bottom, PATTERN, (size_t)(&here - &stack_bottom) - 64);
}

/* A packed file in flash, open; NULL if that failed, which is told. */
static inline const prnn *opened(const char *name, const void *file, size_t bytes, void *memory, size_t size)
{
    const prnn *classifier;
    int status = prnn_open_in_place(&classifier, file, bytes, memory, &size);
    if (status == PRNN_OK && prnn_classes(classifier) > MOST_CLASSES)
        status = PRNN_ARGUMENT;
    if (status == PRNN_OK)
        return classifier;
    failed(name, status);
    return NULL;
}

#ifdef COUNT
/* For `make count`: the system's timer, which goes down from 2^24 at 25 MHz. The emulator is told to take a nanosecond for
 * every instruction, so that 40 of them are one of the timer's. On a board it would count time. */
#define TIMER ((volatile uint32_t *)0xE000E010)
enum { TIMER_ON = 5, TIMER_ENDED = 1 << 16, TIMER_START = 0xFFFFFF };

static inline void start_timer(void)
{
    TIMER[1] = TIMER_START;
    TIMER[2] = 0;
    TIMER[0] = TIMER_ON;
}

/* 2^32 - 1 where there were too many. */
static inline uint32_t instructions(void)
{
    uint32_t passed = TIMER_START - TIMER[2];
    return TIMER[0] & TIMER_ENDED ? UINT32_MAX : passed * 40;
}
#endif
