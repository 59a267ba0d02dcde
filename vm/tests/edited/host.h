// What the host does: it is shown two values, and says whether to go on.
#define HOST(name) __attribute__((import_module("host"), import_name(name)))
HOST("go_on") int go_on(int, int);
// Some number that no compiler knows.
HOST("number") int number(int);
#define MAIN __attribute__((export_name("f"))) int f(void)
#ifdef NEW
#define EDIT(before, after) after
#else
#define EDIT(before, after) before
#endif
