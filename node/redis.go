package node

import (
	"cmp"
	"errors"
	"net"
	"slices"

	"github.com/seed-95a32959/holdfast/internal/buffers"
	"github.com/seed-95a32959/holdfast/internal/door/redis"
	"github.com/seed-95a32959/holdfast/internal/pubsub"
)

// bufferShare is which part of -memory the buffers of Redis connections may
// take beside it, and leastBuffers what they may take in any case, in bytes.
const (
	bufferShare  = 8
	leastBuffers = 32 << 20
)

// redisBuffers bounds the buffers of all Redis connections. Without a limit for
// sessions they have 512 MiB.
func redisBuffers(memoryLimit int64) *buffers.Budget {
	return buffers.New(max(leastBuffers, cmp.Or(memoryLimit, 4<<30)/bufferShare))
}

func newRedis(n *Node) *redis.Server {
	return redis.New(redis.Config{
		Cluster: n.cluster, Buffers: redisBuffers(n.cfg.MemoryLimit), Password: n.cfg.RESPPassword, Redirect: n.cfg.RESPRedirect, AllowFlush: n.cfg.RESPAllowFlush, MaxValue: n.cfg.MaxSession,
		MaxClients: n.cfg.RESPMaxClients, MaxClientsPerAddress: n.cfg.RESPMaxClientsPerAddress, IdleTimeout: n.cfg.RESPIdleTimeout, Log: n.log, Counters: n.counts,
	})
}

// serveRedis opens the Redis endpoint.
func (n *Node) serveRedis(l net.Listener) {
	n.group.Go(func() {
		if err := n.redis.Serve(l); !errors.Is(err, redis.ErrServerClosed) && n.ctx.Err() == nil {
			n.log.Error("redis endpoint closed", "address", l.Addr(), "error", err)
		}
	})
}

// expireSessions forgets what has ended, and says so of what was served here.
func (n *Node) expireSessions() {
	limit := 0
	if n.pubsub.Wanted() {
		limit = pubsub.MaxExpired
	}
	ended, _ := n.store.Sweep(limit)
	slices.Sort(ended)
	for _, key := range ended {
		n.pubsub.Event("expired", key)
	}
}
