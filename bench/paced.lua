-- Players for wrk who think between two ads: for so many milliseconds on average, at random, exponentially distributed.
-- Arguments: those of players.lua, then the mean.

local folder = debug.getinfo(1, "S").source:match("^@(.*/)")
dofile(folder .. "players.lua")
local init_players = init

function init(args)
  init_players(args)
  mean_ms = tonumber(args[5])
end

function delay()
  return math.floor(-mean_ms * math.log(1 - math.random()) + 0.5)
end
