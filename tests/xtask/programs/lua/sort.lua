-- table.sort with and without a comparison function, and a merge sort in Lua itself.
local n = tonumber((...))
local seed = 42
local function random()
  seed = (seed * 1103515245 + 12345) % 2147483648
  return seed
end
local function filled()
  local t = {}
  for i = 1, n do t[i] = random() end
  return t
end
local function checksum(t)
  local sum = 0
  for i, v in ipairs(t) do sum = (sum * 33 + v + i) % 1000000007 end
  return sum
end

local function merge_sort(t)
  local size, from, to = 1, t, {}
  while size < #from do
    for left = 1, #from, 2 * size do
      local middle = math.min(left + size, #from + 1)
      local right = math.min(left + 2 * size, #from + 1)
      local i, j = left, middle
      for k = left, right - 1 do
        if i < middle and (j >= right or from[i] <= from[j]) then
          to[k], i = from[i], i + 1
        else
          to[k], j = from[j], j + 1
        end
      end
    end
    from, to, size = to, from, size * 2
  end
  return from
end

local plain = filled()
table.sort(plain)
print("plain", checksum(plain), plain[1], plain[n])
local falling = filled()
table.sort(falling, function(a, b) return a > b end)
print("falling", checksum(falling), falling[1], falling[n])
local merged = merge_sort(filled())
print("merged", checksum(merged), merged[1], merged[n])
