# Push a post id with redis-rb (`gem install redis`): `ruby push.rb ID [TRACEPARENT]`.
require "redis"

# [snippet: push]
# Have a post judged; with a traceparent, as part of that trace.
def push(client, post_id, list: "deadpan:posts", traceparent: nil)
  client.rpush(list, traceparent ? "#{post_id}\t#{traceparent}" : post_id)
end
# [end]

client = Redis.new(url: ENV.fetch("DEADPAN_REDIS_URL", "redis://127.0.0.1:6380/0"))
push(client, ARGV.fetch(0), traceparent: ARGV[1])
