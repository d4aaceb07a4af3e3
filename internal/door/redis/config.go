package redis

import (
	"log/slog"
	"time"

	"github.com/seed-95a32959/holdfast/internal/buffers"
	"github.com/seed-95a32959/holdfast/internal/metric"
	"github.com/seed-95a32959/holdfast/internal/resp"
)

// Config is what the door needs. A zero field means the default named beside
// it.
type Config struct {
	// Cluster runs the commands on keys. Required.
	Cluster Cluster

	// Password is what clients must AUTH with, as user "default" or without a
	// user. Default: none is asked for.
	Password string
	// Redirect answers MOVED for keys that other nodes own, as Redis Cluster
	// does, instead of forwarding; DBSIZE, KEYS, SCAN and FLUSHDB are then
	// about this node's keys only.
	Redirect bool

	// AllowFlush runs FLUSHDB and FLUSHALL, which are refused otherwise.
	AllowFlush bool

	// Buffers bounds what the connections hold together: what they have sent
	// and is not answered, what they have queued in transactions, and what they
	// have not read. Default: 64 MiB.
	Buffers *buffers.Budget

	// MaxValue bounds one argument, in bytes. Default 1 MiB.
	MaxValue int
	// MaxArgs bounds the arguments of one command. Default 1,048,576.
	MaxArgs int
	// MaxQuery bounds one command as it is sent, and the commands of one
	// transaction together, in bytes. Default: a quarter of Buffers, at most 64
	// MiB, and room for two values in any case.
	MaxQuery int
	// OutputLimit bounds what one connection may have unsent, in bytes: one
	// that reads too slowly for its messages, or asks for more at once, is cut
	// off. Default 64 MiB, which is what one batch may answer.
	OutputLimit int
	// MaxClients bounds the connections. Default 10,000.
	MaxClients int
	// Loading says whether the node has sessions from its disk and does not serve
	// them yet; nil for never.
	Loading func() bool
	// MaxClientsPerAddress bounds the connections from one IPv4 address or one
	// IPv6 network of 64 bits. Those by a Unix socket are not counted. Default:
	// a quarter of MaxClients, at least 64.
	MaxClientsPerAddress int

	// IdleTimeout closes connections that send nothing, except subscribers.
	// Default 0: none.
	IdleTimeout time.Duration
	// AuthTimeout closes connections that have not authenticated where that is
	// needed, whatever they send. Default 10s.
	AuthTimeout time.Duration
	// WriteTimeout closes connections that do not read what they are sent.
	// Default 10s.
	WriteTimeout time.Duration

	// Log receives panics and refusals. Keys and values are bearer secrets and
	// never logged. Default: discarded.
	Log *slog.Logger
	// Counters lists what the endpoint counts. Default: none does.
	Counters *metric.Set
}

func (c Config) withDefaults() Config {
	if c.Cluster == nil {
		panic("redis: Config.Cluster is nil")
	}
	def := func(field *int, value int) {
		if *field == 0 {
			*field = value
		}
	}
	def(&c.MaxValue, 1<<20)
	def(&c.MaxArgs, 1<<20)
	if c.Buffers == nil {
		c.Buffers = buffers.New(64 << 20)
	}
	query := int64(64 << 20)
	if limit := c.Buffers.Limit(); limit > 0 {
		query = min(query, limit/4)
	}
	def(&c.MaxQuery, max(int(query), 2*c.MaxValue+64<<10))
	def(&c.OutputLimit, 64<<20)
	def(&c.MaxClients, 10_000)
	def(&c.MaxClientsPerAddress, max(c.MaxClients/4, min(c.MaxClients, 64)))
	if c.AuthTimeout == 0 {
		c.AuthTimeout = 10 * time.Second
	}
	if c.WriteTimeout == 0 {
		c.WriteTimeout = 10 * time.Second
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return c
}

// limits are those of a client that has authenticated.
func (c *Config) limits() resp.Limits {
	return resp.Limits{MaxArgs: c.MaxArgs, MaxBulk: c.MaxValue, MaxQuery: c.MaxQuery}
}
