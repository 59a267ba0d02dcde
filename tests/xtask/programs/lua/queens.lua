-- All solutions of the n queens by backtracking: tables as arrays of booleans, and closures.
local n = tonumber((...))
local columns, up, down, solutions, first = {}, {}, {}, 0, nil
local placed = {}
local function place(row)
  if row > n then
    solutions = solutions + 1
    first = first or table.concat(placed, " ")
    return
  end
  for column = 1, n do
    if not columns[column] and not up[row + column] and not down[row - column] then
      columns[column], up[row + column], down[row - column] = true, true, true
      placed[row] = column
      place(row + 1)
      columns[column], up[row + column], down[row - column] = nil, nil, nil
    end
  end
end
place(1)
print("queens", n, solutions, first)
