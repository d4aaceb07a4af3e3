package public

import (
	"context"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-95a32959/holdfast/internal/attempt"
	"github.com/seed-95a32959/holdfast/internal/header"
	"github.com/seed-95a32959/holdfast/internal/member"
	"github.com/seed-95a32959/holdfast/internal/member/membertest"
	"github.com/seed-95a32959/holdfast/internal/ownership"
	"github.com/seed-95a32959/holdfast/ring"
	"github.com/seed-95a32959/holdfast/router"
	"github.com/seed-95a32959/holdfast/session"
)

// marked is a request as a router sends it.
func marked(mark, name string) *http.Request {
	r := httptest.NewRequest("GET", "http://127.0.0.1/v1/sessions/k", nil)
	r.Header.Set(header.Fence, mark)
	if name != "" {
		r.Header.Set(header.Attempt, name)
	}
	return r
}

// What a router writes about a request its receiver reads: by which claim it
// was sent, until when it may be run by the receiver's clock, and which attempt
// it is.
func TestMarksOfRequests(t *testing.T) {
	t.Parallel()
	now, p := time.UnixMilli(1e12), ring.Partition("k")
	sender, n := newFake(t, "r"), newFake(t, "a")
	sender.cfg.Now = func() time.Time { return now }
	sender.cfg.Ahead = func(to member.ID) time.Duration { return map[string]time.Duration{"a": time.Minute}[to.Name] }
	sender.cfg.Owners.Decide = func(int) ownership.Decision {
		return ownership.Decision{Verdict: ownership.Forward, Owner: membertest.ID("a", 1), Epoch: 4}
	}
	var asked []any
	n.cfg.InForce = func(p int, epoch uint64) bool { asked = append(asked, p, epoch); return epoch < 6 }
	r, e := sender.endpoint(t), n.endpoint(t)
	hop := &router.Hop{From: sender.cfg.Self.String()}

	mark := r.mark("k", router.Target{Name: "a", Boot: membertest.ID("a", 1).Boot})
	got, err := e.received(marked(mark, "1f/0"), hop)
	require.NoError(t, err)
	sent := now.Add(time.Minute)
	require.Equal(t, attempt.Attempt{ID: 0x1f, Deadline: sent.Add(attempt.Lifetime), Sent: sent, Fenced: true}, got)
	require.Equal(t, []any{p, uint64(4)}, asked)
	got, err = e.received(marked(mark, "1f/2"), hop)
	require.NoError(t, err)
	require.True(t, got.Repeat)
	got, err = e.received(marked(mark, ""), hop)
	require.NoError(t, err, "a router of an earlier version")
	require.Zero(t, got.ID)

	elsewhere := r.mark("k", router.Target{Name: "a", Boot: membertest.ID("a", 2).Boot})
	_, err = e.received(marked(elsewhere, "1f/0"), hop)
	require.NoError(t, err)
	require.Equal(t, uint64(0), asked[len(asked)-1], "a member that has no claim")

	got, err = e.received(marked(mark, "1f/0"), nil)
	require.NoError(t, err, "what a stranger says counts for nothing")
	require.Equal(t, attempt.Attempt{Fenced: true}, got)
}

// What comes too late, or by a claim that is over, is not run; neither is what
// cannot be read.
func TestMarksThatForbidToRun(t *testing.T) {
	t.Parallel()
	n := newFake(t, "a")
	n.cfg.InForce = func(_ int, epoch uint64) bool { return epoch == 4 }
	n.cfg.TooLate = func(a attempt.Attempt) error {
		if a.ID == 0x30 {
			return attempt.ErrTooLate
		}
		return nil
	}
	e, hop := n.endpoint(t), &router.Hop{From: membertest.ID("r", 1).String()}
	for _, c := range []struct {
		mark, name string
		want       error
	}{
		{"1/4/99999999999999", "20/0", nil},
		{"1/5/99999999999999", "20/0", attempt.ErrOtherEpoch},
		{"1/4/99999999999999", "30/0", attempt.ErrTooLate},
	} {
		_, err := e.received(marked(c.mark, c.name), hop)
		require.ErrorIs(t, err, c.want, "%q", c.mark)
	}
	for _, bad := range []string{"x", "1/2", "-1/0/99999999999999", "1024/0/99999999999999", "1/-1/99999999999999", "1/4/99999999999999/"} {
		_, err := e.received(marked(bad, "20/0"), hop)
		require.ErrorIs(t, err, attempt.ErrTooLate, "%q", bad)
	}
	for _, bad := range []string{"x", "20", "20/", "0/0", "20/-1", "/1"} {
		_, err := e.received(marked("1/4/99999999999999", bad), hop)
		require.ErrorIs(t, err, attempt.ErrTooLate, "%q", bad)
	}
}

func TestArrivalStaysWithItsRequest(t *testing.T) {
	t.Parallel()
	r := marked("", "")
	require.Equal(t, Arrival{Attempt: attempt.Attempt{Fenced: true}}, ArrivalOf(r.Context()))
	a := Arrival{Attempt: attempt.Attempt{ID: 7}, Hop: &router.Hop{From: "r"}}
	require.Equal(t, a, ArrivalOf(a.With(r).Context()))
}

// The pages of one delete are operations of their own, the same in each attempt
// of the request; what has one page is the operation that the request is.
func TestPagesAreOperationsOfTheirOwn(t *testing.T) {
	t.Parallel()
	var got []attempt.Attempt
	s := asArrived{func(_ context.Context, _ *session.Op, _ session.Ack, a attempt.Attempt) (session.Reply, error) {
		got = append(got, a)
		return session.Reply{}, nil
	}}
	request := func(a attempt.Attempt, pages ...string) (ids []uint64) {
		got = nil
		ctx := Arrival{Attempt: a}.With(httptest.NewRequest("DELETE", "/", nil)).Context()
		for _, page := range pages {
			_, err := s.Do(ctx, &session.Op{Kind: session.DeleteAll, Key: "{u}", NewKey: page}, session.AckDefault)
			require.NoError(t, err)
		}
		for _, b := range got {
			ids = append(ids, b.ID)
			b.ID = a.ID
			require.Equal(t, a, b)
		}
		return ids
	}
	pages := []string{session.FirstPage, session.LaterPage(1), session.LaterPage(2)}
	ids := request(attempt.Attempt{ID: 7, Fenced: true}, pages...)
	require.EqualValues(t, 7, ids[0])
	require.NotEqual(t, ids[0], ids[1])
	require.NotEqual(t, ids[1], ids[2])
	require.Equal(t, ids, request(attempt.Attempt{ID: 7, Repeat: true}, pages...))
	require.Equal(t, []uint64{0, 0, 0}, request(attempt.Attempt{Fenced: true}, pages...), "who has no name gets one for each")
}
