package clients

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"
)

func goRedisPlain(t *trial) {
	c := redis.NewClient(&redis.Options{Addr: t.Address(0)})
	defer c.Close()
	allOfGoRedis(t, c)
	keysOfAnySlot(t, c)
	transactionOfGoRedis(t, c, "plain-watched")
	messagesOfGoRedis(t, c)
	loginOfGoRedis(t, c, t.owned("login-", 1))
}

func goRedisCluster(t *trial) {
	c := redis.NewClusterClient(&redis.ClusterOptions{Addrs: t.Addresses()})
	defer c.Close()
	allOfGoRedis(t, c)
	transactionOfGoRedis(t, c, "{cluster}-watched")
	messagesOfGoRedis(t, c)
	stop := others(t, c)
	defer stop()
	loginOfGoRedis(t, c, t.owned("login-", 1))
}

// others are other users of the application, whose commands go on. A cluster
// client learns by them that a node is gone: go-redis asks the one that it
// cannot reach four times and gives up, but any answer from another node may
// tell it that the ring has changed.
func others(t *trial, c *redis.ClusterClient) (stop func()) {
	ctx, cancel := context.WithCancel(t.ctx)
	var group sync.WaitGroup
	warm := make(chan struct{})
	group.Go(func() {
		for i := 0; ctx.Err() == nil; i++ {
			if i == 2000 {
				close(warm)
			}
			group.Go(func() { _ = c.Get(ctx, fmt.Sprint("other-", i%1000)).Err() }) // some wait for the node that is killed
			time.Sleep(2 * time.Millisecond)
		}
	})
	select {
	case <-warm: // the nodes have seen where its commands go
	case <-ctx.Done():
	}
	return func() {
		cancel()
		group.Wait()
	}
}

// allOfGoRedis is what session libraries send by go-redis.
func allOfGoRedis(t *trial, c redis.UniversalClient) {
	ctx := t.ctx
	for i := range 30 { // of every node
		key := fmt.Sprintf("%T-%d", c, i)
		require.NoError(t, c.Set(ctx, key, i, time.Minute).Err())
		require.Equal(t, fmt.Sprint(i), c.Get(ctx, key).Val())
		ttl := c.TTL(ctx, key).Val()
		require.True(t, ttl > 58*time.Second && ttl <= time.Minute, "%v", ttl)
		require.True(t, c.Expire(ctx, key, time.Hour).Val())
		require.False(t, c.SetNX(ctx, key, "other", time.Minute).Val())
		require.EqualValues(t, 1, c.Del(ctx, key).Val())
		require.ErrorIs(t, c.Get(ctx, key).Err(), redis.Nil)
	}
	t.did("SET EX, SET NX, GET, TTL, EXPIRE, DEL")

	key := fmt.Sprintf("%T-hash", c)
	require.NoError(t, c.HSet(ctx, key, "user", "alice", "cart", "3").Err())
	require.Equal(t, map[string]string{"user": "alice", "cart": "3"}, c.HGetAll(ctx, key).Val())
	require.NoError(t, c.SAdd(ctx, key+"-set", "a", "b").Err())
	require.ElementsMatch(t, []string{"a", "b"}, c.SMembers(ctx, key+"-set").Val())
	require.NoError(t, c.ZAdd(ctx, key+"-sorted", redis.Z{Score: 2, Member: "b"}, redis.Z{Score: 1, Member: "a"}).Err())
	require.Equal(t, []string{"a", "b"}, c.ZRange(ctx, key+"-sorted", 0, -1).Val())
	t.did("hashes, sets, sorted sets")

	cmds, err := c.Pipelined(ctx, func(p redis.Pipeliner) error {
		for i := range 100 {
			p.Set(ctx, fmt.Sprintf("%s-%d", key, i), i, time.Minute)
			p.Get(ctx, fmt.Sprintf("%s-%d", key, i))
		}
		return nil
	})
	require.NoError(t, err)
	for i := range 100 {
		require.Equal(t, fmt.Sprint(i), cmds[2*i+1].(*redis.StringCmd).Val())
	}
	t.did("a pipeline of 200 commands")

	release := redis.NewScript(`if redis.call("get",KEYS[1]) == ARGV[1] then return redis.call("del",KEYS[1]) else return 0 end`)
	require.True(t, c.SetNX(ctx, key+"-lock", "me", time.Minute).Val())
	require.EqualValues(t, 0, must(t, release.Run(ctx, c, []string{key + "-lock"}, "you")))
	require.EqualValues(t, 1, must(t, release.Run(ctx, c, []string{key + "-lock"}, "me")))
	t.did("a lock released by EVALSHA")
}

func must(t *trial, c *redis.Cmd) any {
	v, err := c.Result()
	require.NoError(t, err)
	return v
}

// keysOfAnySlot is what only plain clients may send.
func keysOfAnySlot(t *trial, c *redis.Client) {
	ctx := t.ctx
	var pairs []any
	var keys []string
	for i := range 50 {
		keys = append(keys, fmt.Sprintf("any:%d", i))
		pairs = append(pairs, keys[i], fmt.Sprint(i))
	}
	require.NoError(t, c.MSet(ctx, pairs...).Err())
	for i, v := range c.MGet(ctx, keys...).Val() {
		require.Equal(t, fmt.Sprint(i), v)
	}
	var seen []string
	for it := c.Scan(ctx, 0, "any:*", 100).Iterator(); it.Next(ctx); {
		seen = append(seen, it.Val())
	}
	require.ElementsMatch(t, keys, seen)
	require.NoError(t, c.Rename(ctx, keys[0], "any:renamed").Err())
	require.EqualValues(t, 50, c.Del(ctx, append(keys, "any:renamed")...).Val())
	t.did("MSET, MGET, SCAN, RENAME, DEL over all nodes")
}

func transactionOfGoRedis(t *trial, c redis.UniversalClient, key string) {
	ctx := t.ctx
	add := func(meddle bool) error {
		return c.Watch(ctx, func(tx *redis.Tx) error {
			n, err := tx.Get(ctx, key).Int()
			if err != nil && !errors.Is(err, redis.Nil) {
				return err
			}
			if meddle {
				if err := c.Set(ctx, key, 10, 0).Err(); err != nil {
					return err
				}
			}
			_, err = tx.TxPipelined(ctx, func(p redis.Pipeliner) error {
				p.Set(ctx, key, n+1, time.Minute)
				return nil
			})
			return err
		}, key)
	}
	require.NoError(t, add(false))
	require.ErrorIs(t, add(true), redis.TxFailedErr)
	require.Equal(t, "10", c.Get(ctx, key).Val())
	t.did("WATCH, MULTI, EXEC")
}

func messagesOfGoRedis(t *trial, c redis.UniversalClient) {
	ctx, cancel := context.WithTimeout(t.ctx, 20*time.Second)
	defer cancel()
	sub := c.Subscribe(ctx, "__keyevent@0__:del", "__keyevent@0__:expired")
	defer sub.Close()
	for range 2 {
		_, err := sub.Receive(ctx)
		require.NoError(t, err)
	}
	require.NoError(t, c.ConfigSet(ctx, "notify-keyspace-events", "Egx").Err())
	for i := range 3 {
		key := t.owned("event-", i)
		require.NoError(t, c.Set(ctx, key, "v", 0).Err())
		require.NoError(t, c.Del(ctx, key).Err())
		m, err := sub.ReceiveMessage(ctx)
		require.NoError(t, err)
		require.Equal(t, []string{"__keyevent@0__:del", key}, []string{m.Channel, m.Payload})
		require.NoError(t, c.Set(ctx, key, "v", 50*time.Millisecond).Err())
		m, err = sub.ReceiveMessage(ctx)
		require.NoError(t, err)
		require.Equal(t, []string{"__keyevent@0__:expired", key}, []string{m.Channel, m.Payload})
	}
	t.did("keyspace events del and expired of keys of every node, by one subscription")
}

// loginOfGoRedis keeps a session through the end of its owner, and logs out.
func loginOfGoRedis(t *trial, c redis.UniversalClient, key string) {
	ctx := t.ctx
	require.NoError(t, c.Set(ctx, key, "alice", time.Minute).Err())
	t.killOwner(key)
	require.Equal(t, "alice", get(t, c, key))
	require.True(t, c.Expire(ctx, key, time.Hour).Val())
	require.NoError(t, c.Set(ctx, key, "alice, later", time.Hour).Err())
	require.Equal(t, "alice, later", get(t, c, key))
	require.EqualValues(t, 1, c.Del(ctx, key).Val())
	require.NoError(t, t.Restore(ctx))
	require.ErrorIs(t, c.Get(ctx, key).Err(), redis.Nil)
	t.did("log in, owner killed, still logged in, touch, log out, owner back, stays out")
}

func get(t *trial, c redis.UniversalClient, key string) string {
	v, err := c.Get(t.ctx, key).Result()
	require.NoError(t, err)
	return v
}
