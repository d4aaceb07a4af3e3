package public

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-95a32959/holdfast/internal/attempt"
	"github.com/seed-95a32959/holdfast/internal/door"
	"github.com/seed-95a32959/holdfast/internal/member"
	"github.com/seed-95a32959/holdfast/internal/member/membertest"
	"github.com/seed-95a32959/holdfast/internal/metric"
	"github.com/seed-95a32959/holdfast/internal/ownership"
	"github.com/seed-95a32959/holdfast/ring"
	"github.com/seed-95a32959/holdfast/router"
	"github.com/seed-95a32959/holdfast/session"
)

// up is the first boot of a ready node.
func up(name string) *member.Member {
	return &member.Member{
		ID: membertest.ID(name, 1), Up: true,
		Meta: member.Meta{Role: member.RoleNode, State: member.StateReady, HTTP: name + ":80"},
	}
}

// viewOf is what the first of some members sees of them.
func viewOf(t testing.TB, members ...*member.Member) *member.View {
	t.Helper()
	v, err := member.NewView(members[0].ID, members, ring.Params{VirtualNodes: 100, Load: 1.25, Copies: 2}, nil)
	require.NoError(t, err)
	return v
}

// fake is a node that owns everything, alone in its view, and keeps what it was
// told. A test changes cfg before it makes the endpoint.
type fake struct {
	cfg       Config
	view      *member.View
	store     *session.Store
	ran       []attempt.Attempt // of the operations that were run
	gone      []member.ID       // waited for
	suspected []member.ID
	misled    []member.ID
}

func newFake(t *testing.T, name string) *fake {
	t.Helper()
	store, err := session.NewStore(session.Config{
		Partitions: ring.Partitions, PartitionOf: ring.Partition, TagOf: bracedTag, Now: time.Now,
	})
	require.NoError(t, err)
	for p := range ring.Partitions {
		store.Open(p)
	}
	f := &fake{view: viewOf(t, up(name)), store: store}
	view := func() *member.View { return f.view }
	secrets := NewSecrets(older, nil, nil)
	ahead := func(member.ID) time.Duration { return 0 }
	f.cfg = Config{
		Self: membertest.ID(name, 1), Role: member.RoleNode, MaxSession: 1 << 20,
		Owners: Owners{View: view, Decide: func(int) ownership.Decision {
			return ownership.Decision{Verdict: ownership.Serve, Owner: membertest.ID(name, 1), Leased: true}
		}},
		InForce: func(int, uint64) bool { return true }, TooLate: func(attempt.Attempt) error { return nil },
		Do: f.do, AwaitGone: func(_ context.Context, id member.ID) { f.gone = append(f.gone, id) },
		Suspect:    func(id member.ID) { f.suspected = append(f.suspected, id) },
		Misled:     func(id member.ID) { f.misled = append(f.misled, id) },
		Finder:     &router.Finder{UserHeader: "X-User-ID", Cookie: "holdfast", Secrets: secrets.Cookies(), Trust: Trusted([]netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")})},
		Secrets:    secrets,
		Dial:       func(context.Context, string) (net.Conn, error) { return nil, net.ErrClosed },
		AppRoute:   func(string) router.Route { return router.Route{} },
		MaxClients: 100, MaxPerAddress: 50,
		Now: time.Now, Ahead: ahead,
		Answered: func(int, time.Duration) {}, Measured: func(h http.Handler) http.Handler { return h },
		Log: slog.New(slog.DiscardHandler), Counters: new(metric.Set), Late: new(metric.Counter),
	}
	f.cfg.Limits = door.NewLimits(f.cfg.Log, f.cfg.Counters)
	return f
}

func (f *fake) do(_ context.Context, op *session.Op, _ session.Ack, a attempt.Attempt) (session.Reply, error) {
	f.ran = append(f.ran, a)
	res, err := f.store.Do(op)
	return session.Reply{Result: res}, err
}

func (f *fake) endpoint(t *testing.T) *Endpoint {
	t.Helper()
	e, err := New(f.cfg)
	require.NoError(t, err)
	t.Cleanup(e.Close)
	return e
}
