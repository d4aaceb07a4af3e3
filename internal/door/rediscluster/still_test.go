package rediscluster

import (
	"context"
	"log/slog"
	"math"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/seed-95a32959/holdfast/internal/clock"
	"github.com/seed-95a32959/holdfast/internal/command"
	"github.com/seed-95a32959/holdfast/internal/dispatch"
	"github.com/seed-95a32959/holdfast/internal/events"
	"github.com/seed-95a32959/holdfast/internal/member"
	"github.com/seed-95a32959/holdfast/internal/member/membertest"
	"github.com/seed-95a32959/holdfast/internal/mesh"
	"github.com/seed-95a32959/holdfast/internal/mesh/meshtest"
	"github.com/seed-95a32959/holdfast/internal/metric"
	"github.com/seed-95a32959/holdfast/internal/owner"
	"github.com/seed-95a32959/holdfast/internal/ownership"
	"github.com/seed-95a32959/holdfast/internal/peer"
	"github.com/seed-95a32959/holdfast/internal/pubsub"
	"github.com/seed-95a32959/holdfast/internal/repair"
	"github.com/seed-95a32959/holdfast/internal/replication"
	"github.com/seed-95a32959/holdfast/internal/wait"
	"github.com/seed-95a32959/holdfast/ring"
	"github.com/seed-95a32959/holdfast/session"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// still is the cluster as a member sees it that is told of the others what the
// test says, and claims nothing.
type still struct {
	*Cluster
	members  *meshtest.Members
	repairer *repair.Repairer

	unsynced []string              // members whose copies are not known to be whole
	hear     func(r *peer.Request) // sees what others ask, and may change it; nil for nothing

	mu    sync.Mutex // guards waits
	waits int        // that others have forwarded
}

// setting says of a member what differs from one test to the next: params are
// those of its rings, and mode is what it does when it is cut off. network is
// nil for a member that connects to nobody.
type setting struct {
	params  ring.Params
	mode    ownership.Mode
	network *meshtest.Network
}

func begin(t testing.TB, name string, s setting) *still {
	t.Helper()
	if s.params == (ring.Params{}) {
		s.params = meshtest.Params
	}
	n := &still{members: meshtest.NewMembers(t, membertest.ID(name, 1), s.params)}
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	cfg := Config{
		Synced: func(id string, _ int) bool { return !slices.Contains(n.unsynced, id) },
		Self:   n.members.Self, View: n.members.View, PubSub: pubsub.New(n.members.View, new(metric.Set)), MemoryLimit: 1 << 30,
		Clock: clock.New(time.Now).Older(time.Second), Pulse: new(wait.Pulse), Context: ctx,
	}
	var err error
	cfg.Store, err = session.NewStore(session.Config{
		Partitions: ring.Partitions, PartitionOf: ring.Partition, TagOf: func(key string) (string, bool) { return key, false }, Now: cfg.Clock.Now,
	})
	require.NoError(t, err)
	cfg.Replicator = replication.New(replication.Config{Store: cfg.Store, Partitions: ring.Partitions, Now: time.Now})
	t.Cleanup(cfg.Replicator.Close)
	log, happened := slog.New(slog.DiscardHandler), events.New(cfg.Clock.Now)
	n.repairer = repair.New(repair.Config{
		Away: func() bool { return false },
		Self: cfg.Self, View: cfg.View, Store: cfg.Store, Replicator: cfg.Replicator, Clock: cfg.Clock, Log: log, Events: happened, Pulse: cfg.Pulse, Counters: new(metric.Set),
	})
	cfg.Owner, err = owner.New(owner.Config{
		Isolated: func() bool { return false },
		Self:     cfg.Self, Params: s.params, Mode: s.mode, Store: cfg.Store, Copies: n.repairer, Clock: cfg.Clock, Log: log, Events: happened, Pulse: cfg.Pulse,
		Orphaned: func(int, []member.ID) bool { return false }, Missing: func() []ownership.Missing { return nil }, Go: func(func()) { t.Error("no claim is made here") }, Counters: new(metric.Set),
	})
	require.NoError(t, err)
	sections := func(m *mesh.Mesh) []mesh.Section {
		return []mesh.Section{m.RingSection(), cfg.PubSub.Section(m), cfg.Owner.Section(m)}
	}
	if s.network == nil {
		cfg.Mesh = meshtest.Idle(t, n.members, cfg.Clock, sections)
	} else {
		cfg.Mesh = s.network.Live(t, n.members, cfg.Clock, sections, n)
	}
	n.repairer.Bind(cfg.Owner, cfg.Mesh)
	counters := new(metric.Set)
	cfg.Dispatcher = dispatch.New(dispatch.Config{
		Self: cfg.Self, View: cfg.View, Store: cfg.Store, Replicator: cfg.Replicator, Owner: cfg.Owner, Repairer: n.repairer, Mesh: cfg.Mesh, Events: cfg.PubSub,
		Ack: session.AckAsync, Mode: s.mode, Alone: s.network == nil, Absent: func(time.Duration) bool { return false }, Clock: cfg.Clock, Pulse: cfg.Pulse, Counters: counters, NodeCounters: counters,
	})
	n.Cluster = New(cfg)
	n.see(t)
	return n
}

// Serve implements peer.Handler.
func (n *still) Serve(r *peer.Request) {
	if n.hear != nil {
		n.hear(r)
	}
	switch r.Type {
	case mesh.TypeRequest:
		n.cfg.Dispatcher.Serve(r)
	case mesh.TypePublish:
		mesh.Answer(r)(n.cfg.PubSub.Serve(r.Payload))
	case mesh.TypeWait:
		n.mu.Lock()
		n.waits++
		n.mu.Unlock()
		n.cfg.Mesh.AtOnce(r, false, func() { mesh.Answer(r)(n.ServeWait(r.Context(), r.Payload)) })
	}
}

// asked returns how many WAITs were forwarded to it since it was last asked.
func (n *still) asked() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	defer func() { n.waits = 0 }()
	return n.waits
}

// see lets the member see these others.
func (n *still) see(t testing.TB, members ...*member.Member) *member.View {
	t.Helper()
	view := n.members.See(t, members...)
	n.cfg.Owner.SetView(view)
	n.repairer.SetView(view)
	return view
}

// alone is a member that serves everything.
func alone(t testing.TB) *still {
	t.Helper()
	n := begin(t, "a", setting{})
	n.serveOwn()
	return n
}

// serveOwn makes the member serve what the ring gives it, with a lease that
// does not end.
func (n *still) serveOwn() {
	for p := range ring.Partitions {
		if n.cfg.View().Table.Owner(p) == n.cfg.Self.Name {
			n.serve(p)
		}
	}
	n.leaseUntil(math.MaxInt64)
}

func (n *still) serve(p int) {
	claim := ownership.Claim{Epoch: 1, By: n.cfg.Self}
	n.cfg.Owner.Look(func(core *ownership.Core, _ time.Duration) { core.Set(p, ownership.Warm, claim, false) })
	n.cfg.Store.Open(p)
}

// leaseUntil makes the lease end at a time since the member's start.
func (n *still) leaseUntil(at time.Duration) {
	n.cfg.Owner.Look(func(core *ownership.Core, _ time.Duration) { core.SetLease(at) })
}

// together returns members a, b, c and so on that are connected and serve what
// the ring gives them, in a bubble.
func together(t *testing.T, count int) (all []*still) {
	t.Helper()
	var network meshtest.Network
	for i := range count {
		all = append(all, begin(t, string(rune('a'+i)), setting{network: &network}))
	}
	for _, n := range all {
		var others []*member.Member
		for _, other := range all {
			if other != n {
				others = append(others, membertest.Up(other.cfg.Self.Name, 1))
			}
		}
		n.cfg.Mesh.Sync(n.see(t, others...))
		n.serveOwn()
	}
	time.Sleep(time.Second) // heartbeats
	synctest.Wait()
	return all
}

// put writes a session, as a copy where the member does not serve the key.
func (n *still) put(t testing.TB, key string) {
	t.Helper()
	p := ring.Partition(key)
	n.cfg.Store.Open(p)
	_, err := n.cfg.Store.Do(&session.Op{Kind: session.Put, Key: key, Fields: []session.Field{{Name: "f", Value: "1"}}})
	require.NoError(t, err)
	if !n.mine(p) {
		n.cfg.Store.Close(p)
	}
}

// has says whether the member holds a session of the key.
func (n *still) has(key string) bool {
	rec := n.cfg.Store.Peek(key)
	return rec != nil && !rec.Dead()
}

// do runs a command on a key.
func (n *still) do(ctx context.Context, words ...string) (string, error) {
	args := make([][]byte, len(words))
	for i, w := range words {
		args[i] = []byte(w)
	}
	answer, err := n.Do(ctx, &command.Batch{Commands: [][][]byte{args}, Proto: 2, Key: words[1]}, nil)
	return string(answer), err
}
