package router

import (
	"bufio"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestBudget(t *testing.T) {
	now := time.Unix(1000, 0)
	var b budget
	spend := func() (n int) {
		for b.spend(now) {
			n++
		}
		return n
	}
	require.Equal(t, int(budgetMost), spend(), "the reserve covers what is under way when a member dies")
	for range 50 {
		b.earn()
	}
	require.InDelta(t, 50*budgetShare, spend(), 1)
	now = now.Add(3 * time.Second)
	require.InDelta(t, 3*budgetFloor, spend(), 1)
	now = now.Add(time.Hour)
	require.Equal(t, int(budgetMost), spend(), "what builds up has a bound")
	now = now.Add(-time.Hour)
	require.Zero(t, spend(), "a clock that goes back gives nothing")
}

func TestEjectionsEnd(t *testing.T) {
	now := time.Unix(1000, 0)
	var e ejections
	a, b := Target{Name: "a"}, Target{Name: "b"}
	e.add(a, now)
	require.True(t, e.has(a, now.Add(ejectTime-1)))
	require.False(t, e.has(b, now))
	require.False(t, e.has(a, now.Add(ejectTime)))
	e.add(b, now.Add(ejectTime))
	require.Len(t, e.until, 1, "none is kept that is over")
}

// When the budget is spent a request that broke is not sent to the successor as
// well; one of which nothing was sent still is.
func TestSpentBudget(t *testing.T) {
	var asked atomic.Int32
	breaking := Target{Name: "owner", HTTP: breaker(t, func(net.Conn) { asked.Add(1) })}
	successor := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	defer successor.Close()
	route := Route{Owner: breaking, Successor: Target{Name: "successor", HTTP: successor.Listener.Addr().String()}}
	rt, err := New(Config{
		Lookup: func(string) Route { return route }, Any: func() Target { return route.Owner },
		Finder: &Finder{Secrets: [][]byte{make([]byte, minSecret)}},
	})
	require.NoError(t, err)
	defer rt.Close()
	status := func() int {
		w := httptest.NewRecorder()
		rt.ServeHTTP(w, httptest.NewRequest("GET", "/", nil))
		return w.Code
	}
	require.Equal(t, http.StatusOK, status())
	rt.budget.used, rt.budget.at = budgetMost+1000, time.Now().Add(time.Hour)
	require.Equal(t, http.StatusBadGateway, status())
	require.EqualValues(t, 2, asked.Load())

	route.Owner = Target{Name: "gone", HTTP: "127.0.0.1:1"}
	require.Equal(t, http.StatusOK, status())
}

// breaker reads each request and closes its connection.
func breaker(t *testing.T, seen func(net.Conn)) string {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	var group sync.WaitGroup
	group.Go(func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			if _, err := http.ReadRequest(bufio.NewReader(conn)); err == nil {
				seen(conn)
			}
			conn.Close()
		}
	})
	t.Cleanup(func() { ln.Close(); group.Wait() })
	return ln.Addr().String()
}

// However the bytes of a WebSocket arrive, the places between its frames are
// found.
func TestFramesInPieces(t *testing.T) {
	stream := []byte{0x81, 2, 'h', 'i', 0x82, 126, 0, 3, 1, 2, 3, 0x02, 127, 0, 0, 0, 0, 0, 0, 0, 1, 9, 0x80, 0x80, 1, 2, 3, 4, 0x88, 0x82, 0, 0, 0, 0, 3, 232}
	ends := map[int]bool{0: true, 4: true, 11: true, 22: true, 28: true, len(stream): true}
	for size := 1; size <= len(stream); size++ {
		var f frames
		for at := 0; at < len(stream); at += size {
			require.Equal(t, ends[at], f.between(), "at %d in steps of %d", at, size)
			require.False(t, f.closed && at <= 28)
			f.note(stream[at:min(at+size, len(stream))])
		}
		require.True(t, f.between() && f.closed)
	}
}
