/* Stands in for the system's <setjmp.h>, which on WASI needs the exception-handling proposal.
   Lua includes it, but `lua_wasi.h` gives Lua error handling that does not use it. */
