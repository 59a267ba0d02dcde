/* Included before every Lua source file: what Lua needs to be told to run on plain WASI. */
#ifndef LUA_WASI_H
#define LUA_WASI_H

/* There is no way to unwind in WebAssembly 2.0, so an error ends the program. The benchmark
   scripts raise none, and coroutines, which yield by unwinding, are not opened. */
_Noreturn void lua_wasi_unwound(void);
#define LUAI_THROW(L, c) lua_wasi_unwound()
#define LUAI_TRY(L, c, a) { a }
#define luai_jmpbuf int

/* The seed decides the order of `pairs`; outputs are compared byte for byte. */
#define luai_makeseed(L) 0x5eed

/* No signals either: what Lua would let a handler set is a plain integer. */
#define l_signalT int

#endif
