package main

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// serve starts an HTTP server and returns its address.
func serve(t *testing.T, h http.HandlerFunc) string {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s.Listener.Addr().String()
}

func gets(paths ...string) (requests []request) {
	for _, p := range paths {
		requests = append(requests, request{method: "GET", path: p})
	}
	return requests
}

func TestConnPipelines(t *testing.T) {
	address := serve(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		w.Header().Set("Holdfast-Node", "node-1")
		if r.Method == http.MethodDelete {
			w.WriteHeader(http.StatusNoContent)
			return
		}
		_, _ = io.WriteString(w, r.Method+" "+r.URL.Path+" "+r.Header.Get("Holdfast-Ack")+" "+string(body))
	})
	c, err := dial(t.Context(), address)
	require.NoError(t, err)
	defer c.Close()
	requests := []request{
		{method: "GET", path: "/a"},
		{method: "PATCH", path: "/b", ack: "replica", body: `{"x":1}`},
		{method: "DELETE", path: "/c"},
		{method: "GET", path: "/d"},
	}
	answers := make([]answer, len(requests))
	require.NoError(t, c.exchange(t.Context(), requests, answers, time.Minute))
	require.Equal(t, "GET /a  ", string(answers[0].body))
	require.Equal(t, `PATCH /b replica {"x":1}`, string(answers[1].body))
	require.Equal(t, http.StatusNoContent, answers[2].status)
	require.Equal(t, "GET /d  ", string(answers[3].body))
	require.Equal(t, "node-1", answers[3].node)
}

// A door that is about to close says so; what it has not looked at is to be
// sent again, and is no failure of its.
func TestConnTellsWhatWasNotLookedAt(t *testing.T) {
	address := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/last" {
			w.Header().Set("Connection", "close")
		}
	})
	c, err := dial(t.Context(), address)
	require.NoError(t, err)
	answers := make([]answer, 3)
	require.ErrorIs(t, c.exchange(t.Context(), gets("/a", "/last", "/c"), answers, time.Minute), errResend)
	require.True(t, answers[1].ok())
	require.ErrorIs(t, answers[2].err, errResend)
}

func TestConnBreaks(t *testing.T) {
	address := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/break" {
			panic(http.ErrAbortHandler)
		}
	})
	c, err := dial(t.Context(), address)
	require.NoError(t, err)
	answers := make([]answer, 3)
	require.Error(t, c.exchange(t.Context(), gets("/a", "/break", "/c"), answers, time.Minute))
	require.True(t, answers[0].ok())
	require.Error(t, answers[1].err)
	require.Error(t, answers[2].err)
}

func TestConnRefusesHugeAnswers(t *testing.T) {
	address := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, strings.Repeat("x", longestAnswer+1))
	})
	c, err := dial(t.Context(), address)
	require.NoError(t, err)
	var a [1]answer
	require.ErrorContains(t, c.exchange(t.Context(), gets("/"), a[:], time.Minute), "more than")
}

// silent takes connections and never answers, as a frozen process does.
func silent(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { l.Close() })
	return l.Addr().String()
}

func TestConnEndsWithItsContextOrItsTime(t *testing.T) {
	c, err := dial(t.Context(), silent(t))
	require.NoError(t, err)
	var a [1]answer
	require.Error(t, c.exchange(t.Context(), gets("/"), a[:], time.Millisecond))

	c, err = dial(t.Context(), c.address)
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.Error(t, c.exchange(ctx, gets("/"), a[:], time.Minute))
	require.Error(t, a[0].err)
}

func TestDoorKeepsConnections(t *testing.T) {
	var opened atomic.Int64
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	s.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			opened.Add(1)
		}
	}
	s.Start()
	defer s.Close()
	d := newDoor("node-1", s.Listener.Addr().String(), false)
	defer d.close()
	for range 10 {
		a, ours := d.one(t.Context(), gets("/")[0], time.Minute)
		require.True(t, a.ok(), a)
		require.False(t, ours)
	}
	require.EqualValues(t, 1, opened.Load())

	// A connection to a process that has ended is not used for the next one.
	c, boot := d.take()
	d.leave()
	d.give(c, boot)
	c, _ = d.take()
	require.Nil(t, c)
}

// What fails because the member was killed is this program's doing.
func TestDoorKnowsWhoseDoingItWas(t *testing.T) {
	release := make(chan struct{})
	address := serve(t, func(http.ResponseWriter, *http.Request) {
		<-release
		panic(http.ErrAbortHandler)
	})
	d := newDoor("node-1", address, false)
	defer d.close()
	type result struct {
		a    answer
		ours bool
	}
	results := make(chan result, 1)
	send := func() {
		a, ours := d.one(t.Context(), gets("/")[0], time.Minute)
		results <- result{a, ours}
	}
	go send()
	release <- struct{}{}
	r := <-results
	require.Error(t, r.a.err)
	require.False(t, r.ours, "nobody had killed the member")

	go send()
	for len(d.slots) == 0 { // until it is on its way
		time.Sleep(time.Millisecond)
	}
	d.lose()
	release <- struct{}{}
	r = <-results
	require.Error(t, r.a.err)
	require.True(t, r.ours)
}

func TestDoorOfAFrozenNodeHoldsUpAFew(t *testing.T) {
	d := newDoor("node-1", silent(t), false)
	for range doorSlots {
		d.slots <- struct{}{}
	}
	a, _ := d.one(t.Context(), gets("/")[0], time.Minute)
	require.ErrorIs(t, a.err, errBusy)
}

// A request that had chosen the door before its member began to leave dials it
// all the same. That connection leads to a process that ends soon.
func TestDoorKeepsNoConnectionOfTheProcessBefore(t *testing.T) {
	d := newDoor("node-1", silent(t), false)
	d.leave()
	c, boot := d.take()
	require.Nil(t, c)
	c, err := dial(t.Context(), d.address)
	require.NoError(t, err)
	d.give(c, boot)
	d.open(make(chan struct{}))
	c, _ = d.take()
	require.Nil(t, c)
}

func TestDoorOpensWhenItsMemberListens(t *testing.T) {
	d := newDoor("node-1", silent(t), false)
	d.down.Store(true)
	d.open(make(chan struct{}))
	require.False(t, d.down.Load())

	gone := make(chan struct{})
	close(gone)
	d = newDoor("node-2", "127.0.0.1:1", false)
	d.down.Store(true)
	d.open(gone)
	require.True(t, d.down.Load())
}
