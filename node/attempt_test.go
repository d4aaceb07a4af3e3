package node

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-95a32959/holdfast/internal/attempt"
	"github.com/seed-95a32959/holdfast/internal/door/public"
	"github.com/seed-95a32959/holdfast/internal/header"
	"github.com/seed-95a32959/holdfast/internal/member/membertest"
	"github.com/seed-95a32959/holdfast/internal/owner"
	"github.com/seed-95a32959/holdfast/internal/ownership"
	"github.com/seed-95a32959/holdfast/ring"
	"github.com/seed-95a32959/holdfast/router"
	"github.com/seed-95a32959/holdfast/session"
)

// aRouter is a member that passes requests on.
const aRouter = "r~0000000000010000000700000007"

// proven is r as a member passes it on to n.
func (n *Node) proven(r *http.Request, member string) *http.Request {
	keys, now := public.NewHops(public.HopsConfig{
		Self: n.id, Secrets: public.NewSecrets(n.cfg.Secret, n.cfg.OldSecrets, n.cfg.GossipKeys), View: n.View, Now: n.clock.Now, Ahead: n.mesh.ClockOffset,
	}).From(member)
	keys[0].Prove(r, member, now)
	return r
}

// passedOn is a request as a router sends it.
func passedOn(method, mark, attempt string) *http.Request {
	r := httptest.NewRequest(method, "http://127.0.0.1/v1/sessions/k", nil)
	r.Header.Set(header.Fence, mark)
	if attempt != "" {
		r.Header.Set(header.Attempt, attempt)
	}
	return r
}

// markOf marks a request for the owner of k by the claim of an epoch.
func markOf(epoch uint64, deadline time.Time) string {
	return fmt.Sprintf("%d/%d/%d", ring.Partition("k"), epoch, deadline.UnixMilli())
}

// A request that a router sent to an owner by its claim is not run by that
// member under another claim: somebody else was the owner in between. Nor is
// one whose time is over, or whose repetition is here already.
func TestAttemptsThatComeLateAreRefused(t *testing.T) {
	t.Parallel()
	now := time.UnixMilli(1e12)
	n := alone(t, func(c *Config) { c.Now = func() time.Time { return now } })
	door := n.publicHandler()
	p := ring.Partition("k")
	n.serving(t, p, 4)
	send := func(r *http.Request) (status int, retry string) {
		w := httptest.NewRecorder()
		door.ServeHTTP(w, r)
		return w.Code, w.Header().Get("Holdfast-Retry")
	}
	run := func(why, mark, attempt string) {
		t.Helper()
		status, _ := send(n.proven(passedOn("GET", mark, attempt), aRouter))
		require.Equal(t, http.StatusNotFound, status, why)
	}
	refused := func(why, want, mark, attempt string) {
		t.Helper()
		status, retry := send(n.proven(passedOn("GET", mark, attempt), aRouter))
		require.Equal(t, http.StatusServiceUnavailable, status, why)
		require.Equal(t, want, retry, why)
	}
	mark := markOf(4, now.Add(attempt.Lifetime))
	run("the claim is in force", mark, "1f/0")
	n.stand(p, ownership.Warm, ownership.Claim{Epoch: 6, By: n.id})
	refused("the claim is another one, and the router may know no better of any other member", "later", mark, "1f/0")
	n.stand(p, ownership.Warm, ownership.Claim{Epoch: 4, By: n.id})

	run("of a member that has no claim only the time counts", markOf(0, now.Add(attempt.Lifetime)), "1f/2")
	refused("its repetition came first", "1", mark, "1f/0")
	run("it is another one's", mark, "20/0")
	run("a router of an earlier version", mark, "")

	over := markOf(4, now.Add(-time.Millisecond))
	refused("its time is over", "1", over, "20/0")
	status, _ := send(passedOn("GET", over, "20/0"))
	require.Equal(t, http.StatusNotFound, status, "what a stranger says counts for nothing")
	require.EqualValues(t, 3, n.dispatcher.Late().Load())
}

// A repetition that has been run is not run again, wherever it comes in: it is
// answered as it was.
func TestRepetitionsAreRunOnce(t *testing.T) {
	t.Parallel()
	n := alone(t)
	door := n.publicHandler()
	put := func(name, value string) string {
		r := n.proven(passedOn("PUT", markOf(0, time.Now().Add(attempt.Lifetime)), name), aRouter)
		r.Body = io.NopCloser(strings.NewReader(value))
		w := httptest.NewRecorder()
		door.ServeHTTP(w, r)
		require.Less(t, w.Code, 300, w.Body)
		return w.Header().Get("ETag")
	}
	first := put("1f/1", "old")
	second := put("20/0", "new")
	require.NotEqual(t, first, second)
	require.Equal(t, first, put("1f/2", "old"))
	rec, err := n.store.Get("k")
	require.NoError(t, err)
	value, _ := rec.Opaque()
	require.Equal(t, "new", value)

	// A request that has a condition reads first. The one is not answered with
	// the other.
	for _, id := range []uint64{0x1f, 0x30} {
		rep, err := n.dispatcher.Do(t.Context(), &session.Op{Kind: session.Get, Key: "k"}, session.AckDefault, attempt.Attempt{ID: id, Repeat: true})
		require.NoError(t, err)
		require.Equal(t, rec, rep.Record)
	}
	require.NotEqual(t, second, put("30/1", "newest"))
}

// What a process reads when it goes on after it has stood still is not passed
// on to the application either.
func TestApplicationIsNotGivenWhatWaitedForAStandstill(t *testing.T) {
	t.Parallel()
	now := time.UnixMilli(1e12)
	n := still(t, "a", func(c *Config) { c.Now = func() time.Time { return now } })
	v := n.see(t, membertest.Up("b", 1))
	key := membertest.KeyIn(membertest.OwnedBy(t, v, "b"))
	n.owner.OnTick(owner.GapLimit)
	for method, want := range map[string]int{"PUT": http.StatusServiceUnavailable, "GET": http.StatusBadGateway} {
		r := public.Arrival{Attempt: attempt.Attempt{Sent: now, Fenced: true}, Hop: &router.Hop{From: aRouter}}.With(passedOn(method, "", ""))
		r.Header.Set(header.Key, key)
		w := httptest.NewRecorder()
		n.pin.ServeHTTP(w, r)
		require.Equal(t, want, w.Code, "%s for the application: %s", method, w.Body)
	}
}
