-- Errors and coroutines in every way that a script meets them; all that happens goes into one number.
local rounds = tonumber(... or "50")
local sum = 0
local function note(x)
  if type(x) == "string" then
    for i = 1, #x do sum = (sum * 31 + x:byte(i)) % 2147483647 end
  else
    sum = (sum * 31 + math.tointeger(x // 1)) % 2147483647
  end
end

-- Caught at once, with values of all kinds.
local function caught(i)
  local kinds = { "text " .. i, i, { code = i }, i * 0.5, false }
  local thrown = kinds[i % 5 + 1]
  local ok, e = pcall(error, thrown, 0)
  assert(not ok and e == thrown)
  note(type(e) == "table" and e.code or type(e) == "boolean" and 7 or e)
end

-- Through many frames, some of which catch it and throw it again.
local function deep(n)
  if n == 0 then error({ depth = 0 }) end
  if n % 7 == 0 then
    local ok, e = pcall(deep, n - 1)
    e.depth = e.depth + 1
    error(e)
  end
  return deep(n - 1) + 1
end

-- An error handler that sees the stack of the error.
local function handled(i)
  local function inner(x) return x.field.other end
  local ok, message = xpcall(inner, function(e)
    return e .. " | " .. select(2, debug.traceback("", 1):gsub("\n", "")) .. " lines"
  end, { n = i })
  assert(not ok)
  note(message)
end

-- Values that are closed on every way out.
local function closed(i)
  local order = {}
  local function guard(name)
    return setmetatable({}, { __close = function(_, e) order[#order + 1] = name .. (e and "!" or "") end })
  end
  local ok = pcall(function()
    local a <close> = guard("a")
    do
      local b <close> = guard("b")
      if i % 3 == 0 then error("out") end
    end
    local c <close> = guard("c")
    if i % 2 == 0 then error("late") end
    return "fine"
  end)
  note(table.concat(order, ",") .. tostring(ok))
end

-- Coroutines: generators, yields across pcall, errors inside, one closed while suspended.
local function tree(n)
  return n > 0 and { tree(n - 1), n, tree(n - 1) } or nil
end
local function walk(t)
  if t then
    walk(t[1])
    coroutine.yield(t[2])
    walk(t[3])
  end
end
local function coroutines(i)
  for value in coroutine.wrap(function() walk(tree(5)) end) do note(value) end
  local co = coroutine.create(function(a)
    local ok, e = pcall(function()
      local b = coroutine.yield(a + 1)
      local c = coroutine.yield(b * 2)
      error("after " .. c)
    end)
    coroutine.yield(e)
    local x <close> = setmetatable({}, { __close = function() note("closed") end })
    coroutine.yield("suspended")
    error("never")
  end)
  for _, value in ipairs({ i, i + 5, i + 9, 0 }) do
    local ok, result = coroutine.resume(co, value)
    assert(ok)
    note(result)
  end
  if i % 2 == 0 then
    assert(coroutine.close(co))
  else
    local ok, e = coroutine.resume(co)
    assert(not ok)
    note(e)
  end
  assert(coroutine.status(co) == "dead")
  local ok, e = coroutine.resume(co)
  note(e)
end

-- Out of functions that C code calls: comparisons, replacements, metamethods.
local function callbacks(i)
  local list = {}
  for k = 1, 40 do list[k] = (k * 17 + i) % 41 end
  local calls = 0
  local ok, e = pcall(table.sort, list, function(a, b)
    calls = calls + 1
    if calls == 60 then error("enough of " .. a .. " and " .. b, 0) end
    return a < b
  end)
  note(tostring(ok) .. tostring(e))
  ok, e = pcall(string.gsub, "one two three", "%a+", function(word)
    if #word > 3 then error("long: " .. word, 0) end
    return word:upper()
  end)
  note(e)
  local strange = setmetatable({}, {
    __index = function(_, key) error("no " .. key, 0) end,
    __add = function(a, b) return coroutine.yield("adds") end,
  })
  ok, e = pcall(function() return strange.thing end)
  note(e)
  local add = coroutine.wrap(function() return strange + 1 end)
  note(add())
  note(add(i))
end

-- The stack of Lua and that of C, both too deep; and memory of a text that is too long.
local function exhausted()
  local function forever(n) return 1 + forever(n + 1) end
  local ok, e = pcall(forever, 0)
  assert(not ok and e:find("stack overflow"), e)
  note(e:sub(1, 40))
  local nest = string.rep("(", 300) .. "1" .. string.rep(")", 300)
  local f, m = load("return " .. nest)
  assert(not f)
  note(m)
  local t = setmetatable({}, {})
  getmetatable(t).__index = function(x, k) return x[k] end
  ok, e = pcall(function() return t.x end)
  assert(not ok)
  note(e)
  note(select(2, pcall(string.rep, "x", 1 << 40)))
end

for i = 1, rounds do
  caught(i)
  local ok, e = pcall(deep, i % 60 + 20)
  note(e.depth)
  handled(i)
  closed(i)
  coroutines(i)
  callbacks(i)
  note(string.format("%5.2f|%-8s|%q", i / 3, "x" .. i, "a\n" .. i))
  note(select(2, load("return " .. i .. " +")))
  if i % 25 == 0 then exhausted() end
  if i % 100 == 0 then collectgarbage() end
end
print(rounds .. " rounds: " .. sum)
error("the last one, " .. rounds)
