package dispatch

import (
	"log/slog"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/seed-95a32959/holdfast/internal/clock"
	"github.com/seed-95a32959/holdfast/internal/events"
	"github.com/seed-95a32959/holdfast/internal/member"
	"github.com/seed-95a32959/holdfast/internal/member/membertest"
	"github.com/seed-95a32959/holdfast/internal/mesh"
	"github.com/seed-95a32959/holdfast/internal/mesh/meshtest"
	"github.com/seed-95a32959/holdfast/internal/metric"
	"github.com/seed-95a32959/holdfast/internal/owner"
	"github.com/seed-95a32959/holdfast/internal/ownership"
	"github.com/seed-95a32959/holdfast/internal/repair"
	"github.com/seed-95a32959/holdfast/internal/replication"
	"github.com/seed-95a32959/holdfast/internal/wait"
	"github.com/seed-95a32959/holdfast/ring"
	"github.com/seed-95a32959/holdfast/session"
)

// still is a dispatcher that is told of the others what the test says.
type still struct {
	*Dispatcher
	members *meshtest.Members
}

// quiet are events that nobody waits for.
type quiet struct{}

func (quiet) Wanted() bool         { return false }
func (quiet) Event(string, string) {}

func begin(t testing.TB, name string, change ...func(*Config)) *still {
	t.Helper()
	n := &still{members: meshtest.NewMembers(t, membertest.ID(name, 1), meshtest.Params)}
	cfg := Config{
		Self: n.members.Self, View: n.members.View, Events: quiet{}, Ack: session.AckAsync, Alone: true, Absent: func(time.Duration) bool { return false },
		Clock: clock.New(time.Now), Pulse: new(wait.Pulse), Counters: new(metric.Set),
	}
	for _, f := range change {
		f(&cfg)
	}
	cfg.NodeCounters = cfg.Counters
	var err error
	cfg.Store, err = session.NewStore(session.Config{
		Partitions: ring.Partitions, PartitionOf: ring.Partition, TagOf: func(key string) (string, bool) { return ring.Tag(key), len(ring.Tag(key)) < len(key) }, Now: cfg.Clock.Now,
	})
	require.NoError(t, err)
	cfg.Replicator = replication.New(replication.Config{Store: cfg.Store, Partitions: ring.Partitions, Now: time.Now})
	t.Cleanup(cfg.Replicator.Close)
	log, happened := slog.New(slog.DiscardHandler), events.New(cfg.Clock.Now)
	cfg.Repairer = repair.New(repair.Config{
		Away: func() bool { return false },
		Self: cfg.Self, View: cfg.View, Store: cfg.Store, Replicator: cfg.Replicator, Clock: cfg.Clock, Log: log, Events: happened, Pulse: cfg.Pulse, Counters: new(metric.Set),
	})
	cfg.Owner, err = owner.New(owner.Config{
		Isolated: func() bool { return false },
		Self:     cfg.Self, Params: meshtest.Params, Store: cfg.Store, Copies: cfg.Repairer, Clock: cfg.Clock, Log: log, Events: happened, Pulse: cfg.Pulse,
		Orphaned: func(int, []member.ID) bool { return false }, Missing: func() []ownership.Missing { return nil }, Go: func(func()) { t.Error("no claim is made here") }, Counters: new(metric.Set),
	})
	require.NoError(t, err)
	cfg.Mesh = meshtest.Idle(t, n.members, cfg.Clock, func(m *mesh.Mesh) []mesh.Section { return []mesh.Section{cfg.Owner.Section(m)} })
	cfg.Repairer.Bind(cfg.Owner, cfg.Mesh)
	n.Dispatcher = New(cfg)
	n.see(t)
	return n
}

// see lets the dispatcher see these members.
func (n *still) see(t testing.TB, members ...*member.Member) *member.View {
	t.Helper()
	view := n.members.See(t, members...)
	n.cfg.Owner.SetView(view)
	n.cfg.Repairer.SetView(view)
	return view
}

func (n *still) link(m *member.Member) *mesh.Link { return n.cfg.Mesh.AddIdle(m.ID, m.Peer) }

// stand makes partition p stand in a phase, by a claim in force.
func (n *still) stand(p int, ph ownership.Phase, holder ownership.Claim) {
	n.cfg.Owner.Look(func(core *ownership.Core, _ time.Duration) { core.Set(p, ph, holder, false) })
}

// serving makes n serve p under the given epoch.
func (n *still) serving(p int, epoch uint64) {
	n.stand(p, ownership.Warm, ownership.Claim{Epoch: epoch, By: n.cfg.Self})
	n.cfg.Store.Open(p)
}

// leaseUntil makes n's lease end at a time since its start.
func (n *still) leaseUntil(at time.Duration) {
	n.cfg.Owner.Look(func(core *ownership.Core, _ time.Duration) { core.SetLease(at) })
}

func putOf(key string) *session.Op {
	return &session.Op{Kind: session.Put, Key: key, Fields: []session.Field{{Name: "f", Value: "1"}}}
}

// Tests that draw values do not run in parallel: a generator of rapid writes
// its own name when another one first asks for it, without a lock, and the
// library's own are shared by all tests.
var anyName = rapid.StringMatching(`[a-zA-Z0-9]([a-zA-Z0-9._-]{0,62}[a-zA-Z0-9])?`)
