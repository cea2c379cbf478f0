/* The answers of a packed file to recordings that are compiled in, for a board without files and for any other machine: for each, what
 * the program is given for it, as a sum of its bits, and the bits of the logits. recordings.h is written by scripts/compare_machines:
 * the file as `gesture`, and the samples as doubles. -DBOARD is for a Cortex-M, with examples/microcontroller/board.h. */
#ifdef BOARD
#include "board.h"
#else
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "pocketrnn.h"
#define put(string) fputs(string, stdout)
#endif
#include "recordings.h"

enum { MOST_LABELS = 64 };
static uint8_t memory[MEMORY], work[WORK];

static void put_hex(uint32_t word)
{
    char digits[10] = " 00000000";
    for (int i = 8; i; i--, word >>= 4)
        digits[i] = "0123456789abcdef"[word & 15];
    put(digits);
}

static uint32_t get_float_bits(float number)
{
    uint32_t bits;
    memcpy(&bits, &number, sizeof bits);
    return bits;
}

static int answer(const prnn *classifier, const double *samples, size_t steps)
{
    float logits[MOST_LABELS], *prepared = (float *)(void *)work;
    size_t size = sizeof work, count = steps * prnn_channels(classifier);
    if (sizeof work < count * sizeof *prepared || prnn_classes(classifier) > MOST_LABELS)
        return PRNN_MEMORY;
    int status = prnn_prepare(classifier, samples, PRNN_FLOAT64, steps, prepared);
    uint32_t sum = 2166136261u;
    for (size_t i = 0; !status && i < count; i++)
        sum = (sum ^ get_float_bits(prepared[i])) * 16777619u;
    if (!status)
        status = prnn_classify_numbers(classifier, samples, PRNN_FLOAT64, steps, logits, work, &size);
    if (status)
        return status;
    put_hex(sum);
    for (uint32_t i = 0; i < prnn_classes(classifier); i++)
        put_hex(get_float_bits(logits[i]));
    put("\n");
    return PRNN_OK;
}

int main(void)
{
    const prnn *classifier;
    size_t size = sizeof memory;
    int status = prnn_open_in_place(&classifier, gesture, gesture_size, memory, &size);
    for (size_t i = 0; !status && i < sizeof STEPS / sizeof *STEPS; i++)
        status = answer(classifier, SAMPLES[i], STEPS[i]);
    if (status) {
        put(prnn_error(status));
        put("\n");
    }
    return status;
}
