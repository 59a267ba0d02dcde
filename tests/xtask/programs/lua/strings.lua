-- Building, matching, replacing and splitting strings: the C side of the interpreter.
local n = tonumber((...))
local words = {}
for i = 1, n do
  words[i] = string.format("%s-%05d:%x", string.rep(string.char(97 + i % 26), i % 7 + 1), i, i * 2654435761 % 65536)
end
local text = table.concat(words, " ")
print("length", #text)
print("upper", #text:upper(), text:sub(1, 40):upper())

local counts = {}
for letters, number in text:gmatch("(%a+)%-(%d+)") do
  counts[letters] = (counts[letters] or 0) + tonumber(number)
end
local keys = {}
for key in pairs(counts) do keys[#keys + 1] = key end
table.sort(keys)
for i = 1, math.min(10, #keys) do print(keys[i], counts[keys[i]]) end

local replaced, hits = text:gsub("%d%d", function(pair) return pair:reverse() end)
print("replaced", hits, replaced:sub(-60))

local hash = 0
for i = 1, #replaced do hash = (hash * 31 + replaced:byte(i)) & 0xffffffff end
print("hash", hash)
