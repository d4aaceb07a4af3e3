package node

import (
	"context"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-95a32959/holdfast/internal/member"
	"github.com/seed-95a32959/holdfast/internal/member/membertest"
	"github.com/seed-95a32959/holdfast/internal/ownership"
	"github.com/seed-95a32959/holdfast/ring"
	"github.com/seed-95a32959/holdfast/session"
)

// still returns a member without sockets and goroutines: what it knows of
// others is what the test tells it.
func still(t testing.TB, name string, change ...func(*Config)) *Node {
	t.Helper()
	cfg := Config{Name: name}
	for _, f := range change {
		f(&cfg)
	}
	cfg, err := cfg.withDefaults()
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	n, err := newNode(ctx, cfg, membertest.ID(name, 1), Meta{Role: cfg.Role, State: StateReady})
	require.NoError(t, err)
	t.Cleanup(n.endpoint.Close)
	if n.redis != nil {
		t.Cleanup(func() { require.NoError(t, n.redis.Shutdown(context.Background())) })
	}
	if n.replicator != nil {
		t.Cleanup(n.replicator.Close)
	}
	return n
}

// alone is a still member that serves everything: no other one is in its view.
func alone(t *testing.T, change ...func(*Config)) *Node {
	n := still(t, "a", change...)
	n.see(t)
	for p := range ring.Partitions {
		n.serving(t, p, 1)
	}
	return n
}

// publicHandler is what a node answers at its public endpoint.
func (n *Node) publicHandler() http.Handler {
	n.setApplication()
	return n.endpoint.Handler(n.pin)
}

// see gives n the view that these members make with itself among them.
func (n *Node) see(t testing.TB, members ...*Member) *View {
	t.Helper()
	self := membertest.Up(n.id.Name, 1)
	v, err := member.NewView(n.id, append([]*Member{self}, members...), n.cfg.ringParams(), n.View())
	require.NoError(t, err)
	n.members.SetView(v)
	n.owner.SetView(v)
	n.repairer.SetView(v)
	return v
}

// serving makes n serve p under the given epoch.
func (n *Node) serving(t testing.TB, p int, epoch uint64) {
	t.Helper()
	n.stand(p, ownership.Warm, ownership.Claim{Epoch: epoch, By: n.id})
	n.store.Open(p)
}

// stand makes partition p stand in a phase at n, by a claim in force.
func (n *Node) stand(p int, ph ownership.Phase, holder ownership.Claim) {
	n.owner.Look(func(core *ownership.Core, _ time.Duration) { core.Set(p, ph, holder, false) })
}

// eventually polls until ok, and fails with what it last said.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(15 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within 15 s: %s", what)
		}
	}
}

func putOf(key string) *session.Op {
	return &session.Op{Kind: session.Put, Key: key, Fields: []session.Field{{Name: "f", Value: "1"}}}
}
