package main

import (
	"context"
	"errors"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/rueidis"
)

const ttl = 1800 * time.Second

// client is for any goroutine.
type client interface {
	set(ctx context.Context, key, value string) error
	get(ctx context.Context, key string) (value string, err error) // "" if there is none
	close()
}

type goRedis struct{ redis.UniversalClient }

func dialGoRedis(addresses []string) (client, error) {
	return goRedis{redis.NewClient(&redis.Options{Addr: addresses[0]})}, nil
}

func dialGoRedisCluster(addresses []string) (client, error) {
	return goRedis{redis.NewClusterClient(&redis.ClusterOptions{Addrs: addresses})}, nil
}

func (c goRedis) set(ctx context.Context, key, value string) error {
	return c.Set(ctx, key, value, ttl).Err()
}

func (c goRedis) get(ctx context.Context, key string) (string, error) {
	value, err := c.Get(ctx, key).Result()
	if errors.Is(err, redis.Nil) {
		return "", nil
	}
	return value, err
}

func (c goRedis) close() { _ = c.Close() } // its connections are to nodes that end too

// ruei is rueidis. It sends a write once only, unless the write is marked as
// one that may be repeated.
type ruei struct {
	rueidis.Client
	repeat bool
}

func dialRueidis(repeat bool) func([]string) (client, error) {
	return func(addresses []string) (client, error) {
		c, err := rueidis.NewClient(rueidis.ClientOption{InitAddress: addresses, DisableCache: true})
		return ruei{c, repeat}, err
	}
}

func (c ruei) set(ctx context.Context, key, value string) error {
	cmd := c.B().Set().Key(key).Value(value).Ex(ttl).Build()
	if c.repeat {
		cmd = cmd.ToRetryable()
	}
	return c.Do(ctx, cmd).Error()
}

func (c ruei) get(ctx context.Context, key string) (string, error) {
	value, err := c.Do(ctx, c.B().Get().Key(key).Build()).ToString()
	if rueidis.IsRedisNil(err) {
		return "", nil
	}
	return value, err
}

func (c ruei) close() { c.Close() }
