/* A classifier of sequences of numbers on a Cortex-M: samples of a sensor as whole numbers of 16 bits arrive one step at a time, and
 * every window of them is answered, without heap and operating system. gesture.h is a packed file that says of a window:
 * `pocketrnn pack gesture --c-array gesture.h`. */
#include "board.h"
#include "gesture.h"
#include "sensor.h"

/* The memory that prnn_open_in_place and a window ask for, as the header says it; where it is too little, the engine says so. */
#ifdef gesture_work
enum { MOST_WINDOW = gesture_window };
static uint8_t memory[gesture_memory], work[gesture_work];
#else
enum { MOST_WINDOW = 64 };
static uint8_t memory[MEMORY], work[WORK];
#endif
/* The last window, as the program is given it: what one has in common with the next is prepared once. */
static float window[MOST_WINDOW * MOST_CHANNELS];

static int replay(const prnn *classifier)
{
    float logits[MOST_CLASSES];
    uint32_t count = 0;
    for (uint32_t i = 0; i < prnn_examples(classifier); i++) {
        const float *samples, *golden;
        size_t steps, size = sizeof work;
        prnn_number_example(classifier, i, &samples, &steps, &golden);
        if (steps > MOST_WINDOW) /* for which there is no memory here */
            continue;
        int status = prnn_logits_of_samples(classifier, samples, steps, logits, work, &size);
        if (status != PRNN_OK)
            return failed("a golden example", status);
        if (!is_golden(classifier, logits, golden))
            return 1;
        count++;
    }
    put_number(count);
    put(" golden examples are answered as they were\n");
    return 0;
}

static int classify_recording(const prnn *classifier)
{
    uint32_t size_of_window, hop, channels = prnn_channels(classifier), held = 0, windows = 0;
    float logits[MOST_CLASSES];
    int16_t samples[MOST_CHANNELS];
    prnn_window(classifier, &size_of_window, &hop);
    if (!size_of_window || size_of_window > MOST_WINDOW || hop > size_of_window || channels > MOST_CHANNELS)
        return failed("gesture", PRNN_ARGUMENT);
    memset(work, PATTERN, sizeof work);
#ifdef COUNT
    uint32_t preparing = 0, answering = 0;
#endif
    for (uint32_t step = 0; step < STEPS; step++) {
        read_sensor(step, samples, channels);
#ifdef COUNT
        start_timer();
#endif
        int status = prnn_prepare(classifier, samples, PRNN_INT16, 1, window + held++ * channels);
#ifdef COUNT
        preparing += instructions();
#endif
        if (status != PRNN_OK)
            return failed("a sample", status);
        if (held < size_of_window)
            continue;
        size_t size = sizeof work;
#ifdef COUNT
        start_timer();
#endif
        status = prnn_logits_of_samples(classifier, window, held, logits, work, &size);
#ifdef COUNT
        answering += instructions();
#endif
        if (status != PRNN_OK)
            return failed("a window", status);
        held -= hop;
        memmove(window, window + hop * channels, held * channels * sizeof *window);
        windows++;
    }
    put_number(windows);
    put(" windows, the last one ");
    put_label(classifier, logits);
    put(", opened in ");
    put_number(used(memory, memory + sizeof memory));
    put(" bytes, the window ");
    put_number(size_of_window * channels * (uint32_t)sizeof *window);
    put(" bytes, working memory ");
    put_number(used(work, work + sizeof work));
    put(" bytes, stack ");
    put_number(stack_used());
    put(" bytes\n");
#ifdef COUNT
    put_number(preparing / STEPS);
    put(" instructions prepare the samples of a step, ");
    put_number(answering / windows / size_of_window);
    put(" answer each step of a window\n");
#endif
    return 0;
}

int main(void)
{
    fill_stack();
    memset(memory, PATTERN, sizeof memory);
    const prnn *classifier = opened("gesture", gesture, gesture_size, memory, sizeof memory);
    return !classifier || replay(classifier) || classify_recording(classifier);
}
