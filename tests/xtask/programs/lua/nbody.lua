-- Bodies as tables with named fields: field access and floating point.
local steps = tonumber((...))
local bodies = {}
for i = 0, 5 do
  local distance = i == 0 and 0 or i * 1.5 + 0.4
  local swing = i == 0 and 0 or 1 / math.sqrt(distance)
  bodies[i + 1] = {
    x = i % 2 == 0 and distance or 0, y = i % 2 == 1 and distance or 0, z = i * 0.01,
    vx = i % 2 == 1 and swing or 0, vy = i % 2 == 0 and swing or 0, vz = 0,
    mass = i == 0 and 1 or 1e-3 / (i * i),
  }
end

local function step(dt)
  for i = 1, #bodies do
    local a = bodies[i]
    for j = i + 1, #bodies do
      local b = bodies[j]
      local dx, dy, dz = a.x - b.x, a.y - b.y, a.z - b.z
      local square = dx * dx + dy * dy + dz * dz + 1e-9
      local pull = dt / (square * math.sqrt(square))
      a.vx, a.vy, a.vz = a.vx - dx * b.mass * pull, a.vy - dy * b.mass * pull, a.vz - dz * b.mass * pull
      b.vx, b.vy, b.vz = b.vx + dx * a.mass * pull, b.vy + dy * a.mass * pull, b.vz + dz * a.mass * pull
    end
  end
  for _, b in ipairs(bodies) do
    b.x, b.y, b.z = b.x + dt * b.vx, b.y + dt * b.vy, b.z + dt * b.vz
  end
end

for _ = 1, steps do step(1e-3) end
for i, b in ipairs(bodies) do
  print(i, string.format("%.17g %.17g %.17g", b.x, b.y, b.z))
end
