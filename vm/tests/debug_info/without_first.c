// clang-19 --target=wasm32 -nostdlib -O1 -g -ffile-prefix-map=$PWD/= -fdebug-compilation-dir=. -Wl,--no-entry
#define HOST(name) __attribute__((import_module("host"), import_name(name)))
HOST("go_on") int go_on(int, int);

__attribute__((export_name("f"))) int f(int first) {
  int round = first;
  while (go_on(round, 0)) {
    round++;
  }
  return round;
}
