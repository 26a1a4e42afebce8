-- Requests for wrk whose paths stand in a file, each asked once, in order.

function init(args)
  lines = io.lines(args[1])
  head = " HTTP/1.1\r\nHost: " .. wrk.host .. ":" .. wrk.port .. "\r\n\r\n"
end

function request()
  path = lines() or path
  return "GET " .. path .. head
end
