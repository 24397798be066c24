-- wrk -s check.lua <url> -- <method> <host> <token or ""> <request body or ""> <repetitions of the pattern in the answer>
-- Looks at every answer, and prints what came of the run as one line of JSON.
local threads = {}
local PATTERN = "0123456789"

function setup(thread)
  table.insert(threads, thread)
end

function init(args)
  wrong = 0
  first_wrong = ""
  expected = string.rep(PATTERN, tonumber(args[5]))
  wrk.method = args[1]
  wrk.headers["Host"] = args[2]
  if args[3] ~= "" then wrk.headers["Authorization"] = "Bearer " .. args[3] end
  if args[4] ~= "" then
    wrk.body = args[4]
    wrk.headers["Content-Type"] = "text/plain"
  end
end

function response(status, headers, body)
  if status ~= 200 or body ~= expected then
    if wrong == 0 then first_wrong = string.format("%d with %d bytes", status, #body) end
    wrong = wrong + 1
  end
end

function done(summary, latency, requests)
  local all_wrong, first = 0, ""
  for _, thread in ipairs(threads) do
    all_wrong = all_wrong + thread:get("wrong")
    if first == "" then first = thread:get("first_wrong") end
  end
  local errors = summary.errors
  io.write(string.format(
    'result: {"requests":%d,"durationUs":%d,"wrong":%d,"firstWrong":"%s",'
      .. '"errors":{"connect":%d,"read":%d,"write":%d,"timeout":%d},"p50Us":%d,"p99Us":%d}\n',
    summary.requests, summary.duration, all_wrong, first,
    errors.connect, errors.read, errors.write, errors.timeout,
    latency:percentile(50), latency:percentile(99)))
end
