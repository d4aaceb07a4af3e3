package node

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"github.com/seed-95a32959/holdfast/command"
	"github.com/seed-95a32959/holdfast/internal/buffers"
	"github.com/seed-95a32959/holdfast/internal/mesh"
	"github.com/seed-95a32959/holdfast/internal/metric"
	"github.com/seed-95a32959/holdfast/internal/owner"
	"github.com/seed-95a32959/holdfast/internal/ownership"
	"github.com/seed-95a32959/holdfast/node/redis"
	"github.com/seed-95a32959/holdfast/resp"
	"github.com/seed-95a32959/holdfast/ring"
	"github.com/seed-95a32959/holdfast/session"
)

var order = binary.BigEndian

// sweepers is how many partitions are asked at a time where all of them are.
const sweepers = 32

// redisCluster is what the Redis door sees of this member. It implements
// redis.Cluster.
type redisCluster struct{ node *Node }

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
		Cluster: redisCluster{n}, Buffers: redisBuffers(n.cfg.MemoryLimit), Password: n.cfg.RESPPassword, Redirect: n.cfg.RESPRedirect, AllowFlush: n.cfg.RESPAllowFlush, MaxValue: n.cfg.MaxSession,
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

// Do implements redis.Cluster: it is where every command on a key comes by.
func (c redisCluster) Do(ctx context.Context, b *command.Batch, dst []byte) ([]byte, error) {
	answer, err := c.node.dispatcher.Batch(ctx, b, dst)
	if errors.Is(err, owner.ErrNoMajority) {
		err = fmt.Errorf("%w: %w", redis.ErrClusterDown, err)
	}
	return answer, err
}

// Prefetch implements redis.Cluster.
func (c redisCluster) Prefetch(keys []string) { c.node.store.Prefetch(keys) }

// Watch implements redis.Cluster.
func (c redisCluster) Watch(ctx context.Context, key string) (command.Watch, error) {
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
func (c redisCluster) ask(ctx context.Context, b *command.Batch) (resp.Value, error) {
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

// mine says whether this member serves the partition.
func (c redisCluster) mine(p int) bool {
	return c.node.owner.Decide(p).Here()
}

// each calls f with every partition, or with those that this member serves,
// some at a time, until one fails.
func (c redisCluster) each(ctx context.Context, local bool, f func(ctx context.Context, p int) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	slots := make(chan struct{}, sweepers)
	var wg sync.WaitGroup
	for p := range ring.Partitions {
		if local && !c.mine(p) {
			continue
		}
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			if ctx.Err() != nil {
				return
			}
			if err := f(ctx, p); err != nil {
				cancel(err)
			}
		})
	}
	wg.Wait()
	return context.Cause(ctx)
}

// Count implements redis.Cluster.
func (c redisCluster) Count(ctx context.Context, local bool) (int, error) {
	var mu sync.Mutex
	total := 0
	err := c.each(ctx, local, func(ctx context.Context, p int) error {
		v, err := c.ask(ctx, command.CountBatch(p))
		if err != nil || len(v.Elems) != 2 {
			return errors.Join(err, ctx.Err())
		}
		mu.Lock()
		total += int(v.Elems[0].Int)
		mu.Unlock()
		return nil
	})
	return total, err
}

// Flush implements redis.Cluster. Like every delete it leaves tombstones.
func (c redisCluster) Flush(ctx context.Context, local bool) error {
	return c.each(ctx, local, func(ctx context.Context, p int) error {
		for {
			v, err := c.ask(ctx, command.FlushBatch(p))
			if err != nil || v.Int < command.FlushPage {
				return err
			}
		}
	})
}

// Scan implements redis.Cluster. As most partitions of a small cluster hold
// little, it asks several at a time, and takes their pages in order until it has
// seen as many keys as it was to.
func (c redisCluster) Scan(ctx context.Context, r redis.ScanRequest) (redis.ScanResult, error) {
	found := redis.ScanResult{Next: r.From}
	end := cmp.Or(r.Until, ring.Partitions)
	for found.Next.Partition < end && found.Seen < r.Count {
		first := found.Next.Partition
		n := min(sweepers, end-first)
		pages, err := c.pages(ctx, r, found.Next, n, r.Count-found.Seen)
		if err != nil {
			return found, err
		}
		for i := 0; i < n && found.Seen < r.Count; i++ {
			found.Keys = append(found.Keys, pages[i].Keys...)
			found.Seen += pages[i].Seen
			found.Next = redis.Cursor{Partition: first + i + 1}
			if pages[i].More {
				found.Next = redis.Cursor{Partition: first + i, Position: pages[i].Next}
				break
			}
		}
	}
	return found, nil
}

// pages asks n partitions for their keys, the first from a position on.
func (c redisCluster) pages(ctx context.Context, r redis.ScanRequest, from redis.Cursor, n, count int) ([]command.Page, error) {
	pages, errs := make([]command.Page, n), make([]error, n)
	var wg sync.WaitGroup
	for i := range n {
		p, position := from.Partition+i, uint64(0)
		if i == 0 {
			position = from.Position
		}
		if r.Local && !c.mine(p) {
			continue
		}
		wg.Go(func() {
			v, err := c.ask(ctx, command.ScanBatch(p, position, count, r.Match, r.Type))
			page, ok := command.PageOf(v)
			if err == nil && !ok {
				err = fmt.Errorf("scan of partition %d: %w", p, session.ErrMalformed)
			}
			pages[i], errs[i] = page, err
		})
	}
	wg.Wait()
	return pages, errors.Join(errs...)
}

// Wait implements redis.Cluster: the owner of each partition says to how many
// members it has brought everything that it had to bring when it was asked.
func (c redisCluster) Wait(ctx context.Context, partitions []int, copies int) int {
	n := c.node
	if len(partitions) == 0 { // nothing was written, so every copy has it
		return max(0, min(n.cfg.Copies, len(n.View().Nodes()))-1)
	}
	var here []int
	there := make(map[*mesh.Link][]int)
	for _, p := range partitions {
		d := n.owner.Decide(p)
		switch l := n.mesh.Link(d.Owner); {
		case d.Here():
			here = append(here, p)
		case d.Verdict == ownership.Forward && l != nil:
			there[l] = append(there[l], p)
		default:
			return 0 // nobody serves it at this moment
		}
	}
	var mu sync.Mutex
	least := maxCopies
	take := func(reached int) {
		mu.Lock()
		defer mu.Unlock()
		least = min(least, reached)
	}
	var wg sync.WaitGroup
	for l, parts := range there {
		wg.Go(func() { take(askCopied(ctx, l, parts, copies)) })
	}
	take(n.copied(ctx, here, copies)) // meanwhile: it may take all the time that there is
	wg.Wait()
	return least
}

// askCopied asks an owner until it has reached so many copies, for a short time
// each: an answer that is long in coming takes the place of others on the link.
func askCopied(ctx context.Context, l *mesh.Link, partitions []int, copies int) (reached int) {
	for ctx.Err() == nil {
		answer, err := l.Call(ctx, mesh.TypeWait, encodeWait(partitions, copies))
		if err == nil && len(answer) == 2 {
			reached = int(order.Uint16(answer))
		} else if ctx.Err() == nil {
			return reached
		}
		if reached >= copies {
			return reached
		}
	}
	if !errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return reached
	}
	// Time is up while the owner waits for more copies: how many it has reached it
	// says at once if it is asked for none.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), waitSlice)
	defer cancel()
	if answer, err := l.Call(ctx, mesh.TypeWait, encodeWait(partitions, 0)); err == nil && len(answer) == 2 {
		reached = int(order.Uint16(answer))
	}
	return reached
}

// copied waits until what this member has to bring to the holders of partitions
// now is at so many of each, and returns the least number reached. A member that
// serves none of them says the most.
func (n *Node) copied(ctx context.Context, partitions []int, copies int) int {
	begin := time.Now()
	reached := maxCopies // of those partitions that have got to so many
	for pause := waitPoll; ; pause = min(2*pause, waitPollMost) {
		least, waiting := reached, partitions[:0:0]
		for _, p := range partitions {
			got := n.replicator.CaughtUp(n.View().CopyHolders(p), begin)
			if least = min(least, got); got < copies {
				waiting = append(waiting, p)
			} else {
				reached = min(reached, got)
			}
		}
		if partitions = waiting; len(partitions) == 0 {
			return least
		}
		select {
		case <-ctx.Done():
			return least
		case <-n.ctx.Done():
			return least
		case <-time.After(pause):
		}
	}
}

const (
	maxCopies = 1<<16 - 1
	// waitPoll is after what time WAIT looks again for the first time, and
	// waitPollMost how long the pauses get. waitSlice is how long it keeps a member
	// waiting that asks.
	waitPoll     = time.Millisecond
	waitPollMost = 32 * time.Millisecond
	waitSlice    = 250 * time.Millisecond
)

// A WAIT that is forwarded is
//
//	u16 copies | u16 partition, any number of times
//
// and its answer the least number of copies as u16.
func encodeWait(partitions []int, copies int) []byte {
	b := order.AppendUint16(nil, uint16(min(max(copies, 0), maxCopies)))
	for _, p := range partitions {
		b = order.AppendUint16(b, uint16(p))
	}
	return b
}

func (n *Node) serveWait(ctx context.Context, b []byte) ([]byte, error) {
	if len(b) < 2 || len(b)%2 != 0 {
		return nil, fmt.Errorf("wait of %d bytes: %w", len(b), session.ErrMalformed)
	}
	copies := int(order.Uint16(b))
	var partitions []int
	for rest := b[2:]; len(rest) > 0; rest = rest[2:] {
		if p := int(order.Uint16(rest)); p < ring.Partitions {
			partitions = append(partitions, p)
		}
	}
	ctx, cancel := context.WithTimeout(ctx, waitSlice)
	defer cancel()
	return order.AppendUint16(nil, uint16(n.copied(ctx, partitions, copies))), nil
}

// Publish implements redis.Cluster.
func (c redisCluster) Publish(ctx context.Context, channel, payload []byte) (int, error) {
	return c.node.pubsub.publish(ctx, message{string(channel), string(payload)}), nil
}

// Listening implements redis.Cluster.
func (c redisCluster) Listening(ctx context.Context) { c.node.pubsub.announce(ctx) }

// confirmTopology is how long a client waits for a ring whose nodes are there: for
// a node that has fallen silent, until it is taken off.
const confirmTopology = 1500 * time.Millisecond

// Confirm implements redis.Cluster.
func (c redisCluster) Confirm(ctx context.Context) {
	n := c.node
	ctx, cancel := context.WithTimeout(ctx, confirmTopology)
	defer cancel()
	asked := n.since()
	for _, l := range n.mesh.Links() {
		l.Beat()
	}
	_ = n.pulse.Until(ctx, waitPoll, func() bool { return n.heardSince(asked) }) // in time, or not
}

// heardSince says whether every other node on the ring has answered something
// that it was asked after a time.
func (n *Node) heardSince(asked time.Duration) bool {
	return !slices.ContainsFunc(n.View().Nodes(), func(m *Member) bool {
		l := n.mesh.Link(m.ID)
		return m.ID != n.id && (l == nil || l.LastHeard() < asked)
	})
}

// shownTopology is a view as Redis clients are shown it.
type shownTopology struct {
	view *View
	redis.Topology
}

// Topology implements redis.Cluster. It is asked for with every command, so
// that of the last view is kept.
func (c redisCluster) Topology() redis.Topology {
	view := c.node.View()
	if shown := c.node.topology.Load(); shown != nil && shown.view == view {
		return shown.Topology
	}
	t := redis.Topology{Table: view.Table, Self: c.node.id.Name}
	for _, m := range view.Nodes() {
		t.Members = append(t.Members, redis.Member{Name: m.Name, RESP: m.RESP})
	}
	c.node.topology.Store(&shownTopology{view, t})
	return t
}

// Info implements redis.Cluster.
func (c redisCluster) Info() redis.Info {
	n := c.node
	info := redis.Info{
		Version: buildVersion(), Uptime: n.since(), Memory: n.store.Stats().Bytes, MemoryLimit: n.cfg.MemoryLimit,
	}
	for p := range ring.Partitions {
		_ = n.store.View(p, func(tx *session.Tx) error { // closed ones are others'
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

// buildVersion is this module's version as the build recorded it.
func buildVersion() string {
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "(devel)"
}

// expireSessions forgets what has ended, and says so of what was served here.
func (n *Node) expireSessions() {
	limit := 0
	if n.pubsub.Wanted() {
		limit = maxExpired
	}
	ended, _ := n.store.Sweep(limit)
	slices.Sort(ended)
	for _, key := range ended {
		n.pubsub.Event("expired", key)
	}
}
