/* `lua SCRIPT [ARGS…]`: the interpreter with its base, string, table, math and utf8 libraries. */
#include <stdio.h>
#include <stdlib.h>

#include "lauxlib.h"
#include "lua.h"
#include "lualib.h"

static lua_State *state;

_Noreturn void lua_wasi_unwound(void) {
  const char *message = state && lua_gettop(state) ? lua_tostring(state, -1) : NULL;
  fprintf(stderr, "lua: %s\n", message ? message : "error before the script started");
  exit(1);
}

static void report(void *unused, const char *message, int more) {
  (void)unused;
  (void)message;
  (void)more;
}

int main(int argc, char **argv) {
  static const luaL_Reg libraries[] = {
      {LUA_GNAME, luaopen_base},         {LUA_STRLIBNAME, luaopen_string},
      {LUA_TABLIBNAME, luaopen_table},   {LUA_MATHLIBNAME, luaopen_math},
      {LUA_UTF8LIBNAME, luaopen_utf8},   {NULL, NULL}};
  if (argc < 2) {
    fprintf(stderr, "usage: lua SCRIPT [ARGS...]\n");
    return 2;
  }
  state = luaL_newstate();
  if (!state) return 1;
  lua_setwarnf(state, report, NULL);
  for (const luaL_Reg *l = libraries; l->func; l++) {
    luaL_requiref(state, l->name, l->func, 1);
    lua_pop(state, 1);
  }
  if (luaL_loadfile(state, argv[1]) != LUA_OK) lua_wasi_unwound();
  for (int i = 2; i < argc; i++) lua_pushstring(state, argv[i]);
  lua_call(state, argc - 2, 0);
  lua_close(state);
  return 0;
}
