/* Included before every Lua source file where Lua has its own way to unwind: `setjmp` and `longjmp`. */
/* The seed decides the order of `pairs`; outputs are compared byte for byte. */
#define luai_makeseed(L) 0x5eed

/* There are no signals: what Lua would let a handler set is a plain integer. */
#define l_signalT int
