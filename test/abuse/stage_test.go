package main

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-95a32959/holdfast/internal/resp"
	"github.com/seed-95a32959/holdfast/test/internal/nursery"
)

// testStage is a stage without a cluster, for checks against servers that do
// always the same.
func testStage(t *testing.T) *stage {
	t.Helper()
	if runtime.GOOS != "linux" {
		t.Skip("attackers have addresses of their own in 127.0.0.0/8, which only Linux has")
	}
	return newStage(&cluster{}, false)
}

func faultsOf(s *stage) string {
	_, faults := s.summary()
	return strings.Join(faults, "\n")
}

// memberAt is a member one of whose ports is that of a server.
func memberAt(t *testing.T, address string, port int) *member {
	t.Helper()
	a, err := net.ResolveTCPAddr("tcp", address)
	require.NoError(t, err)
	return &member{Member: nursery.Member{Name: "node-1", Node: true, Host: "127.0.0.1", Port: a.Port - port}}
}

// A member that serves everything fails what must be refused, one that refuses
// everything fails what must be served, and neither is blamed for the rest.
func TestBrowseFindsGatesAndWalls(t *testing.T) {
	for status, missed := range map[int]string{http.StatusOK: "must be refused", http.StatusForbidden: "must be served"} {
		s := testStage(t)
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(status) }))
		want := 0
		for _, v := range browsers() {
			s.browse(memberAt(t, server.Listener.Addr().String(), v.port), v)
			if v.served == (status != http.StatusOK) {
				want++
			}
		}
		server.Close()
		found := 0
		s.mu.Lock()
		for f, n := range s.faults {
			require.Contains(t, f, missed)
			found += n
		}
		s.mu.Unlock()
		require.Equal(t, want, found)
	}
	require.False(t, refusal(http.StatusNotFound), "what is not there has not been refused")
	require.False(t, refusal(http.StatusServiceUnavailable))
}

// respServer answers each command with what answer says, until the test ends.
func respServer(t *testing.T, answer func(args [][]byte) string) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			r := resp.NewReader(c, resp.Limits{MaxArgs: 100, MaxBulk: 1 << 20, MaxQuery: 1 << 20})
			for {
				args, err := r.Next()
				if args == nil && err == nil {
					err = r.Fill()
				}
				if err != nil {
					break
				}
				if args != nil {
					_, _ = io.WriteString(c, answer(args)) // the client may have left
				}
			}
			c.Close()
		}
	}()
	t.Cleanup(func() {
		l.Close()
		<-done
	})
	return l.Addr().String()
}

func TestFlushFindsGatesAndWalls(t *testing.T) {
	s := testStage(t)
	open := respServer(t, func([][]byte) string { return "+OK\r\n" })
	s.mustRefuse(open, "SELECT 1", "FLUSHDB")
	require.Contains(t, faultsOf(s), "SELECT 1, FLUSHDB is answered +OK, and must be refused")

	s = testStage(t)
	wall := respServer(t, func([][]byte) string { return "-ERR no\r\n" })
	s.mustRefuse(wall, "FLUSHALL")
	require.Empty(t, faultsOf(s))
	s.mustServe(wall, "SELECT 0", "EXISTS user-0000")
	require.Contains(t, faultsOf(s), "EXISTS user-0000 is answered -ERR, and must be served")

	s = testStage(t)
	right := respServer(t, func(args [][]byte) string { return ":1\r\n" })
	s.mustServe(right, "EXISTS user-0000")
	require.Empty(t, faultsOf(s))
}

func TestUploadFindsAnEarlyEnd(t *testing.T) {
	// One that answers as soon as it has the head.
	s := testStage(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	go func() {
		c, err := l.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		if _, err = http.ReadRequest(bufio.NewReader(c)); err == nil {
			fmt.Fprint(c, "HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n")
		}
	}()
	s.upload("early", l.Addr().String(), "PUT", "/v1/sessions/a", 100*time.Millisecond, 5*time.Millisecond)
	l.Close()
	require.Contains(t, faultsOf(s), "a slow and steady upload (early) was ended after")
	require.Contains(t, faultsOf(s), "of 100ms: 408")

	// One that waits for all of it, and one that loses some of it.
	for status, fault := range map[int]string{http.StatusCreated: "", http.StatusBadGateway: "of 50ms: 502"} {
		s = testStage(t)
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body) // its length is not at issue
			w.WriteHeader(status)
		}))
		s.upload("all", server.Listener.Addr().String(), "PUT", "/v1/sessions/a", 50*time.Millisecond, 5*time.Millisecond)
		server.Close()
		if fault == "" {
			require.Empty(t, faultsOf(s))
		} else {
			require.Contains(t, faultsOf(s), fault)
		}
	}
}

// A visitor that the application takes for alice is found, whoever says so,
// and so is an address that it is told.
func TestPretendFindsAlice(t *testing.T) {
	echo := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := http.Header{"Holdfast-Key": {r.Header.Get("X-User-ID")}, "True-Client-Ip": r.Header["True-Client-Ip"]}
		fmt.Fprintf(w, `{"header":{"Holdfast-Key":[%q],"True-Client-Ip":[%q]}}`, h.Get("Holdfast-Key"), h.Get("True-Client-Ip"))
	}))
	defer echo.Close()
	s := testStage(t)
	m := memberAt(t, echo.Listener.Addr().String(), nursery.HTTPPort)
	s.pretend(m, attacker, []string{"X-User-ID: " + alice})
	s.pretend(m, attacker, []string{"True-Client-IP: " + falseHome})
	require.Contains(t, faultsOf(s), "a visitor is taken for alice at a node, from an address of its own, by X-User-ID")
	require.Contains(t, faultsOf(s), "a visitor's True-Client-Ip reaches the application")
	s.returns(m, attacker)
	require.Contains(t, faultsOf(s), "a visitor gets no cookie at a node")

	s = testStage(t)
	s.pretend(m, attacker, []string{"X-Other: bob"})
	require.Empty(t, faultsOf(s))
}
