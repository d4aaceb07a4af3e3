package node

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/seed-95a32959/holdfast/internal/member/membertest"
)

func drainHandsEverythingOver(t *testing.T, nodes []*Node) {
	leaver, rest := nodes[0], nodes[1:]
	for i := range 60 {
		put(t, nodes[i%3], fmt.Sprint("drained-", i), fmt.Sprint(i))
	}
	resp, _ := send(t, "GET", leaver.office("/readyz"), "")
	require.Equal(t, http.StatusOK, resp.StatusCode)

	deaths := rest[0].members.DeathsOf("ada")
	var progress []DrainStatus
	require.NoError(t, leaver.Drain(t.Context(), func(s DrainStatus) { progress = append(progress, s) }))
	require.Greater(t, progress[0].Partitions, 0)
	require.Equal(t, DrainStatus{}, progress[len(progress)-1], "unsynced=0")
	require.Zero(t, leaver.store.Stats().Sessions, "nothing is left there")
	resp, body := send(t, "GET", leaver.office("/readyz"), "")
	require.Equal(t, http.StatusServiceUnavailable, resp.StatusCode)
	require.Contains(t, body, "leaving")

	for i := range 60 {
		for _, n := range nodes { // the leaver forwards until it is shut down
			resp, got := get(t, n, fmt.Sprint("drained-", i))
			require.Equal(t, http.StatusOK, resp.StatusCode, got)
			require.Equal(t, fmt.Sprint(i), got)
			require.NotEqual(t, "ada", resp.Header.Get("Holdfast-Node"))
		}
	}
	require.NoError(t, leaver.Drain(t.Context(), nil), "a second drain finds nothing to do")
	require.NoError(t, leaver.Shutdown(t.Context()))
	agree(t, rest...)
	require.Equal(t, deaths, rest[0].members.DeathsOf("ada"), "a good-bye is no death")
	require.ErrorIs(t, leaver.Drain(t.Context(), nil), ErrStopped)
}

// A drain that hands over nothing says what would be lost.
func TestDrainOfALoneNodeSaysWhatWouldBeLost(t *testing.T) {
	t.Parallel()
	n := begin(t, loopbackConfig("ada"))
	agree(t, n)
	require.NoError(t, n.Drain(t.Context(), nil), "an empty node loses nothing")
}

func TestDrainOfALoneNodeWithSessions(t *testing.T) {
	t.Parallel()
	n := begin(t, loopbackConfig("ada"))
	agree(t, n)
	for i := range 3 {
		put(t, n, fmt.Sprint("k", i), "v")
	}
	resp, body := send(t, "POST", n.office("/admin/drain"), "")
	require.Equal(t, http.StatusConflict, resp.StatusCode)
	require.Contains(t, body, "0 nodes would remain for 2 copies")
	require.Contains(t, body, "(holdfast drain -force, ?force=1)")
	require.Equal(t, StateReady, n.members.State(), "and it goes on")

	resp, body = send(t, "POST", n.office("/admin/drain?force=1"), "")
	require.Equal(t, http.StatusAccepted, resp.StatusCode)
	require.Contains(t, body, `"unsynced":3`)
	require.Contains(t, body, "no other node is there to take 3 records: unsynced=3; the node stays, out of the ring: start another and drain again, or SIGTERM")
	require.NotContains(t, body, `"done"`)
	select {
	case <-n.Done():
		t.Fatal("it stopped although sessions would be lost")
	default:
	}
	err := n.Shutdown(t.Context())
	require.ErrorContains(t, err, "unsynced=3")
	require.NotContains(t, err.Error(), "the node stays")
	<-n.Done()
}

// A request that runs when its node is drained ends there, however long it
// takes within the time of the drain; new ones of its user go to another node.
func TestRunningRequestsEndWhereTheyRun(t *testing.T) {
	t.Parallel()
	began, end := make(chan struct{}), make(chan struct{})
	start := func(name string, others ...*Node) *Node {
		cfg := loopbackConfig(name, others...)
		cfg.Demo, cfg.Secret = false, []byte("the secret of all the nodes")
		cfg.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/slow" {
				close(began)
				<-end
			}
			fmt.Fprint(w, name)
		})
		return begin(t, cfg)
	}
	ada := start("ada")
	bob := start("bob", ada)
	agree(t, ada, bob)
	user := membertest.KeyIn(membertest.OwnedBy(t, ada.View(), "ada"))
	ask := func(at *Node, path string) string {
		req, err := http.NewRequest("GET", at.public(path), nil)
		require.NoError(t, err)
		req.Header.Set("X-User-ID", user)
		resp, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(req)
		if err != nil {
			return err.Error()
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		return string(body)
	}
	slow := make(chan string, 1)
	go func() { slow <- ask(ada, "/slow") }()
	<-began
	ended := make(chan error, 1)
	go func() { ended <- ada.Shutdown(context.Background()) }()
	eventually(t, "bob serves the user", func() bool { return ask(bob, "/") == "bob" })
	eventually(t, "ada has drained", func() bool { return ada.drainer.Drained() })
	// Its application saves what it has done, at the node that it was told.
	resp, body := send(t, "PUT", ada.public("/v1/sessions/"+user), `{"done":1}`)
	require.Equal(t, http.StatusCreated, resp.StatusCode, body)
	resp, _ = send(t, "GET", ada.office("/healthz"), "")
	require.Equal(t, http.StatusOK, resp.StatusCode, "the endpoint of operators is open until the request has ended")
	select {
	case <-ended:
		t.Fatal("it ended before its request")
	default:
	}
	close(end)
	require.Equal(t, "ada", <-slow)
	require.NoError(t, <-ended)
}

func TestPatience(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
	require.InDelta(t, time.Hour, patience(ctx), float64(time.Minute), "what the drain has left")
	cancel()
	require.Equal(t, grace, patience(ctx))
	require.Equal(t, grace, patience(context.Background()), "nobody says how long")
	soon, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	require.Equal(t, grace, patience(soon))
}

// Calls of Shutdown at once and one after the other: each returns when the
// node has stopped.
func TestShutdownTwice(t *testing.T) {
	t.Parallel()
	n := begin(t, loopbackConfig("ada"))
	agree(t, n)
	var group sync.WaitGroup
	for range 3 {
		group.Go(func() {
			require.NoError(t, n.Shutdown(context.Background()))
			select {
			case <-n.Done():
			default:
				t.Error("Shutdown returned before the node had stopped")
			}
		})
	}
	group.Wait()
	require.NoError(t, n.Shutdown(context.Background()))
	require.ErrorIs(t, n.Drain(context.Background(), nil), ErrStopped)
}

// Shutdown keeps to its context also while somebody else's drain takes its
// time, which then ends too.
func TestShutdownDuringADrain(t *testing.T) {
	t.Parallel()
	n := begin(t, loopbackConfig("ada"))
	agree(t, n)
	put(t, n, "k", "v")
	begun, goOn := make(chan struct{}), make(chan struct{})
	drained := make(chan error, 1)
	go func() {
		first := true
		drained <- n.Drain(context.Background(), func(DrainStatus) {
			if first {
				first = false
				close(begun)
				<-goOn
			}
		})
	}()
	<-begun
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	start, release := time.Now(), sync.OnceFunc(func() { close(goOn) })
	defer time.AfterFunc(9*time.Second, release).Stop()
	err := n.Shutdown(ctx)
	require.Less(t, time.Since(start), 8*time.Second, "DrainTimeout is 10 s")
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.ErrorContains(t, err, "drain: another one is under way: unsynced=1")
	release()
	require.ErrorIs(t, <-drained, ErrStopped)
}

// POST /admin/drain ends the process: Done tells the program.
func TestAdminDrainStopsTheNode(t *testing.T) {
	t.Parallel()
	ada := begin(t, loopbackConfig("ada"))
	bob := begin(t, loopbackConfig("bob", ada))
	agree(t, ada, bob)
	put(t, ada, "k", "v")
	resp, body := send(t, "POST", bob.office("/admin/drain?force=1"), "")
	require.Equal(t, http.StatusAccepted, resp.StatusCode)
	require.Equal(t, "application/jsonl", resp.Header.Get("Content-Type"))
	require.Contains(t, body, `{"done":true,"unsynced":0}`)
	<-bob.Done()
	agree(t, ada)
	_, got := get(t, ada, "k")
	require.Equal(t, "v", got)
}

// A second POST joins the drain that is under way: nobody asks again whether
// enough nodes remain.
func TestAdminDrainTwice(t *testing.T) {
	t.Parallel()
	ada := begin(t, loopbackConfig("ada"))
	bob := begin(t, loopbackConfig("bob", ada))
	agree(t, ada, bob)
	put(t, ada, "k", "v")
	resp, _ := send(t, "POST", bob.office("/admin/drain"), "")
	require.Equal(t, http.StatusConflict, resp.StatusCode, "one node would remain for two copies")
	require.NoError(t, bob.members.SetState(StateLeaving))
	resp, body := send(t, "POST", bob.office("/admin/drain"), "")
	require.Equal(t, http.StatusAccepted, resp.StatusCode)
	require.Contains(t, body, `{"done":true,"unsynced":0}`)
	<-bob.Done()
}

// The end of the context ends the member at once, and with it every goroutine,
// listener and connection, those to the application too.
func TestContextEndReleasesEverything(t *testing.T) {
	app := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "hello ", r.Header.Get("Holdfast-Key")) }))
	defer app.Close()
	already := goleak.IgnoreCurrent()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var nodes []*Node
	for _, name := range []string{"ada", "bob"} {
		cfg := loopbackConfig(name, nodes...)
		cfg.Demo, cfg.App = false, app.URL
		n, err := Start(ctx, cfg)
		require.NoError(t, err)
		nodes = append(nodes, n)
	}
	agree(t, nodes...)
	for i := range 8 {
		_, body := send(t, "GET", nodes[i%2].public("/"), "", "X-User-ID", fmt.Sprint("u", i))
		require.Equal(t, fmt.Sprint("hello u", i), body)
	}
	events, err := http.NewRequestWithContext(t.Context(), "GET", nodes[0].office("/admin/events"), nil)
	require.NoError(t, err)
	stream, err := client.Do(events)
	require.NoError(t, err)

	addresses := []string{nodes[0].self().HTTP, nodes[0].self().Admin, nodes[0].self().Peer, nodes[0].self().Gossip}
	cancel()
	for _, n := range nodes {
		<-n.Done()
	}
	stream.Body.Close()
	for _, address := range addresses {
		requireFree(t, address)
	}
	require.NoError(t, goleak.Find(already, ofTheServer))
}

func requireFree(t *testing.T, address string) {
	t.Helper()
	l, err := net.Listen("tcp", address)
	require.NoError(t, err, "%s is free again", address)
	require.NoError(t, l.Close())
}

// ofTheServer is the application's own side of connections that end with it.
var ofTheServer = goleak.IgnoreAnyFunction("net/http.(*conn).serve")

// A member that cannot start leaves nothing behind either.
func TestStartThatFailsReleasesEverything(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer taken.Close()
	already := goleak.IgnoreCurrent()
	for field, set := range map[string]func(*Config){
		"Config.HTTP": func(c *Config) { c.HTTP = taken.Addr().String() }, "Config.Admin": func(c *Config) { c.Admin = taken.Addr().String() },
		"Config.Peer": func(c *Config) { c.Peer = taken.Addr().String() }, "Config.Gossip": func(c *Config) { c.Gossip = taken.Addr().String() },
	} {
		cfg := loopbackConfig("ada")
		free := freePorts(t, 4)
		cfg.HTTP, cfg.Admin, cfg.Peer, cfg.Gossip = free[0], free[1], free[2], free[3]
		set(&cfg)
		n, err := Start(t.Context(), cfg)
		require.Nil(t, n)
		require.ErrorContains(t, err, field+" "+taken.Addr().String(), "the field and the address")
		require.ErrorContains(t, err, "give an address that is free")
		for _, address := range free {
			requireFree(t, address)
		}
	}
	require.NoError(t, goleak.Find(already))
}

// Operations on a node that has stopped fail, and do not hang.
func TestOperationsAfterShutdown(t *testing.T) {
	t.Parallel()
	n := begin(t, loopbackConfig("ada"))
	agree(t, n)
	require.NoError(t, n.Shutdown(t.Context()))
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err := n.Sessions().Get(ctx, "k")
	require.Error(t, err)
}
