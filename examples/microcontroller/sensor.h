/* In the place of a sensor. */
enum { MOST_CHANNELS = 6, STEPS = 256 };

/* A hand that shakes, and then holds still. */
static void read_sensor(uint32_t step, int16_t *samples, uint32_t channels)
{
    static uint32_t state = 1;
    for (uint32_t i = 0; i < channels; i++) {
        state = state * 1664525u + 1013904223u;
        int32_t wave = (int32_t)((step * (i + 3)) % 16) - 8, noise = (int32_t)(state >> 24) - 128;
        samples[i] = (int16_t)(step < STEPS / 2 ? wave * 300 + noise : noise / 4);
    }
}
