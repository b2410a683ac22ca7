<?php
// Push a post id with Predis (`composer require predis/predis`): `php push.php ID [TRACEPARENT]`.
require 'vendor/autoload.php';

// [snippet: push]
// Have a post judged; with a traceparent, as part of that trace.
function push(Predis\Client $client, string $postId, string $list = 'deadpan:posts', ?string $traceparent = null): void
{
    $client->rpush($list, [$traceparent ? "$postId\t$traceparent" : $postId]);
}
// [end]

push(new Predis\Client(getenv('DEADPAN_REDIS_URL') ?: 'redis://127.0.0.1:6380/0'), $argv[1], traceparent: $argv[2] ?? null);
