-- wrk script: sends batches of two rows. Arguments: API key, first new ID, first existing ID or 0.
-- Both rows are new; if there is an existing ID, the second one changes that row, and the next batch the row after it.
local threads = 0

function setup(thread)
  thread:set("number", threads)
  threads = threads + 1
end

function init(args)
  wrk.method = "POST"
  wrk.headers["Content-Type"] = "application/json"
  wrk.headers["Authorization"] = "Bearer " .. args[1]
  id = tonumber(args[2]) + number * 100000000
  existing = tonumber(args[3])
end

function request()
  id = id + 2
  local second = id + 1
  if existing > 0 then
    second = existing
    existing = existing + 1
  end
  return wrk.format(nil, nil, nil, string.format(
    '{"rows":[{"id":%d,"name":"Ada Almeida","hired_at":"2021-05-04T03:02:01Z","department_id":3,"job_id":7},'
      .. '{"id":%d,"name":"Carol Berger","hired_at":"2021-06-05T04:03:02Z","department_id":4,"job_id":8}]}', id, second))
end

function done(summary, latency)
  local errors = summary.errors
  io.write(string.format('{"requests":%d,"seconds":%f,"refused":%d,"broken":%d,"p50":%f,"p99":%f}\n',
    summary.requests, summary.duration / 1e6, errors.status,
    errors.connect + errors.read + errors.write + errors.timeout, latency:percentile(50) / 1e3, latency:percentile(99) / 1e3))
end
