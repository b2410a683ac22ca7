// Push a post id with go-redis (`go get github.com/redis/go-redis/v9`): `go run push.go ID [TRACEPARENT]`.
package main

import (
	"context"
	"os"

	"github.com/redis/go-redis/v9"
)

// [snippet: push]
// push has a post judged; with a traceparent, as part of that trace.
func push(ctx context.Context, client *redis.Client, list, postID, traceparent string) error {
	if traceparent != "" {
		postID += "\t" + traceparent
	}
	return client.RPush(ctx, list, postID).Err()
}

// [end]

func main() {
	url := os.Getenv("DEADPAN_REDIS_URL")
	if url == "" {
		url = "redis://127.0.0.1:6380/0"
	}
	options, err := redis.ParseURL(url)
	if err != nil {
		panic(err)
	}
	traceparent := ""
	if len(os.Args) > 2 {
		traceparent = os.Args[2]
	}
	if err := push(context.Background(), redis.NewClient(options), "deadpan:posts", os.Args[1], traceparent); err != nil {
		panic(err)
	}
}
