/* The start of a Cortex-M before main: its vectors, the memory of variables, the floating-point unit. */
#include <stdint.h>

extern uint32_t stack_top, data_start, data_end, data_in_flash, bss_start, bss_end;
int main(void);
void finish(int status);

enum { FPU = 0xF << 20 };
#define COPROCESSORS (*(volatile uint32_t *)0xE000ED88)

void reset(void)
{
    COPROCESSORS |= FPU;
    __asm volatile("dsb; isb");
    for (uint32_t *to = &data_start, *from = &data_in_flash; to < &data_end;)
        *to++ = *from++;
    for (uint32_t *to = &bss_start; to < &bss_end;)
        *to++ = 0;
    finish(main());
}

static void fault(void) { finish(1); }

__attribute__((section(".vectors"), used)) static const void *const VECTORS[16] = {
    &stack_top, (const void *)reset, (const void *)fault, (const void *)fault, (const void *)fault,
    (const void *)fault, (const void *)fault};
