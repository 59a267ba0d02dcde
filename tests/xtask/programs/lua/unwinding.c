/* `lua SCRIPT [ARGS…]` with all that Lua can do on WASI: errors are caught, coroutines yield. */
#include <stdio.h>
#include <string.h>

#include "lauxlib.h"
#include "lua.h"
#include "lualib.h"

/* The tag of `longjmp`, which the compiler expects its runtime to define: one pointer. */
__asm__(".tagtype __c_longjmp i32\n"
        ".globl __c_longjmp\n"
        "__c_longjmp:\n");

static int traceback(lua_State *state) {
  const char *message = lua_tostring(state, 1);
  luaL_traceback(state, state, message ? message : "an error that is no text", 1);
  return 1;
}

static int run(lua_State *state) {
  int count = (int)lua_tointeger(state, 1);
  char **list = lua_touserdata(state, 2);
  static const luaL_Reg libraries[] = {
      {LUA_GNAME, luaopen_base},       {LUA_COLIBNAME, luaopen_coroutine}, {LUA_TABLIBNAME, luaopen_table},
      {LUA_STRLIBNAME, luaopen_string}, {LUA_MATHLIBNAME, luaopen_math},   {LUA_UTF8LIBNAME, luaopen_utf8},
      {LUA_DBLIBNAME, luaopen_debug}};
  for (int i = 0; i < (int)(sizeof libraries / sizeof *libraries); i++) {
    luaL_requiref(state, libraries[i].name, libraries[i].func, 1);
    lua_pop(state, 1);
  }
  lua_pushcfunction(state, traceback);
  int handler = lua_gettop(state);
  if (luaL_loadfile(state, list[1]) != LUA_OK) return lua_error(state);
  for (int i = 2; i < count; i++) lua_pushstring(state, list[i]);
  if (lua_pcall(state, count - 2, 0, handler) != LUA_OK) return lua_error(state);
  return 0;
}

int main(int count, char **list) {
  if (count < 2) {
    fprintf(stderr, "usage: lua SCRIPT [ARGS...]\n");
    return 2;
  }
  lua_State *state = luaL_newstate();
  if (!state) return 1;
  lua_pushcfunction(state, run);
  lua_pushinteger(state, count);
  lua_pushlightuserdata(state, list);
  int status = lua_pcall(state, 2, 0, 0);
  if (status != LUA_OK) fprintf(stderr, "lua: %s\n", lua_tostring(state, -1));
  lua_close(state);
  return status != LUA_OK;
}
