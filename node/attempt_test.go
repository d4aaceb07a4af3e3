package node

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed-95a32959/holdfast/internal/attempt"
	"github.com/seed-95a32959/holdfast/internal/door/public"
	"github.com/seed-95a32959/holdfast/internal/header"
	"github.com/seed-95a32959/holdfast/internal/mesh"
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
	keys, now := public.NewHops(n.hopsConfig()).From(member)
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
// member under another claim: somebody else was the owner in between. Nor is one
// whose time is over, or whose repetition is here already.
func TestAttemptsThatComeLateAreRefused(t *testing.T) {
	t.Parallel()
	now := time.UnixMilli(1e12)
	n := alone(t, func(c *Config) { c.Now = func() time.Time { return now } })
	require.NoError(t, n.makePublic(""))
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

	now = now.Add(attempt.Lifetime + time.Millisecond)
	refused("its time is over", "1", mark, "20/0")
	status, _ := send(passedOn("GET", mark, "20/0"))
	require.Equal(t, http.StatusNotFound, status, "what a stranger says counts for nothing")
	require.EqualValues(t, 3, n.operator.Stats().Counters["refused_late"])
}

// A write that a frozen process, or a cut network, was about to forward comes
// when its client may have given it up.
func TestForwardedWritesMustArriveSoon(t *testing.T) {
	t.Parallel()
	now := time.UnixMilli(1e12)
	n := still(t, "a", func(c *Config) { c.Now = func() time.Time { return now } })
	sent := attempt.Attempt{Deadline: now.Add(serveTimeout), Sent: now, Fenced: true}
	now = now.Add(transitTime)
	require.NoError(t, n.late(&request{work: opWork{putOf("k")}, Attempt: sent}))
	now = now.Add(time.Millisecond)
	require.ErrorIs(t, n.late(&request{work: opWork{putOf("k")}, Attempt: sent}), attempt.ErrTooLate)
	require.NoError(t, n.late(&request{work: line("GET k"), Attempt: sent}))
	sent.Fenced = false
	require.NoError(t, n.late(&request{work: opWork{putOf("k")}, Attempt: sent}), "its writer has stood still with it, and waits")
	sent.Fenced, sent.Sent = true, now.Add(time.Hour)
	require.NoError(t, n.late(&request{work: opWork{putOf("k")}, Attempt: sent}), "a clock that is ahead")
	now = now.Add(serveTimeout)
	require.ErrorIs(t, n.late(&request{work: line("GET k"), Attempt: sent}), attempt.ErrTooLate, "its time is over")
}

// A repetition that has been run is not run again, wherever it comes in: it is
// answered as it was.
func TestRepetitionsAreRunOnce(t *testing.T) {
	t.Parallel()
	n := serving(t)
	n.serving(t, ring.Partition("k"), 1)
	require.NoError(t, n.makePublic(""))
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

	// A request that has a condition reads first. The one is not answered with the other.
	for _, id := range []uint64{0x1f, 0x30} {
		rep, err := n.do(t.Context(), opWork{&session.Op{Kind: session.Get, Key: "k"}}, session.AckDefault, attempt.Attempt{ID: id, Repeat: true})
		require.NoError(t, err)
		require.Equal(t, rec, rep.Record)
	}
	require.NotEqual(t, second, put("30/1", "newest"))
}

// Without a lease the application is not given a request before the others were
// asked: they may have given its user to somebody else.
func TestApplicationWaitsForTheLease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := serving(t)
		n.link(up("b", 1))
		key := "k"
		p := ring.Partition(key)
		n.serving(t, p, 1)
		here, err := n.awaitOwner(t.Context(), key)
		require.NoError(t, err)
		require.True(t, here)

		n.owner.OnTick(owner.GapLimit)
		require.True(t, n.stale(attempt.Attempt{Fenced: true}.Named(n.cfg.Now(), serveTimeout)))
		var answered atomic.Bool
		go func() {
			here, err := n.awaitOwner(t.Context(), key)
			assert.NoError(t, err)
			assert.False(t, here, "b has it by now")
			answered.Store(true)
		}()
		synctest.Wait()
		require.False(t, answered.Load(), "the others are being asked")
		n.stand(p, ownership.Away, ownership.Claim{Epoch: 2, By: id("b", 1)})
		time.Sleep(owner.AskTimeout)
		synctest.Wait()
		require.True(t, answered.Load())
		n.owner.OnTick(0)
		require.False(t, n.stale(attempt.Attempt{Fenced: true}.Named(n.cfg.Now(), serveTimeout)), "that was long ago")
	})
}

// An owner that finds out while it asks that it has been succeeded runs no write
// any more that somebody may have sent elsewhere since. A read goes to the successor.
func TestOwnerSucceededWhileItAsks(t *testing.T) {
	for name, c := range map[string]struct {
		work work
		a    attempt.Attempt
		want error
	}{
		"write":              {opWork{putOf("k")}, attempt.Attempt{Fenced: true}, errOvertaken},
		"a program's own":    {opWork{putOf("k")}, attempt.Attempt{}, errNoOwner},
		"read":               {opWork{&session.Op{Kind: session.Get, Key: "k"}}, attempt.Attempt{Fenced: true}, errNoOwner},
		"command that reads": {line("GET k"), attempt.Attempt{Fenced: true}, errNoOwner},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := serving(t)
				n.link(up("b", 1))
				p := ring.Partition("k")
				n.serving(t, p, 1)
				n.owner.OnTick(owner.GapLimit)
				time.AfterFunc(recheck, func() { n.stand(p, ownership.Away, ownership.Claim{Epoch: 2, By: id("b", 1)}) })
				_, err := n.serveLeased(t.Context(), &request{work: c.work, part: p, Attempt: c.a.Named(n.cfg.Now(), serveTimeout)})
				require.ErrorIs(t, err, c.want)
			})
		})
	}
}

// What a process reads when it goes on after it has stood still may have waited
// for it, and been done by another since. It is not passed on as if it were new.
func TestWritesReadAfterAStandstillAreNotPassedOn(t *testing.T) {
	t.Parallel()
	now := time.UnixMilli(1e12)
	n := still(t, "a", func(c *Config) { c.Now = func() time.Time { return now } })
	v := n.see(t, up("b", 1))
	n.link(up("b", 1))
	p := ownedBy(t, v, "b")
	key := keyIn(p)
	n.stand(p, ownership.Away, ownership.Claim{Epoch: 5, By: id("b", 1)})
	try := func(a attempt.Attempt) error {
		_, err := n.try(t.Context(), &request{work: opWork{putOf(key)}, part: p, Attempt: a})
		return err
	}
	read := func() attempt.Attempt { return attempt.Attempt{Fenced: true}.Named(now, serveTimeout) }
	require.ErrorIs(t, try(read()), errNotSent, "it would go to b, to which there is no connection here")

	before := now
	now = now.Add(time.Second)
	n.owner.OnTick(owner.GapLimit)
	require.ErrorIs(t, try(read()), errOvertaken)
	require.ErrorIs(t, try(attempt.Attempt{Sent: now}), errNotSent, "a program's own, which was not kept anywhere")
	_, err := n.try(t.Context(), &request{work: line("GET " + key), part: p, Attempt: read()})
	require.ErrorIs(t, err, errNotSent, "a read undoes nothing")

	now = now.Add(owner.ResumeTime)
	require.ErrorIs(t, try(read()), errNotSent, "it has come since")
	require.ErrorIs(t, try(attempt.Attempt{Sent: before, Fenced: true}), errOvertaken, "a router says when it was sent")

	n.owner.OnTick(owner.GapLimit)
	require.ErrorIs(t, try(read()), errOvertaken)
	_, err = n.do(t.Context(), opWork{putOf(key)}, session.AckDefault, attempt.Attempt{Sent: now, Fenced: true, Repeat: true})
	require.ErrorIs(t, err, session.ErrUncertain, "an earlier attempt may have been run")

	require.NoError(t, n.makePublic(""))
	for method, want := range map[string]int{"PUT": http.StatusServiceUnavailable, "GET": http.StatusBadGateway} {
		r := public.Arrival{Attempt: attempt.Attempt{Sent: now, Fenced: true}, Hop: &router.Hop{From: aRouter}}.With(passedOn(method, "", ""))
		r.Header.Set(header.Key, key)
		w := httptest.NewRecorder()
		n.pin.ServeHTTP(w, r)
		require.Equal(t, want, w.Code, "%s for the application: %s", method, w.Body)
	}
}

// The owner holds a forwarded write against its age before it runs it.
func TestOwnerRefusesAForwardedWriteThatTookLong(t *testing.T) {
	nodes := three(t)
	agree(t, nodes...)
	a, b := nodes[0], nodes[1]
	key := keyIn(ownedBy(t, a.View(), b.id.Name))
	send := func(age time.Duration) error {
		now := a.cfg.Now()
		r := &request{work: opWork{putOf(key)}, Attempt: attempt.Attempt{Fenced: true}.Named(now, serveTimeout)}
		answer, err := a.mesh.Link(b.id).Call(t.Context(), mesh.TypeRequest, encodeRequest(r, now.Add(-age), 0, 0))
		require.NoError(t, err)
		_, err = decodeReply(answer)
		return err
	}
	require.ErrorContains(t, send(2*transitTime), "to arrive")
	require.Nil(t, b.store.Peek(key))
	require.NoError(t, send(0))
	require.NotNil(t, b.store.Peek(key))
}
