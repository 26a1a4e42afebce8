-- Players for wrk: every request is for one of `campaigns` at random, by one of `viewers` at random.
-- Arguments: the campaigns' prefix, how many there are, the viewers, more of the query.

local threads = 0

function setup(thread)
  thread:set("number", threads)
  threads = threads + 1
end

function init(args)
  prefix, campaigns, viewers, more = args[1], tonumber(args[2]), tonumber(args[3]), args[4]
  math.randomseed(os.time() + number)
  head = " HTTP/1.1\r\nHost: " .. wrk.host .. ":" .. wrk.port .. "\r\n\r\n"
end

function request()
  return "GET /vast?" .. prefix .. math.random(campaigns) .. "&user_id=u" .. math.random(viewers) .. more .. head
end
