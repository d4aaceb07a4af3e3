package admin

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/seed-95a32959/holdfast/internal/adminapi"
	"github.com/seed-95a32959/holdfast/internal/census"
	"github.com/seed-95a32959/holdfast/internal/door"
	"github.com/seed-95a32959/holdfast/internal/drain"
	"github.com/seed-95a32959/holdfast/internal/events"
	"github.com/seed-95a32959/holdfast/internal/member"
	"github.com/seed-95a32959/holdfast/internal/mesh"
	"github.com/seed-95a32959/holdfast/internal/metric"
	"github.com/seed-95a32959/holdfast/ring"
	"github.com/seed-95a32959/holdfast/session"
)

var rewrite = flag.Bool("rewrite", false, "rewrite the golden files")

var errNoLink = errors.New("no link")

// fake is a member of whom the endpoint asks, and what it says.
type fake struct {
	*session.Store
	stats session.Stats
	full  bool

	view              *member.View
	state             member.State
	links             map[member.ID]Link
	ask               func(ctx context.Context, id member.ID, typ byte, question []byte) ([]byte, error)
	warm, cold        int
	below, due        int
	missing           []census.Missing
	lost              map[string]int // sessions by the name of who held them
	appDown, minority bool
	unfit             []string
	drained           int // calls of Drain.Start
	stopped           bool
	unavailable       error                // of all sessions
	before            func(op *session.Op) // each operation
	drainLines        []drain.Status
	drainErr          error
	closing           chan struct{}
	events            *events.Log
	counters          metric.Set
}

func at(ms int64) time.Time { return time.UnixMilli(ms).UTC() }

// newFake is the node ada, which sees the other nodes and a router, and has a
// link to bob.
func newFake(t testing.TB) *fake {
	t.Helper()
	f := &fake{
		state: member.StateReady, warm: 341, closing: make(chan struct{}), events: events.New(func() time.Time { return at(1000) }),
		stats: session.Stats{Sessions: 7, Tombstones: 2, Bytes: 4096, Dead: 128, Compacted: 1, Limit: 1 << 20, LongestHold: 1500 * time.Microsecond},
		links: map[member.ID]Link{id("bob"): {Connected: true, Ring: "0351ffd5fa003217", ClockOffset: -12 * time.Millisecond, LastHeard: 40 * time.Millisecond}},
		ask: func(context.Context, member.ID, byte, []byte) ([]byte, error) {
			return nil, errNoLink
		},
	}
	f.storeAt(t, 1000)
	f.see(t, up("ada"), up("bob"), up("cyd"), router("gate"))
	f.counters.Counter("served", "Operations run on this node's store.").Add(5)
	return f
}

// storeAt gives the node an empty store whose clock stands still.
func (f *fake) storeAt(t testing.TB, ms int64) {
	t.Helper()
	var err error
	f.Store, err = session.NewStore(session.Config{
		Partitions: ring.Partitions, PartitionOf: ring.Partition, Now: func() time.Time { return at(ms) },
		TagOf: func(key string) (string, bool) { return ring.Tag(key), false },
		TTL:   time.Hour, MaxSession: 1 << 20,
	})
	require.NoError(t, err)
}

func id(name string) member.ID { return member.ID{Name: name, Boot: "0000000003e8" + name} }

func up(name string) *member.Member {
	return &member.Member{
		ID: id(name), Gossip: name + ":84", Up: true,
		Meta: member.Meta{Role: member.RoleNode, State: member.StateReady, Pid: 4711, Zone: "z", HTTP: name + ":80", Admin: name + ":81", RESP: name + ":79", Peer: name + ":83"},
	}
}

func router(name string) *member.Member {
	m := up(name)
	m.Role, m.RESP, m.Peer = member.RoleRouter, "", ""
	return m
}

func (f *fake) see(t testing.TB, members ...*member.Member) {
	t.Helper()
	var err error
	f.view, err = member.NewView(id("ada"), members, ring.Params{VirtualNodes: 100, Load: 1.25, Copies: 2}, f.view)
	require.NoError(t, err)
}

func (f *fake) put(t testing.TB, key string) {
	t.Helper()
	f.Open(ring.Partition(key))
	_, err := f.Do(&session.Op{Kind: session.Put, Key: key, Fields: []session.Field{{Name: "f", Value: "1"}}})
	require.NoError(t, err)
}

// Link and the methods that follow are what the endpoint asks for.
func (f *fake) Link(id member.ID) (Link, bool) { l, ok := f.links[id]; return l, ok }

func (f *fake) Heard() (ids []member.ID) {
	for id := range f.links {
		ids = append(ids, id)
	}
	slices.SortFunc(ids, member.ID.Compare)
	return ids
}

func (f *fake) Ask(ctx context.Context, id member.ID, typ byte, question []byte) ([]byte, error) {
	return f.ask(ctx, id, typ, question)
}

func (f *fake) Stats() session.Stats                        { return f.stats }
func (f *fake) Full() bool                                  { return f.full }
func (f *fake) Counts() (warm, cold int)                    { return f.warm, f.cold }
func (f *fake) Lag() (dirty int, age time.Duration)         { return 3, 2500 * time.Microsecond }
func (f *fake) LagOf(string) (dirty int, age time.Duration) { return 2, 1250 * time.Microsecond }

func (f *fake) Missing() []census.Missing { return f.missing }

func (f *fake) Lost() (sessions int, with []string) {
	for name, n := range f.lost {
		sessions, with = sessions+n, append(with, name)
	}
	slices.Sort(with)
	return sessions, with
}

func (f *fake) MostNodes() int             { return 3 }
func (f *fake) MemoryShort() (bytes int64) { return 0 }

func (f *fake) Forget(name string) (sessions int, err error) {
	before := len(f.missing)
	f.missing = slices.DeleteFunc(f.missing, func(m census.Missing) bool { return m.Name == name })
	switch sessions = f.lost[name]; {
	case sessions > 0 || len(f.missing) < before:
		delete(f.lost, name)
		return sessions, nil
	case f.view.Named(name) != nil:
		return 0, census.ErrPresent
	default:
		return 0, census.ErrUnknown
	}
}

func (f *fake) startDrain(progress func(drain.Status)) <-chan error {
	f.drained++
	ended := make(chan error)
	go func() {
		for _, line := range f.drainLines {
			progress(line)
			time.Sleep(time.Millisecond) // in a bubble: until the line is written
		}
		ended <- f.drainErr
	}()
	return ended
}

// config is that of a node; without Node it is a router's.
func (f *fake) config() Config {
	return Config{
		Self: id("ada"), Role: member.RoleNode, Zone: "z", Cluster: "test", Hosts: []string{"127.0.0.1:8081", "ops.example", "", "proxy.example", "ada"},
		View: func() *member.View { return f.view }, State: func() member.State { return f.state },
		Waiting: func() string { return "no cluster yet" },
		Unfit:   func() []string { return f.unfit },
		Uptime:  func() time.Duration { return 90 * time.Second },
		Links:   f, Census: f, Events: f.events, Counters: &f.counters, Closing: f.closing,
		Limits: door.NewLimits(slog.New(slog.DiscardHandler), new(metric.Set)), Log: slog.New(slog.DiscardHandler),
		HTTPClients: func() int { return 11 }, HTTPBodyBytes: func() int64 { return 512 },
		GossipRefused: func() map[string]int64 { return map[string]int64{"key": 4} },
		AppDown:       func() bool { return f.appDown },
		Sessions:      sessions{f}, Now: func() time.Time { return at(1000) },
		Node: &Node{
			Store: f, Copies: f, Gate: f, BelowTarget: func() int { return f.below }, CopiesDue: func() int { return f.due }, SplitSuspected: func() bool { return true }, NoMajority: func() bool { return f.minority },
			Electors: func() []string { return []string{"ada", "bob"} },
			ClockOff: func() time.Duration { return 1500 * time.Microsecond }, ClockHost: func() time.Duration { return -time.Hour },
			PeersRefused: func() map[string]int64 { return map[string]int64{"stranger": 6} },
			Upstream: func() adminapi.Upstream {
				return adminapi.Upstream{Address: "old:6379", Taken: 12, Lately: 4, Ending: 3, Dropped: 1, Error: "connection refused"}
			},
			Redis: func() (clients, subscribers int, bufferBytes int64) { return 9, 1, 2048 },
			Drain: Drain{Start: f.startDrain, Unsynced: func() int { return 8 }, Stop: func() { f.stopped = true }},
		},
	}
}

func (f *fake) router() Config {
	c := f.config()
	c.Role, c.Node = member.RoleRouter, nil
	return c
}

// ask has an endpoint answer one request; headers are names and values in turn.
func ask(e *Endpoint, method, path string, headers ...string) *httptest.ResponseRecorder {
	r, w := httptest.NewRequest(method, path, nil), httptest.NewRecorder()
	r.Host = "localhost:8081"
	for i := 0; i+1 < len(headers); i += 2 {
		if r.Header.Set(headers[i], headers[i+1]); headers[i] == "Host" {
			r.Host = headers[i+1]
		}
	}
	e.Handler().ServeHTTP(w, r)
	return w
}

// golden compares an answer with testdata/<name>.
func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if *rewrite {
		require.NoError(t, os.WriteFile(file, []byte(got), 0o644))
	}
	want, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Equal(t, string(want), got)
}

// own are the lines of /metrics about holdfast, without those about Go and the
// process.
var own = regexp.MustCompile(`(?m)^(# (HELP|TYPE) )?holdfast_.*\n`)

// Scripts and pages rely on every byte of these answers.
func TestAnswers(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	f.put(t, "alice")
	f.missing = []census.Missing{{Name: "dan", Boot: "0000000003e8dan", Role: member.RoleNode, Since: at(900), LastSeen: at(800), Ended: true}}
	f.lost = map[string]int{"dan": 522}
	bob := Node{Store: f}
	f.ask = func(_ context.Context, asked member.ID, typ byte, question []byte) ([]byte, error) {
		switch {
		case asked != id("bob"):
			return nil, errNoLink
		case typ == mesh.TypeStats:
			return json.Marshal(adminapi.Stats{Name: "bob", Role: "node", State: "ready"})
		case typ == mesh.TypeHolds && string(question) == "alice":
			return (&Endpoint{cfg: Config{Node: &bob}}).ServeHolds(question), nil
		default:
			return nil, fmt.Errorf("frame of type %#x", typ)
		}
	}
	for role, cfg := range map[string]Config{"node": f.config(), "router": f.router()} {
		e := New(cfg)
		for name, path := range map[string]string{
			"key.json": "/admin/ring?key=alice", "members.json": "/admin/members", "cluster.json": "/admin/cluster", "stats.json": "/admin/stats", "index.txt": "/", "ready.json": "/readyz",
		} {
			w := ask(e, "GET", path)
			require.Equal(t, http.StatusOK, w.Code)
			golden(t, role+"_"+name, w.Body.String())
		}
		golden(t, role+"_metrics.txt", strings.Join(own.FindAllString(ask(e, "GET", "/metrics").Body.String(), -1), ""))
	}
}

func TestWeightsAreShownAsTheyAreStated(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	for _, c := range []struct {
		role   member.Role
		weight int
		shown  float64
	}{{member.RoleNode, 0, 1}, {member.RoleNode, 250, 2.5}, {member.RoleNode, 10, 0.1}, {member.RoleRouter, 0, 0}} {
		m := &member.Member{Meta: member.Meta{Role: c.role, Weight: c.weight}}
		require.InDelta(t, c.shown, onRing(f.view, m).Weight, 0, "%+v", c)
	}
}

func TestRingOfNobody(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	f.see(t, router("ada"))
	w := ask(New(f.router()), "GET", "/admin/ring")
	require.Contains(t, w.Body.String(), `"partitions": []`, "no node owns anything")
	require.Contains(t, w.Body.String(), `"name": "ada"`)
}

func TestHoldingsAreBounded(t *testing.T) {
	t.Parallel()
	for _, bad := range [][]byte{nil, make([]byte, 16), make([]byte, 18), append([]byte{3}, make([]byte, 16)...)} {
		_, err := decodeHolding(bad)
		require.ErrorContains(t, err, "17 are accepted")
	}
	h := holding{2, 0xabc, 0xdef}
	back, err := decodeHolding(h.encode())
	require.NoError(t, err)
	require.Equal(t, h, back)
	require.Equal(t, adminapi.Holding{Name: "bob", State: "deleted", Version: "0000000000000abc", Hash: "0000000000000def"}, back.answer("bob"))
}

// No request may leave a goroutine behind.
func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }
