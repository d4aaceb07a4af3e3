package node

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed-95a32959/holdfast/internal/door/public"
	"github.com/seed-95a32959/holdfast/internal/header"
	"github.com/seed-95a32959/holdfast/internal/mesh"
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
func passedOn(method, fence, attempt string) *http.Request {
	r := httptest.NewRequest(method, "http://127.0.0.1/v1/sessions/k", nil)
	r.Header.Set(header.Fence, fence)
	if attempt != "" {
		r.Header.Set(header.Attempt, attempt)
	}
	return r
}

// A request that a router sent to an owner by its claim is not run by that
// member under another claim: somebody else was the owner in between. Nor is one
// whose time is over, or whose repetition is here already.
func TestAttemptsThatComeLateAreRefused(t *testing.T) {
	t.Parallel()
	now := time.UnixMilli(1e12)
	clock := func(c *Config) { c.Now = func() time.Time { return now } }
	n, r := still(t, "a", clock), still(t, "r", clock)
	require.NoError(t, n.openRouter())
	hop := &router.Hop{From: aRouter}
	key := "k"
	p := ring.Partition(key)
	r.see(t, up("a", 1))
	r.link(up("a", 1))
	r.stand(p, ownership.Away, ownership.Claim{Epoch: 4, By: n.id})
	n.serving(t, p, 4)

	fence := r.fenceFor(key, router.Target{Name: "a", Boot: n.id.Boot})
	got, err := n.received(passedOn("PATCH", fence, "1f/0"), hop)
	require.NoError(t, err)
	require.Equal(t, attempt{id: 0x1f, deadline: now.Add(fenceTime), sent: now, fenced: true}, got)
	n.stand(p, ownership.Warm, ownership.Claim{Epoch: 6, By: n.id})
	_, err = n.received(passedOn("PATCH", fence, "1f/0"), hop)
	require.ErrorIs(t, err, errOtherEpoch, "the claim is another one")
	refused := httptest.NewRecorder()
	n.publicHandler().ServeHTTP(refused, n.proven(passedOn("PATCH", fence, "1f/0"), aRouter))
	require.Equal(t, http.StatusServiceUnavailable, refused.Code)
	require.Equal(t, "later", refused.Header().Get("Holdfast-Retry"), "the router may know no better of any other member")
	n.stand(p, ownership.Away, ownership.Claim{Epoch: 6, By: n.id})
	_, err = n.received(passedOn("PATCH", fence, "1f/0"), hop)
	require.NoError(t, err, "who does not serve passes it on")

	elsewhere := r.fenceFor(key, router.Target{Name: "other"})
	got, err = n.received(passedOn("PATCH", elsewhere, "1f/2"), hop)
	require.NoError(t, err, "of a member that has no claim only the time counts")
	require.True(t, got.repeat)
	_, err = n.received(passedOn("PATCH", fence, "1f/0"), hop)
	require.ErrorIs(t, err, errTooLate, "its repetition came first")
	_, err = n.received(passedOn("PATCH", fence, "20/0"), hop)
	require.NoError(t, err, "it is another one's")
	_, err = n.received(passedOn("PATCH", fence, ""), hop)
	require.NoError(t, err, "a router of an earlier version")

	now = now.Add(fenceTime + time.Millisecond)
	_, err = n.received(passedOn("PATCH", fence, "20/0"), hop)
	require.ErrorIs(t, err, errTooLate, "its time is over")
	fresh := r.fenceFor(key, router.Target{Name: "other"})
	for _, bad := range []string{"x", "1/2", "-1/0/99999999999999", "1024/0/99999999999999", "1/-1/99999999999999", fresh + "/"} {
		_, err := n.received(passedOn("PATCH", bad, "20/0"), hop)
		require.ErrorIs(t, err, errTooLate, "%q", bad)
	}
	for _, bad := range []string{"x", "20", "20/", "0/0", "20/-1", "/1"} {
		_, err := n.received(passedOn("PATCH", fresh, bad), hop)
		require.ErrorIs(t, err, errTooLate, "%q", bad)
	}

	got, err = n.received(passedOn("PATCH", fence, "1f/0"), nil)
	require.NoError(t, err, "what a stranger says counts for nothing")
	require.Equal(t, attempt{fenced: true}, got)
}

// A write that a frozen process, or a cut network, was about to forward comes
// when its client may have given it up.
func TestForwardedWritesMustArriveSoon(t *testing.T) {
	t.Parallel()
	now := time.UnixMilli(1e12)
	n := still(t, "a", func(c *Config) { c.Now = func() time.Time { return now } })
	sent := attempt{deadline: now.Add(serveTimeout), sent: now, fenced: true}
	now = now.Add(transitTime)
	require.NoError(t, n.late(&request{work: opWork{putOf("k")}, attempt: sent}))
	now = now.Add(time.Millisecond)
	require.ErrorIs(t, n.late(&request{work: opWork{putOf("k")}, attempt: sent}), errTooLate)
	require.NoError(t, n.late(&request{work: line("GET k"), attempt: sent}))
	sent.fenced = false
	require.NoError(t, n.late(&request{work: opWork{putOf("k")}, attempt: sent}), "its writer has stood still with it, and waits")
	sent.fenced, sent.sent = true, now.Add(time.Hour)
	require.NoError(t, n.late(&request{work: opWork{putOf("k")}, attempt: sent}), "a clock that is ahead")
	now = now.Add(serveTimeout)
	require.ErrorIs(t, n.late(&request{work: line("GET k"), attempt: sent}), errTooLate, "its time is over")
}

// A repetition that has been run is not run again, wherever it comes in: it is
// answered as it was.
func TestRepetitionsAreRunOnce(t *testing.T) {
	t.Parallel()
	n := serving(t)
	n.serving(t, ring.Partition("k"), 1)
	require.NoError(t, n.openRouter())
	door := n.publicHandler()
	put := func(attempt, value string) string {
		fence := strings.Join([]string{strconv.Itoa(ring.Partition("k")), "0", strconv.FormatInt(time.Now().Add(fenceTime).UnixMilli(), 10)}, "/")
		r := n.proven(passedOn("PUT", fence, attempt), aRouter)
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
		rep, err := n.do(t.Context(), opWork{&session.Op{Kind: session.Get, Key: "k"}}, session.AckDefault, attempt{id: id, repeat: true})
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

		n.standstill.onTick(gapLimit)
		require.True(t, n.stale(attempt{fenced: true}.named(n.cfg.Now())))
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
		time.Sleep(askTimeout)
		synctest.Wait()
		require.True(t, answered.Load())
		n.standstill.onTick(gapTick)
		require.False(t, n.stale(attempt{fenced: true}.named(n.cfg.Now())), "that was long ago")
	})
}

// An owner that finds out while it asks that it has been succeeded runs no write
// any more that somebody may have sent elsewhere since. A read goes to the successor.
func TestOwnerSucceededWhileItAsks(t *testing.T) {
	for name, c := range map[string]struct {
		work work
		a    attempt
		want error
	}{
		"write":              {opWork{putOf("k")}, attempt{fenced: true}, errOvertaken},
		"a program's own":    {opWork{putOf("k")}, attempt{}, errNoOwner},
		"read":               {opWork{&session.Op{Kind: session.Get, Key: "k"}}, attempt{fenced: true}, errNoOwner},
		"command that reads": {line("GET k"), attempt{fenced: true}, errNoOwner},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := serving(t)
				n.link(up("b", 1))
				p := ring.Partition("k")
				n.serving(t, p, 1)
				n.standstill.onTick(gapLimit)
				time.AfterFunc(recheck, func() { n.stand(p, ownership.Away, ownership.Claim{Epoch: 2, By: id("b", 1)}) })
				_, err := n.serveLeased(t.Context(), &request{work: c.work, part: p, attempt: c.a.named(n.cfg.Now())})
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
	try := func(a attempt) error {
		_, err := n.try(t.Context(), &request{work: opWork{putOf(key)}, part: p, attempt: a})
		return err
	}
	read := func() attempt { return attempt{fenced: true}.named(now) }
	require.ErrorIs(t, try(read()), errNotSent, "it would go to b, to which there is no connection here")

	before := now
	now = now.Add(time.Second)
	n.standstill.resumedAt.Store(now.UnixNano())
	require.ErrorIs(t, try(read()), errOvertaken)
	require.ErrorIs(t, try(attempt{sent: now}), errNotSent, "a program's own, which was not kept anywhere")
	_, err := n.try(t.Context(), &request{work: line("GET " + key), part: p, attempt: read()})
	require.ErrorIs(t, err, errNotSent, "a read undoes nothing")

	now = now.Add(wakeTime)
	require.ErrorIs(t, try(read()), errNotSent, "it has come since")
	require.ErrorIs(t, try(attempt{sent: before, fenced: true}), errOvertaken, "a router says when it was sent")

	n.standstill.resumedAt.Store(0)
	n.standstill.ticked.Store(int64(n.since() - gapLimit - time.Hour))
	require.ErrorIs(t, try(read()), errOvertaken, "nobody has noticed yet")
	_, err = n.do(t.Context(), opWork{putOf(key)}, session.AckDefault, attempt{sent: now, fenced: true, repeat: true})
	require.ErrorIs(t, err, session.ErrUncertain, "an earlier attempt may have been run")

	require.NoError(t, n.openRouter())
	app := n.pinned()
	for method, want := range map[string]int{"PUT": http.StatusServiceUnavailable, "GET": http.StatusBadGateway} {
		r := arrived(passedOn(method, "", ""), arrival{attempt{sent: now, fenced: true}, &router.Hop{From: aRouter}})
		r.Header.Set(header.Key, key)
		w := httptest.NewRecorder()
		app.ServeHTTP(w, r)
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
		r := &request{work: opWork{putOf(key)}, attempt: attempt{fenced: true}.named(now)}
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
