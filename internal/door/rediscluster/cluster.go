package rediscluster

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"sync/atomic"
	"time"

	"github.com/seed-95a32959/holdfast/internal/clock"
	"github.com/seed-95a32959/holdfast/internal/command"
	"github.com/seed-95a32959/holdfast/internal/dispatch"
	"github.com/seed-95a32959/holdfast/internal/door/redis"
	"github.com/seed-95a32959/holdfast/internal/member"
	"github.com/seed-95a32959/holdfast/internal/mesh"
	"github.com/seed-95a32959/holdfast/internal/owner"
	"github.com/seed-95a32959/holdfast/internal/pubsub"
	"github.com/seed-95a32959/holdfast/internal/replication"
	"github.com/seed-95a32959/holdfast/internal/resp"
	"github.com/seed-95a32959/holdfast/internal/wait"
	"github.com/seed-95a32959/holdfast/ring"
	"github.com/seed-95a32959/holdfast/session"
)

// Config is what a Cluster needs. All of it is required.
type Config struct {
	Self       member.ID
	View       func() *member.View
	Store      *session.Store
	Replicator *replication.Replicator
	Owner      *owner.Owner
	// Synced says whether a member's copy of a partition that is served here has
	// been equal to the one here since: it lacks no more than what is marked for it.
	Synced     func(id string, p int) bool
	Dispatcher *dispatch.Dispatcher
	Mesh       *mesh.Mesh
	PubSub     *pubsub.PubSub
	// MemoryLimit is how many bytes sessions may take, 0 for any number.
	MemoryLimit int64

	Clock clock.Clock
	Pulse *wait.Pulse
	// Context ends with the node.
	Context context.Context
}

// Cluster implements redis.Cluster.
type Cluster struct {
	cfg      Config
	topology atomic.Pointer[shownTopology]
}

// New returns a Cluster.
func New(cfg Config) *Cluster { return &Cluster{cfg: cfg} }

// Do implements redis.Cluster: it is where every command on a key comes by.
func (c *Cluster) Do(ctx context.Context, b *command.Batch, dst []byte) ([]byte, error) {
	answer, err := c.cfg.Dispatcher.Batch(ctx, b, dst)
	if errors.Is(err, owner.ErrNoMajority) {
		err = fmt.Errorf("%w: %w", redis.ErrClusterDown, err)
	}
	return answer, err
}

// Prefetch implements redis.Cluster.
func (c *Cluster) Prefetch(keys []string) { c.cfg.Store.Prefetch(keys) }

// Watch implements redis.Cluster.
func (c *Cluster) Watch(ctx context.Context, key string) (command.Watch, error) {
	b := &command.Batch{Commands: [][][]byte{{[]byte(command.Token), []byte(key)}}, Proto: 2, Key: key}
	answer, err := c.Do(ctx, b, nil)
	if err != nil {
		return command.Watch{}, err
	}
	token, ok := command.TokenOf(answer)
	if !ok {
		return command.Watch{}, fmt.Errorf("watch: the owner answered %.40q", answer)
	}
	return command.Watch{Key: key, Token: token}, nil
}

// ask runs a batch that concerns a whole partition.
func (c *Cluster) ask(ctx context.Context, b *command.Batch) (resp.Value, error) {
	answer, err := c.Do(ctx, b, nil)
	if err != nil {
		return resp.Value{}, err
	}
	v, err := resp.NewReplyReader(bytes.NewReader(answer), resp.ReplyLimits{}).Read()
	if err == nil && v.IsError() {
		err = errors.New(v.Text)
	}
	return v, err
}

// Publish implements redis.Cluster.
func (c *Cluster) Publish(ctx context.Context, channel, payload []byte) (int, error) {
	return c.cfg.PubSub.Publish(ctx, pubsub.Message{Channel: string(channel), Payload: string(payload)}), nil
}

// Listening implements redis.Cluster.
func (c *Cluster) Listening(ctx context.Context) { c.cfg.PubSub.Announce(ctx) }

// confirmTopology is how long a client waits for a ring whose nodes are there:
// for a node that has fallen silent, until it is taken off.
const confirmTopology = 1500 * time.Millisecond

// Confirm implements redis.Cluster.
func (c *Cluster) Confirm(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, confirmTopology)
	defer cancel()
	asked := c.cfg.Clock.Since()
	for _, l := range c.cfg.Mesh.Links() {
		l.Beat()
	}
	_ = c.cfg.Pulse.Until(ctx, waitPoll, func() bool { return c.heardSince(asked) }) // in time, or not
}

// heardSince says whether every other node on the ring has answered a heartbeat
// with a lease that was sent after a time.
func (c *Cluster) heardSince(asked time.Duration) bool {
	return !slices.ContainsFunc(c.cfg.View().Nodes(), func(m *member.Member) bool {
		l := c.cfg.Mesh.Link(m.ID)
		return m.ID != c.cfg.Self && (l == nil || l.LastHeard() < asked)
	})
}

// shownTopology is a view as Redis clients are shown it.
type shownTopology struct {
	view *member.View
	redis.Topology
}

// Topology implements redis.Cluster. It is asked for with every command, so
// that of the last view is kept.
func (c *Cluster) Topology() redis.Topology {
	view := c.cfg.View()
	if shown := c.topology.Load(); shown != nil && shown.view == view {
		return shown.Topology
	}
	t := redis.Topology{Table: view.Table, Self: c.cfg.Self.Name}
	for _, m := range view.Nodes() {
		t.Members = append(t.Members, redis.Member{Name: m.Name, RESP: m.RESP})
	}
	c.topology.Store(&shownTopology{view, t})
	return t
}

// Info implements redis.Cluster.
func (c *Cluster) Info() redis.Info {
	info := redis.Info{
		Version: buildVersion(), Uptime: c.cfg.Clock.Since(), Memory: c.cfg.Store.Stats().Bytes, MemoryLimit: c.cfg.MemoryLimit,
	}
	for p := range ring.Partitions {
		_ = c.cfg.Store.View(p, func(tx *session.Tx) error { // closed ones are others'
			for rec := range tx.Each {
				info.Keys++
				if rec.Expiry().At > 0 {
					info.Expires++
				}
			}
			return nil
		})
	}
	return info
}

// buildVersion is this module's version as the build recorded it.
func buildVersion() string {
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "(devel)"
}
