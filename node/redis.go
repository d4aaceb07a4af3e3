package node

import (
	"cmp"
	"errors"
	"net"
	"slices"

	"github.com/seed-95a32959/holdfast/internal/buffers"
	"github.com/seed-95a32959/holdfast/internal/door/redis"
	"github.com/seed-95a32959/holdfast/internal/metric"
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
		MaxClients: n.cfg.RESPMaxClients, MaxClientsPerAddress: n.cfg.RESPMaxClientsPerAddress, IdleTimeout: n.cfg.RESPIdleTimeout, Log: n.log,
	})
}

// serveRedis opens the Redis door.
func (n *Node) serveRedis(l net.Listener) {
	n.group.Go(func() {
		if err := n.redis.Serve(l); !errors.Is(err, redis.ErrServerClosed) && n.ctx.Err() == nil {
			n.log.Error("redis endpoint closed", "address", l.Addr(), "error", err)
		}
	})
}

// countRedis adds what the Redis endpoint counts.
func (n *Node) countRedis(put metric.Put) {
	s := n.redis.Stats()
	put("redis_accepted", "Connections accepted at the Redis endpoint.", s.Accepted)
	put("redis_rejected", "Connections refused at the Redis endpoint, because too many were open.", s.Rejected)
	put("redis_crowded", "Of the connections refused at the Redis endpoint, those of addresses that had too many.", s.Crowded)
	put("redis_wrong_passwords", "AUTHs and HELLO AUTHs with a wrong password.", s.WrongPasswords)
	put("redis_unseen_auths", "AUTHs refused without a look at the password, because too many of their address were waiting.", s.Unseen)
	put("redis_auth_timeouts", "Connections to the Redis endpoint closed because they had not authenticated in time.", s.Unproven)
	put("redis_abandoned", "Commands broken off because their clients had gone.", s.Gone)
	put("redis_buffers_refused", "Redis connections closed for holding most of the buffers when these were full.", s.BuffersRefused)
	put("redis_evicted", "Redis connections closed because others needed their buffers.", s.Evicted)
	put("redis_commands", "Commands run at the Redis endpoint.", s.Commands)
	put("redis_errors", "Commands answered with an error.", s.Errors)
	put("redis_protocol_errors", "Clients of the Redis endpoint cut off, because they did not keep to its protocol.", s.ProtocolErrors)
	put("redis_cut_off", "Clients of the Redis endpoint cut off, because they did not read their answers.", s.CutOff)
	put("redis_idle", "Clients of the Redis endpoint cut off, because they had been idle for long.", s.Idle)
	put("redis_panics", "Connections of the Redis endpoint that ended in a panic.", s.Panics)
	put("redis_messages", "Messages given to subscribers.", s.Messages)
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
