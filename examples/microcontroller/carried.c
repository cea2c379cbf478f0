/* A classifier of sequences of numbers on a Cortex-M, whose state is carried from sample to sample: each costs one step, and is
 * answered for all so far. gesture.h is a packed file without a window: `pocketrnn pack gesture --streaming --c-array gesture.h`. */
#include "board.h"
#include "gesture.h"
#include "sensor.h"

/* The memory that prnn_open_in_place, a stream and a step ask for, as the header says it; where it is too little, the engine says
 * so. */
#ifdef gesture_stream
static uint8_t memory[gesture_memory], work[gesture_stream_work];
static uint64_t stream_memory[(gesture_stream + 7) / 8];
#else
static uint8_t memory[MEMORY], work[WORK];
static uint64_t stream_memory[STREAM / 8];
#endif

/* Each golden example again, step by step from a state of zeros. */
static int replay(const prnn *classifier)
{
    enum { MOST_STATE = 64 };
    float logits[MOST_CLASSES], state[MOST_STATE];
    uint32_t channels = prnn_channels(classifier), examples = prnn_examples(classifier);
    if (prnn_state_size(classifier) > MOST_STATE)
        return failed("gesture", PRNN_ARGUMENT);
    for (uint32_t i = 0; i < examples; i++) {
        const float *samples, *golden;
        size_t steps;
        prnn_number_example(classifier, i, &samples, &steps, &golden);
        memset(state, 0, sizeof state);
        for (size_t step = 0; step < steps; step++) {
            size_t size = sizeof work;
            int status = prnn_step_samples(classifier, samples + step * channels, 1, state, logits, state, work, &size);
            if (status != PRNN_OK)
                return failed("a golden example", status);
        }
        if (!is_golden(classifier, logits, golden))
            return 1;
    }
    put_number(examples);
    put(" golden examples are answered as they were\n");
    return 0;
}

static int classify_recording(const prnn *classifier)
{
    prnn_stream *stream;
    float logits[MOST_CLASSES];
    int16_t samples[MOST_CHANNELS];
    size_t size = sizeof stream_memory;
    int status = prnn_stream_open(classifier, &stream, stream_memory, &size);
    if (status != PRNN_OK || prnn_channels(classifier) > MOST_CHANNELS)
        return failed("gesture", status);
    memset(work, PATTERN, sizeof work);
#ifdef COUNT
    uint32_t answering = 0;
#endif
    for (uint32_t step = 0; step < STEPS; step++) {
        read_sensor(step, samples, prnn_channels(classifier));
        size = sizeof work;
#ifdef COUNT
        start_timer();
#endif
        status = prnn_stream_push_numbers(classifier, stream, samples, PRNN_INT16, 1, logits, work, &size);
#ifdef COUNT
        answering += instructions();
#endif
        if (status != PRNN_OK)
            return failed("a sample", status);
    }
    put_number(STEPS);
    put(" steps, after the last one ");
    put_label(classifier, logits);
    put(", opened in ");
    put_number(used(memory, memory + sizeof memory));
    put(" bytes, the stream ");
    put_number((uint32_t)prnn_stream_size(classifier));
    put(" bytes, working memory ");
    put_number(used(work, work + sizeof work));
    put(" bytes, stack ");
    put_number(stack_used());
    put(" bytes\n");
#ifdef COUNT
    put_number(answering / STEPS);
    put(" instructions for the samples of a step and their answer\n");
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
