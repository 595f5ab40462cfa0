/* Keeps a CPU from going idle with next to no footprint; run it at idle priority. */
int main(void) {
    for (;;) {
#if defined(__x86_64__)
        __builtin_ia32_pause();
#else
        __asm__ volatile("yield");
#endif
    }
}
