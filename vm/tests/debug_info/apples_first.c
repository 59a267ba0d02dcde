// clang-19 --target=wasm32 -nostdlib -O0 -g -ffile-prefix-map=$PWD/= -fdebug-compilation-dir=. -Wl,--no-entry
#define HOST(name) __attribute__((import_module("host"), import_name(name)))
HOST("go_on") int go_on(int, int);

__attribute__((export_name("f"))) int f(void) {
  int apples = 0; int pears = 0;
  while (go_on(apples, pears)) {
    apples++;
    pears += 2;
  }
  return apples;
}
